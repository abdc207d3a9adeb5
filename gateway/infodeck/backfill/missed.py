"""Pure: which of the readings that Infodeck's API shows no webhook has brought, nor will bring any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.infodeck.backfill.shadows import Found
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Point, Reading, Update

    Measured = Callable[[Point], Update | None]


@dataclass(frozen=True, slots=True)
class Missed:
    """The missed readings of one asset.

    `gaps`: of those whose points want their histories, by key the time of the last reading before.
    """

    readings: list[Reading]
    gaps: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.readings)


def missed_readings(
    found: Found, plan: AssetPlan, measured: Measured, *, tolerance_ms: int, now_ms: int
) -> Missed:
    """Compare what the shadows of an asset have with the newest reading of each of its points."""
    missed: dict[str, Reading] = {}
    for point in plan.measured:
        reading = found.readings.get(point.source)
        if reading is None:
            continue
        if _is_missed(reading, measured(point), tolerance_ms=tolerance_ms, now_ms=now_ms):
            missed[reading.key] = reading
    gaps = {
        key: since_ms
        for key, reading in missed.items()
        if (since_ms := _last_ms(key, plan, measured)) is not None and since_ms < reading.time_ms
    }
    return Missed([*missed.values()], gaps)


def _is_missed(reading: Reading, last: Update | None, *, tolerance_ms: int, now_ms: int) -> bool:
    if last is None:
        return True
    newer_ms = reading.time_ms - last.time_ms
    if newer_ms > tolerance_ms:
        return True
    # A little newer: its webhook may be on its way, or is told with another time. Not for ever.
    return newer_ms > 0 and reading.value != last.raw and now_ms - reading.time_ms > tolerance_ms


def _last_ms(key: str, plan: AssetPlan, measured: Measured) -> int | None:
    """Return the time of a key's last reading, None where there is none, or nobody wants its history."""
    points = [rule.point for rule in plan.by_key.get(key, ()) if rule.point.backfill]
    times = [last.time_ms for point in points if (last := measured(point)) is not None]
    return max(times, default=None)
