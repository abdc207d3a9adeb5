"""From the readings of one event to updates of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mapping.paths import NOT_FOUND
from gateway.model import Quality, Reading, Update

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.mapping.plan import AssetPlan, PathRule, Rule
    from gateway.model import Event


def map_readings(
    plan: AssetPlan, readings: Sequence[Reading], *, event: Event, time_ms: int, seq: int
) -> list[Update]:
    """Return what one event's readings mean for its asset's points, in the order of the readings.

    `time_ms` is the event's own time, for points that read an explicit path.
    """
    event_id = event.event_id
    by_key = plan.by_key
    updates = [
        update_of(rule, reading, seq, event_id)
        for reading in readings
        for rule in by_key.get(reading.key, ())
    ]
    if plan.by_path:
        updates += [
            update_of(rule, reading, seq, event_id)
            for rule, reading in at_paths(plan, readings, event=event, time_ms=time_ms)
        ]
    return updates


def at_paths(
    plan: AssetPlan, readings: Sequence[Reading], *, event: Event, time_ms: int
) -> Iterator[tuple[PathRule, Reading]]:
    """Yield what an event has for points that read an explicit path.

    An event that the gateway made itself has a reading with the path as its key. What its body looks like
    is nothing that a path into Infodeck's events could mean.
    """
    for rule in plan.by_path:
        source = rule.point.source
        if event.is_backfilled:
            yield from ((rule, reading) for reading in readings if reading.key == source)
        elif (found := rule.get(event.document)) is not NOT_FOUND:
            yield rule, Reading(source, found, time_ms, rule.stated_unit(event.document))


def update_of(rule: Rule, reading: Reading, seq: int, event_id: str | None) -> Update:
    """Return what one reading of an event means for a point."""
    point, raw, unit = rule.point, reading.value, reading.unit_of_measure
    value, quality = (rule.convert if unit is None else rule.by_unit[unit])(raw)
    plain = value if quality is Quality.GOOD else point.on_stale.value
    return Update(point, value, plain, quality, reading.time_ms, seq, event_id, raw, unit)
