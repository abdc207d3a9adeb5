"""The register map and topic list as rows: one per register, with everything a point table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.mapping.registers import is_orderable, is_scalable, modicon_text, type_text
from gateway.mapping.topics import PointNames
from gateway.model import HEARTBEAT, StalePolicy
from gateway.text import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import OnStale, Point, Register

Cell = str | int | float | list[str] | Mapping[str, Any] | None
MapRow = dict[str, Cell]
"""One register of a point, or a point without registers; every row has all COLUMNS, None where empty."""

COLUMNS = (
    # who and where: what the BMS engineer reads
    "tag",
    "point",
    "name",
    "description",
    "unit_of_measure",
    "asset",
    "asset_name",  # this and the next as Infodeck has them
    "location",
    "from",
    "topic",  # the whole topic; separated by spaces where several MQTT sinks have it
    "sink",
    "unit",
    "table",
    "address",  # 0-based, as in the PDU
    "number",  # 1-based, as most BMS software counts
    "modicon",  # 3xxxx, 4xxxx, 0xxxx, 1xxxx; six digits from 10000 on
    "words",
    "type",
    "order",
    "scale",
    "bit",
    "sentinel",  # what the register shows before the first reading, and where `on_stale` is sentinel
    # how: what else `gateway import` needs to make the same table again
    "site",
    "source_unit",
    "gain",
    "offset",
    "map",
    "range_low",
    "range_high",
    "clamp",
    "decimals",
    "cov",
    "cov_every",
    "stale_after",
    "on_stale",
    "refill",  # history, or empty
    "mqtt",  # empty: on every MQTT sink; false: on none; or the names of sinks
    "own_topic",  # `mqtt: {topic: …}`
    "asset_topic",  # of messages with all points of the asset; separated by spaces, too
    "tags",
    "every",  # of the heartbeat
)


def register_map(point_map: PointMap, *, topics: Mapping[str, TopicScheme]) -> list[MapRow]:
    """Return the rows in the order of the tables. `topics`: the scheme of each MQTT sink by its name."""
    rows = []
    for point in point_map.points:
        row = dict.fromkeys(COLUMNS) | _identity(point, topics) | _treatment(point)
        if point.source == HEARTBEAT and point_map.heartbeat is not None:
            row["every"] = duration_text(point_map.heartbeat[0])
        rows += [row | _register(register) for register in point.registers] or [row]
    return rows


def is_published(row: MapRow, sink: str) -> bool:
    """Return whether a row's point goes to an MQTT sink."""
    mqtt = row["mqtt"]
    return mqtt is not False and (not isinstance(mqtt, list) or sink in mqtt)


def point_topic(row: MapRow, scheme: TopicScheme) -> str | None:
    """Return the topic of a row's point on an MQTT sink, or None if the sink has no topics of points."""
    own = row["own_topic"]
    return scheme.point_topic(_names(row), own=None if own is None else str(own))


def asset_topic(row: MapRow, scheme: TopicScheme) -> str | None:
    """Return the topic of its asset's messages on an MQTT sink, or None if the sink has none of assets."""
    return scheme.asset_topic(_names(row))


def _names(row: MapRow) -> PointNames:
    return PointNames(str(row["site"]), str(row["tag"]), str(row["point"]), str(row["asset"] or ""))


def _identity(point: Point, topics: Mapping[str, TopicScheme]) -> MapRow:
    mqtt = point.mqtt
    row: MapRow = {
        "tag": point.tag,
        "point": point.point,
        "name": point.name,
        "description": point.description,
        "unit_of_measure": point.unit_of_measure,
        "asset": point.asset or None,
        "asset_name": None if point.known is None else point.known.name,
        "location": None if point.known is None else point.known.place,
        "from": point.source,
        "site": point.site,
        "mqtt": False if mqtt is None else None if mqtt.sinks is None else sorted(mqtt.sinks),
        "own_topic": None if mqtt is None else mqtt.topic,
        "tags": None if point.tags is None else dict(point.tags),
    }
    schemes = [scheme for sink, scheme in topics.items() if is_published(row, sink)]
    return row | {
        "topic": _joined(point_topic(row, scheme) for scheme in schemes),
        "asset_topic": _joined(asset_topic(row, scheme) for scheme in schemes),
    }


def _joined(topics: Iterable[str | None]) -> str | None:
    return " ".join(dict.fromkeys(filter(None, topics))) or None


def _treatment(point: Point) -> MapRow:
    conversion, cov, limits = point.conversion, point.cov, point.conversion.range
    row: MapRow = {
        "source_unit": conversion.source_unit,
        "gain": None if conversion.gain == 1 else conversion.gain,
        "offset": conversion.offset or None,
        "map": conversion.map,
        "range_low": None if limits is None else limits[0],
        "range_high": None if limits is None else limits[1],
        "clamp": conversion.clamp or None,
        "decimals": conversion.decimals,
        "cov": None if cov is None else cov.delta,
        "cov_every": None if cov is None else duration_text(cov.every_ms),
    }
    if point.source == HEARTBEAT:
        return row
    if not point.is_pseudo:
        never = point.stale_after_ms is None
        row["stale_after"] = "never" if never else duration_text(point.stale_after_ms or 0)
        row["refill"] = "history" if point.backfill else None
    return row | {"on_stale": _on_stale(point.on_stale)}


def _on_stale(on_stale: OnStale) -> Cell:
    is_value = on_stale.policy is StalePolicy.VALUE
    return {"value": on_stale.value} if is_value else on_stale.policy.value


def _register(register: Register) -> MapRow:
    scale = register.scale
    return {
        "sink": register.sink,
        "unit": register.unit,
        "table": register.table.value,
        "address": register.address,
        "number": register.address + 1,
        "modicon": modicon_text(register.table, register.address),
        "words": register.words,
        "type": type_text(register),
        "order": register.order.value if is_orderable(register.type) else None,
        "scale": (int(scale) if scale.is_integer() else scale) if is_scalable(register.type) else None,
        "bit": register.bit,
        "sentinel": _sentinel(register),
    }


def _sentinel(register: Register) -> str:
    """Return the contents of the register without a value as one number, independent of the byte order."""
    if register.type.startswith("float"):
        return "NaN"
    if register.type == "bit":
        return "0"
    if register.type == "string":
        return "NUL"
    digits = 4 * register.words
    return f"0x{'F' * digits}" if register.type.startswith("uint") else f"0x8{'0' * (digits - 1)}"


def calculation_text(gain: float, offset: float, *, of: str) -> str:
    """Return a gain and an offset as arithmetic: `reading x 0.001 - 0.4`."""
    parts = [of if gain == 1 else f"{of} x {gain:.12g}"]
    if offset:
        parts.append(f"{'-' if offset < 0 else '+'} {abs(offset):.12g}")
    return " ".join(parts)
