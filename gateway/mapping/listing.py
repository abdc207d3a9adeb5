"""The register map and topic list as rows: one per register, with everything a point table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.mapping.notation import modicon_text
from gateway.mapping.registers import is_orderable, is_scalable
from gateway.mapping.topics import PointNames
from gateway.model import HEARTBEAT, StalePolicy
from gateway.text import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import OnStale, Point, Register

    Topic = Callable[["Row", TopicScheme], str | None]

Cell = str | int | float | list[str] | Mapping[str, Any] | None
Row = dict[str, Cell]
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
    "asset_topic",  # where a message has all points of the asset, each by its name; likewise parted by spaces
    "tags",
    "every",  # of the heartbeat
)


def list_points(point_map: PointMap, *, topics: Mapping[str, TopicScheme]) -> list[Row]:
    """Return the rows in the order of the tables. `topics`: those of each MQTT sink by its name."""
    rows = []
    for point in point_map.points:
        row = dict.fromkeys(COLUMNS) | _identity(point, topics) | _treatment(point)
        if point.source == HEARTBEAT and point_map.heartbeat is not None:
            row["every"] = duration_text(point_map.heartbeat[0])
        rows += [row | _place(register) for register in point.registers] or [row]
    return rows


def is_on(row: Row, sink: str) -> bool:
    """Say whether a row's point goes to an MQTT sink."""
    wanted = row["mqtt"]
    return wanted is not False and (not isinstance(wanted, list) or sink in wanted)


def point_topic(row: Row, scheme: TopicScheme) -> str | None:
    """Return a row's own topic on an MQTT sink that it goes to, None where the sink has no such topics."""
    own = row["own_topic"]
    return scheme.point_topic(_names(row), own=None if own is None else str(own))


def asset_topic(row: Row, scheme: TopicScheme) -> str | None:
    """Return the topic of its asset's messages on an MQTT sink that it goes to, None where there are none."""
    return scheme.asset_topic(_names(row))


def _names(row: Row) -> PointNames:
    return PointNames(str(row["site"]), str(row["tag"]), str(row["point"]), str(row["asset"] or ""))


def _joined(row: Row, topics: Mapping[str, TopicScheme], topic: Topic) -> str | None:
    """Return the topics on all sinks that the row goes to, each once."""
    found = (topic(row, scheme) for sink, scheme in topics.items() if is_on(row, sink))
    return " ".join(dict.fromkeys(filter(None, found))) or None


def _identity(point: Point, topics: Mapping[str, TopicScheme]) -> Row:
    mqtt = point.mqtt
    row: Row = {
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
    return row | {
        "topic": _joined(row, topics, point_topic),
        "asset_topic": _joined(row, topics, asset_topic),
    }


def _treatment(point: Point) -> Row:
    conversion, cov, limits = point.conversion, point.cov, point.conversion.range
    row: Row = {
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


def _place(register: Register) -> Row:
    is_text = register.type == "string"
    scale = register.scale
    return {
        "sink": register.sink,
        "unit": register.unit,
        "table": register.table.value,
        "address": register.address,
        "number": register.address + 1,
        "modicon": modicon_text(register.table, register.address),
        "words": register.words,
        "type": f"string({2 * register.words})" if is_text else register.type,
        "order": register.order.value if is_orderable(register.type) else None,
        "scale": (int(scale) if scale.is_integer() else scale) if is_scalable(register.type) else None,
        "bit": register.bit,
        "sentinel": _sentinel(register),
    }


def _sentinel(register: Register) -> str:
    """Return the register's contents without a value, as one number whatever the byte order is."""
    if register.type.startswith("float"):
        return "NaN"
    if register.type == "bit":
        return "0"
    if register.type == "string":
        return "NUL"
    digits = 4 * register.words
    return f"0x{'F' * digits}" if register.type.startswith("uint") else f"0x8{'0' * (digits - 1)}"
