"""`gateway diff`: what a change of point tables does to a BMS that was set up with the old ones.

Both sides become an inventory: every point with its topics, registers, objects and facts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import parse_duration
from gateway.errors import ConfigError
from gateway.mapping.computed_keys import AGGREGATES
from gateway.text import count_text, short_list
from gateway.tools.diff_report import Change, ChangeKind
from gateway.tools.headings import REQUIRED
from gateway.tools.import_table import USUAL_DEVICE, USUAL_SINK, compile_points
from gateway.tools.register_map import calculation_text, cell_text, register_map, states_text
from gateway.tools.sheet_points import read_points
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import BacnetObject, Point, Register
    from gateway.tools.diff_report import Place
    from gateway.tools.spreadsheet import Sheet

    Word = tuple[str, int, str, int]

SinkTopic = tuple[str, str]
"""An MQTT sink and a topic there; the sink is "" if unknown, as in a CSV."""

_MEANING = ("asset", "from", "bits", "unit_of_measure", "map", "every")
_DETAILS = (
    *("description", "range_low", "range_high", "clamp", "decimals"),
    *("cov", "cov_every", "stale_after", "on_stale", "tags", "refill"),
)
# A sensor is corrected by a little; anything beyond is another number.
_CORRECTION_RATIO = 0.1
_CORRECTION_OFFSET = 5.0  # for points without a range


@dataclass(frozen=True, slots=True, kw_only=True)
class PointEntry:
    """One point as a BMS may use it.

    `facts`: everything else, by the columns of the register map; `gain` is gain and offset, those of units
    included, `readings` what readings are taken as, `members` the points of an aggregate.
    """

    name: str
    topics: frozenset[SinkTopic]
    registers: tuple[Register, ...]
    objects: tuple[BacnetObject, ...] | None  # None: unknown, in a list of an older gateway
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All points by name, and the facts about each sink by its name."""

    points: Mapping[str, PointEntry]
    sinks: Mapping[str, Mapping[str, str]]


def inventory_of(
    point_map: PointMap, *, topics: Mapping[str, TopicScheme], sinks: Mapping[str, Mapping[str, str]]
) -> Inventory:
    """Return the inventory of compiled tables. `topics`: the scheme of each MQTT sink by its name."""
    rows = {str(row["name"]): row for row in register_map(point_map, topics={})}
    aggregates = [each for each in point_map.computed if each.kind in AGGREGATES]
    members = {each.point: [member.name for member in each.members] for each in aggregates}
    points: dict[str, PointEntry] = {}
    for point in point_map.points:
        facts: dict[str, Any] = {fact: rows[point.name][fact] for fact in (*_MEANING, *_DETAILS)}
        facts |= {"readings": point.conversion.kind.value, "gain": point.conversion.linear}
        if point in members:
            facts["members"] = members[point]
        points[point.name] = PointEntry(
            name=point.name,
            topics=_topics(point, topics),
            registers=point.registers,
            objects=point.objects,
            facts=facts,
        )
    return Inventory(points=points, sinks=sinks)


def _topics(point: Point, topics: Mapping[str, TopicScheme]) -> frozenset[SinkTopic]:
    mqtt = point.mqtt
    if mqtt is None:
        return frozenset()
    found: set[SinkTopic] = set()
    for sink, scheme in topics.items():
        if mqtt.goes_to(sink):
            if (own := scheme.point_topic(point, own=mqtt.topic)) is not None:
                found.add((sink, own))
            if (of_asset := scheme.asset_topic(point)) is not None:
                found.add((sink, _in_message(of_asset, point.point)))
    return frozenset(found)


def _in_message(asset_topic: str, point: str) -> str:
    """Return the place of a point in its asset's messages, whose topic it shares with others."""
    return f"{asset_topic} ({point})"


def inventory_from_csv(data: bytes, *, file: str) -> Inventory:
    """Return the inventory of a CSV that `gateway points` printed; columns that it lacks are unknown facts.

    The rows are compiled as `gateway import` does it. A cell with the topics of several sinks counts as one
    topic. Raises ConfigError with every unusable cell, `file: row 7, column type: …`.
    """
    try:
        sheet, point_map = _compiled(data)
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from error
    cells = {f"{row.cells.get('tag')}/{row.cells.get('point')}": row.cells for row in sheet.rows[::-1]}
    points = {}
    for name, point in inventory_of(point_map, topics={}, sinks={}).points.items():
        facts = {fact: value for fact, value in point.facts.items() if fact in sheet.columns}
        listed = cells.get(name, {})
        topics = {("", listed["topic"])} if "topic" in listed else set()
        if "asset_topic" in listed:
            topics.add(("", _in_message(listed["asset_topic"], listed["point"])))
        objects = _listed_objects(point) if "object_type" in sheet.columns else None
        points[name] = replace(point, topics=frozenset(topics), objects=objects, facts=facts)
    sinks: dict[str, dict[str, str]] = {
        register.sink: {} for point in points.values() for register in point.registers
    }
    return Inventory(points=points, sinks=sinks)


def _listed_objects(point: PointEntry) -> tuple[BacnetObject, ...]:
    """Return the objects of a point in a list, where the sink is "" if the list names none."""
    objects = point.objects or ()
    return tuple(replace(each, sink="") if each.sink == USUAL_DEVICE else each for each in objects)


def _compiled(data: bytes) -> tuple[Sheet, PointMap]:
    """Return the sheet and its points, those of all sites together."""
    sheet = read_sheet(data)
    if missing := [column for column in (*REQUIRED, "topic", "sink") if column not in sheet.columns]:
        sheet.report(f"needs the columns {', '.join(missing)}")
    points = read_points(sheet, sink=USUAL_SINK)
    sheet.raise_problems()
    _, point_map = compile_points(sheet, points, site="all")
    sheet.raise_problems()
    assert point_map is not None  # noqa: S101 - there are no problems
    return sheet, point_map


def compare(old: Inventory, new: Inventory) -> list[Change]:
    """Return all changes, those that break an existing BMS database first, then in the order of points."""
    new_names = _new_names(old, new)
    lost_sinks = old.sinks.keys() - new.sinks
    changes = [*_compare_sinks(old, new), *_reassigned_registers(old, new, new_names)]
    changes += [*_reassigned_objects(old, new, new_names), *_reassigned_topics(old, new, new_names)]
    for name, point in old.points.items():
        if name in new_names:
            changes += _compare_point(_follow(point, new_names), new.points[new_names[name]], lost_sinks)
        else:
            is_seen = point.registers or point.objects or point.topics
            kind = ChangeKind.POINT_GONE if is_seen else ChangeKind.POINT_UNSEEN
            changes.append(Change(kind=kind, subject=name, old=_place(point)))
    known = set(new_names.values())
    changes += [
        Change(kind=ChangeKind.NEW_POINT, subject=name, new=_place(point))
        for name, point in new.points.items()
        if name not in known
    ]
    order = list(ChangeKind)
    return sorted(changes, key=lambda change: order.index(change.kind))


def _place(point: PointEntry) -> Place:
    if point.registers:
        return point.registers[0]
    if point.objects and not point.topics:
        return point.objects[0]
    return " ".join(sorted({topic for _, topic in point.topics}))


def _new_names(old: Inventory, new: Inventory) -> dict[str, str]:
    """Return the new name of each old point that is still there.

    A point with another name is the same if the same registers show the same reading of the same asset; or
    else, the same objects or topics.
    """
    names = {name: name for name in old.points if name in new.points}
    for places in (attrgetter("registers"), attrgetter("objects"), attrgetter("topics")):
        taken = set(names.values())
        gone = {_identity(one, places): name for name, one in old.points.items() if name not in names}
        added = {_identity(one, places): name for name, one in new.points.items() if name not in taken}
        names |= {gone[one]: added[one] for one in gone if one in added and one[0]}
    return names


def _follow(point: PointEntry, new_names: Mapping[str, str]) -> PointEntry:
    """Return an old point with its members under their new names."""
    if "members" not in point.facts:
        return point
    members = [new_names.get(name, name) for name in point.facts["members"]]
    return replace(point, facts={**point.facts, "members": members})


def _identity(
    point: PointEntry, places: Callable[[PointEntry], Iterable[Hashable] | None]
) -> tuple[frozenset[Hashable], str | None, str | None]:
    """Return what no two points of an inventory share, if they have such places."""
    return frozenset(places(point) or ()), point.facts.get("asset"), point.facts.get("from")


def _compare_sinks(old: Inventory, new: Inventory) -> Iterator[Change]:
    for name, before in old.sinks.items():
        if name not in new.sinks:
            yield Change(kind=ChangeKind.SINK_GONE, subject=name)
            continue
        for key, was in before.items():
            now = new.sinks[name].get(key, was)
            if was != now:
                yield Change(kind=ChangeKind.SINK_CHANGED, subject=name, old=was, new=now, what=key)
    for name in new.sinks:
        if name not in old.sinks:
            yield Change(kind=ChangeKind.NEW_SINK, subject=name)


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


def _reassigned_objects(old: Inventory, new: Inventory, new_names: Mapping[str, str]) -> Iterator[Change]:
    """Yield the objects of old points that belong to other points now."""
    holders = {
        _identifier(each): (point.name, each) for point in new.points.values() for each in point.objects or ()
    }
    for name, point in old.points.items():
        for each in point.objects or ():
            holder, now = holders.get(_identifier(each), (None, None))
            if holder not in {None, new_names.get(name)}:
                yield Change(kind=ChangeKind.OBJECT_TAKEN, subject=name, old=each, new=now, other=holder)


def _identifier(shown: BacnetObject) -> tuple[str, str, int]:
    return shown.sink, shown.type, shown.instance


def _reassigned_topics(old: Inventory, new: Inventory, new_names: Mapping[str, str]) -> Iterator[Change]:
    """Yield the topics of old points that belong to other points now."""
    holders = {topic: point.name for point in new.points.values() for topic in point.topics}
    for name, point in old.points.items():
        for topic in sorted(point.topics & holders.keys()):
            if holders[topic] != new_names.get(name):
                yield Change(kind=ChangeKind.TOPIC_TAKEN, subject=name, old=topic[1], other=holders[topic])


def _compare_point(old: PointEntry, new: PointEntry, lost_sinks: set[str]) -> Iterator[Change]:
    if old.name != new.name:
        yield Change(kind=ChangeKind.RENAMED, subject=new.name, old=old.name, new=new.name)
    yield from _compare_registers(old, new, lost_sinks)
    if old.objects is not None and new.objects is not None:
        yield from _compare_objects(old, new, lost_sinks)
    yield from _compare_topics(old, new, lost_sinks)
    yield from _compare_facts(new.name, old.facts, new.facts)


def _compare_registers(old: PointEntry, new: PointEntry, lost_sinks: set[str]) -> Iterator[Change]:
    """Pair registers at the same address, then on the same sink, then any; the rest is gone or new."""
    before = [register for register in old.registers if register not in new.registers]
    after = [register for register in new.registers if register not in old.registers]
    stages: tuple[tuple[Callable[[Register], Hashable], ChangeKind], ...] = (
        (lambda register: next(_words(register)), ChangeKind.REGISTER_FORM),
        (lambda register: (register.sink, register.shows_quality), ChangeKind.REGISTER_MOVED),
        (lambda register: register.shows_quality, ChangeKind.REGISTER_MOVED),
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


def _compare_objects(old: PointEntry, new: PointEntry, lost_sinks: set[str]) -> Iterator[Change]:
    before, after = ({each.sink: each for each in point.objects or ()} for point in (old, new))
    for sink, was in before.items():
        now = after.get(sink)
        if now is None:
            if sink not in lost_sinks:
                yield Change(kind=ChangeKind.OBJECT_GONE, subject=new.name, old=was)
        elif _identifier(was) != _identifier(now):
            yield Change(kind=ChangeKind.OBJECT_MOVED, subject=new.name, old=was, new=now)
        else:
            if old.name != new.name:
                yield Change(
                    kind=ChangeKind.OBJECT_RENAMED, subject=new.name, old=old.name, new=new.name, what=sink
                )
            if was.texts != now.texts:
                kind = ChangeKind.NEW_STATES if _states_stay(was, now) else ChangeKind.OBJECT_STATES
                yield Change(
                    kind=kind, subject=new.name, old=states_text(was), new=states_text(now), what=sink
                )
    for sink, now in after.items():
        if sink not in before:
            yield Change(kind=ChangeKind.NEW_OBJECT, subject=new.name, new=now)


def _states_stay(was: BacnetObject, now: BacnetObject) -> bool:
    """Return whether each state has the number it had: with the same text, or another for the same value."""
    for position, (value, text) in enumerate(zip(was.values, was.texts, strict=True)):
        if text in now.texts:
            if now.texts.index(text) != position:
                return False
        elif position >= len(now.values) or now.values[position] != value:
            return False
    return True


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


def _compare_facts(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the changes of facts that both sides state."""
    for fact, was in before.items():
        now = after.get(fact, was)
        is_same = sorted(was) == sorted(now) if fact == "members" else was == now
        if not is_same:
            is_detail = fact in _DETAILS or _is_harmless(fact, was, now, after)
            kind = ChangeKind.DETAIL if is_detail else ChangeKind.MEANING
            old, new = _member_texts(was, now) if fact == "members" else _fact_texts(fact, was, now)
            yield Change(kind=kind, subject=name, old=old, new=new, what=fact)


def _is_harmless(fact: str, was: Any, now: Any, after: Mapping[str, Any]) -> bool:
    """Return whether a change of the meaning leaves every number as it was, or nearly so."""
    match fact:
        case "unit_of_measure":
            return not (was and now)
        case "map":
            return bool(was and now) and was.items() <= now.items()
        case "every":
            return parse_duration(now) < parse_duration(was)
        case "gain":
            return _is_correction(was, now, span=(after.get("range_low"), after.get("range_high")))
    return False


def _is_correction(was: tuple[float, float], now: tuple[float, float], *, span: tuple[Any, Any]) -> bool:
    """Return whether gain and offset change by as little as the error of a sensor."""
    largest = _CORRECTION_OFFSET if None in span else _CORRECTION_RATIO * (span[1] - span[0])
    return abs(now[0] / was[0] - 1) <= _CORRECTION_RATIO and bool(abs(now[1] - was[1]) <= largest)


def _fact_texts(fact: str, was: Any, now: Any) -> tuple[str, str]:
    if fact == "gain":
        return calculation_text(*was, of="reading"), calculation_text(*now, of="reading")
    return cell_text(was) or "none", cell_text(now) or "none"


def _member_texts(was: list[str], now: list[str]) -> tuple[str, str]:
    """Return how many members a computed point had, and how many it has, with those that are gone or new."""
    changes = {
        "without": [name for name in was if name not in now],
        "with": [name for name in now if name not in was],
    }
    texts = [f"{word} {short_list(names)}" for word, names in changes.items() if names]
    return count_text(len(was), "point"), ", ".join([count_text(len(now), "point"), *texts])
