"""From the readings of one event to updates of points. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.mapping.convert import picked_bits, status_word
from gateway.mapping.paths import NOT_FOUND
from gateway.mapping.registers import address_text, encoding_errors
from gateway.mapping.units import UnitProblem, conversion_for_unit
from gateway.model import Quality, Reading, Update
from gateway.text import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.mapping.plan import AssetPlan, PathRule, PointMap, Rule
    from gateway.model import Event, Telemetry
    from gateway.records import LastValue


def map_telemetry(plan: AssetPlan, telemetry: Telemetry, *, event: Event, seq: int) -> list[Update]:
    """Return the updates that an event brings its asset's points, in the order of the readings."""
    event_id = event.event_id
    by_key = rules_by_key(plan, telemetry) if plan.has_choices else plan.by_key
    updates = [
        map_reading(rule, reading, seq, event_id)
        for reading in telemetry.readings
        for rule in by_key.get(reading.key, ())
    ]
    if plan.by_path:
        updates += [
            map_reading(rule, reading, seq, event_id)
            for rule, reading in readings_at_paths(plan, telemetry, event=event)
        ]
    return updates


def rules_by_key(plan: AssetPlan, telemetry: Telemetry) -> dict[str, tuple[Rule, ...]]:
    """Return the rules of each key that an event has. Of several keys of a point, the first one counts."""
    keys = {reading.key for reading in telemetry.readings}
    return {
        key: tuple(rule for rule in plan.by_key[key] if rule.preferred.isdisjoint(keys))
        for key in keys & plan.by_key.keys()
    }


def readings_at_paths(
    plan: AssetPlan, telemetry: Telemetry, *, event: Event
) -> Iterator[tuple[PathRule, Reading]]:
    """Yield the readings of points that read an explicit path, with the event's own time.

    An event that the gateway has made itself has readings with the path as their key.
    """
    for rule in plan.by_path:
        source = rule.point.source
        if event.is_backfilled:
            yield from ((rule, reading) for reading in telemetry.readings if reading.key == source)
        elif (found := rule.get(event.document)) is not NOT_FOUND:
            yield rule, Reading(source, found, telemetry.time_ms, rule.stated_unit(event.document))


def map_reading(rule: Rule, reading: Reading, seq: int, event_id: str | None) -> Update:
    """Convert one reading of an event for one point."""
    point, raw, unit = rule.point, reading.value, reading.unit_of_measure
    value, quality = (rule.convert if unit is None else rule.by_unit[unit])(raw)
    safe_value = value if quality is Quality.GOOD else point.on_stale.value
    return Update(point, value, safe_value, quality, reading.time_ms, seq, event_id, raw, unit)


def rules_for(points: PointMap, value: LastValue) -> Sequence[Rule]:
    """Return the rules of a point table for the asset and source of a saved reading."""
    plan = points.by_asset.get(value.asset)
    if plan is None:
        return ()
    by_path = [rule for rule in plan.by_path if rule.point.source == value.source]
    return plan.by_key.get(value.source, by_path)


def map_saved_reading(rule: Rule, value: LastValue) -> tuple[Update, Update]:
    """Convert a saved reading by the present rule; return the last good one and the newest one."""
    good = Reading(value.source, value.last_good, value.time_ms, value.last_good_unit)
    newest = Reading(value.source, value.raw, value.time_ms, value.raw_unit)
    seq, event_id = value.seq, value.event_id
    return map_reading(rule, good, seq, event_id), map_reading(rule, newest, seq, event_id)


def unshown_reason(update: Update) -> str | None:
    """Return why a reading cannot be shown, None if it can, has no value at all, or is out of range."""
    point = update.point
    if update.quality is not Quality.BAD or update.raw is None:
        return None
    if update.raw_unit is not None:
        problem = conversion_for_unit(point.conversion, point.unit_of_measure, update.raw_unit)
        if isinstance(problem, UnitProblem):
            return f"its reading is in {show(update.raw_unit)}: {problem.message}"
    if point.conversion.bits is not None and status_word(update.raw) is None:
        return f"{show(update.raw)} is not a whole number from 0 on, so it has no bits"
    if update.value is None and point.conversion.map is not None:
        bits, word = point.conversion.bits, status_word(update.raw)
        if bits is None or word is None:
            return f"{show(update.raw)} is not in its map"
        return f"{show(picked_bits(bits, word))}, from the bits of {show(update.raw)}, is not in its map"
    found = [
        f"{register.sink}, unit {register.unit}, {address_text(register)}: {error}"
        for register, error in encoding_errors(point, update.value)
    ]
    return "; ".join(found) or None


def unused_reason(member: Update | None, kind: str) -> str | None:
    """Return why a computed point of some kind leaves out what a member shows, None if it uses it."""
    if member is None:
        return "no reading yet"
    point, quality = member.point, member.quality
    if quality in {Quality.GOOD, Quality.FORCED}:
        is_unusable = isinstance(member.value, str) and kind != "count"
        return "it is text, not a number" if is_unusable else None
    if quality is Quality.OFFLINE:
        return "the device is not connected"
    if quality is Quality.BAD:
        return bad_reason(member)
    if point.is_computed or point.stale_after_ms is None:
        return "it cannot be computed now"
    return f"older than {duration_text(point.stale_after_ms)}"


def bad_reason(update: Update) -> str | None:
    """Return why a reading is of bad quality, None if it is not."""
    if update.quality is not Quality.BAD:
        return None
    if update.raw is None and update.point.is_computed:
        return "it cannot be computed from what its members show"
    if update.raw is None:
        return "the event has no value for it"
    limits = update.point.conversion.range
    if update.value is not None and limits is not None:
        outside = f"{show(update.value)} is outside its range, {limits[0]:.12g} to {limits[1]:.12g}"
        return unshown_reason(update) or outside
    return unshown_reason(update) or f"{show(update.raw)} is no number"
