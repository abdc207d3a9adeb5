"""What a BMS database was made from: each point with its topics, registers and meaning.

Taken from compiled point tables, or from the CSV that `gateway points --format csv` wrote and that was
handed to the BMS engineer. A CSV tells less; then only what both sides tell can be compared.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError
from gateway.mapping.registers import parse_type
from gateway.model import ByteOrder, Register, RegisterTable, StalePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.mapping.plan import PointMap
    from gateway.model import Conversion, Point

Topic = tuple[str, str]
"""An MQTT sink and the topic there; from a CSV, "" and the topics of all sinks as its cell has them."""

_PLACE_COLUMNS = frozenset(
    ("sink", "unit", "table", "address", "number", "modicon", "words", "type", "order", "scale", "bit")
)
_IDENTITY_COLUMNS = frozenset(("tag", "point", "name", "topic", "site"))
_NUMBER_COLUMNS = {"gain": 1.0, "offset": 0.0}  # and what an empty cell of them means


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPoint:
    """One point as a BMS may know it. `facts`: what else is known of it, by the keys of point tables."""

    name: str
    topics: frozenset[Topic]
    registers: tuple[Register, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All points by name, and what is known of each sink, by its name."""

    points: Mapping[str, ListedPoint]
    sinks: Mapping[str, Mapping[str, str]]


def inventory_of(
    point_map: PointMap, *, prefixes: Mapping[str, str], sinks: Mapping[str, Mapping[str, str]]
) -> Inventory:
    """Return what compiled tables offer. `prefixes`: each MQTT sink's topic prefix by its name."""
    beat = point_map.heartbeat
    return Inventory(
        points={
            point.name: ListedPoint(
                name=point.name,
                topics=_topics(point, prefixes),
                registers=point.registers,
                facts=_facts(point) | ({"every_ms": beat[0]} if beat and beat[1] is point else {}),
            )
            for point in point_map.points
        },
        sinks=sinks,
    )


def inventory_in(text: str, *, file: str) -> Inventory:
    """Return what the CSV of `gateway points` lists. Commas, semicolons and tabs are all understood.

    Raises ConfigError with every cell that cannot be read, `file:line: column …`.
    """
    lines = text.removeprefix("\ufeff")
    header = lines.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(lines), delimiter=max(",;\t", key=header.count), strict=True)
    problems: list[str] = []
    rows: dict[str, list[dict[str, str]]] = {}
    registers: dict[str, list[Register]] = {}
    try:
        missing = {"name", "topic", "sink", "table", "address", "type"} - set(reader.fieldnames or ())
        if missing:
            advice = "this is not what `gateway points --format csv` writes"
            raise ConfigError([f"{file}:1: no column {', '.join(sorted(missing))}; {advice}"])
        for row in reader:
            cells = {column: cell or "" for column, cell in row.items() if isinstance(column, str)}
            if cells["name"]:
                rows.setdefault(cells["name"], []).append(cells)
                place = f"{file}:{reader.line_num}"
                registers.setdefault(cells["name"], []).extend(_registers(cells, place, problems))
    except csv.Error as error:
        problems.append(f"{file}:{reader.line_num}: {error}")
    if problems:
        raise ConfigError(problems)
    return Inventory(
        points={name: _listed(name, rows[name], registers[name]) for name in rows},
        sinks={register.sink: {} for found in registers.values() for register in found},
    )


def _topics(point: Point, prefixes: Mapping[str, str]) -> frozenset[Topic]:
    if point.mqtt is None:
        return frozenset()
    wanted = point.mqtt.sinks
    return frozenset(
        (sink, point.mqtt.topic or f"{prefix}/{point.site}/{point.name}")
        for sink, prefix in prefixes.items()
        if wanted is None or sink in wanted
    )


def _facts(point: Point) -> dict[str, Any]:
    conversion, stale = point.conversion, point.on_stale
    return _meaning(conversion) | {
        "asset": point.asset or None,
        "from": point.source,
        "unit_of_measure": point.unit_of_measure,
        "description": point.description,
        "range": conversion.range,
        "clamp": conversion.clamp,
        "decimals": conversion.decimals,
        "cov": point.cov and (point.cov.delta, point.cov.every_ms),
        "stale_after": point.stale_after_ms,
        "on_stale": stale.value if stale.policy is StalePolicy.VALUE else stale.policy.value,
        "tags": dict(point.tags) if point.tags else None,
    }


def _meaning(conversion: Conversion) -> dict[str, Any]:
    """Return what makes the number another one for the same reading, the change of unit counted in."""
    gain, offset = conversion.linear
    return {
        "map": dict(conversion.map) if conversion.map is not None else None,
        "gain": gain,
        "offset": offset,
        "take": conversion.take.value,
    }


def _listed(name: str, rows: list[dict[str, str]], registers: Iterable[Register]) -> ListedPoint:
    first = rows[0]
    facts: dict[str, Any] = {
        column: cell or None
        for column, cell in first.items()
        if column not in _PLACE_COLUMNS | _IDENTITY_COLUMNS
    }
    for column, empty in _NUMBER_COLUMNS.items():
        if column in facts:
            facts[column] = float(facts[column] or empty)
    topics = frozenset({("", first["topic"])}) if first["topic"] else frozenset()
    return ListedPoint(name=name, topics=topics, registers=tuple(registers), facts=facts)


def _registers(cells: Mapping[str, str], place: str, problems: list[str]) -> list[Register]:
    """Return the register of a row, none where the point has none there or a cell cannot be read."""
    if not cells["sink"]:
        return []
    read: dict[str, Any] = {}
    for column, take in _CELLS.items():
        try:
            read[column] = take(cells.get(column, ""))
        except ValueError:
            problems.append(f"{place}: column {column}: cannot be read ({cells.get(column, '')!r})")
    if len(read) < len(_CELLS):
        return []
    kind, words = read.pop("type")
    return [Register(sink=cells["sink"], type=kind, words=words, **read)]


_CELLS: dict[str, Callable[[str], Any]] = {
    "unit": lambda cell: int(cell or 1),
    "table": RegisterTable,
    "address": int,
    "type": parse_type,
    "order": lambda cell: ByteOrder(cell or "ABCD"),
    "scale": lambda cell: float(cell or 1),
    "bit": lambda cell: int(cell) if cell else None,
}
