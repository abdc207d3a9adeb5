"""Single cells of a spreadsheet as values: numbers with either decimal mark, flags, durations. Pure."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from gateway.config.value_types import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")
_MONTHS = "jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|avr|juin|juil|ao[uû]t|d[eé]c"
_DATE = re.compile(
    rf"\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}(?:\s.*)?|\d{{1,2}}(?:\.\s?|[\s-])(?:{_MONTHS})[a-zé]*\.?(?:[\s-]\d{{2,4}})?"
    rf"|(?:{_MONTHS})[a-zé]*[\s.-]+\d{{2,4}}|\d{{1,2}}/\d{{1,2}}",
    re.IGNORECASE,
)
_SURE_DATE = re.compile(
    rf"\d{{1,2}}(?:\.\s?|-)(?:{_MONTHS})|(?:\d{{4}}-\d\d-\d\d|\d\d[./]\d\d[./]\d{{4}})(?:\s.*)?",
    re.IGNORECASE,
)
_ROUNDED = re.compile(r"\d[.,]\d+E\+\d+")
_YES = frozenset({"true", "wahr", "vrai", "yes", "ja", "oui", "1", "x"})
_NO = frozenset({"false", "falsch", "faux", "no", "nein", "non", "0"})
_BY_SEPARATOR = {";": ",", ",": "."}  # an Excel with decimal commas parts cells by semicolons


def decimal_mark(cells: Iterable[str], separator: str) -> str | None:
    """Return "." or ",", as the numbers of a file show it beyond doubt; else as the separator tells.

    None where neither tells: a thousand with its separator cannot be known from three decimals then.
    """
    marks = {
        mark
        for cell in cells
        if _NUMBER.fullmatch(cell) and not _THOUSANDS.fullmatch(cell)
        for mark in ".,"
        if mark in cell
    }
    return marks.pop() if len(marks) == 1 else _BY_SEPARATOR.get(separator)


def parse_number(text: str, *, decimal: str | None) -> int | float:
    """Return the number; raise ValueError with advice for what is none, or could be two."""
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
    plain = text.replace(",", ".")
    is_whole = plain.lstrip("+-").isdigit()
    number = int(plain) if is_whole and len(plain) <= 20 else float(plain)  # noqa: PLR2004 - 64 bits
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def parse_whole(text: str, *, decimal: str | None) -> int:
    """Return a whole number, which a spreadsheet may show as 3,0; raise ValueError for others."""
    number = parse_number(text, decimal=decimal)
    if number != int(number):
        raise ValueError("a whole number is expected")
    return int(number)


def parse_flag(text: str) -> bool:
    """Return what TRUE, WAHR, yes, x, 0 and the like mean; raise ValueError for others."""
    word = text.lower()
    if word not in _YES | _NO:
        raise ValueError("true or false is expected")
    return word in _YES


def is_flag(text: str) -> bool:
    """Say whether a cell would be taken for true or false."""
    return text.lower() in _YES | _NO


def is_no(text: str) -> bool:
    """Say whether the cell says false in so many words."""
    return text.lower() in _NO - {"0"}


def duration_text(text: str) -> str:
    """Return a duration as point tables have it; raise ValueError with advice for what is none."""
    plain = re.sub(r"\s", "", text).lower().replace(",", ".")
    if plain != "never" and parse_duration(plain) <= 0:
        raise ValueError("must be more than 0s")
    return plain


def damage(text: str) -> str | None:
    """Say what a spreadsheet seems to have done to a name, None where nothing shows."""
    if _SURE_DATE.fullmatch(text):
        return "looks like a date; has the spreadsheet made one of a name?"
    if _ROUNDED.fullmatch(text):
        return "looks like a rounded number; has the spreadsheet made one of an id?"
    return None
