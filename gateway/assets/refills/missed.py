"""Pure: which of the readings that Infodeck's API shows no webhook has brought, nor will bring any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.assets.refills.shadows import Found, PathReading
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Point, Reading, Update

    Measured = Callable[[Point], Update | None]


@dataclass(frozen=True, slots=True)
class Missed:
    """The missed readings of one asset.

    `gaps`: of those whose points want their histories, by key the time of the last reading before.
    """

    readings: list[Reading]
    by_path: list[PathReading]
    gaps: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.readings or self.by_path)


def missed_readings(
    found: Found, plan: AssetPlan, measured: Measured, *, tolerance_ms: int, now_ms: int
) -> Missed:
    """Compare what the shadows of an asset have with the newest reading of each of its points."""

    def is_missed(reading: Reading, point: Point) -> bool:
        last = measured(point)
        if last is None:
            return True
        newer_ms = reading.time_ms - last.time_ms
        if newer_ms > tolerance_ms:
            return True
        # A little newer: its webhook may be on its way, or is told with another time. Not for ever.
        return newer_ms > 0 and reading.value != last.raw and now_ms - reading.time_ms > tolerance_ms

    readings = [
        reading
        for key, reading in found.readings.items()
        if any(is_missed(reading, rule.point) for rule in plan.by_key[key])
    ]
    by_path = [each for each in found.by_path if is_missed(each.reading, each.rule.point)]
    gaps = {
        reading.key: since_ms
        for reading in readings
        if (since_ms := _last_ms(reading.key, plan, measured)) is not None and since_ms < reading.time_ms
    }
    return Missed(readings, by_path, gaps)


def _last_ms(key: str, plan: AssetPlan, measured: Measured) -> int | None:
    """Return the time of a key's last reading, None where there is none, or nobody wants its history."""
    points = [rule.point for rule in plan.by_key[key] if rule.point.refill_history]
    times = [last.time_ms for point in points if (last := measured(point)) is not None]
    return max(times, default=None)
