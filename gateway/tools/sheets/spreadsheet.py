"""A CSV file as spreadsheets save it, whatever its encoding, separator and decimal mark."""

from __future__ import annotations

import csv
import difflib
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import ConfigError
from gateway.tools.sheets.cells import decimal_mark
from gateway.tools.sheets.listing_forms import unguarded

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_SEPARATORS = (",", ";", "\t")
_LARGEST_CELL = 1 << 20
_BROKEN_CELL = re.compile(r"#(?:N/A|NV|[A-ZÄÖÜ/0]+[?!]|#+)")
_HINTS = {
    "register": "address (0-based, as in the PDU), number (1-based) or modicon (such as 30001)",
    "topic": "own_topic",
    "range": "range_low and range_high",
    "to": "sink",
    "uom": "unit_of_measure",
    "unit_id": "unit",
    "slave": "unit",
    "name": "tag and point",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One row; `cells` by column, empty ones left out. `number` is the spreadsheet's own."""

    number: int
    cells: dict[str, str]


@dataclass(slots=True)
class Sheet:
    """All rows with something in them. `decimal` is "." or ",", None where either may be meant."""

    columns: tuple[str, ...]
    lines: list[Line]
    decimal: str | None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def complaint(message: str, *, row: int, column: str | None = None, value: object = None) -> str:
    """Return a problem as a person finds it in a spreadsheet: `row 7, column type: message (value)`."""
    name = column if column is None or column.isprintable() else show(column)
    where = f"row {row}" + (f", column {name}" if name else "")
    return f"{where}: {message}" + (f" ({show(value)})" if value is not None else "")


def read_sheet(
    data: bytes, *, columns: Collection[str], numeric: Collection[str], required: Collection[str]
) -> Sheet:
    """Return the rows below the headings; raise ConfigError where the headings cannot be used.

    Columns may stand in any order, and headings in any case. `numeric` are the columns whose numbers
    tell the decimal mark.
    """
    notes: list[str] = []
    text = _decoded(data, notes)
    separator, records = _records(text, columns)
    start = next((index for index, record in enumerate(records) if any(map(str.strip, record))), None)
    if start is None:
        raise ConfigError(["the file is empty"])
    headings = [_normalised(cell) for cell in records[start]]
    problems = list(_heading_problems(headings, start + 1, columns, required))
    if problems:
        raise ConfigError(problems)
    sheet = Sheet(tuple(filter(None, headings)), [], None, notes=notes)
    for index in range(start + 1, len(records)):
        _take_line(sheet, headings, records[index], index + 1)
    written = [line.cells[column] for line in sheet.lines for column in numeric if column in line.cells]
    sheet.decimal = decimal_mark(written, separator)
    return sheet


def _decoded(data: bytes, notes: list[str]) -> str:
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ConfigError(["this is a workbook, not CSV: save the sheet as `CSV UTF-8` and import that"])
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding == "utf-16":
            raise ConfigError(["the file is cut short: its UTF-16 text does not end well"]) from None
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise ConfigError(["the text cannot be read: save the sheet as `CSV UTF-8`"]) from None
    notes.append("the file is not UTF-8 and was read as Windows-1252: look at ° and letters with accents")
    return text


def _records(text: str, columns: Collection[str]) -> tuple[str, list[list[str]]]:
    """Return the separator that finds most of the known headings, and all records by it."""
    hint = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)  # which Excel writes and reads, but never shows
    separators: Sequence[str] = (hint[1],) if hint else _SEPARATORS
    body = text[hint.end() :] if hint else text
    best = max(separators, key=lambda separator: _known_headings(body, separator, columns))
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=best, strict=True)
    records: list[list[str]] = [[]] if hint else []
    try:
        records.extend(reader)
    except csv.Error as error:
        raise ConfigError([complaint(f"cannot be read: {error}", row=len(records) + 1)]) from error
    return best, records


def _known_headings(text: str, separator: str, columns: Collection[str]) -> int:
    for line in text.splitlines():
        cells = [_normalised(cell.strip('"')) for cell in line.split(separator)]
        if any(cells):
            return sum(cell in columns for cell in cells)
    return 0


def _normalised(heading: str) -> str:
    return re.sub(r"[\s_-]+", "_", heading.strip().lower())


def _heading_problems(
    headings: Sequence[str], row: int, columns: Collection[str], required: Collection[str]
) -> list[str]:
    problems = []
    for index, heading in enumerate(headings):
        if heading in headings[:index] and heading:
            problems.append(complaint("this heading is there twice", row=row, column=heading))
        elif heading and heading not in columns:
            problems.append(complaint(_unknown(heading, columns), row=row, column=heading))
    missing = [column for column in required if column not in headings]
    if missing:
        found = " (the headings must stand in the first row)" if len(missing) == len(required) else ""
        problems.append(complaint(f"needs the columns {', '.join(missing)}{found}", row=row))
    return problems


def _unknown(heading: str, columns: Collection[str]) -> str:
    if heading in _HINTS:
        return f"unknown column, it is called {_HINTS[heading]}"
    close = difflib.get_close_matches(heading, columns, n=1)
    return (
        f"unknown column, did you mean `{close[0]}`?"
        if close
        else f"unknown column; known: {', '.join(columns)}"
    )


def _take_line(sheet: Sheet, headings: Sequence[str], record: Sequence[str], row: int) -> None:
    cells: dict[str, str] = {}
    for index, raw in enumerate(record):
        cell = raw.strip()
        if not cell:
            continue
        column = headings[index] if index < len(headings) else ""
        if not column:
            message = f"the cell in column number {index + 1} has no heading above it"
            sheet.problems.append(complaint(message, row=row, value=cell))
        elif _BROKEN_CELL.fullmatch(cell):
            message = "the spreadsheet could not compute or show this cell"
            sheet.problems.append(complaint(message, row=row, column=column, value=cell))
        else:
            cells[column] = unguarded(cell)
    if cells:
        sheet.lines.append(Line(row, cells))
