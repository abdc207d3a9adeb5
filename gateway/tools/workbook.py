"""The sheets of an Excel workbook as rows of text, read within limits of size and memory."""

from __future__ import annotations

import io
import re
import resource
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigError
from gateway.tools.sheet_files import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openpyxl.worksheet.worksheet import Worksheet

_LARGEST_UNPACKED = 64 << 20
_MEMORY = 256 << 20
_MOST_ROWS = 20_000
_THREE_DECIMALS = re.compile(r"-?\d{1,3}\.\d{3}")  # as text, perhaps a thousand
_TOO_LARGE = "the workbook is too large: copy the sheet with the points to a new workbook, or save it as CSV"


def read_workbook(data: bytes) -> list[Grid]:
    """Return the sheets in their order; raise ConfigError if the file cannot be read.

    A merged cell has its text in each of its rows. Formulas have the results that Excel saved.
    """
    from openpyxl import load_workbook  # noqa: PLC0415 - slow to load, and CSV does not need it

    try:
        _check_size(data)
        with _limited_memory(), warnings.catch_warnings(action="ignore"):
            book = load_workbook(io.BytesIO(data), data_only=True, keep_links=False)
            return [_read_sheet(sheet) for sheet in book.worksheets]
    except ConfigError:
        raise
    except MemoryError:
        raise ConfigError([_TOO_LARGE]) from None
    except Exception as error:  # a damaged workbook fails in many ways
        raise ConfigError(["the workbook cannot be read: open it in Excel and save it as .xlsx"]) from error


def _check_size(data: bytes) -> None:
    """Raise ConfigError if a workbook is large once unpacked; no part unpacks to more than it states."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(part.file_size for part in archive.infolist()) > _LARGEST_UNPACKED:
            raise ConfigError([_TOO_LARGE])


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Limit what this process may allocate: few bytes of a workbook can merge millions of cells."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    limits = [limit for limit in (used + _MEMORY, *before) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _read_sheet(sheet: Worksheet) -> Grid:
    cells = {
        place: text
        for place, cell in sheet._cells.items()  # noqa: SLF001 - its public iterators make all empty cells, too
        if (text := _text(cell.value))
    }
    last = max((row for row, _ in cells), default=0)
    if last > _MOST_ROWS:
        raise ConfigError([f"sheet {sheet.title} has more than {_MOST_ROWS} rows: {_TOO_LARGE}"])
    filled: set[tuple[int, int]] = set()
    for merged in sheet.merged_cells.ranges:
        text = cells.get((merged.min_row, merged.min_col), "")
        for row in range(merged.min_row + 1, min(merged.max_row, last) + 1) if text else ():
            cells[row, merged.min_col] = text
            filled.add((row, merged.min_col - 1))
    records: list[list[str]] = [[] for _ in range(last)]
    for (row, column), text in sorted(cells.items()):
        record = records[row - 1]
        record += [""] * (column - 1 - len(record)) + [text]
    return Grid(sheet.title, records, None, filled, sheet.sheet_state != "visible")


def _text(value: object) -> str:
    """Return a cell's value as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return f"{text}0" if isinstance(value, float) and _THREE_DECIMALS.fullmatch(text) else text
