"""The register map as a table for the screen, as CSV for spreadsheets and as JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.text import align_columns
from gateway.tools.register_map import COLUMNS
from gateway.tools.spreadsheet import is_flag, quoted_formula
from gateway.tools.yaml_text import flow_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.tools.register_map import Cell, MapRow

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
    "topic": "topic",
    "asset_topic": "topic of the asset",
    "asset_name": "in Infodeck",
    "location": "where",
}
_BYTE_ORDER_MARK = "\ufeff"


def screen_table(rows: Iterable[MapRow]) -> str:
    """Return the columns that fit a screen, aligned; empty ones are left out."""
    lines = [list(_SCREEN_HEADINGS.values())]
    lines += [
        [_register_format(row) if key == "type" else cell_text(row[key]) for key in _SCREEN_HEADINGS]
        for row in rows
    ]
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return align_columns(zip(*columns, strict=True), indent="")


def _register_format(row: MapRow) -> str:
    """Return how to read a register: `uint32 CDAB x10`, `bit 3`."""
    scale = f"x{cell_text(row['scale'])}" if row["scale"] not in {None, 1} else None
    parts = (row["type"], row["order"], row["bit"], scale)
    return " ".join(str(part) for part in parts if part is not None)


def cell_text(cell: Cell) -> str:
    """Return a cell as text; "" for None."""
    if cell is None:
        return ""
    if isinstance(cell, list):
        names = ", ".join(cell)
        return f"[{names}]" if not names or is_flag(names) else names
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
