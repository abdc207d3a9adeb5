"""The deadband: which changes of a value are too small to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from gateway.model import Quality

if TYPE_CHECKING:
    from gateway.model import Cov, Scalar, Update


class PublishedValue(NamedTuple):
    """What was published last of a point, without the point itself, which may be of a former table."""

    value: Scalar
    quality: Quality
    time_ms: int


def is_small_change(cov: Cov | None, last: Update | PublishedValue, update: Update) -> bool:
    """Return whether `update` is within the deadband around the last published value, and within its time."""
    if cov is None or update.quality is not last.quality:
        return False
    if abs(update.time_ms - last.time_ms) >= cov.every_ms:  # the clock may have been set back
        return False
    if update.quality is Quality.GOOD and _is_number(update.value) and _is_number(last.value):
        # A millionth less than `delta`: in binary, 21.7 - 21.6 does not reach a deadband of 0.1.
        return abs(update.value - last.value) < cov.delta * 0.999999
    return update.value == last.value


def _is_number(value: Scalar) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
