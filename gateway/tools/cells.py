"""Values of spreadsheet cells: numbers with either decimal mark, flags, durations, mappings. Pure."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import parse_duration
from gateway.config.yaml_tree import compose

if TYPE_CHECKING:
    from collections.abc import Iterable

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
