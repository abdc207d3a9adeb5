"""From a raw body to an event and its readings. Pure, and tolerant of every shape that Infodeck may send.

The shape of `data.object` in `asset.telemetry.updated` is not documented. Four plausible ones are read
without configuration: a map, a list, a device shadow, one reading. For others, a point table can name an
explicit path.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import EventError
from gateway.json_text import load_json
from gateway.model import Event, Reading, Telemetry
from gateway.records import OnlineState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


TELEMETRY = "asset.telemetry.updated"
STATUS_CHANGED = "asset.status.changed"
JOURNALED = frozenset({TELEMETRY, STATUS_CHANGED})
"""The event types that are stored and delivered; all others are only counted."""

ABOUT_ASSETS = "asset."
"""Prefix of the event types after which the inventory is read again."""

_LONGEST_ID = 200
_CONTAINERS = ("telemetry", "readings", "data", "values", "properties")
_SHADOWS = ("shadow", "shadows")
_KEY_NAMES = ("key", "metric", "name")
_DEEPEST_NESTING = 4
_LONGEST_UNIT = 64  # of a unit of measure; longer than any known one

# Below the first bound, the sensor has no clock (1970); from each `…_FROM` on, the number is in a finer unit.
_EARLIEST_MS = 946_684_800_000  # 2000-01-01
_LATEST_MS = 253_402_300_799_000  # 9999-12-31
_MILLISECONDS_FROM = 1e11
_MICROSECONDS_FROM = 1e14
_NANOSECONDS_FROM = 1e17
_CLOCK_LEAD_MS = 300_000  # a reading that is further in the future comes from a wrong clock

_ONLINE = {"online": True, "offline": False}

_Item = tuple[str, Any, Any, "str | None"]
_ShadowItem = tuple[str, Any, "int | None", "str | None"]


def parse_event(body: bytes, *, received_ms: int) -> Event:
    """Return the event in a verified body; raise EventError if it is none.

    An event is a JSON object with a string `id` and `type`; telemetry also needs the object `data.object`.
    Its body is as received, except for text that no JSON reader could read again, see `load_json`.
    """
    try:
        document, readable = load_json(body)
    except orjson.JSONDecodeError as error:
        raise EventError("the body is not JSON") from error
    if not isinstance(document, dict):
        raise EventError("the body is not a JSON object")
    event_id, kind = document.get("id"), document.get("type")
    if not isinstance(event_id, str) or not 0 < len(event_id) <= _LONGEST_ID:
        raise EventError("`id` is missing or not a string")
    if not isinstance(kind, str) or not 0 < len(kind) <= _LONGEST_ID:
        raise EventError("`type` is missing or not a string")
    if kind == TELEMETRY and not isinstance(_object(document), dict):
        raise EventError("`data.object` is missing or not an object")
    if readable is not body and "\ufffd" in event_id:  # two ids might look alike now
        raise EventError("`id` is no text")
    return Event(event_id=event_id, type=kind, body=readable, document=document, received_ms=received_ms)


def keep_apart(event: Event) -> None:
    """Change the id of an event from outside if only the gateway's own events have such ids."""
    if event.is_backfilled:
        event.event_id = f"webhook_{event.event_id}"


def is_test(event: Event) -> bool:
    """Return whether the event only tests the webhook; it must never reach the building."""
    document = event.document
    return event.type == "webhook.test" or document.get("isTest") is True or document.get("livemode") is False


def read_telemetry(event: Event) -> Telemetry | None:
    """Return the event's asset, time and readings; None if it names no asset.

    They are searched for once and then stored in the event. The readings are those of the first container
    that has any; all named shadows count as one container. Keys of nested objects are joined by dots.
    """
    if event.telemetry is None and (asset := asset_of(event)) is not None:
        event.telemetry = _find_readings(event, asset)
    return event.telemetry


def _find_readings(event: Event, asset: str) -> Telemetry:
    event_ms = event_time_ms(event)
    latest_ms = event.received_ms + _CLOCK_LEAD_MS
    for container, items in _candidates(_object(event.document)):
        readings: list[Reading] = []
        clock_ahead = 0
        for key, value, timestamp, unit in items:
            time_ms = event_ms if timestamp is None else (parse_time(timestamp) or event_ms)
            if time_ms > latest_ms:
                time_ms = event.received_ms
                clock_ahead += 1
            readings.append(Reading(key, value, time_ms, unit))
        if readings:
            return Telemetry(asset, event_ms, tuple(readings), container, clock_ahead)
    return Telemetry(asset, event_ms)


def asset_of(event: Event) -> str | None:
    """Return the id of the asset that an event names, None if it names none."""
    thing = _object(event.document)
    if not isinstance(thing, dict):
        return None
    asset = thing.get("assetId")
    if not isinstance(asset, str):
        nested = thing.get("asset")
        asset = nested.get("id") if isinstance(nested, dict) else nested
    if not isinstance(asset, str):
        asset = thing.get("id")
    return asset if isinstance(asset, str) and asset else None


def event_time_ms(event: Event) -> int:
    """Return the time of readings without their own: the resource's, else `created`, else of receipt."""
    thing = _object(event.document)
    own = parse_time(thing.get("timestamp")) if isinstance(thing, dict) else None
    time_ms = own or parse_time(event.document.get("created")) or event.received_ms
    return min(time_ms, event.received_ms) if time_ms > event.received_ms + _CLOCK_LEAD_MS else time_ms


def read_online(event: Event) -> OnlineState | None:
    """Return the connection of the device in an `asset.status.changed`, None if it states none.

    It is `connectionStatus` if that is a boolean, otherwise a `status` of online or offline.
    """
    asset, thing = asset_of(event), _object(event.document)
    if asset is None:
        return None
    online = thing.get("connectionStatus")
    if not isinstance(online, bool):
        status = thing.get("status")
        online = _ONLINE.get(status.strip().lower()) if isinstance(status, str) else None
    return None if online is None else OnlineState(asset, online, event_time_ms(event))


def parse_time(value: object) -> int | None:
    """Return Unix ms for seconds, milliseconds or finer as number or text, or for ISO 8601; else None."""
    if isinstance(value, str):
        return _parse_time_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if value >= _NANOSECONDS_FROM:
        time_ms = value / 1e6
    elif value >= _MICROSECONDS_FROM:
        time_ms = value / 1e3
    elif value >= _MILLISECONDS_FROM:
        time_ms = value
    else:
        time_ms = value * 1e3
    return round(time_ms) if _EARLIEST_MS <= time_ms <= _LATEST_MS else None


def _parse_time_text(text: str) -> int | None:
    try:
        return parse_time(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return parse_time((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def _object(document: dict[str, Any]) -> Any:
    data = document.get("data")
    return data.get("object") if isinstance(data, dict) else None


def _candidates(thing: dict[str, Any]) -> Iterator[tuple[str, Iterator[_Item]]]:
    """Yield each container found, with its items: key, value, own timestamp, unit of measure."""
    for name in _CONTAINERS:
        container = thing.get(name)
        if isinstance(container, dict):
            yield name, _map_items(container, container.get("timestamp"))
        elif isinstance(container, list):
            yield f"{name}[]", _list_items(container)
    for name in _SHADOWS:
        container = thing.get(name)
        if isinstance(container, dict):
            yield from _shadow_candidates(name, container)
    if "value" in thing:
        yield "value", _list_items([thing])


def _map_items(
    mapping: dict[str, Any],
    timestamp: Any,
    unit: str | None = None,
    *,
    prefix: str = "",
    depth: int = 0,
) -> Iterator[_Item]:
    """Yield the values of a map, with the keys of nested objects joined by dots. A list is no value."""
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _object_items(prefix + key, value, timestamp, unit, depth=depth)
        elif key != "timestamp":
            yield prefix + key, None if isinstance(value, list) else value, timestamp, unit


def _object_items(
    key: str, found: dict[str, Any], timestamp: Any, unit: str | None = None, *, depth: int = 0
) -> Iterator[_Item]:
    """Yield the one reading of an object `{value, unit, timestamp}`, or those of any other object."""
    if depth == _DEEPEST_NESTING:
        return
    timestamp = found.get("timestamp", timestamp)
    if "value" not in found:
        yield from _map_items(found, timestamp, unit, prefix=f"{key}.", depth=depth + 1)
        return
    value, stated = found["value"], found.get("unit")
    unit = stated[:_LONGEST_UNIT] if isinstance(stated, str) else unit
    if isinstance(value, dict):
        yield from _object_items(key, value, timestamp, unit, depth=depth + 1)
    else:
        yield key, None if isinstance(value, list) else value, timestamp, unit


def _list_items(items: list[Any]) -> Iterator[_Item]:
    for item in items:
        if isinstance(item, dict) and "value" in item:
            key = next((item[name] for name in _KEY_NAMES if isinstance(item.get(name), str)), None)
            if key:
                yield from _object_items(key, item, None)


def shadow_items(shadow: dict[str, Any]) -> Iterator[_ShadowItem]:
    """Yield key, value, time in Unix ms (or None) and unit of each reading in one device shadow.

    The time is the reading's own, else the key's in `metadata`, else that of the whole reported state. The
    shadow's own `timestamp` does not count: AWS sets it to the time of each answer.
    """
    readings, times, reported_ms = _split_shadow(shadow)
    for key, value, own, unit in _map_items(readings, None):
        time_ms = parse_time(own)
        if time_ms is None and times:
            time_ms = _metadata_ms(times, (key,)) or _metadata_ms(times, key.split("."))
        yield key, value, time_ms or reported_ms, unit


def shadow_time_ms(shadow: dict[str, Any], steps: Sequence[str | int]) -> int | None:
    """Return the time in Unix ms of the value at a path into one shadow (or None), as `shadow_items`."""
    readings, times, reported_ms = _split_shadow(shadow)
    if readings is not shadow:
        if steps[:2] != ["state", "reported"]:
            return None
        steps = steps[2:]
    own_ms = None
    here: Any = readings
    for step in steps:
        here = _entry(here, step)
        own_ms = _timestamp(here) or own_ms
    return own_ms or _metadata_ms(times, steps) or reported_ms


def _split_shadow(shadow: dict[str, Any]) -> tuple[dict[str, Any], Any, int | None]:
    """Return the readings of a shadow, their times in `metadata`, and the time of the reported state."""
    reported, metadata = _reported(shadow), shadow.get("metadata")
    times = metadata.get("reported") if isinstance(metadata, dict) else None
    return shadow if reported is None else reported, times, _timestamp(reported)


def named_shadows(shadows: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield each device shadow with its name, such as `DeviceUplink`; a lone shadow has the name None."""
    if _reported(shadows) is not None:
        yield None, shadows
        return
    for name, shadow in shadows.items():
        if isinstance(shadow, dict):
            yield name, shadow


def _shadow_candidates(name: str, shadows: dict[str, Any]) -> Iterator[tuple[str, Iterator[_Item]]]:
    """Yield the reported state of a lone shadow, or of all named ones (`DeviceUplink` and others) together.

    Of a key in several shadows, the newest reading counts; one with a time wins over one without. In an
    event, unlike in an answer of the API, the shadow's own `timestamp` is a time of its readings.
    """
    places: list[str] = []
    newest: dict[str, _ShadowItem] = {}
    for shadow_name, shadow in named_shadows(shadows):
        shadow_ms = _timestamp(shadow)
        items = [(key, value, own_ms or shadow_ms, unit) for key, value, own_ms, unit in shadow_items(shadow)]
        if items:
            place = name if shadow_name is None else f"{name}.{shadow_name}"
            places.append(place + ("" if _reported(shadow) is None else ".state.reported"))
        for item in items:
            before = newest.get(item[0])
            if before is None or (item[2] or 0) > (before[2] or 0):
                newest[item[0]] = item
    yield ", ".join(places), iter(newest.values())


def _metadata_ms(times: Any, steps: Sequence[str | int]) -> int | None:
    """Return the time that a shadow's metadata has for a path, or for the `value` of an object there."""
    time_ms = None
    for step in steps:
        times = _entry(times, step)
        if times is None:
            return time_ms
        time_ms = _timestamp(times) or time_ms
    return time_ms or _timestamp(_entry(times, "value"))


def _timestamp(found: Any) -> int | None:
    return parse_time(found.get("timestamp")) if isinstance(found, dict) else None


def _entry(container: Any, step: str | int) -> Any:
    """Return the value at one step of a path, None if there is none."""
    if isinstance(container, dict):
        return container.get(step)
    is_there = isinstance(container, list) and isinstance(step, int) and step < len(container)
    return container[step] if is_there else None


def _reported(shadow: dict[str, Any]) -> dict[str, Any] | None:
    state = shadow.get("state")
    reported = state.get("reported") if isinstance(state, dict) else None
    return reported if isinstance(reported, dict) else None
