"""What the log says of overrides that nobody asks for at the moment: restored ones, and those that end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.mapping.plan import PointMap
    from gateway.records import Override

log = structlog.get_logger()


def log_restored(forced: Iterable[Override]) -> None:
    """Tell after a start which points are forced from before."""
    for each in forced:
        log.info(
            "point.forced",
            point=each.point,
            value=each.value,
            until=second_text(each.until_ms),
            restored=True,
        )


def log_undated(forced: Iterable[Override]) -> None:
    """Tell after a start which overrides have ended since nobody knows how long they have lasted."""
    for each in forced:
        _log_released(log.warning, each, reason="the clock is behind its begin")


def log_expired(forced: Iterable[Override]) -> None:
    """Tell that these are over now."""
    for each in forced:
        _log_released(log.info, each, reason="expired")


def log_dropped(forced: Iterable[Override], *, points: PointMap) -> None:
    """Tell which of these the point tables in force do not allow."""
    for each in forced:
        _log_released(
            log.warning,
            each,
            reason="its range, register, map or unit is another one now"
            if each.point in points.by_name
            else "no point of the tables any more",
        )


def _log_released(write: Callable[..., object], forced: Override, *, reason: str) -> None:
    write(
        "point.released",
        point=forced.point,
        value=forced.value,
        until=second_text(forced.until_ms),
        reason=reason,
    )
