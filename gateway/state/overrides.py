"""Which points can be forced, and to what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import EncodingError, GatewayError
from gateway.mapping.convert import compile_conversion
from gateway.mapping.registers import encoder
from gateway.model import Quality, ValueKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Scalar

LONGEST_FORCE_S = 24 * 3600.0
"""An override is for commissioning: nobody should find a forgotten one next week."""


def check_forcing(points: PointMap, point: Point, value: Scalar) -> None:
    """Raise `GatewayError` where `point` cannot be made to show `value`."""
    if points.by_name.get(point.name) is not point:
        raise GatewayError(f"{point.name}: is no point of the tables in force")
    if point.is_pseudo:
        raise GatewayError(
            f"{point.name}: shows {point.source}, which the gateway makes itself; it cannot be forced"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise GatewayError(f"{point.name}: cannot be forced to {value}, which is no value")
    for register in point.registers:
        try:
            encoder(register)(value)
        except EncodingError as error:
            place = f"{register.sink}, unit {register.unit}, {register.table} {register.address}"
            raise GatewayError(f"{point.name}: cannot be forced to {value!r}: {place}: {error}") from error


def forced_value(point: Point, asked: object) -> Scalar:
    """Return what a user asks `point` to show: a value of the point, not a reading to be converted.

    Only what the point could show by itself: raises `GatewayError` for anything but a number, true, false
    or text, for text where numbers are shown, for what no reading is mapped to, and for what is outside
    the point's range. What its registers can hold, `check_forcing` knows.
    """
    if not isinstance(asked, str | int | float | bool):
        raise _refusal(point, asked, "a number, true, false or text is expected")
    conversion = point.conversion
    if conversion.map is not None:
        value = _mapped_to(point, conversion.map, asked)
    elif conversion.calculates or conversion.kind is ValueKind.NUMBER:
        value = _number(point, asked)
    else:
        return asked
    limits = conversion.range
    if limits is not None and not (isinstance(value, int | float) and limits[0] <= value <= limits[1]):
        unit = "" if point.unit_of_measure is None else f" {point.unit_of_measure}"
        raise _refusal(point, asked, f"its range is {limits[0]:g} to {limits[1]:g}{unit}")
    return value


def can_show(points: PointMap, point: Point, value: Scalar) -> bool:
    """Say whether `point` could be forced to `value` today."""
    try:
        check_forcing(points, point, value)
        return forced_value(point, value) == value
    except GatewayError:
        return False


def _mapped_to(point: Point, table: Mapping[str, Scalar], asked: Scalar) -> Scalar:
    """Return the value that `map` leads to and that equals what is asked for: true is 1, as in a register."""
    convert = compile_conversion(point.conversion)
    shown = {key: value for key in table for value, quality in [convert(key)] if quality is Quality.GOOD}
    for value in shown.values():
        if value == asked:
            return value
    known = ", ".join(f"{show(value)} ({key})" for key, value in shown.items())
    raise _refusal(point, asked, f"it shows one of {known}")


def _number(point: Point, asked: Scalar) -> float:
    if isinstance(asked, int | float):
        return int(asked) if isinstance(asked, bool) else asked
    raise _refusal(point, asked, "it shows numbers, not text")


def _refusal(point: Point, asked: object, reason: str) -> GatewayError:
    return GatewayError(f"{point.name}: cannot be forced to {show(asked)}: {reason}")
