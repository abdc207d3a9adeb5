"""What stands where in a point list: its sheet, its headings, section rows, cells filled from above."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import ConfigError
from gateway.mapping.compile.automatic import as_level
from gateway.model import HEARTBEAT, is_computed
from gateway.text import unknown_name
from gateway.tools.headings import fold, folded_words, heading_row
from gateway.tools.synonyms import HEADINGS, POINT_KINDS, SPARE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.tools.headings import Headings
    from gateway.tools.sheet_files import Grid

ADDRESS_COLUMNS = ("address", "number", "modicon")
_MEASURING = ("from", "asset", "type", "unit_of_measure", *ADDRESS_COLUMNS)
_MODICON = re.compile(r"[01]\d{4,5}|[34]\d{4,5}")
_REGISTER_MODICON = re.compile(r"[34]\d{4,5}")
_SECTION = re.compile(r"\s+[–—-]\s+|\s*[:|]\s+|\n")  # noqa: RUF001 - dashes between a tag and its title
_WHOLE = re.compile(r"\d+(?:[.,]0+)?")
_NOTHING = {"", "-", "--"}
_LINE_END = re.compile(r"\s*\n\s*")
_NUMBERING = re.compile(r"[\d.]+")
_SPARE = folded_words([SPARE])
_SEPARATORS = "/'_.-"
_UNCLEAR_ADDRESS = (
    "{} may be a 3xxxx or 4xxxx number, or counted from 0 or 1: head the column `modicon address`,"
    " `PDU address` or `register number`"
)
_NO_HEADINGS = (
    "no row of headings is found in the first 50 rows: it needs three columns that are known, such as"
    " point, description, address, type"
)


def choose_sheet(grids: Sequence[Grid], title: str | None) -> tuple[Grid, int]:
    """Return the sheet with points and the index of its headings; raise ConfigError if it is unclear."""
    if title is not None:
        titles = [grid.title for grid in grids]
        if title not in titles:
            raise ConfigError([f"--sheet {title}: {unknown_name('sheet', title, filter(None, titles))}"])
        grids = [grids[titles.index(title)]]
    found = [
        (grid, row)
        for grid in grids
        if (title is not None or not grid.is_hidden) and (row := heading_row(grid.records)) is not None
    ]
    if not any(map(any, (record for grid in grids for record in grid.records))):
        raise ConfigError(["the file is empty"])
    if not found:
        raise ConfigError([_NO_HEADINGS])
    if len(found) > 1:
        named = ", ".join(show(grid.title) for grid, _ in found)
        raise ConfigError([f"the sheets {named} have points: choose one with --sheet NAME"])
    return found[0]


def refine_meanings(headings: Headings, records: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    """Decide by the cells what unclear headings mean; yield problems with the positions of their columns."""
    unit, kind = headings.position("unit"), headings.position("type")
    if unit is not None and "unit_of_measure" not in headings.keys and not headings.is_own:
        cells = _column(records, unit)
        if cells and not any(map(_WHOLE.fullmatch, cells)):
            headings.keys[unit] = "unit_of_measure"
    kinds = {fold(cell) for cell in _column(records, kind)} if kind is not None else set()
    if kind is not None and kinds and kinds <= folded_words([POINT_KINDS]):
        headings.keys[kind] = ""
        headings.remarks[kind] = "kinds of points, no register types"
    present = [column for column in ("address", "number") if column in headings.keys]
    if len(present) == 1 and "modicon" not in headings.keys:
        yield from _refine_address(headings, records, headings.keys.index(present[0]))


def _refine_address(
    headings: Headings, records: Sequence[Sequence[str]], index: int
) -> Iterator[tuple[int, str]]:
    key, cells = headings.keys[index], _column(records, index)
    if fold(headings.written[index]) in folded_words(HEADINGS[key]) and key == "address":
        return
    registers = [cell for cell in cells if _REGISTER_MODICON.fullmatch(cell)]
    is_modicon = registers and all(map(_MODICON.fullmatch, cells))
    if is_modicon and not headings.is_own:
        headings.keys[index] = "modicon"
        headings.remarks[index] = f"every cell is a number such as {registers[0]}"
    elif is_modicon or (registers and not headings.is_own and key == "address"):
        yield index, _UNCLEAR_ADDRESS.format(registers[0])
    elif key == "address" and not headings.is_own:
        headings.remarks[index] = "counted from 0; if it counts from 1, head it `register number`"


def _column(records: Sequence[Sequence[str]], index: int) -> list[str]:
    return [cell for record in records if index < len(record) and (cell := record[index].strip())]


class RowReader:
    """Reads the rows below the headings: which are points, and what they have from rows above.

    `skipped` and `sections` are the numbers of rows that are no points, with what they say. `filled` are the
    numbers of rows by the column that is filled. `stand_ins` are the columns that are derived from others.
    """

    def __init__(self, grid: Grid, headings: Headings) -> None:
        self.skipped: dict[int, str] = {}
        self.sections: dict[int, str] = {}
        self.filled: dict[str, list[int]] = {}
        self.stand_ins: dict[str, str] = {}
        self._grid = grid
        self._headings = headings
        self._tag = self._asset = ""
        self._titles: dict[str, str] = {}  # of sections, by tag

    def read_rows(self) -> list[tuple[int, dict[str, str]]]:
        """Return the number and the cells by column of each row with a point."""
        headings = self._headings
        rows = []
        for number, record in enumerate(self._grid.records[headings.row :], start=headings.row + 1):
            texts = [cell.strip() for cell in record]
            cells = dict(zip(headings.keys, texts, strict=False))
            cells = {key: text for key, text in cells.items() if key and text not in _NOTHING}
            cells |= {key: _LINE_END.sub(" ", cells[key]) for key in ("tag", "point") if key in cells}
            if any(texts) and not self._is_apart(number, texts, cells):
                self._fill(number, cells)
                rows.append((number, cells))
        self._skip_empty_sections([number for number, _ in rows])
        if not any("tag" in cells for _, cells in rows):
            self._split_names([cells for _, cells in rows])
        for _, cells in rows:
            self._stand_in(cells)
        return rows

    def _is_apart(self, number: int, texts: list[str], cells: dict[str, str]) -> bool:
        """Return whether a row is no point: headings again, a spare one, a section or a remark."""
        if [" ".join(text.split()) for text in texts if text] == [*filter(None, self._headings.written)]:
            self.skipped[number] = "the headings again"
        elif fold(cells.get("point", "")).rstrip("0123456789") in _SPARE and "from" not in cells:
            self.skipped[number] = "spare"
        elif any(key in cells for key in _MEASURING) or self._is_named(texts, cells):
            return False
        else:
            self._begin_section(number, texts, cells)
        return True

    def _is_named(self, texts: list[str], cells: dict[str, str]) -> bool:
        """Return whether a row has the name of a point; text alone in that column may be a section's."""
        is_alone = len([*filter(None, texts)]) == 1 and self._headings.position("tag") is None
        return "point" in cells and not is_alone

    def _begin_section(self, number: int, texts: list[str], cells: dict[str, str]) -> None:
        first, text = next(
            ((index, text) for index, text in enumerate(texts) if text and not _NUMBERING.fullmatch(text)),
            (len(texts), ""),
        )
        if "tag" not in cells and first > (self._headings.position("point") or 0):
            self.skipped[number] = f"no point: {show(text)}" if text else "no point"
            return
        text = cells.get("tag", text)
        parts = _SECTION.split(text)
        is_headed = len(parts) > 1 and fold(parts[0]) in folded_words(HEADINGS["tag"])
        tag = as_level(parts[is_headed])
        if self._titles.setdefault(tag, text) != text:  # `AHU - North` and `AHU - South` are two
            tag = as_level(text)
        self._tag, self._asset = tag, ""
        self.sections[number] = tag

    def _skip_empty_sections(self, rows: list[int]) -> None:
        """Count rows with text that no point follows, such as a legend, as skipped."""
        starts = [*self.sections, self._headings.row + len(self._grid.records) + 1]
        for start, end in pairwise(starts):
            if not any(start < row < end for row in rows):
                self.skipped[start] = f"no point below: {show(self.sections.pop(start))}"

    def _fill(self, number: int, cells: dict[str, str]) -> None:
        """Fill the tag from above, and the asset of the same tag; a heartbeat has neither.

        A computed point without an asset belongs to none.
        """
        source = cells.get("from", "")
        if source == HEARTBEAT:
            return
        for index, key in enumerate(self._headings.keys):
            if key and (number, index) in self._grid.filled:
                self.filled.setdefault(key, []).append(number)
        if "tag" not in cells and self._tag:
            cells["tag"] = self._tag
            self.filled.setdefault("tag", []).append(number)
        is_same_tag = cells.get("tag") == self._tag
        if "asset" not in cells and self._asset and is_same_tag and not is_computed(source):
            cells["asset"] = self._asset
            self.filled.setdefault("asset", []).append(number)
        self._tag, self._asset = cells.get("tag", ""), cells.get("asset", "")

    def _split_names(self, rows: list[dict[str, str]]) -> None:
        """Make the first part of all names the tag, if all of them have a separator in common."""
        names = [cells.get("point", "") for cells in rows]
        for mark in _SEPARATORS:
            if names and all(all(name.partition(mark)) for name in names):
                self.stand_ins["tag"] = f"the part of the point before {mark}"
                for cells in rows:
                    cells["tag"], _, cells["point"] = cells["point"].partition(mark)
                return

    def _stand_in(self, cells: dict[str, str]) -> None:
        """Use the tag as asset and the point as reading, if the sheet has no such columns."""
        for key, source in (("asset", "tag"), ("from", "point")):
            if key not in self._headings.keys and source in cells:
                cells[key] = cells[source]
                self.stand_ins[key] = source


def missing_columns(headings: Headings, rows: Sequence[dict[str, str]]) -> list[str]:
    """Return what a user has to add for the names that nothing in the sheet gives."""
    names = {
        "tag": "a column `tag`, or rows such as `AHU-1 - Air handling` above",
        "point": "a column `point`",
    }
    missing = [key for key in names if key not in headings.keys and not any(key in cells for cells in rows)]
    return [names[key] for key in missing]
