"""A spreadsheet read into rows: dictionaries with the values of the cells by column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.config.problems import show
from gateway.errors import ConfigError
from gateway.tools.cell_values import cell_parsers
from gateway.tools.headings import own_name, read_headings
from gateway.tools.register_map import unquoted_formula
from gateway.tools.sheet_files import read_csv
from gateway.tools.sheet_layout import RowReader, choose_sheet, missing_columns, refine_meanings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.tools.headings import Headings
    from gateway.tools.sheet_files import Grid

_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK\x03\x04"
_BECOMES = {"multiplier": "scale", "scaling": "scale", "states": "map", "function": "table"}


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row: its number in the spreadsheet, and the values of its cells by column, without empty ones."""

    number: int
    cells: Mapping[str, Any]


@dataclass(slots=True)
class Sheet:
    """All rows with points. `title` is the name of a workbook's sheet, "" in a CSV."""

    title: str
    headings: Headings
    layout: RowReader
    rows: list[SheetRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Return the keys of the columns, "" for an ignored one."""
        return self.headings.keys

    def report(
        self,
        message: str,
        *,
        row: int | None = None,
        column: str | None = None,
        value: object = None,
        index: int | None = None,
    ) -> None:
        """Add a problem with its place, `row 7, column type` or `Points!D7, column type`, and the value.

        `index` is the position of a column that has no key.
        """
        if index is None and column:
            found = (at for at, key in enumerate(self.columns) if column in {key, _BECOMES.get(key)})
            index = next(found, None)
        name = self._heading(index, column)
        if self.title and row:
            place = f"!{column_letters(index)}{row}" if index is not None else f", row {row}"
            where = [f"{self.title}{place}"]
        else:
            where = [f"row {row}"] if row else []
        where += [f"column {name}"] if name else []
        shown = f" ({show(value)})" if value is not None else ""
        self.problems.append(f"{', '.join(where)}: {message}{shown}" if where else f"{message}{shown}")

    def _heading(self, index: int | None, column: str | None) -> str | None:
        """Return a column's heading as the user has it; our own names are written as we do."""
        written = "" if index is None else self.headings.written[index]
        if not written or own_name(written) == column:
            return column
        return written if written.isprintable() else show(written)

    def raise_problems(self) -> None:
        """Raise ConfigError with all problems found so far, if there are any."""
        if self.problems:
            raise ConfigError(self.problems)


def column_letters(index: int) -> str:
    """Return the letters of a column by its position: A, B, …, Z, AA."""
    before, last = divmod(index, 26)
    return (column_letters(before - 1) if before else "") + chr(ord("A") + last)


def read_sheet(data: bytes, *, title: str | None = None) -> Sheet:
    """Return the rows of a CSV or of a workbook's sheet; raise ConfigError if the headings cannot be used.

    Columns may stand in any order, under any of the words in `gateway.tools.synonyms`. Unusable cells become
    problems. `title` chooses a sheet; without it, the only one with headings is read.
    """
    grid, start = choose_sheet(_read_grids(data), title)
    headings, problems = read_headings(grid.records[start], row=start + 1)
    problems += refine_meanings(headings, grid.records[start + 1 :])
    layout = RowReader(grid, headings)
    sheet = Sheet(grid.title, headings, layout, notes=[*grid.notes])
    for index, message in problems:
        sheet.report(message, row=start + 1, index=index)
    rows = layout.read_rows()
    if rows and (missing := missing_columns(headings, [cells for _, cells in rows])):
        sheet.report(f"needs {' and '.join(missing)}", row=start + 1)
    sheet.raise_problems()
    if not sheet.title:
        _report_unheaded(sheet, grid)
    parsers = cell_parsers(grid.decimal)
    for number, cells in rows:
        sheet.rows.append(SheetRow(number, dict(_values(sheet, number, cells, parsers))))
    return sheet


def _read_grids(data: bytes) -> list[Grid]:
    if data.startswith(_OLD_WORKBOOK):
        raise ConfigError(["an old workbook, or one with a password: save it as .xlsx without a password"])
    if not data.startswith(_ZIP):
        return [read_csv(data)]
    from gateway.tools.workbook import read_workbook  # noqa: PLC0415 - slow to load, and for workbooks only

    return read_workbook(data)


def _report_unheaded(sheet: Sheet, grid: Grid) -> None:
    """Report cells right of all headings: in a CSV, a comma too many moves cells below wrong headings."""
    headings = sheet.headings
    for number, record in enumerate(grid.records[headings.row :], start=headings.row + 1):
        for index, cell in enumerate(record):
            if cell.strip() and (index >= len(headings.written) or not headings.written[index]):
                sheet.report(f"there is no heading above cell {index + 1}", row=number, value=cell)


def _values(
    sheet: Sheet, number: int, cells: Mapping[str, str], parsers: Mapping[str, Callable[[str], Any]]
) -> Iterator[tuple[str, Any]]:
    """Yield the columns and values of a row's cells; None for an unusable cell."""
    for column, cell in cells.items():
        value = None
        try:
            value = parsers.get(column, unquoted_formula)(cell)
        except ValueError as error:
            sheet.report(str(error), row=number, column=column, value=cell)
        key = _BECOMES.get(column, column)
        if key != column and key in cells:
            sheet.report(f"the row has {key} already", row=number, column=column, value=cell)
        yield key, value
