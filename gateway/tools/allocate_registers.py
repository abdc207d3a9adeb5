"""Registers and BACnet instances for what has none yet: what `gateway lock` writes, or discover drafts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.mapping.compile.claims import slot_ranges, template_ranges
from gateway.mapping.compile.lock_file import LOCK_NAME, Slot
from gateway.mapping.compile.object_lock import OBJECT_LOCK_NAME, LockedObject
from gateway.mapping.compile.sources import read_sources
from gateway.mapping.compile.templates import Area, area_text
from gateway.mapping.compiler import Compiler
from gateway.mapping.object_types import HIGHEST_INSTANCE
from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.model import ObjectType
from gateway.text import closest_name, short_list

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gateway.config.decode import Problem
    from gateway.mapping.compile.claims import ReservedRange
    from gateway.mapping.compile.missing import SlotRequest
    from gateway.mapping.compile.sources import SlotEntry, Sources
    from gateway.mapping.compiler import TableInputs
    from gateway.records import AssetSnapshot


@dataclass(frozen=True, slots=True)
class SlotAssignment:
    """The slots of registers.lock, and those to add; `objects` are to be added to bacnet.lock.

    Nothing is to be added while there are problems. `tags`: of each asset.
    """

    slots: Mapping[str, SlotEntry]
    added: list[Slot]
    objects: list[LockedObject]
    tags: Mapping[str, str]
    problems: list[Problem]
    warnings: list[Problem]


def assign_slots(inputs: TableInputs, *, successors: Mapping[str, str] | None = None) -> SlotAssignment:
    """Find registers for every asset that has neither base nor slot: listed assets in order, then others.

    In the same order, find an instance for every BACnet object that has none. Nothing is written. The same
    files and assets give the same slots and instances.
    `successors`: new assets by the old ones whose slots they get; then nothing is added. Raises CommandError
    if a slot cannot be handed over.
    """
    sources = read_sources(inputs.folder, with_objects=bool(inputs.bacnet_sinks))
    for old, new in (successors or {}).items():
        _hand_over(sources, old, new, snapshot=inputs.snapshot)
    compiler = Compiler(sources, inputs)
    point_map = compiler.compile()
    added = [] if sources.findings()[0] or successors else _assign(compiler)
    problems, warnings = sources.findings()
    for old, new in () if problems else (successors or {}).items():
        _check_successor(compiler, old, new)
    tags = {point.asset: point.tag for point in point_map.points}
    objects = [] if problems or successors else _assign_instances(compiler)
    return SlotAssignment(sources.slots, [] if problems else added, objects, tags, problems, warnings)


def _assign_instances(compiler: Compiler) -> list[LockedObject]:
    """Return an instance for each object that has none: the next above those of its type in bacnet.lock.

    One that is free below may have been another point's. Those that tables state, or once did, are skipped,
    and those that bacnet.lock lacks are returned as well. Raises CommandError if none is left.
    """
    locked, claimed = compiler.locked, compiler.claims.instances()
    highest = dict.fromkeys(ObjectType, 0)
    for kind, instance in locked.holders:
        highest[kind] = max(highest[kind], instance)
    skipped = locked.reserved.keys() | claimed.keys()
    added = []
    for kind, name in dict.fromkeys((request.type, request.name) for request in compiler.object_requests):
        free = count(highest[kind] + 1)
        highest[kind] = next(instance for instance in free if (kind, instance) not in skipped)
        if highest[kind] > HIGHEST_INSTANCE:
            raise CommandError(
                f"{name}: {OBJECT_LOCK_NAME} has the last instance of {kind}, {HIGHEST_INSTANCE}:"
                " write an `instance` into the table"
            )
        added.append(LockedObject(point=name, object=kind, instance=highest[kind]))
    known = locked.reserved.keys() | locked.holders.keys()
    return added + [
        LockedObject(point=name, object=kind, instance=instance, reserved=True)
        for (kind, instance), name in claimed.items()
        if (kind, instance) not in known
    ]


def _hand_over(sources: Sources, old: str, new: str, *, snapshot: AssetSnapshot | None) -> None:
    slots = sources.slots
    if old not in slots and sources.has_all_slots:
        close, made = closest_name(old, slots), snapshot and snapshot.tags.get(old)
        if made:
            advice = f"list {new} under `assets` of a table with its tag, {made.tag}: topics and objects stay"
        else:
            advice = "write the new id into its table instead: topics and objects belong to the tag"
        if close:
            advice = f"did you mean {close}? If not, {advice}"
        raise CommandError(f"--replace: {old} has no slot in {LOCK_NAME}; {advice}")
    if (kept := slots.get(new)) is not None:
        raise CommandError(
            f"--replace: {new} has a slot already at {kept.place}, {kept.slot.base}-{kept.slot.last}: delete"
            " that line if no BMS reads these registers, then run this again"
        )
    if (entry := slots.pop(old, None)) is not None:
        slots[new] = entry._replace(slot=replace(entry.slot, asset=new))


def _check_successor(compiler: Compiler, old: str, new: str) -> None:
    """Raise CommandError if the new asset would not use the slot."""
    if old in compiler.listed:
        where = compiler.listed[old].text("id")
        raise CommandError(f"--replace: {where} still names {old}: write {new} there, then run this again")
    if new in compiler.in_slots:
        return
    if new in compiler.listed:
        place = compiler.listed[new]
        reason = "has its own base" if place.has("base") else "has no registers that need a slot"
        raise CommandError(f"--replace: {new} {reason} at {place}: it would not use the slot of {old}")
    raise CommandError(
        f"--replace: {new} is in no table, and no template with `auto` matches it: write it into a table in"
        f" place of {old}, then run this again"
    )


def _assign(compiler: Compiler) -> list[Slot]:
    """Return the new slots; report each template that runs out of registers."""
    free = FreeRegisters(compiler)
    added: list[Slot] = []
    unplaced: dict[str, list[SlotRequest]] = {}
    for need in compiler.slot_requests:
        base = free.allocate(need.template, need.areas, need.stride)
        if base is None:
            unplaced.setdefault(need.template, []).append(need)
        else:
            added.append(
                Slot(asset=need.asset, template=need.template, base=base, stride=need.stride, tag=need.tag)
            )
    for name, needs in unplaced.items():
        _report_full(compiler, name, needs)
    return added


def _report_full(compiler: Compiler, name: str, needs: list[SlotRequest]) -> None:
    place, reserve = compiler.templates[name].place, compiler.templates[name].template.reserve
    assets, stride = short_list([need.asset for need in needs]), needs[0].stride
    if reserve is not None:
        place.report(
            f"is full: {assets} would need slots of {stride} registers: widen it, or write"
            f" a `base` for them, or delete lines of {LOCK_NAME} that no BMS reads any more",
            "reserve",
        )
    else:
        where = ", ".join(area_text(area) for area in sorted(needs[0].areas))
        place.report(
            f"no {stride} free registers in a row are left for {assets} among the {where}:"
            " use another unit, or a smaller `stride`",
            "stride",
        )


class FreeRegisters:
    """The registers that neither tables nor reserves nor registers.lock keep, area by area."""

    def __init__(self, compiler: Compiler) -> None:
        slots = slot_ranges(compiler.slots.values(), compiler.templates)
        everywhere = [slot for slot in slots if not slot.areas]  # of templates without registers, or gone
        self._reserved = [*template_ranges(compiler.templates.values()), *everywhere]
        self._used: defaultdict[Area, bytearray] = defaultdict(lambda: bytearray(HIGHEST_ADDRESS + 1))
        self._next: dict[tuple[str, frozenset[Area]], int] = {}
        for area, addresses in compiler.claims.addresses():
            for address in addresses:
                self._used[area][address] = 1
        for slot in slots:
            self._mark_used(slot.areas, slot.first, slot.last)
        for entry in (entry for _, table in compiler.tables for entry in table.assets):
            used = compiler.templates.get(entry.use)
            if entry.base is not None and used is not None:  # the whole stride, so that a template can grow
                size = max(used.template.stride or 1, used.footprint.size)
                self._mark_used(used.footprint.areas, entry.base, entry.base + size - 1)

    def allocate(self, template: str, areas: frozenset[Area], stride: int) -> int | None:
        """Return the base of the next free registers for an asset of a template, or None if it is full.

        They lie in the template's reserve, if it has one, and never in the reserve of another template.
        """
        reserves = (kept for kept in self._reserved if not kept.asset)
        own = next((kept for kept in reserves if kept.template == template), None)
        first, last = (0, HIGHEST_ADDRESS) if own is None else (own.first, own.last)
        others = [kept for kept in self._reserved_in(areas) if kept is not own]
        key = (template, areas)
        for base in range(self._next.get(key, first), last - stride + 2, stride):
            end = base + stride
            if not any(other.overlaps(base, end - 1) for other in others) and all(
                self._used[area].find(1, base, end) < 0 for area in areas
            ):
                self._mark_used(areas, base, end - 1)
                self._next[key] = end
                return base
        self._next[key] = last + 1
        return None

    def allocate_behind(self, areas: Collection[Area], stride: int) -> int | None:
        """Return the base, a multiple of the stride, of registers behind everything used or reserved."""
        last_used = max(self._used[area].rfind(1) for area in areas)
        last_reserved = max((kept.last for kept in self._reserved_in(areas)), default=-1)
        base = -(-(max(last_used, last_reserved) + 1) // stride) * stride
        if base + stride - 1 > HIGHEST_ADDRESS:
            return None
        self._mark_used(areas, base, base + stride - 1)
        return base

    def used_units(self, sink: str) -> set[int]:
        """Return the units of a sink with a used register."""
        return {unit for of_sink, unit, _ in self._used if of_sink == sink}

    def _reserved_in(self, areas: Collection[Area]) -> list[ReservedRange]:
        return [kept for kept in self._reserved if not kept.areas or not kept.areas.isdisjoint(areas)]

    def _mark_used(self, areas: Iterable[Area], first: int, last: int) -> None:
        last = min(last, HIGHEST_ADDRESS)
        for area in areas:
            self._used[area][first : last + 1] = b"\1" * (last - first + 1)
