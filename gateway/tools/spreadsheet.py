"""Rows of a CSV file as spreadsheets save it, with any of their encodings, separators and decimal marks."""

from __future__ import annotations

import csv
import difflib
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from gateway.config.problems import show
from gateway.errors import ConfigError
from gateway.mapping.register_map import COLUMNS
from gateway.tools.cells import decimal_mark, parse_number, parse_whole
from gateway.tools.register_map_text import without_formula_quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_T = TypeVar("_T")

REQUIRED = ("tag", "point", "asset", "from")
_NUMERIC = ("address", "number", "scale", "gain", "offset", "range_low", "range_high", "cov")
_SEPARATORS = (",", ";", "\t")
_LARGEST_CELL = 1 << 20
_ERROR_CELL = re.compile(r"#(?:N/A|NV|[A-ZÄÖÜ/0]+[?!]|#+)")
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
class SheetRow:
    """One row, or several rows of one point together: cells by column without empty ones.

    `number` is the spreadsheet's own, `decimal` the decimal mark or None if unknown. Problems are added to
    those of the sheet.
    """

    number: int
    cells: Mapping[str, str]
    decimal: str | None
    problems: list[str]

    def text(self, column: str) -> str | None:
        """Return the cell as it is."""
        return self.cells.get(column)

    def word(self, column: str) -> str | None:
        """Return a cell with one of the gateway's own words in lower case, without spaces."""
        cell = self.cells.get(column)
        return None if cell is None else cell.lower().replace(" ", "")

    def number_in(self, column: str) -> int | float | None:
        """Return the cell's number."""
        return self.parse(column, lambda cell: parse_number(cell, decimal=self.decimal))

    def whole_number_in(self, column: str) -> int | None:
        """Return the cell's whole number."""
        return self.parse(column, lambda cell: parse_whole(cell, decimal=self.decimal))

    def parse(self, column: str, parse: Callable[[str], _T]) -> _T | None:
        """Return the parsed cell. A ValueError of `parse` becomes a problem, and None is returned."""
        cell = self.cells.get(column)
        if cell is None:
            return None
        try:
            return parse(cell)
        except ValueError as error:
            self.report(str(error), column)
            return None

    def report(self, message: str, column: str | None = None) -> None:
        """Add a problem, with the value of the cell."""
        value = self.cells.get(column) if column else None
        self.problems.append(cell_problem(message, row=self.number, column=column, value=value))


@dataclass(slots=True)
class Sheet:
    """All rows that are not empty, below the headings."""

    columns: tuple[str, ...]
    rows: list[SheetRow]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def raise_problems(self) -> None:
        """Raise ConfigError with all problems found so far, if there are any."""
        if self.problems:
            raise ConfigError(self.problems)


def cell_problem(message: str, *, row: int, column: str | None = None, value: object = None) -> str:
    """Return a problem with its place in the spreadsheet: `row 7, column type: message (value)`."""
    name = column if column is None or column.isprintable() else show(column)
    where = f"row {row}" + (f", column {name}" if name else "")
    return f"{where}: {message}" + (f" ({show(value)})" if value is not None else "")


def read_sheet(data: bytes) -> Sheet:
    """Return the rows below the headings; raise ConfigError if the headings cannot be used.

    Columns may stand in any order, and headings in upper or lower case.
    """
    notes: list[str] = []
    separator, records = _records(_decoded(data, notes))
    start = next((index for index, record in enumerate(records) if any(map(str.strip, record))), None)
    if start is None:
        raise ConfigError(["the file is empty"])
    headings = [_normalised(cell) for cell in records[start]]
    if problems := list(_heading_problems(headings, start + 1)):
        raise ConfigError(problems)
    sheet = Sheet(tuple(filter(None, headings)), [], notes=notes)
    by_row = {
        number: cells
        for number, record in enumerate(records[start + 1 :], start=start + 2)
        if (cells := dict(_cells(sheet, headings, record, number)))
    }
    numbers = [cells[column] for cells in by_row.values() for column in _NUMERIC if column in cells]
    decimal = decimal_mark(numbers, separator)
    sheet.rows = [SheetRow(number, cells, decimal, sheet.problems) for number, cells in by_row.items()]
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


def _records(text: str) -> tuple[str, list[list[str]]]:
    """Return the separator that finds most of the known headings, and all records by it."""
    hint = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)  # a line of Excel's own, which it never shows
    separators: Sequence[str] = (hint[1],) if hint else _SEPARATORS
    body = text[hint.end() :] if hint else text
    best = max(separators, key=lambda separator: _known_headings(body, separator))
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=best, strict=True)
    records: list[list[str]] = [[]] if hint else []
    try:
        records.extend(reader)
    except csv.Error as error:
        raise ConfigError([cell_problem(f"cannot be read: {error}", row=len(records) + 1)]) from error
    return best, records


def _known_headings(text: str, separator: str) -> int:
    for line in text.splitlines():
        cells = [_normalised(cell.strip('"')) for cell in line.split(separator)]
        if any(cells):
            return sum(cell in COLUMNS for cell in cells)
    return 0


def _normalised(heading: str) -> str:
    return re.sub(r"[\s_-]+", "_", heading.strip().lower())


def _heading_problems(headings: Sequence[str], row: int) -> Iterator[str]:
    for index, heading in enumerate(headings):
        if heading in headings[:index] and heading:
            yield cell_problem("this heading is there twice", row=row, column=heading)
        elif heading and heading not in COLUMNS:
            yield cell_problem(_unknown_column(heading), row=row, column=heading)
    missing = [column for column in REQUIRED if column not in headings]
    if missing:
        found = " (the headings must stand in the first row)" if len(missing) == len(REQUIRED) else ""
        yield cell_problem(f"needs the columns {', '.join(missing)}{found}", row=row)


def _unknown_column(heading: str) -> str:
    if heading in _HINTS:
        return f"unknown column, it is called {_HINTS[heading]}"
    close = difflib.get_close_matches(heading, COLUMNS, n=1)
    if close:
        return f"unknown column, did you mean `{close[0]}`?"
    return f"unknown column; known: {', '.join(COLUMNS)}"


def _cells(
    sheet: Sheet, headings: Sequence[str], record: Sequence[str], number: int
) -> Iterator[tuple[str, str]]:
    """Yield the cells of a row that are not empty, with their columns; add problems to the sheet."""
    for index, cell in enumerate(map(str.strip, record)):
        if not cell:
            continue
        column = headings[index] if index < len(headings) else ""
        if not column:
            message = f"the cell in column number {index + 1} has no heading above it"
            sheet.problems.append(cell_problem(message, row=number, value=cell))
        elif _ERROR_CELL.fullmatch(cell):
            message = "the spreadsheet could not compute or show this cell"
            sheet.problems.append(cell_problem(message, row=number, column=column, value=cell))
        else:
            yield column, without_formula_quote(cell)
