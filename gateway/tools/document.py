"""The document for the BMS engineer in Markdown: how to read it, then each sink's registers or topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from gateway.mapping.register_map import asset_topic, is_published, point_topic
from gateway.model import HEARTBEAT, Quality
from gateway.text import count_text
from gateway.tools.register_map_text import cell_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.mapping.register_map import Cell, MapRow
    from gateway.mapping.topics import TopicScheme

_FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_TABLES = {
    "coil": "coils",
    "discrete": "discrete inputs",
    "holding": "holding registers",
    "input": "input registers",
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
_PAYLOADS = {
    "json": (
        'A message is JSON: `{"value": 21.5, "unit": "degC", "quality": "good", "ts": "…", "event": "…"}`.'
    ),
    "value": "A message is the bare value.",
}
_ASSET_PAYLOADS = {
    "json": (
        "A message has the whole state of an asset as JSON: "
        '`{"ts": "…", "event": "…", "points": {"ZN-T": {"value": 21.5, "unit": "degC", "quality": "good", '
        '"ts": "…"}}}`.'
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
_ASSET_COLUMNS = {"tag": "tag", "asset": "asset", "asset_name": "name", "location": "where"}
_VALUE_HEADINGS = ("in", "without value", "meaning")
_PSEUDO_MEANINGS = {
    "$age": "Seconds since the last reading of the asset",
    "$quality": "Quality of the asset's values, the worst of them",
    "$online": "Whether Infodeck sees the device connected",
}


@dataclass(frozen=True, slots=True)
class SinkDescription:
    """What the reader has to know of a sink: type in gateway.yaml and `host:port`, URL or serial port.

    Of a broker: topics, payload and history, or group, node and primary host of Sparkplug. Of a server: who
    may connect, in words. Of a controller: `transport` in words and the function codes.
    """

    name: str
    type: str
    address: str | None = None
    topics: TopicScheme | None = None
    payload: str = "json"
    history: bool = True
    group: str = ""
    node: str = ""
    primary_host: str | None = None
    access: str = ""
    transport: str = "Modbus TCP"
    functions: tuple[int, ...] = ()


def handover_document(rows: Sequence[MapRow], *, gateway: str, sinks: Iterable[SinkDescription]) -> str:
    """Return the whole document."""
    sections = [_title(rows, gateway), _how_to_read(rows), _assets(rows)]
    for sink in sinks:
        if sink.type.startswith("modbus"):
            sections.append(_modbus(rows, sink))
        elif sink.type == "mqtt_sparkplug":
            sections.append(_sparkplug(rows, sink))
        elif sink.topics is not None:
            sections.append(_mqtt(rows, sink, sink.topics, gateway))
    return "\n".join(section for section in sections if section)


def _title(rows: Sequence[MapRow], gateway: str) -> str:
    tags = len(_distinct([row for row in rows if row["from"] != HEARTBEAT], "tag"))
    points, under, registers = (
        count_text(number, noun, grouped=True)
        for number, noun in (
            (len(_distinct(rows, "name")), "point"),
            (tags, "tag"),
            (sum(row["sink"] is not None for row in rows), "Modbus register"),
        )
    )
    sites = ", ".join(_distinct(rows, "site"))
    return (
        f"# Points of gateway {_escaped(gateway)}\n\n"
        f"Site {_escaped(sites)}: {points} under {under}, {registers}.\n"
    )


def _how_to_read(rows: Sequence[MapRow]) -> str:
    mapped = [row for row in rows if row["sink"] is not None]
    notes = ["*in* is the unit of measure; *without value* is shown while a value is bad or no longer fresh."]
    if mapped:
        notes += _register_notes(mapped)
    codes = "".join(
        f"| {quality.value} | {quality.name.lower()} | {meaning} |\n"
        for quality, meaning in _QUALITIES.items()
    )
    bullets = "".join(f"- {note}\n" for note in notes)
    return (
        f"## How to read it\n\n{bullets}\n"
        "Quality, as a number in registers made from `$quality` and as a word in MQTT:\n\n"
        f"| number | word | meaning |\n| --- | --- | --- |\n{codes}"
    )


def _assets(rows: Sequence[MapRow]) -> str:
    """Return the assets with their names and places in Infodeck; "" if these are unknown."""
    known = [row for row in rows if row["asset_name"] or row["location"]]
    lines = dict.fromkeys(tuple(row[key] for key in _ASSET_COLUMNS) for row in known)
    return f"## Assets in Infodeck\n\n{_table(_ASSET_COLUMNS.values(), lines)}" if lines else ""


def _register_notes(mapped: Sequence[MapRow]) -> Iterator[str]:
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
            "Before the first reading, where registers are polled, and where *without value* says so, a "
            f"register shows a number that no measurement can have: {', '.join(sorted(sentinels))}."
            " A bit shows 0 and text is empty then."
        )
    for row in mapped:
        if row["from"] == HEARTBEAT:
            yield (
                f"Heartbeat: {row['table']} {row['address']} ({row['modicon']}) of unit {row['unit']} on "
                f"{row['sink']} counts up every {row['every']} and begins again at 0. "
                "If it stands still, the gateway does not run."
            )


def _modbus(rows: Sequence[MapRow], sink: SinkDescription) -> str:
    mapped = [row for row in rows if row["sink"] == sink.name]
    if not mapped:
        return ""
    is_server = sink.type == "modbus_server"
    units = ", ".join(_distinct(mapped, "unit"))
    tables = "".join(_register_tables(mapped, with_functions=is_server))
    role = _server(sink) if is_server else _client(sink)
    return f"## Modbus: {sink.name}\n\n{role} Unit ids: {units}.\n{tables}"


def _server(sink: SinkDescription) -> str:
    return (
        f"The gateway is a Modbus TCP server{_place(sink)}{sink.access}. It can be read only; an address that"
        " is not listed here is answered with exception 2, a write with exception 1."
    )


def _client(sink: SinkDescription) -> str:
    functions = ", ".join(f"{function:02d}" for function in sorted(sink.functions))
    return (
        f"The gateway writes into the controller{_place(sink)} ({sink.transport}"
        + (f", functions {functions}" if functions else "")
        + "): what changes, at once, and everything after each connection; no register that is not listed"
        " here. A value of several registers is written by one request. A register is left alone until the"
        " first reading of its point. Bits of a listed word that are not listed themselves are written as 0."
    )


def _place(sink: SinkDescription) -> str:
    return f" at {sink.address}" if sink.address else ""


def _register_tables(mapped: Sequence[MapRow], *, with_functions: bool) -> Iterator[str]:
    for (unit, table), group in groupby(
        sorted(mapped, key=_register_order), key=lambda row: (row["unit"], str(row["table"]))
    ):
        function = f" (function {_FUNCTIONS[table]:02d})" if with_functions else ""
        yield f"\n### Unit {unit}, {_TABLES[table]}{function}\n\n"
        headings = (*_REGISTER_COLUMNS.values(), *_VALUE_HEADINGS[1:])
        yield _table(headings, [_register_line(row) for row in group])


def _register_order(row: MapRow) -> tuple[int, str, int, int]:
    unit, address, bit = (
        value if isinstance(value := row[key], int) else 0 for key in ("unit", "address", "bit")
    )
    return unit, str(row["table"]), address, bit


def _register_line(row: MapRow) -> list[Cell]:
    shown = row | {"scale": None if row["scale"] == 1 else row["scale"]}
    return [
        *(shown[key] for key in _REGISTER_COLUMNS),
        _without_value(row, sentinel=row["sentinel"]),
        _meaning(row),
    ]


def _mqtt(rows: Sequence[MapRow], sink: SinkDescription, scheme: TopicScheme, gateway: str) -> str:
    points = _points_on(rows, sink)
    topics: list[list[Cell]] = [
        [topic, *_value_cells(row)] for row in points if (topic := point_topic(row, scheme)) is not None
    ]
    messages: list[list[Cell]] = [
        [topic, row["point"], *_value_cells(row)]
        for row in points
        if (topic := asset_topic(row, scheme)) is not None
    ]
    messages.sort(key=lambda line: str(line[0]))
    tables = []
    if topics:
        tables.append(f"{_PAYLOADS[sink.payload]}\n\n{_table(('topic', *_VALUE_HEADINGS), topics)}")
    if messages:
        headings = ("topic", "point", *_VALUE_HEADINGS)
        tables.append(f"{_ASSET_PAYLOADS[sink.payload]}\n\n{_table(headings, messages)}")
    if not tables:
        return ""
    history = "Readings that come late are on `$history` under each topic, not retained. "
    status = f"{_escaped(scheme.prefix)}/$gateway/{_escaped(gateway)}/status"
    return (
        f"## MQTT: {sink.name}\n\n{_broker(sink)}Topics are retained; `$meta` under each topic describes it. "
        f"{history if sink.history else ''}`{status}` is `online` or `offline`; beside it, `alarms` has what"
        " needs a person.\n\n" + "\n".join(tables)
    )


def _sparkplug(rows: Sequence[MapRow], sink: SinkDescription) -> str:
    lines: list[list[Cell]] = [
        [
            row["tag"] if row["asset"] else None,
            row["point"] if row["asset"] else row["name"],
            *_value_cells(row),
        ]
        for row in _points_on(rows, sink)
    ]
    if not lines:
        return ""
    place = (
        f"Group {_escaped(sink.group)}, edge node {_escaped(sink.node)}; each tag is a device, each point a"
        " metric; the property GatewayQuality of a metric has its quality as a word."
    )
    if sink.primary_host is not None:
        place += f" Published only while the host {_escaped(sink.primary_host)} is online."
    table = _table(("device", "metric", *_VALUE_HEADINGS), lines)
    return f"## Sparkplug B: {sink.name}\n\n{_broker(sink)}{place}\n\n{table}"


def _points_on(rows: Sequence[MapRow], sink: SinkDescription) -> list[MapRow]:
    """Return one row for each point on an MQTT sink, however many registers it has."""
    return [*{str(row["name"]): row for row in rows if is_published(row, sink.name)}.values()]


def _broker(sink: SinkDescription) -> str:
    return f"The broker is {sink.address}. " if sink.address else ""


def _value_cells(row: MapRow) -> tuple[Cell, ...]:
    return row["unit_of_measure"], _without_value(row, sentinel="null"), _meaning(row)


def _without_value(row: MapRow, *, sentinel: Cell) -> Cell:
    """Return what replaces a missing value; None for points of the gateway's own."""
    policy = row["on_stale"]
    if row["stale_after"] is None:
        return None
    if isinstance(policy, Mapping):
        return cell_text(policy["value"])
    return "last value" if policy == "hold" else sentinel


def _meaning(row: MapRow) -> str:
    """Return the description, and the meaning of each number of a map."""
    values = row["map"]
    pairs = [f"{cell_text(to)} = {key}" for key, to in values.items()] if isinstance(values, Mapping) else []
    description = row["description"] or _PSEUDO_MEANINGS.get(str(row["from"]))
    return "; ".join(part for part in (cell_text(description), ", ".join(pairs)) if part)


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
