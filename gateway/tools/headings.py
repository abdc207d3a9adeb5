"""The row of headings of a point list: where it is, and what each column means."""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from gateway.tools.register_map import COLUMNS
from gateway.tools.synonyms import HEADINGS, OWN_ONLY, UNSPECIFIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

REQUIRED = ("tag", "point", "asset", "from")
"""The columns that a list of ours has; in other lists they may be missing."""
_MOST_ROWS = 50  # above the headings
_FEWEST_KNOWN = 3
_ALIKE = 0.8
_IN_PARENTHESES = re.compile(r"\([^)]*\)|\[[^]]*\]")


@dataclass(slots=True)
class Headings:
    """What the columns mean, by their positions: a key of the sheet, or "" if the column is ignored.

    `written` are the headings as in the sheet, `remarks` what is to be said about columns.
    """

    row: int
    written: tuple[str, ...]
    keys: list[str]
    remarks: dict[int, str] = field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """Return whether this is a list of ours, where each heading has the meaning that we document."""
        return {*REQUIRED} <= {own_name(cell) for cell in self.written}

    def position(self, key: str) -> int | None:
        """Return the position of a key's column, None if there is none."""
        return self.keys.index(key) if key in self.keys else None


def fold(text: str) -> str:
    """Return the letters and digits of a text, without capitals and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(mark for mark in plain if mark.isalnum())


def own_name(heading: str) -> str:
    """Return a heading as our columns are written: `unit_of_measure` for `Unit of measure`."""
    return re.sub(r"[\s_-]+", "_", heading.strip().lower())


def folded_words(words: Iterable[str]) -> set[str]:
    """Return the words of comma-separated lists, folded."""
    return {fold(word) for line in words for word in line.split(",") if fold(word)}


@cache
def _unspecific() -> Mapping[str, tuple[str, ...]]:
    """Return the keys that a folded heading may mean if no other heading means them."""
    return {word: keys for keys, lines in UNSPECIFIC.items() for word in folded_words(lines)}


@cache
def _specific() -> Mapping[str, str]:
    """Return the key of each folded heading that means nothing else."""
    known = {fold(column): column for column in COLUMNS if column not in OWN_ONLY}
    known |= {word: key for key, lines in HEADINGS.items() for word in folded_words(lines)}
    return {word: key for word, key in known.items() if word not in _unspecific()}


def _forms(heading: str) -> tuple[str, str]:
    """Return a heading folded, with and without what it has in parentheses."""
    return fold(heading), fold(_IN_PARENTHESES.sub("", heading))


def _only_meaning(heading: str) -> str | None:
    return next((_specific()[form] for form in _forms(heading) if form in _specific()), None)


def _other_meanings(heading: str) -> tuple[str, ...]:
    return next((_unspecific()[form] for form in _forms(heading) if form in _unspecific()), ())


def count_known(record: Sequence[str]) -> int:
    """Return how many different columns the cells of a row name."""
    return len({meaning for cell in record if (meaning := _only_meaning(cell) or _other_meanings(cell))})


def heading_row(records: Sequence[Sequence[str]]) -> int | None:
    """Return the index of the row with the most headings, None if no row has enough of them."""
    counts = [count_known(record) for record in records[:_MOST_ROWS]]
    most = max(counts, default=0)
    return counts.index(most) if most >= _FEWEST_KNOWN else None


def read_headings(record: Sequence[str], *, row: int) -> tuple[Headings, list[tuple[int, str]]]:
    """Return the meaning of all columns, and problems with the positions of their columns."""
    written = tuple(" ".join(cell.split()) for cell in record)
    headings = Headings(row, written, [""] * len(written))
    problems = _assign_specific(headings)
    for index, heading in enumerate(written):
        if headings.keys[index] or not heading:
            continue
        keys = _other_meanings(heading)
        headings.keys[index] = next((key for key in keys if key not in headings.keys), "")
        if not headings.keys[index]:
            headings.remarks[index] = _why_ignored(headings, heading, keys)
    _name_points(headings)
    return headings, problems


def _assign_specific(headings: Headings) -> list[tuple[int, str]]:
    """Set the keys of headings that mean only one; return a problem for each key that two of them mean.

    In a list of ours, the names of our columns mean these columns.
    """
    problems = []
    is_own = headings.is_own
    for index, heading in enumerate(headings.written):
        name = own_name(heading)
        key = name if is_own and name in COLUMNS else _only_meaning(heading)
        if key is None:
            continue
        if (first := headings.position(key)) is not None:
            problems.append((index, _twice(headings.written[first], heading, key)))
        headings.keys[index] = key
    return problems


def _twice(first: str, second: str, key: str) -> str:
    if fold(first) == fold(second):
        return "this heading is there twice"
    return f"means {key}, as `{first}` does: delete one of these columns"


def _why_ignored(headings: Headings, heading: str, keys: Sequence[str]) -> str:
    """Return what to say about a column that is ignored, "" if nothing."""
    if keys:
        used = headings.position(keys[-1])
        return "" if used is None else f"`{headings.written[used]}` is used"
    name = own_name(heading)
    if name in HEADINGS and name in OWN_ONLY:
        return f"means several things; if it is {name}, head it `{HEADINGS[name][0].partition(',')[0]}`"
    alike = difflib.get_close_matches(fold(heading), _specific(), n=1, cutoff=_ALIKE)
    return f"did you mean {_specific()[alike[0]]}?" if alike else ""


def _name_points(headings: Headings) -> None:
    """Make a column `Tag` that of the points, if there is no other column of names."""
    index = headings.position("tag")
    if index is not None and "point" not in headings.keys and own_name(headings.written[index]) == "tag":
        headings.keys[index] = "point"
