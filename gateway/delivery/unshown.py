"""Points whose newest reading cannot be shown: kept for the status, logged when that begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.config.problems import show
from gateway.mapping.notation import address_text
from gateway.mapping.registers import encoding_errors
from gateway.mapping.units import UnitProblem, conversion_for_unit
from gateway.model import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Update
    from gateway.state.building_state import BuildingState

log = structlog.get_logger()

_MOST = 1_000  # points; whoever has more of them has mixed up something larger


class Unshown:
    """Keeps `reasons` by point. Costs nothing per reading but a look at its quality."""

    def __init__(self, reasons: dict[str, str]) -> None:
        """`reasons` is the status's own."""
        self._reasons = reasons

    def note(self, updates: Iterable[Update], *, image: BuildingState) -> None:
        """Take in what was measured, as far as it is the newest of its point."""
        for update in updates:
            is_concerned = update.quality is Quality.BAD or (
                self._reasons and update.point.name in self._reasons
            )
            if is_concerned and image.measured(update.point) is update:
                self._set(update)

    def look_again(self, image: BuildingState) -> None:
        """Judge by the tables of another image what is kept."""
        for name in list(self._reasons):
            point = image.points.by_name.get(name)
            measured = image.measured(point) if point is not None else None
            if measured is None:
                del self._reasons[name]
            else:
                self._set(measured)

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
    """Return why a reading of bad quality cannot be shown; None where it can, or is no value at all."""
    if update.quality is not Quality.BAD or update.raw is None:
        return None
    problem = _unit_problem(update)
    if problem is not None:
        return f"its reading is in {show(update.raw_unit)}: {problem.message}"
    if update.value is None and update.point.conversion.map is not None:
        return f"{show(update.raw)} is not in its map"
    found = [
        f"{register.sink}, unit {register.unit}, {address_text(register)}: {error}"
        for register, error in encoding_errors(update.point, update.value)
    ]
    return "; ".join(found) or None


def _unit_problem(update: Update) -> UnitProblem | None:
    """Return why a reading cannot be converted from the unit that its event states."""
    point = update.point
    if update.raw_unit is None:
        return None
    found = conversion_for_unit(point.conversion, point.unit_of_measure, update.raw_unit)
    return found if isinstance(found, UnitProblem) else None
