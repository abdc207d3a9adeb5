"""A CSV file as spreadsheets save it, read into rows: dictionaries with the values of the cells by column."""

from __future__ import annotations

import csv
import io
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.config.problems import show
from gateway.config.value_types import parse_duration
from gateway.config.yaml_tree import compose
from gateway.errors import ConfigError
from gateway.text import unknown_name
from gateway.tools.register_map import COLUMNS, FLAGS, unquoted_formula

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REQUIRED = ("tag", "point", "asset", "from")
_LARGEST_CELL = 1 << 20
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")
_LONGEST_INTEGER = 20  # digits of a 64-bit integer
_DECIMAL_MARKS = {";": ",", ",": "."}  # by separator: Excel with decimal commas separates cells by semicolons


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row: its number in the spreadsheet, and the values of its cells by column, without empty ones."""

    number: int
    cells: Mapping[str, Any]


@dataclass(slots=True)
class Sheet:
    """All rows that are not empty, below the headings."""

    columns: tuple[str, ...]
    rows: list[SheetRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def report(
        self, message: str, *, row: int | None = None, column: str | None = None, value: object = None
    ) -> None:
        """Add a problem with its place: `row 7, column type: message (value)`."""
        name = column if column is None or column.isprintable() else show(column)
        where = ", ".join([*([f"row {row}"] if row else []), *([f"column {name}"] if name else [])])
        shown = f" ({show(value)})" if value is not None else ""
        self.problems.append(f"{where}: {message}{shown}" if where else f"{message}{shown}")

    def raise_problems(self) -> None:
        """Raise ConfigError with all problems found so far, if there are any."""
        if self.problems:
            raise ConfigError(self.problems)


def read_sheet(data: bytes) -> Sheet:
    """Return the rows below the headings; raise ConfigError if the headings cannot be used.

    Columns may stand in any order, and headings in upper or lower case. Unusable cells become problems.
    """
    text, is_utf = _decoded(data)
    separator, records = _records(text)
    start = next((index for index, record in enumerate(records) if any(map(str.strip, record))), None)
    if start is None:
        raise ConfigError(["the file is empty"])
    sheet = Sheet(tuple(re.sub(r"[\s_-]+", "_", cell.strip().lower()) for cell in records[start]))
    if not is_utf:
        sheet.notes.append("the file is not UTF-8, it was read as Windows-1252: check ° and accents")
    _check_headings(sheet, start + 1)
    parsers = _parsers(_DECIMAL_MARKS.get(separator))
    for number, record in enumerate(records[start + 1 :], start=start + 2):
        if cells := dict(_cells(sheet, record, number, parsers)):
            sheet.rows.append(SheetRow(number, cells))
    return sheet


def _decoded(data: bytes) -> tuple[str, bool]:
    """Return the text, and whether it was UTF-8 or UTF-16."""
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ConfigError(["this is a workbook, not CSV: save the sheet as `CSV UTF-8` and import that"])
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    with suppress(UnicodeDecodeError):
        return data.decode(encoding), True
    try:
        return data.decode("cp1252"), False
    except UnicodeDecodeError:
        raise ConfigError(["the text cannot be read: save the sheet as `CSV UTF-8`"]) from None


def _records(text: str) -> tuple[str, list[list[str]]]:
    """Return the separator that the headings have most often, and all records by it."""
    headings = next((line for line in text.splitlines() if line.strip(' ;,\t"')), "")
    separator = max(",;\t", key=headings.count)
    csv.field_size_limit(_LARGEST_CELL)
    records: list[list[str]] = []
    try:
        records.extend(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise ConfigError([f"row {len(records) + 1}: cannot be read: {error}"]) from error
    return separator, records


def _check_headings(sheet: Sheet, row: int) -> None:
    for index, heading in enumerate(sheet.columns):
        if heading and heading in sheet.columns[:index]:
            sheet.report("this heading is there twice", row=row, column=heading)
        elif heading and heading not in COLUMNS:
            sheet.report(unknown_name("column", heading, COLUMNS), row=row, column=heading)
    if missing := [column for column in REQUIRED if column not in sheet.columns]:
        sheet.report(f"needs the columns {', '.join(missing)}", row=row)
    sheet.raise_problems()


def _cells(
    sheet: Sheet, record: Sequence[str], number: int, parsers: Mapping[str, Callable[[str], Any]]
) -> Iterator[tuple[str, Any]]:
    """Yield the columns and values of a row's cells that are not empty; None for an unusable cell."""
    for index, cell in enumerate(map(str.strip, record)):
        column = sheet.columns[index] if index < len(sheet.columns) else ""
        if not cell:
            continue
        if not column:
            sheet.report(f"there is no heading above cell {index + 1}", row=number, value=cell)
            continue
        try:
            yield column, parsers.get(column, unquoted_formula)(cell)
        except ValueError as error:
            sheet.report(str(error), row=number, column=column, value=cell)
            yield column, None


def _parsers(decimal: str | None) -> dict[str, Callable[[str], Any]]:
    """Return the functions that read the cells of each column; all other columns are text."""
    number, whole = partial(parse_number, decimal=decimal), partial(_parse_whole, decimal=decimal)
    return {
        **dict.fromkeys(("gain", "offset", "range_low", "range_high", "cov", "scale"), number),
        **dict.fromkeys(("decimals", "address", "number", "unit", "bit"), whole),
        **dict.fromkeys(("stale_after", "cov_every", "every"), _parse_duration),
        **dict.fromkeys(("map", "tags"), _parse_mapping),
        **dict.fromkeys(("table", "type", "refill"), _parse_word),
        "order": lambda cell: _parse_word(cell).upper(),
        "clamp": _parse_flag,
        "bits": _parse_bits,
        "on_stale": _parse_on_stale,
        "mqtt": _parse_sinks,
    }


def parse_number(text: str, *, decimal: str | None) -> int | float:
    """Return a number with a point or a comma; raise ValueError for any other, or an ambiguous one.

    `decimal` is the file's mark, None if unknown: then 1,125 may be a whole number or one with decimals.
    """
    text = text.replace("\N{MINUS SIGN}", "-")
    thousands = _THOUSANDS.fullmatch(text)
    if thousands and (thousands[1] != decimal or text.count(thousands[1]) > 1):
        raise ValueError(
            "may be a whole number or one with three decimals: write another number of decimals, and no"
            " separators of thousands"
        )
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is expected")
    text = text.replace(",", ".")
    is_whole = text.lstrip("+-").isdigit() and len(text) <= _LONGEST_INTEGER
    number = int(text) if is_whole else float(text)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def _parse_whole(text: str, *, decimal: str | None) -> int:
    """Return a whole number, also from 3,0."""
    number = parse_number(text, decimal=decimal)
    if number != int(number):
        raise ValueError("a whole number is expected")
    return int(number)


def _parse_word(text: str) -> str:
    return text.lower().replace(" ", "")


def _parse_flag(text: str) -> bool:
    if text.lower() not in FLAGS:
        raise ValueError("true or false is expected")
    return FLAGS[text.lower()]


def _parse_bits(text: str) -> int | list[int]:
    """Return the `bits` column: 3, or [4, 7]."""
    if (found := re.fullmatch(r"(\d+)|\[ *(\d+) *, *(\d+) *\]", text)) is None:
        raise ValueError("a bit is expected, such as 3, or the first and last one, [4, 7]")
    return int(found[1]) if found[1] else [int(found[2]), int(found[3])]


def _parse_sinks(text: str) -> bool | list[str]:
    """Return the `mqtt` column: false, true, or the names of sinks."""
    names = text.strip("[]").replace(",", " ").split()
    return FLAGS.get(text.lower(), names)


def _parse_duration(text: str) -> str:
    """Return a duration as point tables write it."""
    text = re.sub(r"\s", "", text).lower().replace(",", ".")
    if text != "never" and parse_duration(text) <= 0:
        raise ValueError("must be more than 0s")
    return text


def _parse_mapping(text: str) -> dict[str, Any]:
    """Return `vacant: 0, occupied: 1`, with or without braces, or with a line for each pair."""
    is_yaml = text.startswith("{") or "\n" in text
    tree, problems = compose(text if is_yaml else f"{{{text}}}", file="")
    if ":" not in text or tree is None or problems or not isinstance(tree.value, dict) or not tree.value:
        raise ValueError("pairs are expected, such as vacant: 0, occupied: 1")
    return tree.value


def _parse_on_stale(text: str) -> str | dict[str, Any]:
    """Return `hold`, `sentinel`, or the mapping of `{value: 0}`."""
    return _parse_mapping(text) if ":" in text else _parse_word(text)
