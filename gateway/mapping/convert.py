"""From a reading to a point's value and quality. A conversion is compiled once per point into one function.

The steps: pick the bits; read the value as the kind that the point expects, or look it up in its `map`; apply
gain and offset; check `range` and the registers; round. A step that a point does not need is not in its
function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from gateway.mapping.registers import common_limits, round_half_away
from gateway.model import Quality, Scalar, ValueKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import Conversion, Register

Convert = Callable[[Scalar], tuple[Scalar, Quality]]
"""Converts a reading to the point's value and quality; (None, BAD) if it has no usable value."""

_Read = Callable[[Scalar], Scalar]
"""Reads a value as the expected kind; None if that is impossible."""

_UNUSABLE: tuple[Scalar, Quality] = (None, Quality.BAD)
_LONGEST_EXACT_INTEGER = 20  # digits of a 64-bit integer; a longer number is read as a float
_EXACT_TO = 2.0**52  # above it, floats have no decimals
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # the integers that registers and JSON can hold
_BOOLEANS = frozenset({"true", "false"})


def compile_conversion(conversion: Conversion, registers: Sequence[Register] = ()) -> Convert:
    """Return the function for a conversion.

    A value that one of `registers` cannot hold is of bad quality. The compiler has checked the values of a
    map.
    """
    if conversion.map is not None:
        read = _map_reader(conversion.map)
    else:
        readers = {ValueKind.ANY: _read_any, ValueKind.NUMBER: _read_number, ValueKind.SWITCH: _read_switch}
        read = readers[conversion.kind]
    if conversion.bits is not None:
        read = _bits_reader(conversion.bits, read)
    if conversion.calculates:
        return _calculating(read, conversion, registers)
    if conversion.map is not None or not registers:
        return _reading(read)
    return _reading_for_registers(read, registers)


def _reading(read: _Read) -> Convert:
    good = Quality.GOOD

    def convert(raw: Scalar) -> tuple[Scalar, Quality]:
        value = read(raw)
        return _UNUSABLE if value is None else (value, good)

    return convert


def _reading_for_registers(read: _Read, registers: Sequence[Register]) -> Convert:
    lowest, highest, holds = common_limits(registers)
    good, bad = Quality.GOOD, Quality.BAD

    def convert(raw: Scalar) -> tuple[Scalar, Quality]:
        value = read(raw)
        if value is None:
            return _UNUSABLE
        return value, good if holds(value) else bad

    def convert_number(raw: Scalar) -> tuple[Scalar, Quality]:
        number = cast("float | None", read(raw))
        if number is None:
            return _UNUSABLE
        return number, good if lowest <= number <= highest or holds(number) else bad

    return convert_number if lowest <= highest else convert


def _calculating(read: _Read, conversion: Conversion, registers: Sequence[Register]) -> Convert:
    (gain, offset), factor = conversion.linear, _power_of_ten(conversion.decimals)
    is_linear = gain != 1 or offset != 0
    cancels_below, decimals = abs(offset), _exact_decimals(offset)
    lowest, highest, limit = _limits(conversion, registers)
    good = Quality.GOOD

    def convert(raw: Scalar) -> tuple[Scalar, Quality]:
        number = cast("float | None", read(raw))
        if number is None:
            return _UNUSABLE
        if is_linear:
            number = number * gain + offset
            if number - number != 0:  # infinite: the product was too large for a float
                return _UNUSABLE
            if -cancels_below < number < cancels_below:
                number = round(number, decimals) + 0  # never -0.0
            else:
                number = without_noise(number)
        if not lowest <= number <= highest:
            return limit(number)
        return (number if factor is None else round_decimals(number, factor)), good

    return convert


def _power_of_ten(decimals: int | None) -> int | None:
    return None if decimals is None else 10**decimals


def _limits(
    conversion: Conversion, registers: Sequence[Register]
) -> tuple[float, float, Callable[[float], tuple[float, Quality]]]:
    """Return the bounds between which every number is good, and the function for all others.

    That function clamps, rounds and judges the number.
    """
    low, high = conversion.range or (-math.inf, math.inf)
    clamp, factor = conversion.clamp, _power_of_ten(conversion.decimals)
    lowest, highest, holds = common_limits(registers)
    step = 0 if factor is None else 1 / factor  # the most that rounding adds
    good, bad = Quality.GOOD, Quality.BAD

    def limit(number: float) -> tuple[float, Quality]:
        is_outside = not low <= number <= high
        if is_outside and clamp:
            number = low if number < low else high
        if factor is not None:
            number = round_decimals(number, factor)
            if clamp and not low <= number <= high:  # 0.25 is 0.3 with one decimal
                number = low if number < low else high
        is_bad = (is_outside and not clamp) or not holds(number)
        return number, bad if is_bad else good

    return max(low, lowest) + step, min(high, highest) - step, limit


def without_noise(number: float) -> float:
    """Remove the error of binary arithmetic: 21.8 - 0.4 is 21.400000000000002 and should read 21.4.

    14 significant digits are enough for milliseconds since 1970 and for meters, and remove the errors of a
    few operations.
    """
    return float("%.14g" % number) if number.__class__ is float else number  # noqa: UP031 - a third faster


def _exact_decimals(offset: float) -> int:
    """Return how many decimals of a sum with this offset are exact: 273.16 - 273.15 is 0.01000000000005.

    A sum that is smaller than the offset is only as exact as the offset, of which 14 digits count.
    """
    return max(0, 13 - math.floor(math.log10(abs(offset)))) if offset else 0


def round_decimals(number: float, factor: int) -> float:
    """Round to decimals, halves away from zero. Without decimals the result is an int, 21 and not 21.0."""
    if factor == 1:
        return _within_64_bits(round_half_away(number))
    scaled = number * factor
    return round_half_away(scaled) / factor if -_EXACT_TO < scaled < _EXACT_TO else number


def _read_any(raw: Scalar) -> Scalar:
    if isinstance(raw, float) and raw - raw != 0:  # NaN and infinity are no values
        return None
    return raw


def _read_number(raw: Scalar) -> float | None:
    if raw.__class__ is float or raw.__class__ is int:
        number = cast("float", raw)
        return number if number - number == 0 else None
    if isinstance(raw, str):
        return _number_in(raw)
    return None if raw is None else int(raw)


def _read_switch(raw: Scalar) -> Scalar:
    if raw is True or raw is False:
        return raw
    if isinstance(raw, str):
        return {"true": True, "false": False}.get(raw.strip().lower(), _number_in(raw))
    return _read_number(raw)


def _bits_reader(bits: int | tuple[int, int], read: _Read) -> _Read:
    """Return the reader of one bit, as true or false, or of several as a number; `read` gets that."""

    def read_bits(raw: Scalar) -> Scalar:
        number = status_word(raw)
        return None if number is None else read(picked_bits(bits, number))

    return read_bits


def picked_bits(bits: int | tuple[int, int], word: int) -> bool | int:
    """Return one bit of a word, as true or false, or several as a number."""
    if isinstance(bits, int):
        return word >> bits & 1 == 1
    lowest, highest = bits
    return word >> lowest & (1 << highest - lowest + 1) - 1


def status_word(raw: Scalar) -> int | None:
    """Return the whole number, from 0 on, whose bits can be read; None for anything else."""
    number = None if isinstance(raw, bool) else _read_number(raw)
    highest = _EXACT_TO if number.__class__ is float else _LARGEST
    if number is None or number % 1 or not 0 <= number <= highest:
        return None
    return int(number)


def _map_reader(table: Mapping[str, Scalar]) -> _Read:
    """Return the lookup in a map: text as text, booleans as `true` and `false`, numbers by value (1.0 as 1).

    Text that is not in the map is looked up as the number it contains, a boolean as 0 or 1.
    """
    by_boolean = {key.lower() == "true": output for key, output in table.items() if key.lower() in _BOOLEANS}
    by_number = {number: output for key, output in table.items() if (number := _number_in(key)) is not None}

    def look_up(raw: Scalar) -> Scalar:
        if isinstance(raw, str):
            if raw in table:
                return table[raw]
            number = _number_in(raw)
            return None if number is None else by_number.get(number)
        if (raw is True or raw is False) and raw in by_boolean:
            return by_boolean[raw]
        return None if raw is None else by_number.get(raw)

    return look_up


def _number_in(text: str) -> float | None:
    """Return the number that a text is, or None for anything else: "n/a", "21,5", "1_000", "nan"."""
    if "_" in text or not text.isascii():
        return None
    try:
        if len(text) <= _LONGEST_EXACT_INTEGER and text.lstrip("+-").isdigit():
            return _within_64_bits(int(text))
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _within_64_bits(number: int) -> float:
    return number if _SMALLEST <= number <= _LARGEST else float(number)
