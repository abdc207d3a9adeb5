"""What a plain YAML scalar means by the core schema of YAML 1.2: null, true, false, numbers, else text."""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1
_MOST_DIGITS = 24  # enough for 64 bits in every base; Python itself refuses to read very long numbers


def resolve(text: str) -> bool | int | float | str | None:
    """Return the value of a plain scalar; raise ValueError for numbers that no point could hold."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _finite(float(text))
    if _NOT_FINITE.fullmatch(text):
        return _finite(math.nan)
    return text


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text, base) if len(text) <= _MOST_DIGITS else None
    if number is None or not _SMALLEST <= number <= _LARGEST:
        raise ValueError("a whole number must fit into 64 bits; put quotes around it if it is text")
    return number


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("a finite number is expected; put quotes around it if it is text")
    return number
