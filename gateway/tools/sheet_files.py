"""A sheet as rows of text, and CSV files of any encoding and separator read into one."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.errors import ConfigError
from gateway.tools.headings import count_known

_LARGEST_CELL = 1 << 20
_SAMPLE_ROWS = 50
_DECIMAL_MARKS = {";": ",", ",": "."}  # by separator: Excel with decimal commas separates cells by semicolons


@dataclass(slots=True)
class Grid:
    """One sheet: its rows of cells as text, from row 1 and column A on.

    `title` is the name of a workbook's sheet, "" in a CSV. `decimal` is the mark of its numbers, None if
    unknown. `filled` are the row numbers and column indexes of cells that a merged cell covers.
    """

    title: str
    records: list[list[str]]
    decimal: str | None
    filled: set[tuple[int, int]] = field(default_factory=set)
    is_hidden: bool = False
    notes: list[str] = field(default_factory=list)


def read_csv(data: bytes) -> Grid:
    """Return the rows of a CSV; raise ConfigError if it cannot be read."""
    text, is_utf = _decoded(data)
    separator = max(",;\t", key=lambda mark: _fitness(text, mark))
    grid = Grid("", _records(text, separator), _DECIMAL_MARKS.get(separator))
    if not is_utf:
        grid.notes.append("the file is not UTF-8, it was read as Windows-1252: check ° and accents")
    return grid


def _decoded(data: bytes) -> tuple[str, bool]:
    """Return the text, and whether it was UTF-8 or UTF-16."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    with suppress(UnicodeDecodeError):
        return data.decode(encoding), True
    try:
        return data.decode("cp1252"), False
    except UnicodeDecodeError:
        raise ConfigError(["the text cannot be read: save the sheet as `CSV UTF-8`"]) from None


def _fitness(text: str, separator: str) -> tuple[int, int]:
    """Return how many headings the best row has with this separator, then how often its line has it."""
    lines = [line for line in io.StringIO(text, newline="") if line.strip(' ;,\t"\r\n')][:_SAMPLE_ROWS]
    with suppress(csv.Error):
        known = max(map(count_known, csv.reader(lines, delimiter=separator)), default=0)
        return known, lines[0].count(separator) if lines else 0
    return 0, 0


def _records(text: str, separator: str) -> list[list[str]]:
    csv.field_size_limit(_LARGEST_CELL)
    records: list[list[str]] = []
    try:
        records.extend(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise ConfigError([f"row {len(records) + 1}: cannot be read: {error}"]) from error
    return records
