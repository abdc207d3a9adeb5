"""Which changes of a value are too small to be told to receivers of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from gateway.model import Quality

if TYPE_CHECKING:
    from gateway.model import Cov, Scalar, Update


class Told(NamedTuple):
    """What was told last of a point, without the point itself, which may be of a table that has gone."""

    value: Scalar
    quality: Quality
    time_ms: int


def is_small_change(cov: Cov | None, told: Update | Told, update: Update) -> bool:
    """Say whether `update` differs too little from what was told last, and comes too early, to be told."""
    if cov is None or update.quality is not told.quality:
        return False
    if abs(update.time_ms - told.time_ms) >= cov.every_ms:  # the clock may have been set back
        return False
    if update.quality is Quality.GOOD and _is_number(update.value) and _is_number(told.value):
        # A millionth less than `delta`: in binary, 21.7 - 21.6 does not reach a deadband of 0.1.
        return abs(update.value - told.value) < cov.delta * 0.999999
    return update.value == told.value


def _is_number(value: Scalar) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
