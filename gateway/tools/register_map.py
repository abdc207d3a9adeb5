"""The register map and topic list: one row per register, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.mapping.engineering_units import unit_of_point
from gateway.mapping.object_types import NUMBERS
from gateway.mapping.registers import is_orderable, is_scalable, modicon_text, type_text
from gateway.model import HEARTBEAT, ObjectType, StalePolicy, is_computed
from gateway.text import align_columns, duration_text
from gateway.tools.yaml_text import flow_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import BacnetObject, OnStale, Point, Register

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
    "shows",  # quality, or empty: the value
    "sentinel",  # what the register shows before the first reading, and where `on_stale` is sentinel
    "object_type",  # of BACnet; the Object_Name is `name`
    "object_instance",
    "object_unit",  # as BACnet names it
    "object_states",
    # how: what else `gateway import` needs to make the same table again
    "site",
    "bits",
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
    "bacnet",  # empty: on every BACnet sink; false: on none; or the names of sinks
    "asset_topic",  # of messages with all points of the asset; separated by spaces, too
    "tags",
    "every",  # of the heartbeat
)

_SCREEN_HEADINGS = {  # topics are last, where a narrow screen cuts
    "name": "point",
    "unit_of_measure": "in",
    "sink": "sink",
    "unit": "unit",
    "table": "table",
    "address": "PDU",
    "modicon": "modicon",
    "type": "type",
    "sentinel": "empty",
    "object_type": "BACnet object",
    "object_instance": "instance",
    "topic": "topic",
    "asset_topic": "topic of the asset",
    "asset_name": "in Infodeck",
    "location": "where",
}
_BYTE_ORDER_MARK = "\ufeff"
_FORMULA = re.compile(r"'*[=+@\t\r\n＝＋－＠-]")  # noqa: RUF001 - full-width forms work as formulas, too
FLAGS = {"true": True, "wahr": True, "vrai": True, "false": False, "falsch": False, "faux": False}
"""How an Excel writes true and false, in English, German and French."""


def register_map(
    point_map: PointMap, *, topics: Mapping[str, TopicScheme], bacnet: Collection[str] = ()
) -> list[MapRow]:
    """Return the rows in the order of the tables.

    `topics`: the scheme of each MQTT sink by its name, `bacnet`: the names of the BACnet sinks.
    """
    rows = []
    for point in point_map.points:
        row = dict.fromkeys(COLUMNS) | _identity(point, topics) | _object(point, bacnet) | _treatment(point)
        if point.source == HEARTBEAT and point_map.heartbeat is not None:
            row["every"] = duration_text(point_map.heartbeat[0])
        rows += [row | _register(register) for register in point.registers] or [row]
    return rows


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
    if mqtt is None:
        return row
    schemes = [scheme for sink, scheme in topics.items() if mqtt.goes_to(sink)]
    return row | {
        "topic": _joined(scheme.point_topic(point, own=mqtt.topic) for scheme in schemes),
        "asset_topic": _joined(scheme.asset_topic(point) for scheme in schemes),
    }


def _object(point: Point, sinks: Collection[str]) -> MapRow:
    """Return type and instance of the point's object, which are the same on every BACnet sink."""
    names = {shown.sink for shown in point.objects}
    if not names:
        return {"bacnet": False if sinks and point.source != HEARTBEAT else None}
    shown = point.objects[0]
    return {
        "object_type": shown.type.value,
        "object_instance": shown.instance,
        "object_unit": unit_of_point(point).name if shown.type in NUMBERS else None,
        "object_states": states_text(shown) or None,
        "bacnet": None if names.issuperset(sinks) else sorted(names),
    }


def states_text(shown: BacnetObject) -> str:
    """Return the states of an object with their numbers, "" if it has none.

    Those of a multi-state object begin at 1, those of a binary object at 0, which is inactive.
    """
    first = 1 if shown.type is ObjectType.MULTI_STATE_INPUT else 0
    return ", ".join(f"{number} {text}" for number, text in enumerate(shown.texts, start=first))


def _joined(topics: Iterable[str | None]) -> str | None:
    return " ".join(dict.fromkeys(filter(None, topics))) or None


def _treatment(point: Point) -> MapRow:
    conversion, cov, limits = point.conversion, point.cov, point.conversion.range
    row: MapRow = {
        "bits": flow_text(conversion.bits) if isinstance(conversion.bits, tuple) else conversion.bits,
        "source_unit": None if point.is_computed else conversion.source_unit,
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
        "shows": "quality" if register.shows_quality else None,
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


def computation_text(source: str) -> str:
    """Return how a point is computed: `mean of L03-*/ZN-T`, or an expression; "" if it is not."""
    return source.removeprefix("$").removeprefix("expr ") if is_computed(source) else ""


def screen_table(rows: Iterable[MapRow]) -> str:
    """Return the columns that fit a screen, aligned; empty ones are left out."""
    lines = [[*_SCREEN_HEADINGS.values(), "computed"]]
    for row in rows:
        texts = {key: cell_text(row[key]) for key in _SCREEN_HEADINGS} | {"type": _register_format(row)}
        lines.append([*texts.values(), computation_text(str(row["from"]))])
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return align_columns(zip(*columns, strict=True), indent="")


def _register_format(row: MapRow) -> str:
    """Return how to read a register: `uint32 CDAB x10`, `bit 3`, `uint16 quality`."""
    scale = f"x{cell_text(row['scale'])}" if row["scale"] not in {None, 1} else None
    parts = (row["type"], row["order"], row["bit"], scale, row["shows"])
    return " ".join(str(part) for part in parts if part is not None)


def cell_text(cell: Cell) -> str:
    """Return a cell as text; "" for None."""
    if cell is None:
        return ""
    if isinstance(cell, list):
        names = ", ".join(cell)
        return f"[{names}]" if not names or names.lower() in FLAGS else names
    return flow_text(cell) if isinstance(cell, bool | int | float | Mapping) else str(cell)


def json_text(rows: Iterable[MapRow]) -> str:
    """Return a list of objects with all columns; maps, tags and names of sinks are not flattened."""
    return json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"


def csv_text(rows: Iterable[MapRow], *, excel: str | None = None) -> str:
    """Return all columns as CSV, which `gateway import` reads.

    `excel` is the decimal mark of an Excel, `point` or `comma`. Excel wants a byte order mark, and with a
    decimal comma also semicolons between cells.
    """
    written = io.StringIO()
    has_comma = excel == "comma"
    writer = csv.writer(
        written, lineterminator="\r\n" if excel else "\n", delimiter=";" if has_comma else ","
    )
    writer.writerow(COLUMNS)
    writer.writerows([_csv_cell(row[column], has_comma=has_comma) for column in COLUMNS] for row in rows)
    return (_BYTE_ORDER_MARK if excel else "") + written.getvalue()


def _csv_cell(cell: Cell, *, has_comma: bool) -> str:
    """Return a cell; text that a spreadsheet would run as a formula gets a leading quote."""
    text = cell_text(cell)
    if isinstance(cell, str | list):
        return quoted_formula(text)
    return text.replace(".", ",") if has_comma and type(cell) is float else text


def quoted_formula(text: str) -> str:
    """Return text with a leading quote if a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unquoted_formula(cell: str) -> str:
    """Return a text without the quote against formulas."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
