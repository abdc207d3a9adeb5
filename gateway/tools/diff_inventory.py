"""What a BMS database is built from: every point with its topics, registers and meaning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError
from gateway.mapping.register_map import register_map
from gateway.model import HEARTBEAT, PSEUDO_SOURCES, StalePolicy
from gateway.tools.import_table import USUAL_SINK, compile_points
from gateway.tools.sheet_points import read_points
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Register
    from gateway.tools.sheet_points import SheetPoint
    from gateway.tools.spreadsheet import Sheet

SinkTopic = tuple[str, str]
"""An MQTT sink and a topic there; the sink is "" if unknown, as in a CSV."""

_COLUMNS = {"every_ms": "every", "range": "range_low"}  # of facts with another name
_LOCATING = ("topic", "sink")  # without them, every topic and register would seem to be gone
_UNSTATED_OF_PSEUDO = frozenset({"stale_after", "on_stale", "refill"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PointEntry:
    """One point as a BMS may use it. `facts`: everything else about it, by the keys of point tables."""

    name: str
    topics: frozenset[SinkTopic]
    registers: tuple[Register, ...]
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
    beat = point_map.heartbeat
    return Inventory(
        points={
            point.name: PointEntry(
                name=point.name,
                topics=_topics(point, topics),
                registers=point.registers,
                facts=_facts(point) | ({"every_ms": beat[0]} if beat and beat[1] is point else {}),
            )
            for point in point_map.points
        },
        sinks=sinks,
    )


def inventory_like_csv(point_map: PointMap, *, topics: Mapping[str, TopicScheme]) -> Inventory:
    """Return the inventory of compiled tables in the detail of their CSV, to compare it with one."""
    rows = register_map(point_map, topics=topics)
    points = inventory_of(point_map, topics={}, sinks={}).points
    stripped = {
        name: replace(point, facts={fact: _stripped(value) for fact, value in point.facts.items()})
        for name, point in points.items()
    }
    return _like_csv(stripped, rows)


def _stripped(value: object) -> object:
    """Return text as a cell has it: without spaces around it, None if nothing is left."""
    return (value.strip() or None) if isinstance(value, str) else value


def inventory_from_csv(data: bytes, *, file: str) -> Inventory:
    """Return the inventory of a CSV that `gateway points` printed; columns that it lacks are unknown facts.

    The rows are compiled as `gateway import` does it. Raises ConfigError with every unusable cell,
    `file: row 7, column type: …`.
    """
    try:
        sheet = read_sheet(data)
        listed = _compiled(sheet)
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from error
    points = {name: replace(point, facts=_csv_facts(point, sheet.columns)) for name, point in listed.items()}
    return _like_csv(points, [row.cells for row in sheet.rows])


def _like_csv(points: Mapping[str, PointEntry], rows: Sequence[Mapping[str, Any]]) -> Inventory:
    """Return an inventory with the topics of the rows, and with the sinks of registers alone."""
    topics = {f"{row.get('tag')}/{row.get('point')}": _row_topics(row) for row in reversed(rows)}
    return Inventory(
        points={name: replace(point, topics=topics.get(name, frozenset())) for name, point in points.items()},
        sinks={register.sink: {} for point in points.values() for register in point.registers},
    )


def _compiled(sheet: Sheet) -> dict[str, PointEntry]:
    if missing := [column for column in _LOCATING if column not in sheet.columns]:
        raise ConfigError([f"needs the columns {', '.join(missing)}"])
    by_site: dict[str, list[SheetPoint]] = {}
    for point in read_points(sheet, sink=USUAL_SINK):
        by_site.setdefault(point.site or "site", []).append(point)
    sheet.raise_problems()
    listed: dict[str, PointEntry] = {}
    for site, points in by_site.items():
        _, point_map = compile_points(sheet, points, site=site)
        listed |= {} if point_map is None else inventory_of(point_map, topics={}, sinks={}).points
    sheet.raise_problems()
    return listed


def _row_topics(row: Mapping[str, Any]) -> frozenset[SinkTopic]:
    """Return the topics of a row. Unusual topics of several sinks in one cell are compared as one."""
    asset_end = f"/{row.get('site')}/{row.get('tag')}"
    point_end = f"{asset_end}/{row.get('point')}"
    topic = row.get("topic") or ""
    own = [topic] if row.get("own_topic") else _split(topic, point_end)
    of_asset = _split(row.get("asset_topic") or "", asset_end)
    found = [*own, *(_in_message(one, row.get("point") or "") for one in of_asset if one)]
    return frozenset(("", topic) for topic in found if topic)


def _split(cell: str, usual_end: str) -> list[str]:
    """Split a cell behind the usual end of each topic, because names may contain spaces."""
    if not cell.endswith(usual_end):
        return [cell]
    return [f"{start.strip()}{usual_end}" for start in cell.split(usual_end)[:-1]]


def _csv_facts(point: PointEntry, columns: Sequence[str]) -> dict[str, Any]:
    """Return the facts that the CSV states; it states less about points without a reading."""
    unstated = _UNSTATED_OF_PSEUDO if point.facts["from"] in {*PSEUDO_SOURCES, HEARTBEAT} else ()
    return {
        fact: value
        for fact, value in point.facts.items()
        if _COLUMNS.get(fact, fact) in columns and fact not in unstated
    }


def _topics(point: Point, topics: Mapping[str, TopicScheme]) -> frozenset[SinkTopic]:
    mqtt = point.mqtt
    if mqtt is None:
        return frozenset()
    found: set[SinkTopic] = set()
    for sink, scheme in topics.items():
        if not mqtt.goes_to(sink):
            continue
        if (own := scheme.point_topic(point, own=mqtt.topic)) is not None:
            found.add((sink, own))
        if (of_asset := scheme.asset_topic(point)) is not None:
            found.add((sink, _in_message(of_asset, point.point)))
    return frozenset(found)


def _in_message(asset_topic: str, point: str) -> str:
    """Return the place of a point in its asset's messages, whose topic it shares with others."""
    return f"{asset_topic} ({point})"


def _facts(point: Point) -> dict[str, Any]:
    conversion, stale = point.conversion, point.on_stale
    gain, offset = conversion.linear  # with the conversion of units: what makes another number of a reading
    return {
        "map": dict(conversion.map) if conversion.map is not None else None,
        "gain": gain,
        "offset": offset,
        "kind": conversion.kind.value,
        "asset": point.asset or None,
        "from": point.source,
        "unit_of_measure": point.unit_of_measure,
        "description": point.description,
        "range": conversion.range,
        "clamp": conversion.clamp,
        "decimals": conversion.decimals,
        "cov": point.cov and (point.cov.delta, point.cov.every_ms),
        "stale_after": point.stale_after_ms,
        "on_stale": {"value": stale.value} if stale.policy is StalePolicy.VALUE else stale.policy.value,
        "tags": dict(point.tags) if point.tags else None,
        "refill": "history" if point.backfill else "newest",
    }
