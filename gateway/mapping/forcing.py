"""Which points can be forced, and to what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.errors import EncodingError, GatewayError
from gateway.mapping.registers import encoder

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Scalar


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
