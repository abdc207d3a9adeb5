"""Which points can be forced, and to what. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import EncodingError, GatewayError
from gateway.mapping.convert import compile_conversion
from gateway.mapping.object_types import object_error
from gateway.mapping.registers import encoder
from gateway.model import Quality, ValueKind

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Scalar

LONGEST_OVERRIDE_S = 24 * 3600.0
"""An override is for commissioning: a forgotten one must not last until next week."""


def parse_override(point: Point, requested: object) -> Scalar:
    """Return the value to force `point` to: a value of the point, not a reading to be converted.

    Raise `GatewayError` for a value that the point could not show by itself: outside its range, in no `map`,
    text instead of a number. `check_override` checks what its registers and objects can hold.
    """
    conversion = point.conversion
    if not isinstance(requested, str | int | float | bool):
        raise _refusal(point, requested, "a number, true, false or text is expected")
    if conversion.map is not None:
        return _mapped_value(point, requested)
    if not conversion.calculates and conversion.kind is not ValueKind.NUMBER:
        return requested
    if isinstance(requested, str):
        raise _refusal(point, requested, "it shows numbers, not text")
    value = int(requested) if isinstance(requested, bool) else requested
    limits = conversion.range
    if limits is not None and not limits[0] <= value <= limits[1]:
        unit = "" if point.unit_of_measure is None else f" {point.unit_of_measure}"
        raise _refusal(point, requested, f"its range is {limits[0]:g} to {limits[1]:g}{unit}")
    return value


def check_override(points: PointMap, point: Point, value: Scalar) -> None:
    """Raise `GatewayError` if `point` cannot show `value`."""
    if points.by_name.get(point.name) is not point:
        raise GatewayError(f"{point.name}: is no point of the tables in force")
    if point.is_pseudo:
        raise GatewayError(
            f"{point.name}: shows {point.source}, which the gateway makes itself; it cannot be forced"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise GatewayError(f"{point.name}: cannot be forced to {value}, which is no value")
    for register in point.value_registers:
        try:
            encoder(register)(value)
        except EncodingError as error:
            place = f"{register.sink}, unit {register.unit}, {register.table} {register.address}"
            raise GatewayError(f"{point.name}: cannot be forced to {value!r}: {place}: {error}") from error
    for shown in point.objects:
        if (reason := object_error(shown, value)) is not None:
            raise GatewayError(f"{point.name}: cannot be forced to {value!r}: {shown.sink}: {reason}")


def can_show(points: PointMap, point: Point, value: Scalar) -> bool:
    """Return whether `point` could be forced to `value` now."""
    try:
        check_override(points, point, value)
        return parse_override(point, value) == value
    except GatewayError:
        return False


def _mapped_value(point: Point, requested: Scalar) -> Scalar:
    """Return the output of `map` that equals the requested value; true is 1, as in a register."""
    convert = compile_conversion(replace(point.conversion, bits=None))
    outputs = {key: convert(key) for key in point.conversion.map or ()}
    good = {key: value for key, (value, quality) in outputs.items() if quality is Quality.GOOD}
    for value in good.values():
        if value == requested:
            return value
    choices = ", ".join(f"{show(value)} ({key})" for key, value in good.items())
    raise _refusal(point, requested, f"it shows one of {choices}")


def _refusal(point: Point, requested: object, reason: str) -> GatewayError:
    return GatewayError(f"{point.name}: cannot be forced to {show(requested)}: {reason}")
