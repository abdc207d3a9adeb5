"""Registers that are kept for some assets only: slots of registers.lock and reserves of templates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from gateway.mapping.compiling.footprint import Area, area_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gateway.mapping.compiling.claims import Claims, Owner
    from gateway.mapping.compiling.places import Place, Steps
    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.mapping.slots.lock_file import Slots


@dataclass(frozen=True, slots=True)
class Range:
    """PDU addresses, both included, in each of the areas. `asset` "": a reserve, otherwise a slot.

    `place` and `steps`: where it is written.
    """

    first: int
    last: int
    areas: frozenset[Area]
    template: str
    asset: str
    place: Place
    steps: Steps

    def overlaps(self, first: int, last: int) -> bool:
        """Say whether it has any of these addresses."""
        return self.first <= last and first <= self.last

    @property
    def where(self) -> str:
        """Return its `file:line:col`."""
        return str(self.place.document.location((*self.place.path, *self.steps)))

    def __str__(self) -> str:
        if self.asset:
            return f"the slot of {self.asset} at {self.where}"
        return f"the reserve of the template {self.template} at {self.where}"


def slot_ranges(slots: Slots, templates: Mapping[str, CompiledTemplate]) -> list[Range]:
    """Return what every slot keeps, also those of assets that are gone; without areas where nobody knows."""
    ranges = []
    for slot, place in slots:
        template = templates.get(slot.template)
        areas = frozenset[Area]() if template is None else template.footprint.areas
        ranges.append(Range(slot.base, slot.last, areas, slot.template, slot.asset, place, ("base",)))
    return ranges


def reserves(templates: Iterable[CompiledTemplate]) -> list[Range]:
    """Return what templates keep for their assets without base."""
    return [
        Range(*used.template.reserve, used.footprint.areas, used.name, "", used.place, ("reserve",))
        for used in templates
        if used.template.reserve is not None
    ]


def check_ranges(slots: list[Range], kept: list[Range]) -> None:
    """Report slots that overlap each other, and reserves with others' slots or reserves in them."""
    for area in {area for one in slots for area in one.areas}:
        highest: Range | None = None
        for one in sorted((one for one in slots if area in one.areas), key=lambda one: one.first):
            if highest is not None and one.first <= highest.last:
                _report_overlap(one, highest, area)
            if highest is None or one.last > highest.last:
                highest = one
    for one, other in combinations(kept, 2):
        shared = one.areas & other.areas
        if shared and one.overlaps(other.first, other.last):
            _report_overlap(other, one, min(shared))
    for reserve in kept:
        for slot in slots:
            shared = slot.areas & reserve.areas
            if slot.template != reserve.template and shared and slot.overlaps(reserve.first, reserve.last):
                _report_overlap(slot, reserve, min(shared))


def _report_overlap(one: Range, other: Range, area: Area) -> None:
    what = f"{one.first}-{one.last} of the {area_text(area)}"
    one.place.report(f"{what} overlap {other}", *one.steps)


def check_claims(
    ranges: Iterable[Range], claims: Claims, *, uses: Mapping[str, str], in_slots: Collection[str]
) -> None:
    """Report points that lie in registers kept for others.

    `uses`: the template of each listed asset; `in_slots`: those of them that have their slot's base.
    """
    for kept in ranges:
        seen: set[int] = set()
        for area in kept.areas:
            for owner, block in claims.holders(area, kept.first, kept.last):
                culprit = id(owner.draft if owner.entry is None else owner.entry)
                if culprit not in seen:
                    seen.add(culprit)
                    if not _belongs(kept, owner, uses, in_slots):
                        into = f"{kept}{_successor(kept, owner, uses)}"
                        claims.report_intrusion(owner, block, into=into, of=kept.asset)


def _successor(kept: Range, owner: Owner, uses: Mapping[str, str]) -> str:
    """Return what to do where an asset was put by its `base` where one was that is gone."""
    asset = owner.point.asset
    if not kept.asset or kept.asset in uses or uses.get(asset) != kept.template:
        return ""
    return (
        f"; if it takes the place of {kept.asset}, leave `base` out and run"
        f" `gateway lock -c … --replace {kept.asset}={asset}`"
    )


def _belongs(kept: Range, owner: Owner, uses: Mapping[str, str], in_slots: Collection[str]) -> bool:
    """Say whether a point may be there, or has a problem already because its own slot is in the way."""
    if owner.entry is None:
        return False
    asset = owner.point.asset
    is_own = asset == kept.asset if kept.asset else uses[asset] == kept.template
    return is_own or asset in in_slots
