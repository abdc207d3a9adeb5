"""`gateway points --format md`: how to read the list, then each sink's registers or topics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, cast

from gateway.mapping.object_types import cov_increment
from gateway.model import HEARTBEAT, Quality
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.modbus_server.sink import ModbusServerConfig
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.sparkplug.config import MqttSparkplugConfig
from gateway.text import count_text
from gateway.tools.register_map import cell_text, computation_text, register_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.model import Point
    from gateway.settings import SinkConfig
    from gateway.tools.register_map import Cell, MapRow

    Published = tuple[Point, str | None, MapRow]

_TABLES = {  # the name of each table, and the function code that reads it
    "coil": ("coils", 1),
    "discrete": ("discrete inputs", 2),
    "holding": ("holding registers", 3),
    "input": ("input registers", 4),
}
_ORDERS = {
    "ABCD": "high word first, high byte first (big-endian)",
    "CDAB": "low word first, high byte first (word swap)",
    "BADC": "high word first, low byte first (byte swap)",
    "DCBA": "low word first, low byte first (little-endian)",
}
_QUALITIES = {
    Quality.GOOD: "measured, and fresh",
    Quality.HELD: "no longer fresh; the last value is kept",
    Quality.STALE: "no longer fresh; the value is not to be used",
    Quality.BAD: "out of range, not readable, or missing",
    Quality.FORCED: "set by hand for commissioning",
    Quality.OFFLINE: "the device has no connection",
}
_JSON_VALUE = '{"value": 21.5, "unit": "degC", "quality": "good", "ts": "…"'
_PAYLOADS = {
    "json": f'A message is JSON: `{_JSON_VALUE}, "event": "…"}}`.',
    "value": "A message is the bare value.",
}
_ASSET_PAYLOADS = {
    "json": (
        "A message has the whole state of an asset as JSON: "
        f'`{{"ts": "…", "event": "…", "points": {{"ZN-T": {_JSON_VALUE}}}}}}}`.'
    ),
    "value": 'A message has the whole state of an asset as bare values: `{"ZN-T": 21.5}`.',
}
_REGISTER_COLUMNS = {
    "address": "PDU",
    "number": "1-based",
    "modicon": "modicon",
    "words": "words",
    "type": "type",
    "order": "order",
    "scale": "scale",
    "bit": "bit",
    "unit_of_measure": "in",
    "name": "point",
}
_OBJECT_COLUMNS = {
    "object_type": "type",
    "object_instance": "instance",
    "name": "name",
    "object_unit": "unit",
    "object_states": "states",
    "cov": "COV increment",
}
_ASSET_COLUMNS = {"tag": "tag", "asset": "asset", "asset_name": "name", "location": "where"}
_VALUE_HEADINGS = ("in", "without value", "meaning")
_QUALITY = "Quality of this point"
_PSEUDO_MEANINGS = {
    "$age": "Seconds since the last reading of the asset",
    "$quality": "Quality of the asset's values, the worst of them",
    "$online": "Whether Infodeck sees the device connected",
}


def handover_document(point_map: PointMap, *, gateway: str, sinks: Mapping[str, SinkConfig]) -> str:
    """Return the whole document."""
    rows = register_map(point_map, topics={})
    sections = [_title(rows, gateway), _how_to_read(rows), _assets(rows)]
    for name, config in sinks.items():
        if isinstance(config, BacnetConfig):
            sections.append(_bacnet(_objects(point_map, rows, name), name, config, gateway))
        elif isinstance(config, ModbusServerConfig | ModbusClientConfig):
            sections.append(_modbus(rows, name, config))
        elif isinstance(config, MqttSparkplugConfig):
            sections.append(_sparkplug(_published(point_map, rows, name), name, config, gateway))
        elif isinstance(config, MqttConfig):
            sections.append(_mqtt(_published(point_map, rows, name), name, config, gateway))
    return "\n".join(filter(None, sections))


def _title(rows: Sequence[MapRow], gateway: str) -> str:
    tags = {row["tag"] for row in rows if row["from"] != HEARTBEAT}
    objects = {row["name"] for row in rows if row["object_type"] is not None}
    counts = [
        count_text(number, noun, grouped=True)
        for number, noun in (
            (len({row["name"] for row in rows}), "point"),
            (len(tags), "tag"),
            (sum(row["sink"] is not None for row in rows), "Modbus register"),
            (len(objects), "BACnet object"),
        )
    ]
    points, under, *places = counts if objects else counts[:-1]
    return (
        f"# Points of gateway {_escaped(gateway)}\n\n"
        f"Site {_escaped(', '.join(_distinct(rows, 'site')))}: {points} under {under}, {', '.join(places)}.\n"
    )


def _how_to_read(rows: Sequence[MapRow]) -> str:
    bullets = "".join(f"- {note}\n" for note in _notes([row for row in rows if row["sink"] is not None]))
    codes = [[quality.value, quality.name.lower(), meaning] for quality, meaning in _QUALITIES.items()]
    return (
        f"## How to read it\n\n{bullets}\n"
        "Quality, as a number in registers and as a word in MQTT:\n\n"
        f"{_table(('number', 'word', 'meaning'), codes)}"
    )


def _notes(mapped: Sequence[MapRow]) -> Iterator[str]:
    yield "*in* is the unit of measure; *without value* is shown while a value is bad or no longer fresh."
    if not mapped:
        return
    yield (
        "One register has three names: *PDU* is the 0-based address in the protocol, *1-based* counts from 1,"
        " *modicon* is 3xxxx (input), 4xxxx (holding), 0xxxx (coil) or 1xxxx (discrete input)."
    )
    yield "A register holds value times *scale*: divide by it. An empty scale is 1."
    for order in _distinct(mapped, "order"):
        yield f"Order {order}: {_ORDERS[order]}."
    sentinels = {
        f"{row['type']} {row['sentinel']}"
        for row in mapped
        if not str(row["type"]).startswith(("string", "bit"))
    }
    if sentinels:
        yield (
            "Before the first reading, where registers are polled, and where *without value* says so, a"
            f" register shows a number that no measurement can have: {', '.join(sorted(sentinels))}."
            " A bit shows 0 and text is empty then."
        )
    for row in mapped:
        if row["from"] == HEARTBEAT:
            yield (
                f"Heartbeat: {row['table']} {row['address']} ({row['modicon']}) of unit {row['unit']} on "
                f"{row['sink']} counts up every {row['every']} and begins again at 0. "
                "If it stands still, the gateway does not run."
            )


def _assets(rows: Sequence[MapRow]) -> str:
    """Return the assets with their names and places in Infodeck; "" if these are unknown."""
    known = [row for row in rows if row["asset_name"] or row["location"]]
    lines = dict.fromkeys(tuple(row[key] for key in _ASSET_COLUMNS) for row in known)
    return f"## Assets in Infodeck\n\n{_table(_ASSET_COLUMNS.values(), lines)}" if lines else ""


def _modbus(rows: Sequence[MapRow], name: str, config: ModbusServerConfig | ModbusClientConfig) -> str:
    mapped = sorted((row for row in rows if row["sink"] == name), key=_register_order)
    if not mapped:
        return ""
    is_server = isinstance(config, ModbusServerConfig)
    role = _server(config) if isinstance(config, ModbusServerConfig) else _client(config)
    parts = [f"## Modbus: {name}\n\n{role} Unit ids: {', '.join(_distinct(mapped, 'unit'))}.\n"]
    for (unit, table), group in groupby(mapped, key=lambda row: (row["unit"], str(row["table"]))):
        title, function = _TABLES[table]
        parts.append(f"\n### Unit {unit}, {title}{f' (function {function:02d})' if is_server else ''}\n\n")
        headings = (*_REGISTER_COLUMNS.values(), *_VALUE_HEADINGS[1:])
        parts.append(_table(headings, [_register_line(row) for row in group]))
    return "".join(parts)


def _server(config: ModbusServerConfig) -> str:
    return (
        f"The gateway is a Modbus TCP server at {config.place}{config.access}. It can be read only; an"
        " address that is not listed here is answered with exception 2, a write with exception 1."
    )


def _client(config: ModbusClientConfig) -> str:
    functions = ", ".join(f"{function:02d}" for function in sorted(config.functions))
    return (
        f"The gateway writes into the controller at {config.line} ({config.wire}, functions {functions}):"
        " what changes, at once, and everything after each connection; no register that is not listed here. A"
        " value of several registers is written by one request. A register is left alone until the first"
        " reading of its point. Bits of a listed word that are not listed themselves are written as 0."
    )


def _register_order(row: MapRow) -> tuple[int, str, int, int]:
    unit, address, bit = (
        value if isinstance(value := row[key], int) else 0 for key in ("unit", "address", "bit")
    )
    return unit, str(row["table"]), address, bit


def _register_line(row: MapRow) -> list[Cell]:
    if row["shows"] == "quality":
        row = row | dict.fromkeys(("unit_of_measure", "stale_after", "map")) | {"description": _QUALITY}
    shown = row | {"scale": None if row["scale"] == 1 else row["scale"]}
    return [*(shown[key] for key in _REGISTER_COLUMNS), *_value_cells(row, sentinel=row["sentinel"])[1:]]


def _mqtt(points: Iterable[Published], name: str, config: MqttConfig, gateway: str) -> str:
    scheme = config.topics(gateway)
    topics: list[list[Cell]] = []
    messages: list[list[Cell]] = []
    for point, own, row in points:
        if (topic := scheme.point_topic(point, own=own)) is not None:
            topics.append([topic, *_value_cells(row)])
        if (topic := scheme.asset_topic(point)) is not None:
            messages.append([topic, point.point, *_value_cells(row)])
    tables = []
    if topics:
        tables.append(f"{_PAYLOADS[config.payload]}\n\n{_table(('topic', *_VALUE_HEADINGS), topics)}")
    if messages:
        messages.sort(key=lambda line: str(line[0]))
        headings = ("topic", "point", *_VALUE_HEADINGS)
        tables.append(f"{_ASSET_PAYLOADS[config.payload]}\n\n{_table(headings, messages)}")
    if not tables:
        return ""
    history = "Readings that come late are on `$history` under each topic, not retained. "
    status = f"{_escaped(scheme.prefix)}/$gateway/{_escaped(gateway)}/status"
    return (
        f"## MQTT: {name}\n\nThe broker is {config.url}. Topics are retained; `$meta` under each topic"
        f" describes it. {history if config.history else ''}`{status}` is `online` or `offline`; beside it,"
        " `alarms` has what needs a person.\n\n" + "\n".join(tables)
    )


def _sparkplug(points: Iterable[Published], name: str, config: MqttSparkplugConfig, gateway: str) -> str:
    lines: list[list[Cell]] = []
    for point, _, row in points:
        names = (point.tag, point.point) if point.asset or point.is_computed else (None, point.name)
        lines.append([*names, *_value_cells(row)])
    if not lines:
        return ""
    node, host = config.node_name(gateway), config.primary_host
    published = "" if host is None else f" Published only while the host {_escaped(host)} is online."
    return (
        f"## Sparkplug B: {name}\n\nThe broker is {config.url}. Group {_escaped(node.group)}, edge node"
        f" {_escaped(node.node)}; each tag is a device, each point a metric; the property GatewayQuality of a"
        f" metric has its quality as a word.{published}\n\n"
        f"{_table(('device', 'metric', *_VALUE_HEADINGS), lines)}"
    )


def _objects(point_map: PointMap, rows: Sequence[MapRow], sink: str) -> Iterator[MapRow]:
    """Yield the first row of each point that has an object on a BACnet sink, with its COV_Increment."""
    first = {str(row["name"]): row for row in reversed(rows)}
    for point in point_map.points:
        for shown in point.objects:
            if shown.sink == sink:
                yield {**first[point.name], "cov": cov_increment(point, shown.type) or None}


def _bacnet(rows: Iterable[MapRow], name: str, config: BacnetConfig, gateway: str) -> str:
    ordered = sorted(rows, key=lambda row: (str(row["object_type"]), cast("int", row["object_instance"])))
    lines = [[*(row[key] for key in _OBJECT_COLUMNS), _meaning(row)] for row in ordered]
    return (
        f"## BACnet: {name}\n\nThe gateway is a BACnet/IP device at {config.listen}, for clients from"
        f" {' and '.join(map(str, config.allow))}. Device instance: {config.device}, name:"
        f" {_escaped(config.name_in_network(gateway, name))}, vendor identifier: {config.vendor_id}."
        " Every object can be read and subscribed to (COV), and none written. A value that is not to be used"
        " stays, with FAULT in Status_Flags and the reason in Reliability; OVERRIDDEN: set by hand.\n"
        + (f"\n{_table((*_OBJECT_COLUMNS.values(), 'meaning'), lines)}" if lines else "")
    )


def _published(point_map: PointMap, rows: Sequence[MapRow], sink: str) -> Iterator[Published]:
    """Yield the points on an MQTT sink, each with its own topic, if it has one, and its first row."""
    first = {str(row["name"]): row for row in reversed(rows)}
    for point in point_map.points:
        if point.mqtt is not None and point.mqtt.goes_to(sink):
            yield point, point.mqtt.topic, first[point.name]


def _value_cells(row: MapRow, *, sentinel: Cell = "null") -> tuple[Cell, ...]:
    """Return unit, what replaces a missing value (None for points of the gateway's own), and meaning."""
    policy, values = row["on_stale"], row["map"]
    without: Cell = sentinel
    if row["stale_after"] is None:
        without = None
    elif isinstance(policy, Mapping):
        without = cell_text(policy["value"])
    elif policy == "hold":
        without = "last value"
    pairs = [f"{cell_text(to)} = {key}" for key, to in values.items()] if isinstance(values, Mapping) else []
    return row["unit_of_measure"], without, "; ".join(filter(None, (_meaning(row), ", ".join(pairs))))


def _meaning(row: MapRow) -> str:
    source = str(row["from"])
    description = cell_text(row["description"] or _PSEUDO_MEANINGS.get(source))
    computed = f"computed: {text}" if (text := computation_text(source)) else ""
    return "; ".join(filter(None, (description, computed)))


def _table(headings: Iterable[str], lines: Iterable[Sequence[Cell]]) -> str:
    """Return a Markdown table without its empty columns."""
    texts = [list(headings), *([_escaped(cell_text(cell)) for cell in line] for line in lines)]
    columns = [column for column in zip(*texts, strict=True) if any(column[1:])]
    heading, *rest = zip(*columns, strict=True)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heading, ["---"] * len(columns), *rest))


def _escaped(text: str) -> str:
    """Return text on one line that Markdown shows as it is."""
    for mark in "\\`|*_<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _distinct(rows: Iterable[MapRow], column: str) -> list[str]:
    return list(dict.fromkeys(cell_text(row[column]) for row in rows if row[column] is not None))
