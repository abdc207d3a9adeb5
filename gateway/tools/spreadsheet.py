"""A CSV file as spreadsheets save it: rows of cells, and the values of cells in any usual spelling."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.config.problems import show
from gateway.config.value_types import parse_duration
from gateway.config.yaml_tree import compose
from gateway.errors import ConfigError
from gateway.mapping.register_map import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
_FORMULA = re.compile(r"'*[=+@\t\r\n＝＋－＠-]")  # noqa: RUF001 - full-width forms work as formulas, too
_QUOTED_FORMULA = re.compile(f"'{_FORMULA.pattern}")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")
_LONGEST_INTEGER = 20  # digits of a 64-bit integer
_MONTHS = "jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|avr|juin|juil|ao[uû]t|d[eé]c"
_DATE = re.compile(
    rf"\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}(?:\s.*)?|\d{{1,2}}(?:\.\s?|[\s-])(?:{_MONTHS})[a-zé]*\.?(?:[\s-]\d{{2,4}})?"
    rf"|(?:{_MONTHS})[a-zé]*[\s.-]+\d{{2,4}}|\d{{1,2}}/\d{{1,2}}",
    re.IGNORECASE,
)
_DATE_AS_NAME = re.compile(
    rf"\d{{1,2}}(?:\.\s?|-)(?:{_MONTHS})|(?:\d{{4}}-\d\d-\d\d|\d\d[./]\d\d[./]\d{{4}})(?:\s.*)?",
    re.IGNORECASE,
)
_ROUNDED = re.compile(r"\d[.,]\d+E\+\d+")
_YES = frozenset({"true", "wahr", "vrai", "yes", "ja", "oui", "1", "x"})
_NO = frozenset({"false", "falsch", "faux", "no", "nein", "non", "0"})
_DECIMAL_MARKS = {";": ",", ",": "."}  # by separator: Excel with decimal commas separates cells by semicolons


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
            yield column, _without_formula_quote(cell)


def quoted_formula(text: str) -> str:
    """Return text with a leading quote if a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _without_formula_quote(text: str) -> str:
    return text[1:] if _QUOTED_FORMULA.match(text) else text


def decimal_mark(cells: Iterable[str], separator: str) -> str | None:
    """Return "." or "," as unambiguous numbers of a file show it, otherwise as its separator suggests.

    None if neither does: then 1,125 may be a whole number or one with three decimals.
    """
    marks = {
        mark
        for cell in cells
        if _NUMBER.fullmatch(cell) and not _THOUSANDS.fullmatch(cell)
        for mark in ".,"
        if mark in cell
    }
    return marks.pop() if len(marks) == 1 else _DECIMAL_MARKS.get(separator)


def parse_number(text: str, *, decimal: str | None) -> int | float:
    """Return the number; raise ValueError with advice for anything else or an ambiguous number."""
    text = text.replace("\N{MINUS SIGN}", "-")
    thousands = _THOUSANDS.fullmatch(text)
    if thousands and (thousands[1] != decimal or text.count(thousands[1]) > 1):
        mark = f"the decimal mark {decimal}" if decimal else "another number of decimals"
        raise ValueError(
            f"may be a whole number or one with three decimals; write it with {mark}, and without "
            "separators of thousands"
        )
    if not _NUMBER.fullmatch(text):
        if _DATE.fullmatch(text):
            raise ValueError(
                "the spreadsheet has made a date of it; format the column as text, then type it again"
            )
        raise ValueError("a number is expected")
    text = text.replace(",", ".")
    is_whole = text.lstrip("+-").isdigit() and len(text) <= _LONGEST_INTEGER
    number = int(text) if is_whole else float(text)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def parse_whole(text: str, *, decimal: str | None) -> int:
    """Return a whole number, also from 3,0; raise ValueError for others."""
    number = parse_number(text, decimal=decimal)
    if number != int(number):
        raise ValueError("a whole number is expected")
    return int(number)


def parse_flag(text: str) -> bool:
    """Return the meaning of TRUE, WAHR, yes, x, 0 and the like; raise ValueError for others."""
    if not is_flag(text):
        raise ValueError("true or false is expected")
    return text.lower() in _YES


def is_flag(text: str) -> bool:
    """Return whether `parse_flag` accepts a cell."""
    return text.lower() in _YES | _NO


def parse_sinks(text: str) -> bool | list[str]:
    """Return the `mqtt` column: false, true, or the names of sinks."""
    if text.lower() in _NO - {"0"}:
        return False
    if text.lower() in {"true", "wahr"}:
        return True
    return text.strip("[]").replace(",", " ").split()


def parse_cell_duration(text: str) -> str:
    """Return a duration as point tables write it; raise ValueError with advice for others."""
    text = re.sub(r"\s", "", text).lower().replace(",", ".")
    if text != "never" and parse_duration(text) <= 0:
        raise ValueError("must be more than 0s")
    return text


def parse_mapping(text: str) -> dict[str, Any]:
    """Return `vacant: 0, occupied: 1`, with or without braces, or with a line for each pair."""
    is_yaml = text.startswith("{") or "\n" in text
    tree, problems = compose(text if is_yaml else f"{{{text}}}", file="")
    if ":" not in text or tree is None or problems or not isinstance(tree.value, dict) or not tree.value:
        raise ValueError("pairs are expected, such as vacant: 0, occupied: 1")
    return tree.value


def parse_on_stale(text: str) -> str | dict[str, Any]:
    """Return `hold`, `sentinel`, or the mapping of `{value: 0}`."""
    if text.lower() in {"hold", "sentinel"}:
        return text.lower()
    with suppress(ValueError):
        value = parse_mapping(text)
        if set(value) == {"value"}:
            return value
    raise ValueError("hold, sentinel or a value, such as {value: 0}, is expected")


def parse_refill(text: str) -> str:
    """Return `newest` or `history`."""
    if text.lower() in {"newest", "history"}:
        return text.lower()
    raise ValueError("newest or history is expected")


def damage_note(text: str) -> str | None:
    """Return how a spreadsheet seems to have changed a name, or None."""
    if _DATE_AS_NAME.fullmatch(text):
        return "looks like a date; has the spreadsheet made one of a name?"
    if _ROUNDED.fullmatch(text):
        return "looks like a rounded number; has the spreadsheet made one of an id?"
    return None
