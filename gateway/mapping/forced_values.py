"""What a point may be forced to: only what it could also show by itself. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import CommandError, EncodingError
from gateway.mapping.convert import compile_conversion
from gateway.mapping.registers import encoder
from gateway.model import Quality, Take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Conversion, Point, Scalar

LONGEST_FORCE_S = 24 * 3600.0
"""An override is for commissioning: nobody should find a forgotten one next week."""


def forced_value(point: Point, value: Scalar) -> Scalar:
    """Return `value` as the point is to show it: a value of the point, not a reading to be converted.

    Raises CommandError, which says why, for text or null where numbers are shown, for what no reading is
    mapped to, for what is outside the point's range, and for what one of its registers cannot hold.
    """
    if point.is_pseudo:
        raise CommandError(f"{point.name} is made by the gateway itself and can't be forced")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise CommandError(f"{point.name} can be forced to a number, to true or false, or to text")
    if point.conversion.map is not None:
        shown = _mapped_to(point, point.conversion.map, value)
    else:
        shown = _as_number(point, value) if _shows_numbers(point.conversion) else value
    _check_range(point, shown)
    _check_registers(point, shown)
    return shown


def _mapped_to(point: Point, table: Mapping[str, Scalar], value: Scalar) -> Scalar:
    """Return the value that `map` leads to and that equals `value`; true is 1 there, as in a register."""
    convert = compile_conversion(point.conversion)
    outcomes = {key: convert(key) for key in table}
    shown = {key: outcome for key, (outcome, quality) in outcomes.items() if quality is Quality.GOOD}
    for outcome in shown.values():
        if outcome == value:
            return outcome
    known = ", ".join(f"{show(outcome)} ({key})" for key, outcome in shown.items())
    raise CommandError(f"{point.name} shows one of {known}, not {show(value)}")


def _shows_numbers(conversion: Conversion) -> bool:
    return conversion.calculates or conversion.take is Take.NUMBER


def _as_number(point: Point, value: Scalar) -> float:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    raise CommandError(f"{point.name} shows numbers, not the text {show(value)}")


def _check_range(point: Point, value: Scalar) -> None:
    limits = point.conversion.range
    if limits is None or not isinstance(value, int | float) or limits[0] <= value <= limits[1]:
        return
    unit = "" if point.unit_of_measure is None else f" {point.unit_of_measure}"
    raise CommandError(
        f"{show(value)} is outside of the range of {point.name}, {limits[0]:g} to {limits[1]:g}{unit}"
    )


def _check_registers(point: Point, value: Scalar) -> None:
    for register in point.registers:
        try:
            encoder(register)(value)
        except EncodingError as error:
            raise CommandError(
                f"{register.table} register {register.address} of {point.name} on {register.sink}"
                f" can't show this: {error}"
            ) from error
