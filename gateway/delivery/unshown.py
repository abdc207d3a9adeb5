"""Points whose newest reading cannot be shown: listed in the status, logged when that begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.config.problems import show
from gateway.mapping.registers import address_text, encoding_errors
from gateway.mapping.units import UnitProblem, conversion_for_unit
from gateway.model import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Update
    from gateway.state.building_state import BuildingState

log = structlog.get_logger()

_MOST = 1_000  # points; with more, something larger is wrong


class UnshownPoints:
    """Keeps the reason of each point whose newest reading cannot be shown."""

    def __init__(self, reasons: dict[str, str]) -> None:
        """`reasons` is the one in the status, by point name."""
        self._reasons = reasons

    def check(self, updates: Iterable[Update], state: BuildingState) -> None:
        """Check those of these readings that are the newest of their points."""
        for update in updates:
            is_concerned = update.quality is Quality.BAD or (
                self._reasons and update.point.name in self._reasons
            )
            if is_concerned and state.measured(update.point) is update:
                self._set(update)

    def check_again(self, state: BuildingState) -> None:
        """Check the known points by the tables of another state."""
        for name in list(self._reasons):
            point = state.points.by_name.get(name)
            reading = state.measured(point) if point is not None else None
            if reading is None:
                del self._reasons[name]
            else:
                self._set(reading)

    def _set(self, update: Update) -> None:
        name, reason = update.point.name, _reason(update)
        if reason is None:
            if self._reasons.pop(name, None) is not None:
                log.info("point.shown", point=name)
        elif name in self._reasons or len(self._reasons) < _MOST:
            if name not in self._reasons:
                log.warning("point.unshown", point=name, reason=reason, event_id=update.event_id)
            self._reasons[name] = reason


def _reason(update: Update) -> str | None:
    """Return why a reading cannot be shown, None if it can or has no value at all."""
    point = update.point
    if update.quality is not Quality.BAD or update.raw is None:
        return None
    if update.raw_unit is not None:
        problem = conversion_for_unit(point.conversion, point.unit_of_measure, update.raw_unit)
        if isinstance(problem, UnitProblem):
            return f"its reading is in {show(update.raw_unit)}: {problem.message}"
    if update.value is None and point.conversion.map is not None:
        return f"{show(update.raw)} is not in its map"
    found = [
        f"{register.sink}, unit {register.unit}, {address_text(register)}: {error}"
        for register, error in encoding_errors(point, update.value)
    ]
    return "; ".join(found) or None
