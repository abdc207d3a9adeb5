"""The document that goes to the BMS engineer: how to read it, each sink's registers or topics. Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from gateway.mapping.listing import asset_topic, is_on, point_topic
from gateway.model import HEARTBEAT, Quality
from gateway.tools.sheets.listing_forms import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.mapping.listing import Cell, Row
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
_REGISTER_HEADINGS = (
    "PDU", "1-based", "modicon", "words", "type", "order", "scale", "bit", "in", "point", "without value",
    "meaning",
)  # fmt: skip
_TOPIC_HEADINGS = ("topic", "in", "without value", "meaning")
_METRIC_HEADINGS = ("device", "metric", "in", "without value", "meaning")
_MESSAGE_HEADINGS = ("topic", "point", *_TOPIC_HEADINGS[1:])
_ASSET_KEYS = ("tag", "asset", "asset_name", "location")
_ASSET_HEADINGS = ("tag", "asset", "name", "where")
_PSEUDO_MEANINGS = {
    "$age": "Seconds since the last reading of the asset",
    "$quality": "Quality of the asset's values, the worst of them",
    "$online": "Whether Infodeck sees the device connected",
}


@dataclass(frozen=True, slots=True)
class SinkPlace:
    """Where a sink is: its type in gateway.yaml, `host:port`, URL or serial port.

    Of a broker, topics, payload and history, or group, node and primary host of Sparkplug; of a server,
    in words, for whom it is; of a controller, `transport` in words and the function codes.
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


@dataclass(frozen=True, slots=True)
class Origin:
    """Which gateway the list is from."""

    gateway: str
    sinks: tuple[SinkPlace, ...]


def handover(rows: Sequence[Row], origin: Origin) -> str:
    """Return the whole document."""
    sections = [_title(rows, origin), _how_to_read(rows), _assets(rows)]
    for sink in origin.sinks:
        if sink.type.startswith("modbus"):
            sections.append(_modbus(rows, sink))
        elif sink.type == "mqtt_sparkplug":
            sections.append(_sparkplug(rows, sink))
        elif sink.type.startswith("mqtt"):
            sections.append(_mqtt(rows, sink, origin.gateway))
    return "\n".join(section for section in sections if section)


def _title(rows: Sequence[Row], origin: Origin) -> str:
    sites = ", ".join(_distinct(rows, "site"))
    tags = len(_distinct([row for row in rows if row["from"] != HEARTBEAT], "tag"))
    names = len(_distinct(rows, "name"))
    registers = sum(row["sink"] is not None for row in rows)
    return (
        f"# Points of gateway {_safe(origin.gateway)}\n\n"
        f"Site {_safe(sites)}: {_count(names, 'point')} under {_count(tags, 'tag')}, "
        f"{_count(registers, 'Modbus register')}.\n"
    )


def _how_to_read(rows: Sequence[Row]) -> str:
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


def _assets(rows: Sequence[Row]) -> str:
    """Return what Infodeck calls the assets, and where they are; "" where it was never asked."""
    told = [row for row in rows if row["asset_name"] or row["location"]]
    lines = dict.fromkeys(tuple(row[key] for key in _ASSET_KEYS) for row in told)
    return f"## Assets in Infodeck\n\n{_table(_ASSET_HEADINGS, lines)}" if lines else ""


def _register_notes(mapped: Sequence[Row]) -> Iterator[str]:
    yield (
        "One register has three names: *PDU* is the 0-based address in the protocol, *1-based* counts from 1,"
        " *modicon* is 3xxxx (input), 4xxxx (holding), 0xxxx (coil) or 1xxxx (discrete input)."
    )
    yield "A register holds value times *scale*: divide by it. An empty scale is 1."
    for order in _distinct(mapped, "order"):
        yield f"Order {order}: {_ORDERS[order]}."
    sentinels = {f"{row['type']} {row['sentinel']}" for row in mapped if not _is_text_or_bit(row)}
    if sentinels:
        listed = ", ".join(sorted(sentinels))
        yield (
            "Before the first reading, where registers are polled, and where *without value* says so, a "
            f"register shows a number that no measurement can have: {listed}. A bit shows 0 and text is empty"
            " then."
        )
    for row in mapped:
        if row["from"] == HEARTBEAT:
            yield (
                f"Heartbeat: {row['table']} {row['address']} ({row['modicon']}) of unit {row['unit']} on "
                f"{row['sink']} counts up every {row['every']} and begins again at 0. "
                "If it stands still, the gateway does not run."
            )


def _is_text_or_bit(row: Row) -> bool:
    return str(row["type"]).startswith(("string", "bit"))


def _modbus(rows: Sequence[Row], sink: SinkPlace) -> str:
    mapped = [row for row in rows if row["sink"] == sink.name]
    if not mapped:
        return ""
    is_server = sink.type == "modbus_server"
    place = f" at {sink.address}" if sink.address else ""
    units = ", ".join(_distinct(mapped, "unit"))
    what = (
        f"The gateway is a Modbus TCP server{place}{sink.access}. It can be read only; an address that is"
        " not listed here is answered with exception 2, a write with exception 1."
        if is_server
        else _client(sink, place)
    )
    tables = "".join(_register_tables(mapped, with_functions=is_server))
    return f"## Modbus: {sink.name}\n\n{what} Unit ids: {units}.\n{tables}"


def _client(sink: SinkPlace, place: str) -> str:
    functions = ", ".join(f"{function:02d}" for function in sorted(sink.functions))
    return (
        f"The gateway writes into the controller{place} ({sink.transport}"
        + (f", functions {functions}" if functions else "")
        + "): what changes, at once, and everything after each connection; no register that is not listed"
        " here. A value of several registers is written by one request. A register is left alone until the"
        " first reading of its point. Bits of a listed word that are not listed themselves are written as 0."
    )


def _register_tables(mapped: Sequence[Row], *, with_functions: bool) -> Iterator[str]:
    ordered = sorted(mapped, key=_place)
    for (unit, table), group in groupby(ordered, key=lambda row: (row["unit"], str(row["table"]))):
        function = f" (function {_FUNCTIONS[table]:02d})" if with_functions else ""
        yield f"\n### Unit {unit}, {_TABLES[table]}{function}\n\n"
        yield _table(_REGISTER_HEADINGS, [_register_line(row) for row in group])


def _place(row: Row) -> tuple[int, str, int, int]:
    unit, address, bit = row["unit"], row["address"], row["bit"]
    return (
        unit if isinstance(unit, int) else 0,
        str(row["table"]),
        address if isinstance(address, int) else 0,
        bit if isinstance(bit, int) else 0,
    )


def _register_line(row: Row) -> list[Cell]:
    keys = (
        "address", "number", "modicon", "words", "type", "order", "scale", "bit", "unit_of_measure", "name",
    )  # fmt: skip
    shown = [row[key] for key in keys]
    shown[keys.index("scale")] = None if row["scale"] == 1 else row["scale"]
    return [*shown, _without_value(row, sentinel=row["sentinel"]), _meaning(row)]


def _mqtt(rows: Sequence[Row], sink: SinkPlace, gateway: str) -> str:
    scheme = sink.topics
    if scheme is None:
        return ""
    by_name = {str(row["name"]): row for row in rows if is_on(row, sink.name)}  # once, whatever registers
    tables = [
        *_topic_table(by_name.values(), scheme, sink.payload),
        *_message_table(by_name.values(), scheme, sink.payload),
    ]
    if not tables:
        return ""
    broker = f"The broker is {sink.address}. " if sink.address else ""
    status = f"{_safe(scheme.prefix)}/$gateway/{_safe(gateway)}/status"
    return (
        f"## MQTT: {sink.name}\n\n{broker}Topics are retained; `$meta` under each topic describes it. "
        + (
            "Readings that come late are on `$history` under each topic, not retained. "
            if sink.history
            else ""
        )
        + f"`{status}` is `online` or `offline`; beside it, `alarms` has what needs a person.\n\n"
        + "\n".join(tables)
    )


def _sparkplug(rows: Sequence[Row], sink: SinkPlace) -> str:
    found = {str(row["name"]): row for row in rows if is_on(row, sink.name)}
    if not found:
        return ""
    lines: list[list[Cell]] = [
        [
            row["tag"] if row["asset"] else None,
            row["point"] if row["asset"] else row["name"],
            *_shown(row),
        ]
        for row in found.values()
    ]
    broker = f"The broker is {sink.address}. " if sink.address else ""
    place = (
        f"Group {_safe(sink.group)}, edge node {_safe(sink.node)}; each tag is a device, each point a metric;"
        " the property GatewayQuality of a metric has its quality as a word."
    )
    if sink.primary_host is not None:
        place += f" Published only while the host {_safe(sink.primary_host)} is online."
    return f"## Sparkplug B: {sink.name}\n\n{broker}{place}\n\n{_table(_METRIC_HEADINGS, lines)}"


def _topic_table(rows: Iterable[Row], scheme: TopicScheme, payload: str) -> Iterator[str]:
    """Yield the topics that points have for themselves, if there are any."""
    lines = [[topic, *_shown(row)] for row in rows if (topic := point_topic(row, scheme)) is not None]
    if lines:
        yield f"{_PAYLOADS[payload]}\n\n{_table(_TOPIC_HEADINGS, lines)}"


def _message_table(rows: Iterable[Row], scheme: TopicScheme, payload: str) -> Iterator[str]:
    """Yield the topics of assets with all that their messages have in them, if there are any."""
    lines = [
        [topic, row["point"], *_shown(row)] for row in rows if (topic := asset_topic(row, scheme)) is not None
    ]
    if lines:
        lines.sort(key=lambda line: str(line[0]))
        yield f"{_ASSET_PAYLOADS[payload]}\n\n{_table(_MESSAGE_HEADINGS, lines)}"


def _shown(row: Row) -> tuple[Cell, ...]:
    return row["unit_of_measure"], _without_value(row, sentinel="null"), _meaning(row)


def _without_value(row: Row, *, sentinel: Cell) -> Cell:
    """Return what stands in for a value; None for what the gateway makes itself."""
    policy = row["on_stale"]
    if row["stale_after"] is None:
        return None
    if isinstance(policy, Mapping):
        return plain(policy["value"])
    return "last value" if policy == "hold" else sentinel


def _meaning(row: Row) -> str:
    """Return the description, and what the numbers of a map stand for."""
    values = row["map"]
    pairs = [f"{plain(to)} = {key}" for key, to in values.items()] if isinstance(values, Mapping) else []
    own = row["description"] or _PSEUDO_MEANINGS.get(str(row["from"]))
    parts = [plain(own), ", ".join(pairs)]
    return "; ".join(part for part in parts if part)


def _table(headings: Sequence[str], lines: Iterable[Sequence[Cell]]) -> str:
    """Leave out the columns in which nothing stands."""
    texts = [list(headings), *([_safe(plain(cell)) for cell in line] for line in lines)]
    columns = [column for column in zip(*texts, strict=True) if any(column[1:])]
    heading, *rest = zip(*columns, strict=True)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heading, ["---"] * len(columns), *rest))


def _safe(text: str) -> str:
    """Keep what Markdown would take for its own from changing the document."""
    for mark in "\\`|*_<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _distinct(rows: Iterable[Row], column: str) -> list[str]:
    return list(dict.fromkeys(plain(row[column]) for row in rows if row[column] is not None))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
