"""The log of commissioning overrides that end, or go on after a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.records import Override
    from gateway.state.building_state import BuildingState

log = structlog.get_logger()


def log_restored(overrides: Iterable[Override]) -> None:
    """Log the overrides that go on after a start."""
    for override in overrides:
        log.info("point.forced", **_described(override), restored=True)


def log_expired(overrides: Iterable[Override]) -> None:
    """Log the overrides whose time is over."""
    for override in overrides:
        log.info("point.released", **_described(override), reason="expired")


def log_dropped(overrides: Iterable[Override], state: BuildingState) -> None:
    """Log the overrides that could not be restored, although their time is not over."""
    for override in overrides:
        reason = "no point of the tables any more"
        if override.point in state.points.by_name:
            reason = "its range, register, map or unit is another one now, or the clock is behind its begin"
        log.warning("point.released", **_described(override), reason=reason)


def _described(override: Override) -> dict[str, object]:
    return {"point": override.point, "value": override.value, "until": second_text(override.until_ms)}
