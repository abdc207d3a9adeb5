"""Registers reserved for some assets only, and assets that have none yet.

Slots of registers.lock are reserved for their assets, reserves of templates for their assets without `base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.compile.lock_file import LOCK_NAME
from gateway.mapping.compile.templates import Area, area_text
from gateway.text import short_list

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gateway.mapping.compile.claims import Claimant, Claims
    from gateway.mapping.compile.file_places import Place, Steps
    from gateway.mapping.compile.lock_file import Slot, Slots
    from gateway.mapping.compile.templates import CompiledTemplate


@dataclass(frozen=True, slots=True)
class ReservedRange:
    """Reserved PDU addresses, both ends included, in each of the areas. `asset` is "" for a reserve.

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
        """Return whether it has any of these addresses."""
        return self.first <= last and first <= self.last

    def __str__(self) -> str:
        where = self.place.document.location((*self.place.path, *self.steps))
        if self.asset:
            return f"the slot of {self.asset} at {where}"
        return f"the reserve of the template {self.template} at {where}"


def slot_ranges(slots: Slots, templates: Mapping[str, CompiledTemplate]) -> list[ReservedRange]:
    """Return the ranges of all slots, also of removed assets. Those of unknown templates have no areas."""
    ranges = []
    for slot, place in slots:
        template = templates.get(slot.template)
        areas = frozenset[Area]() if template is None else template.footprint.areas
        ranges.append(ReservedRange(slot.base, slot.last, areas, slot.template, slot.asset, place, ("base",)))
    return ranges


def template_ranges(templates: Iterable[CompiledTemplate]) -> list[ReservedRange]:
    """Return the reserves of templates."""
    return [
        ReservedRange(*used.template.reserve, used.footprint.areas, used.name, "", used.place, ("reserve",))
        for used in templates
        if used.template.reserve is not None
    ]


def check_ranges(slots: list[ReservedRange], reserves: list[ReservedRange]) -> None:
    """Report slots that overlap each other, and reserves that overlap other slots or reserves."""
    for area in {area for slot in slots for area in slot.areas}:
        highest: ReservedRange | None = None
        for slot in sorted((slot for slot in slots if area in slot.areas), key=lambda slot: slot.first):
            if highest is not None and slot.first <= highest.last:
                _report_overlap(slot, highest, area)
            if highest is None or slot.last > highest.last:
                highest = slot
    others = [(slot, reserve) for reserve in reserves for slot in slots if slot.template != reserve.template]
    for one, reserve in [*((later, earlier) for earlier, later in combinations(reserves, 2)), *others]:
        shared = one.areas & reserve.areas
        if shared and one.overlaps(reserve.first, reserve.last):
            _report_overlap(one, reserve, min(shared))


def _report_overlap(one: ReservedRange, other: ReservedRange, area: Area) -> None:
    what = f"{one.first}-{one.last} of the {area_text(area)}"
    one.place.report(f"{what} overlap {other}", *one.steps)


def check_claims(
    ranges: Iterable[ReservedRange], claims: Claims, *, uses: Mapping[str, str], in_slots: Collection[str]
) -> None:
    """Report points in registers that are reserved for others.

    `uses`: the template of each listed asset; `in_slots`: the assets that use their slot.
    """
    for reserved in ranges:
        seen: set[int] = set()
        for area in reserved.areas:
            for claimant, block in claims.holders(area, reserved.first, reserved.last):
                culprit = id(claimant.draft if claimant.entry is None else claimant.entry)
                if culprit not in seen:
                    seen.add(culprit)
                    if not _is_allowed(reserved, claimant, uses, in_slots):
                        into = f"{reserved}{_replacement_hint(reserved, claimant, uses)}"
                        claims.report_intrusion(claimant, block, into=into, of=reserved.asset)


def _is_allowed(
    reserved: ReservedRange, claimant: Claimant, uses: Mapping[str, str], in_slots: Collection[str]
) -> bool:
    """Return whether a point may be in a range, or is reported already because of its own slot."""
    if claimant.entry is None:
        return False
    asset = claimant.point.asset
    is_own = asset == reserved.asset if reserved.asset else uses[asset] == reserved.template
    return is_own or asset in in_slots


def _replacement_hint(reserved: ReservedRange, claimant: Claimant, uses: Mapping[str, str]) -> str:
    """Return what to do if the `base` of an asset is in the slot of a removed one."""
    asset = claimant.point.asset
    if not reserved.asset or reserved.asset in uses or uses.get(asset) != reserved.template:
        return ""
    return (
        f"; if it takes the place of {reserved.asset}, leave `base` out and run"
        f" `gateway lock -c … --replace {reserved.asset}={asset}`"
    )


class SlotRequest(NamedTuple):
    """An asset whose relative registers have no place yet, and what it needs.

    `place`: of a listed asset, None for an automatic one, which has a `tag` instead.
    """

    asset: str
    template: str
    stride: int
    areas: frozenset[Area]
    place: Place | None
    tag: str | None


def report_missing_slots(
    requests: Iterable[SlotRequest],
    templates: Mapping[str, CompiledTemplate],
    slots: Slots,
    *,
    unused: Iterable[Slot],
) -> None:
    """Report listed assets without registers, and warn of automatic ones, which are used without.

    One `gateway lock` is enough for all assets of a template, so there is one message per template. `unused`
    are the slots of removed assets: a new asset may replace one of them.
    """
    if not slots.is_readable:  # its problems are reported, and may be the cause
        return
    removed: dict[str, list[str]] = {}
    for slot in unused:
        removed.setdefault(slot.template, []).append(slot.asset)
    by_template: dict[tuple[str, bool], list[SlotRequest]] = {}
    for request in requests:
        by_template.setdefault((request.template, request.place is None), []).append(request)
    for (template, is_automatic), found in by_template.items():
        assets = [request.asset for request in found]
        hint = _successor_hint(removed.get(template), assets)
        if is_automatic:
            has, is_on = ("has", "it is") if len(assets) == 1 else ("have", "they are")
            message = f"{short_list(assets)} {has} no slot in {LOCK_NAME}, so {is_on} on MQTT only"
            templates[template].place.warn(f"{message}: run `gateway lock -c …`{hint}", "auto")
        elif (place := found[0].place) is not None:
            others = assets[1:]
            nor = f", nor {'has' if len(others) == 1 else 'have'} {short_list(others)}" if others else ""
            message = f"has no `base` and no slot in {LOCK_NAME}{nor}"
            place.report(f"{message}: run `gateway lock -c …`, or write a base{hint}")


def _successor_hint(removed: list[str] | None, assets: list[str]) -> str:
    """Return what to do if a new asset replaces a removed one."""
    if not removed:
        return ""
    old, new = removed[0] if len(removed) == 1 else "OLD", assets[0] if len(assets) == 1 else "NEW"
    return (
        f"; if {'it' if len(assets) == 1 else 'one of them'} takes the place of"
        f" {short_list(removed, conjunction='or')}, `gateway lock -c … --replace {old}={new}` keeps the"
        " registers"
    )
