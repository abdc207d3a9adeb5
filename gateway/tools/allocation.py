"""Slots for assets that have none yet: the next free registers, as `gateway lock` assigns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.mapping.compiler import Compiler
from gateway.mapping.compiling.footprint import Area, area_text
from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.mapping.slots.kept import Range, reserves, slot_ranges
from gateway.mapping.slots.lock_file import LOCK_NAME, Slot, Slots
from gateway.mapping.sources import read_sources
from gateway.text import closest_name, short_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.mapping.slots.needs import Need
    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits
    from gateway.records import AssetSnapshot


@dataclass(frozen=True, slots=True)
class Assignment:
    """What registers.lock lacks: `added` in the order of assignment; none while there are problems.

    `slots` are those it has, `left` those of assets that are gone; `tags` gives the tag of each asset.
    """

    slots: Slots
    added: list[Slot]
    left: list[Slot]
    tags: Mapping[str, str]
    problems: list[Problem]
    warnings: list[Problem]


def assign_slots(
    folder: Path,
    sinks: Mapping[str, str],
    *,
    topics: Mapping[str, TopicScheme],
    snapshot: AssetSnapshot | None,
    limits: Mapping[str, WriteLimits] | None = None,
    successors: Mapping[str, str] | None = None,
) -> Assignment:
    """Find registers for every asset that has neither base nor slot: listed ones in their order, then others.

    Parameters as of `load_point_map`. Nothing is written. The same files and assets give the same slots.
    `successors`: new assets by the old ones that they replace, whose slots they have; then nothing is added.
    Raises CommandError where a slot can't be handed over.
    """
    sources = read_sources(folder)
    for old, new in (successors or {}).items():
        _hand_over(sources.slots, old, new)
    compiler = Compiler(sources, sinks, topics, snapshot, limits or {})
    point_map = compiler.compile()
    added = [] if sources.findings()[0] or successors else _assign(compiler)
    problems, warnings = sources.findings()
    for old, new in () if problems else (successors or {}).items():
        _check_successor(compiler, old, new)
    tags = {point.asset: point.tag for point in point_map.points}
    return Assignment(
        sources.slots, [] if problems else added, compiler.left_slots(), tags, problems, warnings
    )


def _hand_over(slots: Slots, old: str, new: str) -> None:
    if slots.of(old) is None and slots.is_readable:
        close = closest_name(old, [slot.asset for slot, _ in slots])
        meant = (
            f"did you mean {close}?"
            if close
            else "an asset with a `base`, or without registers, needs the new id in its table alone"
        )
        raise CommandError(f"--replace: {old} has no slot in {LOCK_NAME}; {meant}")
    if (kept := slots.of(new)) is not None:
        raise CommandError(
            f"--replace: {new} has a slot already at {kept.place}, {kept.slot.base}-{kept.slot.last}: delete"
            " that line if no BMS reads these registers, then run this again"
        )
    slots.hand_over(old, new)


def _check_successor(compiler: Compiler, old: str, new: str) -> None:
    """Refuse to hand a slot to an asset that would not use it."""
    if old in compiler.listed:
        where = compiler.listed[old].text("id")
        raise CommandError(f"--replace: {where} still names {old}: write {new} there, then run this again")
    if new in compiler.listed and new not in compiler.in_slots:
        place = compiler.listed[new]
        reason = "has a base of its own" if place.has("base") else "has no registers that need a slot"
        raise CommandError(f"--replace: {new} {reason} at {place}: it would not use the slot of {old}")
    if new not in compiler.in_slots:
        raise CommandError(
            f"--replace: {new} is in no table, nor an asset that a template with `auto` takes: write it into"
            f" a table in place of {old}, then run this again"
        )


def _assign(compiler: Compiler) -> list[Slot]:
    """Return the new slots; report each template whose registers do not suffice, where it stands."""
    room = Room(compiler)
    added: list[Slot] = []
    left: dict[str, list[Need]] = {}
    for need in compiler.needs:
        base = room.take(need)
        if base is None:
            left.setdefault(need.template, []).append(need)
        else:
            added.append(
                Slot(asset=need.asset, template=need.template, base=base, stride=need.stride, tag=need.tag)
            )
    for name, needs in left.items():
        place, reserve = compiler.templates[name].place, compiler.templates[name].template.reserve
        assets = short_list([need.asset for need in needs])
        if reserve is not None:
            place.report(
                f"is full: {assets} would need slots of {needs[0].stride} registers: widen it, or write"
                f" a `base` for them, or delete lines of {LOCK_NAME} that no BMS reads any more",
                "reserve",
            )
        else:
            where = ", ".join(area_text(area) for area in sorted(needs[0].areas))
            place.report(
                f"no {needs[0].stride} free registers in a row are left for {assets} among the {where}:"
                " use another unit, or a smaller `stride`",
                "stride",
            )
    return added


class Room:
    """Which registers are free for assets that have none yet."""

    def __init__(self, compiler: Compiler) -> None:
        """Take what the compiled tables, their reserves and registers.lock keep."""
        self._taken: dict[Area, bytearray] = {}
        self._kept = reserves(compiler.templates.values())
        self._reserves = {kept.template: kept for kept in self._kept}
        self._next: dict[tuple[str, frozenset[Area]], int] = {}
        slots = slot_ranges(compiler.slots, compiler.templates)
        self._anywhere = [slot for slot in slots if not slot.areas]
        for area, addresses in compiler.assembly.claims.addresses():
            taken = self._of(area)
            for address in addresses:
                taken[address] = 1
        for slot in slots:
            self._fill(slot.areas, slot.first, slot.last)
        self._fill_bases(compiler)

    def end(self, area: Area) -> int:
        """Return the first PDU address behind everything that is taken or kept in an area."""
        kept = [one.last for one in self._kept if area in one.areas]
        return max(self._of(area).rfind(1), *kept, -1) + 1

    def take(self, need: Need, *, first: int = 0) -> int | None:
        """Take the next free registers from PDU address `first` on; return their base, None: there are none.

        A template's reserve says itself where they are.
        """
        reserve = self._reserves.get(need.template)
        first, last = (first, HIGHEST_ADDRESS) if reserve is None else (reserve.first, reserve.last)
        others = [kept for kept in self._kept if kept.template != need.template and kept.areas & need.areas]
        key = (need.template, need.areas)
        for base in range(self._next.get(key, first), last - need.stride + 2, need.stride):
            if self._is_free(need, base, others):
                self._fill(need.areas, base, base + need.stride - 1)
                self._next[key] = base + need.stride
                return base
        self._next[key] = last + 1
        return None

    def _is_free(self, need: Need, base: int, others: list[Range]) -> bool:
        end = base + need.stride
        return not any(other.overlaps(base, end - 1) for other in others) and all(
            self._of(area).find(1, base, end) < 0 for area in need.areas
        )

    def _fill_bases(self, compiler: Compiler) -> None:
        """Keep the whole stride of each asset with a base, so that its template can grow."""
        for _, table in compiler.tables:
            for entry in table.assets:
                used = compiler.templates.get(entry.use)
                if entry.base is not None and used is not None:
                    size = max(used.template.stride or 1, used.footprint.size)
                    self._fill(used.footprint.areas, entry.base, entry.base + size - 1)

    def _fill(self, areas: frozenset[Area], first: int, last: int) -> None:
        last = min(last, HIGHEST_ADDRESS)
        for area in areas:
            self._of(area)[first : last + 1] = b"\1" * (last - first + 1)

    def _of(self, area: Area) -> bytearray:
        """Return the area's map; slots of unknown templates may be anywhere, so they are in every area."""
        taken = self._taken.get(area)
        if taken is None:
            taken = self._taken[area] = bytearray(HIGHEST_ADDRESS + 1)
            for slot in self._anywhere:
                self._fill(frozenset((area,)), slot.first, slot.last)
        return taken
