"""One row of a spreadsheet, or several about one point: cells as values, and what is wrong with them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.config.yaml_tree import compose
from gateway.tools.sheets.cells import parse_number, parse_whole
from gateway.tools.sheets.spreadsheet import complaint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """The cells by column, empty ones left out; problems go to the sheet's own."""

    number: int
    cells: Mapping[str, str]
    decimal: str | None
    problems: list[str]

    def text(self, column: str) -> str | None:
        """Return the cell as it is."""
        return self.cells.get(column)

    def word(self, column: str) -> str | None:
        """Return a cell that holds one of our own words, in small letters and without spaces."""
        cell = self.cells.get(column)
        return None if cell is None else cell.lower().replace(" ", "")

    def figure(self, column: str) -> int | float | None:
        """Return the cell's number."""
        return self.read(column, lambda cell: parse_number(cell, decimal=self.decimal))

    def whole(self, column: str) -> int | None:
        """Return the cell's whole number."""
        return self.read(column, lambda cell: parse_whole(cell, decimal=self.decimal))

    def read(self, column: str, parse: Callable[[str], T]) -> T | None:
        """Return the parsed cell; report what `parse` refuses by ValueError, and return None for it."""
        cell = self.cells.get(column)
        if cell is None:
            return None
        try:
            return parse(cell)
        except ValueError as error:
            self.report(str(error), column)
            return None

    def report(self, message: str, column: str | None = None) -> None:
        """Note a problem with a cell, and show it."""
        value = self.cells.get(column) if column else None
        self.problems.append(complaint(message, row=self.number, column=column, value=value))


def parse_mapping(cell: str) -> dict[str, Any]:
    """Return `vacant: 0, occupied: 1`, with or without braces, or with a line for each pair."""
    is_block = "\n" in cell and not cell.startswith("{")
    tree, problems = compose(cell if is_block or cell.startswith("{") else f"{{{cell}}}", file=str(Path()))
    if ":" not in cell or tree is None or problems or not isinstance(tree.value, dict) or not tree.value:
        raise ValueError("pairs are expected, such as vacant: 0, occupied: 1")
    return tree.value


def parse_on_stale(cell: str) -> str | dict[str, Any]:
    """Return `hold`, `sentinel`, or the mapping of `{value: 0}`."""
    if cell.lower() in {"hold", "sentinel"}:
        return cell.lower()
    with suppress(ValueError):
        value = parse_mapping(cell)
        if set(value) == {"value"}:
            return value
    raise ValueError("hold, sentinel or a value, such as {value: 0}, is expected")


def parse_refill(cell: str) -> str:
    """Return `newest` or `history`."""
    if cell.lower() in {"newest", "history"}:
        return cell.lower()
    raise ValueError("newest or history is expected")
