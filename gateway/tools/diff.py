"""`gateway diff`: what a change of point tables does to a BMS that was set up with the old ones."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from gateway.mapping.convert import calculation_text
from gateway.text import count_text, duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from gateway.model import Register
    from gateway.tools.diff_inventory import Inventory, PointEntry, SinkTopic

    Word = tuple[str, int, str, int]


class ChangeKind(Enum):
    """One kind of change. `breaks`: an existing BMS database would show nothing, or something wrong."""

    REGISTER_TAKEN = (
        True,
        "register belongs to another point now",
        "the BMS shows the new point's value under the old point's name",
    )
    TOPIC_TAKEN = (
        True,
        "topic belongs to another point now",
        "subscribers take the new point's value for the old point's",
    )
    SINK_GONE = (True, "sink gone", "nothing is published or answered there any more")
    SINK_CHANGED = (True, "sink changed", "the BMS reaches it in another way, or reads messages differently")
    POINT_GONE = (True, "point gone", "its topics get no more messages, and its registers answer exception 2")
    REGISTER_MOVED = (True, "register moved", "the BMS still reads the old address")
    REGISTER_GONE = (True, "register gone", "reading it is answered with exception 2")
    REGISTER_FORM = (
        True,
        "type, order, scale or bit changed",
        "the BMS takes the same words for another number",
    )
    TOPIC_MOVED = (True, "topic moved", "the old topic gets no more messages")
    TOPIC_GONE = (True, "topic gone", "it gets no more messages")
    UNIT_OF_MEASURE = (True, "unit of measure changed", "the BMS shows the new number with the old unit")
    SOURCE = (True, "another reading behind the point", "the same place means something else")
    ASSET = (True, "another asset behind the point", "the values are those of another device or room")
    MAP = (True, "map changed", "the same number means something else")
    CALCULATION = (True, "calculation changed", "the same reading gives another number")
    TAKEN_AS = (
        True,
        "readings are interpreted differently",
        "text and switches may come out as something else",
    )
    HEARTBEAT = (True, "heartbeat slower", "a watchdog in the BMS may take the gateway for dead")

    RENAMED = (False, "renamed", "the same reading in the same place; a topic that moved is listed above")
    NEW_POINT = (False, "new point", "nobody reads it yet")
    NEW_REGISTER = (False, "new register of a known point", "nobody reads it yet")
    NEW_TOPIC = (False, "new topic of a known point", "nobody reads it yet")
    NEW_SINK = (False, "new sink", "nobody reads it yet")
    POINT_UNSEEN = (False, "point without topic and register gone", "nobody could read it")
    CORRECTED = (False, "sensor corrected", "values shift a little; place, unit and scale stay")
    MAP_EXTENDED = (False, "map extended", "readings that had no value have one now; the others stay")
    UNIT_TOLD = (False, "unit of measure written or left out", "the number stays the same")
    DESCRIPTION = (False, "description changed", "for people only")
    COV = (False, "deadband changed", "MQTT messages come more or less often; registers stay")
    RANGE = (False, "range changed", "other readings count as faults, the others stay")
    DECIMALS = (False, "decimals changed", "values come finer or coarser")
    STALE = (False, "staleness changed", "old readings become stale earlier, later or in another way")
    TAGS = (False, "tags changed", "for people and tools only")
    REFILL = (False, "refill changed", "only what comes to `$history` after a long gap")
    HEARTBEAT_FASTER = (False, "heartbeat faster", "a watchdog in the BMS notices nothing")

    def __init__(self, breaks: bool, title: str, why: str) -> None:  # noqa: FBT001 - the values are above
        self.breaks = breaks
        self.title = title
        self.why = why


_KINDS = {  # by fact, where it alone decides
    "asset": ChangeKind.ASSET,
    "from": ChangeKind.SOURCE,
    "kind": ChangeKind.TAKEN_AS,
    "description": ChangeKind.DESCRIPTION,
    "cov": ChangeKind.COV,
    "range": ChangeKind.RANGE,
    "clamp": ChangeKind.RANGE,
    "decimals": ChangeKind.DECIMALS,
    "stale_after": ChangeKind.STALE,
    "on_stale": ChangeKind.STALE,
    "tags": ChangeKind.TAGS,
    "refill": ChangeKind.REFILL,
}
_FACTS_IN_TITLES = frozenset({"asset", "description", "kind"})
_VALUE_KIND_TEXTS = {"any": "as they come", "number": "as numbers", "switch": "as on and off"}
# A sensor is corrected by a little; anything beyond is another number.
_CORRECTION_RATIO = 0.1
_CORRECTION_OFFSET = 5.0  # for points without a range


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that changed.

    `subject`: the point's present name (of one that is gone, its old name), or the sink's name. `old`, `new`:
    a register or text, None if there is none. `other`: the point that has the register or topic now. `what`:
    a sink, or a key of the point table, where the kind alone does not say it.
    """

    kind: ChangeKind
    subject: str
    old: Register | str | None = None
    new: Register | str | None = None
    other: str | None = None
    what: str | None = None


def compare(old: Inventory, new: Inventory) -> list[Change]:
    """Return all changes, those that break an existing BMS database first, then in the order of points."""
    new_names = _new_names(old, new)
    lost_sinks = old.sinks.keys() - new.sinks
    changes = [*_compare_sinks(old, new), *_reassigned_registers(old, new, new_names)]
    changes += _reassigned_topics(old, new, new_names)
    for name, point in old.points.items():
        if name in new_names:
            changes += _compare_point(point, new.points[new_names[name]], lost_sinks)
        else:
            kind = ChangeKind.POINT_GONE if point.registers or point.topics else ChangeKind.POINT_UNSEEN
            changes.append(Change(kind=kind, subject=name, old=_place(point)))
    known = set(new_names.values())
    changes += [
        Change(kind=ChangeKind.NEW_POINT, subject=name, new=_place(point))
        for name, point in new.points.items()
        if name not in known
    ]
    order = {kind: index for index, kind in enumerate(ChangeKind)}
    return sorted(changes, key=lambda change: order[change.kind])


def summary(changes: Iterable[Change]) -> str:
    """Return the counts in one line."""
    counts = Counter(change.kind.breaks for change in changes)
    if not counts:
        return "no difference"
    breaking = f"{counts[True]:,} would break" if counts[True] else "nothing breaks"
    total, harmless = count_text(counts.total(), "change", grouped=True), f"{counts[False]:,} harmless"
    return f"{total}: {breaking} an existing BMS database, {harmless}"


def _place(point: PointEntry) -> Register | str:
    return point.registers[0] if point.registers else " ".join(sorted({topic for _, topic in point.topics}))


def _new_names(old: Inventory, new: Inventory) -> dict[str, str]:
    """Return the new name of each old point that is still there.

    A point with another name is the same if the same registers (without any, the same topics) show the same
    reading of the same asset.
    """
    names = {name: name for name in old.points if name in new.points}
    gone = _by_identity(point for name, point in old.points.items() if name not in names)
    added = _by_identity(point for name, point in new.points.items() if name not in names)
    return names | {gone[identity]: added[identity] for identity in gone if identity in added}


def _by_identity(points: Iterable[PointEntry]) -> dict[Hashable, str]:
    """Return the names of points by what identifies them, without points that have no place or share it."""
    keyed = [
        (
            (
                frozenset(point.registers or point.topics),
                str(point.facts.get("asset")),
                str(point.facts.get("from")),
            ),
            point.name,
        )
        for point in points
        if point.registers or point.topics
    ]
    counts = Counter(key for key, _ in keyed)
    return {key: name for key, name in keyed if counts[key] == 1}


def _compare_sinks(old: Inventory, new: Inventory) -> Iterator[Change]:
    for name, facts in old.sinks.items():
        if name not in new.sinks:
            yield Change(kind=ChangeKind.SINK_GONE, subject=name, old=_users(old, name))
            continue
        for key in sorted(facts.keys() & new.sinks[name].keys()):
            before, after = facts[key], new.sinks[name][key]
            if before != after:
                yield Change(kind=ChangeKind.SINK_CHANGED, subject=name, old=before, new=after, what=key)
    for name in new.sinks:
        if name not in old.sinks:
            yield Change(kind=ChangeKind.NEW_SINK, subject=name, new=_users(new, name))


def _users(inventory: Inventory, sink: str) -> str:
    """Return how many points a sink has."""
    number = sum(
        any(register.sink == sink for register in point.registers)
        or any(name == sink for name, _ in point.topics)
        for point in inventory.points.values()
    )
    return count_text(number, "point", grouped=True)


def _reassigned_registers(old: Inventory, new: Inventory, new_names: Mapping[str, str]) -> Iterator[Change]:
    """Yield the registers of old points that belong to other points now."""
    words: dict[Word, list[tuple[str, Register]]] = {}
    for point in new.points.values():
        for register in point.registers:
            for word in _words(register):
                words.setdefault(word, []).append((point.name, register))
    for name, point in old.points.items():
        for register in point.registers:
            holders = {
                (holder, now): None
                for word in _words(register)
                for holder, now in words.get(word, ())
                if holder != new_names.get(name) and _share_bits(register, now)
            }
            for holder, now in holders:
                yield Change(
                    kind=ChangeKind.REGISTER_TAKEN, subject=name, old=register, new=now, other=holder
                )


def _share_bits(one: Register, other: Register) -> bool:
    return one.bit is None or other.bit is None or one.bit == other.bit


def _words(register: Register) -> Iterator[Word]:
    for address in range(register.address, register.address + register.words):
        yield register.sink, register.unit, register.table, address


def _reassigned_topics(old: Inventory, new: Inventory, new_names: Mapping[str, str]) -> Iterator[Change]:
    """Yield the topics of old points that belong to other points now."""
    holders: dict[SinkTopic, str] = {}
    for point in new.points.values():
        holders.update(dict.fromkeys(point.topics, point.name))
    for name, point in old.points.items():
        for topic in sorted(point.topics & holders.keys()):
            if holders[topic] != new_names.get(name):
                yield Change(kind=ChangeKind.TOPIC_TAKEN, subject=name, old=topic[1], other=holders[topic])


def _compare_point(old: PointEntry, new: PointEntry, lost_sinks: set[str]) -> Iterator[Change]:
    if old.name != new.name:
        yield Change(kind=ChangeKind.RENAMED, subject=new.name, old=old.name, new=new.name)
    yield from _compare_registers(old, new, lost_sinks)
    yield from _compare_topics(old, new, lost_sinks)
    yield from _compare_facts(old, new)
    yield from _compare_calculation(old, new)


def _compare_registers(old: PointEntry, new: PointEntry, lost_sinks: set[str]) -> Iterator[Change]:
    """Pair registers at the same address, then on the same sink, then any; the rest is gone or new."""
    before = [register for register in old.registers if register not in new.registers]
    after = [register for register in new.registers if register not in old.registers]
    stages: tuple[tuple[Callable[[Register], Hashable], ChangeKind], ...] = (
        (lambda register: next(_words(register)), ChangeKind.REGISTER_FORM),
        (lambda register: register.sink, ChangeKind.REGISTER_MOVED),
        (lambda _: None, ChangeKind.REGISTER_MOVED),
    )
    for place, kind in stages:
        for register in tuple(before):
            match = next((other for other in after if place(other) == place(register)), None)
            if match is not None:
                before.remove(register)
                after.remove(match)
                yield Change(kind=kind, subject=new.name, old=register, new=match)
    for register in before:
        if register.sink not in lost_sinks:  # reported once, for the sink
            yield Change(kind=ChangeKind.REGISTER_GONE, subject=new.name, old=register)
    for register in after:
        yield Change(kind=ChangeKind.NEW_REGISTER, subject=new.name, new=register)


def _compare_topics(old: PointEntry, new: PointEntry, lost_sinks: set[str]) -> Iterator[Change]:
    gone, added = sorted(old.topics - new.topics), sorted(new.topics - old.topics)
    for sink in sorted({sink for sink, _ in (*gone, *added)} - lost_sinks):
        before = [topic for of_sink, topic in gone if of_sink == sink]
        after = [topic for of_sink, topic in added if of_sink == sink]
        for was, now in zip_longest(before, after):
            kind = ChangeKind.TOPIC_MOVED
            if was is None or now is None:
                kind = ChangeKind.NEW_TOPIC if was is None else ChangeKind.TOPIC_GONE
            yield Change(kind=kind, subject=new.name, old=was, new=now, what=sink or None)


def _compare_facts(old: PointEntry, new: PointEntry) -> Iterator[Change]:
    """Yield the changes of facts that both sides state, except of the calculation."""
    for fact, before in old.facts.items():
        if fact in {"gain", "offset"} or fact not in new.facts or before == new.facts[fact]:
            continue
        after = new.facts[fact]
        yield Change(
            kind=_KINDS.get(fact) or _fact_kind(fact, before, after),
            subject=new.name,
            old=_fact_text(fact, before),
            new=_fact_text(fact, after),
            what=None if fact in _FACTS_IN_TITLES else fact,
        )


def _fact_kind(fact: str, before: Any, after: Any) -> ChangeKind:
    if fact == "unit_of_measure":
        return ChangeKind.UNIT_OF_MEASURE if before and after else ChangeKind.UNIT_TOLD
    if fact == "map":
        is_extended = before is not None and after is not None and before.items() <= after.items()
        return ChangeKind.MAP_EXTENDED if is_extended else ChangeKind.MAP
    return ChangeKind.HEARTBEAT if after > before else ChangeKind.HEARTBEAT_FASTER


def _fact_text(fact: str, value: Any) -> str:
    """Return a fact on one line, as a point table has it."""
    match fact, value:
        case _, None | "":
            return "never" if fact == "stale_after" else "none"
        case "kind", str():
            return _VALUE_KIND_TEXTS.get(value, value)
        case "stale_after" | "every_ms", int():
            return duration_text(value)
        case "cov", (delta, every_ms):
            return f"{delta:g}, at least every {duration_text(every_ms)}"
        case "range", (low, high):
            return f"{low:.12g} to {high:.12g}"
        case _:
            return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | bool) else str(value)


def _compare_calculation(old: PointEntry, new: PointEntry) -> Iterator[Change]:
    stated = old.facts.keys() & new.facts.keys()
    before, after = (
        (side.facts["gain"] if "gain" in stated else 1.0, side.facts["offset"] if "offset" in stated else 0.0)
        for side in (old, new)
    )
    if all(math.isclose(*pair, rel_tol=1e-9, abs_tol=1e-12) for pair in zip(before, after, strict=True)):
        return
    limits = new.facts.get("range")
    span = limits[1] - limits[0] if limits else _CORRECTION_OFFSET / _CORRECTION_RATIO
    is_correction = (
        abs(after[0] / before[0] - 1) <= _CORRECTION_RATIO
        and abs(after[1] - before[1]) <= _CORRECTION_RATIO * span
    )
    yield Change(
        kind=ChangeKind.CORRECTED if is_correction else ChangeKind.CALCULATION,
        subject=new.name,
        old=calculation_text(*before, of="reading"),
        new=calculation_text(*after, of="reading"),
    )
