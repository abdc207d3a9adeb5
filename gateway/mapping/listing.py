"""The register map and topic list that is handed to the BMS engineer."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from gateway.mapping.blocks import modicon
from gateway.mapping.registers import is_orderable, is_scalable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Register

Cell = str | int | float | None
Row = dict[str, Cell]
"""One register of a point, or a point without registers; every row has all COLUMNS, None where empty."""

COLUMNS = (
    "tag",
    "point",
    "name",
    "description",
    "unit_of_measure",
    "asset",
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
)
_SHOWN = {  # the columns that fit a screen or page, and their headings
    "name": "point",
    "unit_of_measure": "in",
    "topic": "topic",
    "sink": "sink",
    "unit": "unit",
    "table": "table",
    "address": "PDU",
    "modicon": "modicon",
    "type": "type",
    "order": "order",
    "scale": "scale",
    "bit": "bit",
}


def list_points(point_map: PointMap, *, prefixes: Mapping[str, str]) -> list[Row]:
    """Return the rows in the order of the tables. `prefixes`: each MQTT sink's topic prefix by its name."""
    return [
        row for point in point_map.points for row in _rows(point, " ".join(_topics(point, prefixes)) or None)
    ]


def render(rows: Iterable[Row], *, form: str) -> str:
    """Return the rows as text; `form` is one of FORMS."""
    return FORMS[form](list(rows))


def _rows(point: Point, topic: str | None) -> list[Row]:
    row: Row = dict.fromkeys(COLUMNS) | {
        "tag": point.tag,
        "point": point.point,
        "name": point.name,
        "description": point.description,
        "unit_of_measure": point.unit_of_measure,
        "asset": point.asset or None,
        "from": point.source,
        "topic": topic,
    }
    return [row | _place(register) for register in point.registers] or [row]


def _place(register: Register) -> Row:
    is_text = register.type == "string"
    return {
        "sink": register.sink,
        "unit": register.unit,
        "table": register.table.value,
        "address": register.address,
        "number": register.address + 1,
        "modicon": modicon(register.table, register.address),
        "words": register.words,
        "type": f"string({2 * register.words})" if is_text else register.type,
        "order": register.order.value if is_orderable(register.type) else None,
        "scale": register.scale if is_scalable(register.type) else None,
        "bit": register.bit,
    }


def _topics(point: Point, prefixes: Mapping[str, str]) -> list[str]:
    if point.mqtt is None:
        return []
    usual = f"{point.site}/{point.tag}/{point.point}"
    sinks = prefixes if point.mqtt.sinks is None else [name for name in prefixes if name in point.mqtt.sinks]
    return list(dict.fromkeys(point.mqtt.topic or f"{prefixes[name]}/{usual}" for name in sinks))


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.12g}" if isinstance(cell, float) else str(cell)


def _table(rows: list[Row]) -> str:
    """Aligned columns; those that are empty throughout are left out."""
    lines = [list(_SHOWN.values()), *([_text(row[column]) for column in _SHOWN] for row in rows)]
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in zip(*columns, strict=True)
    )


def _markdown(rows: list[Row]) -> str:
    lines = [list(_SHOWN.values()), ["---"] * len(_SHOWN)]
    lines += [[_text(row[column]).replace("|", "\\|") for column in _SHOWN] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_text(row[column]) for column in COLUMNS] for row in rows)
    return text.getvalue()


def _json(rows: list[Row]) -> str:
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


FORMS: dict[str, Callable[[list[Row]], str]] = {"table": _table, "csv": _csv, "json": _json, "md": _markdown}
