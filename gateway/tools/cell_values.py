"""Cells of point lists as values: numbers of any country, types, tables, state texts, scales."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from gateway.config.value_types import parse_duration
from gateway.config.yaml_tree import compose
from gateway.tools.headings import fold, folded_words
from gateway.tools.register_map import FLAGS
from gateway.tools.synonyms import FUNCTIONS, OBJECT_TYPES, ORDERS, TABLES, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMES = {"type": TYPES, "table": TABLES, "order": ORDERS, "object_type": OBJECT_TYPES}
_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")
_THOUSAND = re.compile(r"[-+]?[1-9]\d{0,2}([.,])\d{3}")  # or one with three decimals
_THOUSANDS = re.compile(r"([-+]?\d{1,3}(?:([.,])\d{3})+)((?!\2)[.,]\d+)?")
_GROUP = re.compile(r"(?<=\d)[ '\u2019\u2009\u202f\xa0](?=\d{3}(?!\d))")
_LONGEST_INTEGER = 20  # digits of a 64-bit integer
_TWO_NUMBERS = re.compile(r"\d+\s*\W+\s*\d+")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,8}")
_FRACTION = re.compile(r"(?:[x×*]|1?\s*(?P<over>[/:÷]))?\s*(?P<number>[-+]?[\d.,]+(?:[eE][-+]?\d+)?)")  # noqa: RUF001
_EQUALS = r"\s*(?:[=:]|\s[–-]\s)\s*"  # noqa: RUF001 - dashes between a number and a word
_NUMBER_FIRST = re.compile(
    rf"\s*(?P<number>-?\d+){_EQUALS}(?P<word>.+?)\s*(?:$|[,;/|\s](?=[,;/|\s]*-?\d+{_EQUALS}))[,;/|\s]*"
)
_WORD_FIRST = re.compile(rf"\s*(?P<word>.+?){_EQUALS}(?P<number>-?\d+)(?:\s*$|[,;/|\s]+)")


def cell_parsers(decimal: str | None) -> dict[str, Callable[[str], Any]]:
    """Return the functions that read the cells of each column; all other columns are text.

    `decimal` is the mark of the file's numbers, None if unknown. They raise ValueError.
    """
    number, whole = partial(parse_number, decimal=decimal), partial(_parse_whole, decimal=decimal)
    return {
        **dict.fromkeys(("gain", "offset", "range_low", "range_high", "cov", "scale"), number),
        **dict.fromkeys(("decimals", "unit", "bit", "object_instance"), whole),
        **dict.fromkeys(("address", "number"), partial(_parse_register, decimal=decimal)),
        **dict.fromkeys(("stale_after", "cov_every", "every"), _parse_duration),
        "multiplier": partial(_parse_multiplier, decimal=decimal),
        "scaling": partial(_parse_scaling, decimal=decimal),
        "map": _parse_map,
        "states": lambda cell: _parse_mapping(cell) if cell.startswith("{") else _parse_states(cell),
        "tags": _parse_mapping,
        **{column: partial(_parse_name, column=column) for column in ("type", "table", "object_type")},
        "function": _parse_function,
        "refill": _parse_word,
        "order": lambda cell: _parse_name(cell, column="order").upper(),
        "clamp": _parse_flag,
        "bits": _parse_bits,
        "shows": _parse_shown,
        "on_stale": _parse_on_stale,
        **dict.fromkeys(("mqtt", "bacnet"), _parse_sinks),
    }


def parse_number(text: str, *, decimal: str | None) -> int | float:
    """Return a number with a point or a comma; raise ValueError for any other, or an ambiguous one.

    `decimal` is the file's mark, None if unknown: then 1,125 may be a whole number or one with decimals.
    """
    text = _GROUP.sub("", text.replace("\N{MINUS SIGN}", "-"))
    thousand, thousands = _THOUSAND.fullmatch(text), _THOUSANDS.fullmatch(text)
    if thousand:
        if thousand[1] != decimal:
            raise ValueError(
                "may be a whole number or one with three decimals: write another number of decimals, and no"
                " separators of thousands"
            )
    elif thousands and not (thousands[1].startswith("0") or text.startswith(("-0", "+0"))):
        whole, mark = thousands[1], thousands[2]
        if thousands[3] or whole.count(mark) > 1:
            text = whole.replace(mark, "") + (thousands[3] or "")
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is expected")
    text = text.replace(",", ".")
    is_whole = text.lstrip("+-").isdigit() and len(text) <= _LONGEST_INTEGER
    number = int(text) if is_whole else float(text)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def _parse_whole(text: str, *, decimal: str | None) -> int:
    """Return a whole number, also from 3,0 and 0x10."""
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    number = parse_number(text, decimal=decimal)
    if number != int(number):
        raise ValueError("a whole number is expected")
    return int(number)


def _parse_register(text: str, *, decimal: str | None) -> int:
    try:
        return _parse_whole(text, decimal=decimal)
    except ValueError as error:
        if _THOUSAND.fullmatch(text) or not _TWO_NUMBERS.fullmatch(text):
            raise
        advice = "of several registers the first one, and a bit in a column `bit`"
        raise ValueError(f"a whole number is expected: {advice}") from error


def _parse_multiplier(text: str, *, decimal: str | None) -> int | float:
    """Return the scale of a register whose reader multiplies by this: 10 for 0.1, x 0.1, /10 and 1/10."""
    match = _FRACTION.fullmatch(text)
    if match is None:
        raise ValueError(
            "a factor such as 0.1 or 1/10 is expected; delete the column if it has something else"
        )
    number = parse_number(match["number"], decimal=decimal)
    if not number:
        raise ValueError("must not be 0, it would make every value 0")
    scale = Fraction(str(number)) if match["over"] else 1 / Fraction(str(number))
    return int(scale) if scale.denominator == 1 else float(scale)


def _parse_scaling(text: str, *, decimal: str | None) -> int | float:
    """Return the scale from a factor that is at most 1; a larger one may multiply or divide."""
    scale = _parse_multiplier(text, decimal=decimal)
    if abs(scale) < 1:
        raise ValueError(
            "may multiply or divide: head the column `divisor` if the register holds the value times this,"
            " `multiplier` if the value is the register times this"
        )
    return scale


@cache
def _our_names(column: str) -> Mapping[str, str]:
    """Return our names for what lists write in a column, by their words."""
    return {word: name for name, line in _NAMES[column].items() for word in folded_words([line])}


def _parse_name(text: str, *, column: str) -> str:
    return _our_names(column).get(fold(text)) or _parse_word(text)


def _parse_function(text: str) -> str:
    """Return the register table of function codes, such as `4`, `FC03` or `03/16`."""
    codes = {int(code) for code in re.findall(r"\d+", text)}
    table = next((name for name, known in FUNCTIONS.items() if codes and codes <= {*known}), None)
    if table is None:
        raise ValueError("function codes of one register table are expected, such as 3, 4 or 03/16")
    return table


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


def _parse_shown(text: str) -> str:
    if text.lower() not in {"value", "quality"}:
        raise ValueError("a register shows `quality`, or the value if the cell is empty")
    return text.lower()


def _parse_sinks(text: str) -> bool | list[str]:
    """Return the `mqtt` or `bacnet` column: false, true, or the names of sinks."""
    names = text.strip("[]").replace(",", " ").split()
    return FLAGS.get(text.lower(), names)


def _parse_duration(text: str) -> str:
    """Return a duration as point tables write it."""
    text = re.sub(r"\s", "", text).lower().replace(",", ".")
    if text != "never" and parse_duration(text) <= 0:
        raise ValueError("must be more than 0s")
    return text


def _parse_map(text: str) -> dict[str, Any]:
    """Return `vacant: 0, occupied: 1` as it is; `0=Aus; 1=Ein` the other way round, as words come in."""
    return _parse_mapping(text) if text.startswith("{") or "=" not in text else _parse_states(text)


def _parse_states(text: str) -> dict[str, Any]:
    """Return the numbers of state texts, such as `off=0, on=1`, `0=Aus;1=Ein` or `0: Off / 1: On`."""
    form = _NUMBER_FIRST if _NUMBER_FIRST.match(text) else _WORD_FIRST
    states: dict[str, Any] = {}
    end = 0
    while end < len(text):
        match = form.match(text, end)
        if match is None or match["word"] in states:
            raise ValueError("pairs of different words and their numbers are expected, such as off=0, on=1")
        states[match["word"]] = int(match["number"])
        end = match.end()
    return states


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
