"""How `gateway import` understands a spreadsheet, for people: its columns, its rows, what it lacks."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.text import align_columns, count_text, sanitise_line
from gateway.tools.headings import own_name
from gateway.tools.sheet_layout import ADDRESS_COLUMNS
from gateway.tools.sheet_points import DERIVED_COLUMNS
from gateway.tools.spreadsheet import column_letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.tools.spreadsheet import Sheet

_LONGEST_HEADING = 40
_MOST_NAMED = 10
_TIMES_REGISTER = "scale: the value is the register times this"
_MEANINGS = {"multiplier": _TIMES_REGISTER, "scaling": _TIMES_REGISTER, "states": "map", "function": "table"}


def understanding_text(sheet: Sheet) -> str:
    """Return how the sheet is understood, as lines for a terminal."""
    headings = sheet.headings
    title = f"sheet {show(sheet.title)}, " if sheet.title else ""
    head = f"{title}headings in row {headings.row}, {count_text(len(sheet.rows), 'row')} with points\n"
    return head + align_columns([*_columns(sheet), *_rows(sheet), *_missing(sheet)])


def _columns(sheet: Sheet) -> Iterator[tuple[str, ...]]:
    """Yield letter, heading and meaning of each column; those named as we name them share a line."""
    headings, as_named = sheet.headings, []
    for index, (heading, key) in enumerate(zip(headings.written, headings.keys, strict=True)):
        if not heading:
            continue
        is_used = key and (headings.is_own or key not in DERIVED_COLUMNS)
        if is_used and own_name(heading) == key not in _MEANINGS and index not in headings.remarks:
            as_named.append(key)
            continue
        meaning = _MEANINGS.get(key, key) if is_used else "ignored"
        remark = headings.remarks.get(index)
        letters = column_letters(index)
        shown = sanitise_line(heading, longest=_LONGEST_HEADING)
        yield f"column {letters}", shown, f"{meaning} ({remark})" if remark else meaning
    if as_named:
        named = ", ".join(as_named) if len(as_named) <= _MOST_NAMED else f"{len(as_named)} columns"
        yield "others", "", f"as they are named: {named}"


def _rows(sheet: Sheet) -> Iterator[tuple[str, ...]]:
    layout = sheet.layout
    for row, tag in layout.sections.items():
        yield f"row {row}", "section", f"tag {tag}"
    for key, rows in layout.filled.items():
        yield f"rows {_ranges(rows)}", "filled", f"{key} from above"
    for row, reason in layout.skipped.items():
        yield f"row {row}", "skipped", reason


def _missing(sheet: Sheet) -> Iterator[tuple[str, ...]]:
    for key, source in sheet.layout.stand_ins.items():
        yield key, "not there", f"{source} stands in"
    has_addresses = any(column in sheet.columns for column in ADDRESS_COLUMNS)
    if has_addresses and not {"table", "function", "modicon"} & {*sheet.columns}:
        yield "table", "not there", "input registers"


def _ranges(rows: Iterable[int]) -> str:
    """Return row numbers in order: `8-12, 14`."""
    runs = [[row for _, row in run] for _, run in groupby(enumerate(rows), key=lambda one: one[1] - one[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
