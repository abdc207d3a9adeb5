"""The rows of a listing as text: a table for the screen, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.mapping.listing import COLUMNS
from gateway.text import align_columns
from gateway.tools.sheets.cells import is_flag
from gateway.tools.sheets.flow import flow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.listing import Cell, Row

_SCREEN = {  # what fits a screen, and its headings; topics are last, where a narrow screen cuts
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
_FORMULA = re.compile(r"'*[=+@\t\r\n＝＋－＠-]")  # noqa: RUF001 - the wide forms work as formulas, too
_GUARDED = re.compile(f"'{_FORMULA.pattern}")
_BYTE_ORDER_MARK = "\ufeff"


def screen_table(rows: Iterable[Row]) -> str:
    """Return aligned columns; those that are empty throughout are left out."""
    lines = [list(_SCREEN.values())]
    lines += [[plain(register_type(row) if key == "type" else row[key]) for key in _SCREEN] for row in rows]
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return align_columns(zip(*columns, strict=True), indent="")


def register_type(row: Row) -> str | None:
    """Return all there is to know about how to read a register: `uint32 CDAB x10`, `bit 3`."""
    scale = f"x{plain(row['scale'])}" if row["scale"] not in {None, 1} else None
    parts = (row["type"], row["order"], row["bit"], scale)
    return " ".join(str(part) for part in parts if part is not None) or None


def plain(cell: Cell) -> str:
    """Return a cell as a reader expects it; "" for None."""
    if cell is None:
        return ""
    if isinstance(cell, list):
        names = ", ".join(cell)
        return f"[{names}]" if not names or is_flag(names) else names
    return flow(cell) if isinstance(cell, bool | int | float | Mapping) else str(cell)


def json_rows(rows: Iterable[Row]) -> str:
    """Return a list of objects with all columns; maps, tags and names of sinks are not flattened."""
    return json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"


def csv_rows(rows: Iterable[Row], *, excel: str | None = None) -> str:
    """Return all columns, as `gateway import` reads them.

    `excel` is the decimal mark that an Excel uses, `point` or `comma`: the text then begins with a byte
    order mark, and with a decimal comma its cells are parted by semicolons, for Excel asks for both.
    """
    written = io.StringIO()
    has_comma = excel == "comma"
    writer = csv.writer(
        written, lineterminator="\r\n" if excel else "\n", delimiter=";" if has_comma else ","
    )
    writer.writerow(COLUMNS)
    writer.writerows([_csv_cell(row[column], has_comma=has_comma) for column in COLUMNS] for row in rows)
    return (_BYTE_ORDER_MARK if excel else "") + written.getvalue()


def guarded(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: with ' before a leading = + - @ or the like."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """Undo `guarded`."""
    return text[1:] if _GUARDED.match(text) else text


def _csv_cell(cell: Cell, *, has_comma: bool) -> str:
    text = plain(cell)
    if isinstance(cell, str | list):
        return guarded(text)
    return text.replace(".", ",") if has_comma and type(cell) is float else text
