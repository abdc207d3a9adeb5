"""From what a sensor said to what the building is shown. Pure; compiled once per point into closures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from gateway.mapping.registers import room, round_half_away
from gateway.model import Quality, Scalar, Take

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.model import Conversion, Register

Convert = Callable[[Scalar], tuple[Scalar, Quality]]
"""Takes a reading's value, gives the point's value and its quality; (None, BAD) where there is no value."""

_UNUSABLE: tuple[Scalar, Quality] = (None, Quality.BAD)
_LONGEST_EXACT_INTEGER = 20  # characters of a 64-bit integer; anything longer is taken as a float
_EXACT_TO = 2.0**52  # beyond it, no float has that many decimals
_SMALLEST, _LARGEST = (
    -(2**63),
    2**64 - 1,
)  # no register and no JSON of ours holds more


def compile_conversion(conversion: Conversion, registers: Sequence[Register] = ()) -> Convert:
    """Return the conversion as one function, with only the steps that it needs.

    A value that one of `registers` cannot show is bad. What a map gives is known to fit.
    """
    if conversion.map is not None:
        take = _mapped(conversion.map)
    else:
        take = {Take.ANY: _anything, Take.NUMBER: _number, Take.SWITCH: _switch}[conversion.take]
    if conversion.calculates:
        return _calculated(take, conversion, registers)
    return _taken(take) if conversion.map is not None or not registers else _taken_if_shown(take, registers)


def _taken(take: Callable[[Scalar], Scalar]) -> Convert:
    good = Quality.GOOD

    def convert(value: Scalar) -> tuple[Scalar, Quality]:
        taken = take(value)
        return _UNUSABLE if taken is None else (taken, good)

    return convert


def _taken_if_shown(take: Callable[[Scalar], Scalar], registers: Sequence[Register]) -> Convert:
    lowest, highest, holds = room(registers)
    good, bad = Quality.GOOD, Quality.BAD

    def convert(value: Scalar) -> tuple[Scalar, Quality]:
        taken = take(value)
        if taken is None:
            return _UNUSABLE
        return taken, good if holds(taken) else bad

    def convert_number(value: Scalar) -> tuple[Scalar, Quality]:
        number = cast("float | None", take(value))
        if number is None:
            return _UNUSABLE
        return number, good if lowest <= number <= highest or holds(number) else bad

    return convert_number if lowest <= highest else convert


def _calculated(
    take: Callable[[Scalar], Scalar], conversion: Conversion, registers: Sequence[Register]
) -> Convert:
    (gain, offset), factor = conversion.linear, _factor(conversion)
    is_linear = gain != 1 or offset != 0
    cancels_below, places = abs(offset), _places(offset)
    lowest, highest, judge = _limits(conversion, registers)
    good = Quality.GOOD

    def convert(value: Scalar) -> tuple[Scalar, Quality]:
        number = cast("float | None", take(value))
        if number is None:
            return _UNUSABLE
        if is_linear:
            number = number * gain + offset
            if number - number != 0:  # the product was too large for a float
                return _UNUSABLE
            if -cancels_below < number < cancels_below:
                number = round(number, places) + 0  # never -0.0
            else:
                number = _without_noise(number)
        if not lowest <= number <= highest:
            return judge(number)
        return (number if factor is None else _rounded(number, factor)), good

    return convert


def _factor(conversion: Conversion) -> int | None:
    """Return what a number is multiplied by to be rounded; None: it is not rounded."""
    return None if conversion.decimals is None else 10**conversion.decimals


def _limits(
    conversion: Conversion, registers: Sequence[Register]
) -> tuple[float, float, Callable[[float], tuple[float, Quality]]]:
    """Return between which numbers nothing can be amiss, and what judges all others and rounds them."""
    low, high = conversion.range or (-math.inf, math.inf)
    clamp, factor = conversion.clamp, _factor(conversion)
    lowest, highest, holds = room(registers)
    step = 0 if factor is None else 1 / factor  # so much may rounding add
    good, bad = Quality.GOOD, Quality.BAD

    def judge(number: float) -> tuple[float, Quality]:
        is_outside = not low <= number <= high
        if is_outside and clamp:
            number = low if number < low else high
        if factor is not None:
            number = _rounded(number, factor)
            if clamp and not low <= number <= high:  # 0.25 is 0.3 with one decimal
                number = low if number < low else high
        is_bad = (is_outside and not clamp) or not holds(number)
        return number, bad if is_bad else good

    return max(low, lowest) + step, min(high, highest) - step, judge


def _without_noise(number: float) -> float:
    """Drop what binary arithmetic leaves behind: 21.8 - 0.4 is 21.400000000000002 and should read 21.4.

    14 significant digits hold milliseconds since 1970 and every meter's counter, and leave room for a few
    roundings below them.
    """
    return float("%.14g" % number) if number.__class__ is float else number  # noqa: UP031 - a third faster


def _places(offset: float) -> int:
    """Return the decimals behind which a difference is noise: 273.16 - 273.15 is 0.01000000000005.

    A result smaller than the offset is only as exact as the offset, of which 14 digits count.
    """
    return max(0, 13 - math.floor(math.log10(abs(offset)))) if offset else 0


def _rounded(number: float, factor: int) -> float:
    """Round to decimals as a person would; whole numbers come out as such, 21 and not 21.0."""
    if factor == 1:
        return _within_64_bits(round_half_away(number))
    scaled = number * factor
    return round_half_away(scaled) / factor if -_EXACT_TO < scaled < _EXACT_TO else number


def _anything(value: Scalar) -> Scalar:
    if isinstance(value, float) and value - value != 0:  # NaN and infinity are no values
        return None
    return value


def _number(value: Scalar) -> float | None:
    if value.__class__ is float or value.__class__ is int:
        number = cast("float", value)
        return number if number - number == 0 else None
    if isinstance(value, str):
        return _number_in(value)
    return None if value is None else int(value)


def _switch(value: Scalar) -> Scalar:
    if value is True or value is False:
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower(), _number_in(value))
    return _number(value)


def _number_in(text: str) -> float | None:
    """Return the number that a text is; None for anything else, such as "n/a", "21,5", "1_000" or "nan"."""
    if "_" in text or not text.isascii():
        return None
    try:
        if len(text) <= _LONGEST_EXACT_INTEGER and text.lstrip("+-").isdigit():
            return _within_64_bits(int(text))
        return _finite(float(text))
    except ValueError:
        return None


def _within_64_bits(number: int) -> float:
    return number if _SMALLEST <= number <= _LARGEST else float(number)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def same_readings(table: Mapping[str, Scalar]) -> Iterator[tuple[str, str]]:
    """Yield each key of a map that means what an earlier one means but gives another value, and that one."""
    first: dict[Scalar, str] = {}
    for key, output in table.items():
        lower = key.lower()
        number = None if lower in _BOOLEANS else _number_in(key)
        meaning: Scalar = lower if lower in _BOOLEANS else number
        if meaning is not None:
            same = first.setdefault(meaning, key)
            if table[same] != output:
                yield key, same


def _mapped(table: Mapping[str, Scalar]) -> Callable[[Scalar], Scalar]:
    """Look readings up: text as text, booleans under true and false, numbers by value (1.0 under 1).

    Text that is not found is looked up as the number it may be, a boolean as 0 or 1.
    """
    by_boolean = {key.lower() == "true": output for key, output in table.items() if key.lower() in _BOOLEANS}
    by_number = {number: output for key, output in table.items() if (number := _number_in(key)) is not None}

    def look_up(value: Scalar) -> Scalar:
        if isinstance(value, str):
            if value in table:
                return table[value]
            number = _number_in(value)
            return None if number is None else by_number.get(number)
        if (value is True or value is False) and value in by_boolean:
            return by_boolean[value]
        return None if value is None else by_number.get(value)

    return look_up


_BOOLEANS = frozenset({"true", "false"})
