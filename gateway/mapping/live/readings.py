"""From the readings of one event to updates of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mapping.plan import MISSING
from gateway.model import Quality, Update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.mapping.convert import Convert
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Event, Point, Reading, Scalar


def map_readings(
    plan: AssetPlan, readings: Sequence[Reading], *, event: Event, time_ms: int, seq: int
) -> list[Update]:
    """Return what one event's readings mean for its asset's points, in the order of the readings.

    `time_ms` is the event's own time, for points that read an explicit path.
    """
    event_id = event.event_id
    by_key = plan.by_key
    updates = [
        update_of(rule.point, rule.convert, reading.value, reading.time_ms, seq, event_id)
        for reading in readings
        for rule in by_key.get(reading.key, ())
    ]
    for path in plan.by_path:
        found = path.get(event.document)
        if found is not MISSING:
            updates.append(update_of(path.point, path.convert, found, time_ms, seq, event_id))
    return updates


def update_of(  # noqa: PLR0917 - called per reading
    point: Point, convert: Convert, raw: Scalar, time_ms: int, seq: int, event_id: str | None
) -> Update:
    """Return what one reading means for a point."""
    value, quality = convert(raw)
    plain = value if quality is Quality.GOOD else point.on_stale.value
    return Update(point, value, plain, quality, time_ms, seq, event_id, raw)
