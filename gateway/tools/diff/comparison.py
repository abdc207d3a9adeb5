"""What a change of point tables does to a BMS that was set up with the old ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from gateway.tools.diff.meaning import compare_facts
from gateway.tools.diff.verdicts import Change, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from gateway.model import Register
    from gateway.tools.diff.inventory import Inventory, ListedPoint, Topic

    Word = tuple[str, int, str, int]


def compare(old: Inventory, new: Inventory) -> list[Change]:
    """Return every change, those that break an existing BMS database first, then in the order of points.

    A point that changed only its name is told as renamed: the same registers (or, without any, the
    same topics) show the same reading of the same asset.
    """
    changes = [*_compare_sinks(old, new)]
    pairs = _Pairs.of(old, new)
    changes += _taken(old, new, pairs)
    for name, point in old.points.items():
        successor = pairs.successors.get(name)
        if successor is None:
            changes.append(_gone(point))
        else:
            changes += _compare_point(point, new.points[successor], lost_sinks=old.sinks.keys() - new.sinks)
    changes += [
        Change(kind=Kind.NEW_POINT, subject=name, new=_places_text(point))
        for name, point in new.points.items()
        if name not in pairs.predecessors
    ]
    order = {kind: index for index, kind in enumerate(Kind)}
    return sorted(changes, key=lambda change: order[change.kind])


def summary(changes: Iterable[Change]) -> str:
    """Return the counts in one line."""
    counts = Counter(change.kind.breaks for change in changes)
    if not counts:
        return "no difference"
    breaking = f"{counts[True]:,} would break" if counts[True] else "nothing breaks"
    total, harmless = _counted(counts.total(), "change"), f"{counts[False]:,} harmless"
    return f"{total}: {breaking} an existing BMS database, {harmless}"


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Which new point stands for an old one, by their names, and the other way round."""

    successors: Mapping[str, str]
    predecessors: Mapping[str, str]

    @classmethod
    def of(cls, old: Inventory, new: Inventory) -> _Pairs:
        successors = {name: name for name in old.points if name in new.points}
        gone = [point for name, point in old.points.items() if name not in new.points]
        added = [point for name, point in new.points.items() if name not in old.points]
        for identity in (_by_registers, _by_topics):
            before, after = _unique(gone, identity), _unique(added, identity)
            for key, point in before.items():
                if key in after and point.name not in successors:
                    successors[point.name] = after[key].name
        return cls(successors, {new_name: name for name, new_name in successors.items()})


def _by_registers(point: ListedPoint) -> Hashable:
    return (frozenset(point.registers), *_origin(point)) if point.registers else None


def _by_topics(point: ListedPoint) -> Hashable:
    return (point.topics, *_origin(point)) if point.topics and not point.registers else None


def _origin(point: ListedPoint) -> tuple[str, str]:
    return str(point.facts.get("asset")), str(point.facts.get("from"))


def _unique(
    points: Iterable[ListedPoint], identity: Callable[[ListedPoint], Hashable]
) -> dict[Hashable, ListedPoint]:
    """Return the points by what identifies them, without those that have nothing of the kind or share it."""
    keyed = [(key, point) for point in points if (key := identity(point)) is not None]
    counts = Counter(key for key, _ in keyed)
    return {key: point for key, point in keyed if counts[key] == 1}


def _compare_sinks(old: Inventory, new: Inventory) -> Iterator[Change]:
    for name, facts in old.sinks.items():
        if name not in new.sinks:
            yield Change(kind=Kind.SINK_GONE, subject=name, old=_counted(_users(old, name), "point"))
            continue
        for key in sorted(facts.keys() & new.sinks[name].keys()):
            before, after = facts[key], new.sinks[name][key]
            if before != after:
                yield Change(kind=Kind.SINK_CHANGED, subject=name, old=before, new=after, what=key)
    for name in new.sinks:
        if name not in old.sinks:
            yield Change(kind=Kind.NEW_SINK, subject=name, new=_counted(_users(new, name), "point"))


def _users(inventory: Inventory, sink: str) -> int:
    return sum(
        any(register.sink == sink for register in point.registers)
        or any(name == sink for name, _ in point.topics)
        for point in inventory.points.values()
    )


def _taken(old: Inventory, new: Inventory, pairs: _Pairs) -> Iterator[Change]:
    """Yield the registers and topics of old points that other points have now."""
    words: dict[Word, list[tuple[ListedPoint, Register]]] = {}
    topics: dict[Topic, ListedPoint] = {}
    for point in new.points.values():
        for register in point.registers:
            for word in _words(register):
                words.setdefault(word, []).append((point, register))
        topics.update(dict.fromkeys(point.topics, point))
    for name, point in old.points.items():
        successor = pairs.successors.get(name)
        for register in point.registers:
            holders = {
                (holder.name, now): None
                for word in _words(register)
                for holder, now in words.get(word, ())
                if holder.name != successor and _share_bits(register, now)
            }
            for holder_name, now in holders:
                yield Change(kind=Kind.REGISTER_TAKEN, subject=name, old=register, new=now, other=holder_name)
        for topic in sorted(point.topics):
            taker = topics.get(topic)
            if taker is not None and taker.name != successor:
                yield Change(kind=Kind.TOPIC_TAKEN, subject=name, old=topic[1], other=taker.name)


def _words(register: Register) -> Iterator[Word]:
    for address in range(register.address, register.address + register.words):
        yield register.sink, register.unit, register.table, address


def _share_bits(one: Register, other: Register) -> bool:
    return one.bit is None or other.bit is None or one.bit == other.bit


def _gone(point: ListedPoint) -> Change:
    kind = Kind.POINT_GONE if point.registers or point.topics else Kind.POINT_UNSEEN
    return Change(kind=kind, subject=point.name, old=_places_text(point))


def _places_text(point: ListedPoint) -> Register | str | None:
    """Return where a point is or was: its first register, else its topics."""
    return point.registers[0] if point.registers else " ".join(sorted({topic for _, topic in point.topics}))


def _compare_point(old: ListedPoint, new: ListedPoint, *, lost_sinks: set[str]) -> Iterator[Change]:
    if old.name != new.name:
        yield Change(kind=Kind.RENAMED, subject=new.name, old=old.name, new=new.name)
    yield from _compare_registers(old, new, lost_sinks)
    yield from _compare_topics(old, new, lost_sinks)
    yield from compare_facts(old, new)


def _compare_registers(old: ListedPoint, new: ListedPoint, lost_sinks: set[str]) -> Iterator[Change]:
    """Pair registers that are in the same place, then on the same sink, then any; the rest came or went."""
    before = [register for register in old.registers if register not in new.registers]
    after = [register for register in new.registers if register not in old.registers]
    for is_pair, kind in (
        (_same_word, Kind.REGISTER_FORM),
        (_same_sink, Kind.REGISTER_MOVED),
        (_any, Kind.REGISTER_MOVED),
    ):
        for register in tuple(before):
            match = next((other for other in after if is_pair(register, other)), None)
            if match is not None:
                before.remove(register)
                after.remove(match)
                yield Change(kind=kind, subject=new.name, old=register, new=match)
    for register in before:
        if register.sink not in lost_sinks:  # told once, for the sink
            yield Change(kind=Kind.REGISTER_GONE, subject=new.name, old=register)
    for register in after:
        yield Change(kind=Kind.NEW_REGISTER, subject=new.name, new=register)


def _same_word(one: Register, other: Register) -> bool:
    return next(_words(one)) == next(_words(other))


def _same_sink(one: Register, other: Register) -> bool:
    return one.sink == other.sink


def _any(_one: Register, _other: Register) -> bool:
    return True


def _compare_topics(old: ListedPoint, new: ListedPoint, lost_sinks: set[str]) -> Iterator[Change]:
    gone, come = sorted(old.topics - new.topics), sorted(new.topics - old.topics)
    for sink in sorted({sink for sink, _ in (*gone, *come)} - lost_sinks):
        before = [topic for of_sink, topic in gone if of_sink == sink]
        after = [topic for of_sink, topic in come if of_sink == sink]
        for was, now in zip_longest(before, after):
            kind = Kind.NEW_TOPIC if was is None else Kind.TOPIC_GONE if now is None else Kind.TOPIC_MOVED
            yield Change(kind=kind, subject=new.name, old=was, new=now, what=sink or None)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
