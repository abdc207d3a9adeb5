"""From a raw body to an event and its readings. Pure, and tolerant of every shape that Infodeck may send.

The shape of `data.object` in `asset.telemetry.updated` is not documented. Four plausible ones are read
without configuration: a map, a list, a device shadow, one reading. For others, a point table can name an
explicit path.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import EventError
from gateway.json_text import load_json
from gateway.model import Event, Origin, Reading, Telemetry
from gateway.records import OnlineState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


TELEMETRY = "asset.telemetry.updated"
STATUS_CHANGED = "asset.status.changed"
MAPPED_TYPES = frozenset({TELEMETRY, STATUS_CHANGED})
"""The event types that points are made of. Others are stored and delivered only for a sink with `events`."""

ABOUT_ASSETS = "asset."
"""Prefix of the event types after which the inventory is read again."""

EVENT_PATTERN = r"^([A-Za-z0-9_-]+\.)*([A-Za-z0-9_-]+|\*)$"
"""`check_event_pattern` for editors."""

CLOCK_LEAD_MS = 300_000
"""What is dated further ahead of us than this comes from a wrong clock."""

_LONGEST_ID = 200
_CONTAINERS = ("telemetry", "readings", "data", "values", "properties")
_SHADOWS = ("shadow", "shadows")
_KEY_NAMES = ("key", "metric", "name")
_DEEPEST_NESTING = 4
_LONGEST_UNIT = 64  # of a unit of measure; longer than any known one
_LONGEST_HISTORY = 1_000  # readings of one key in one list; of a longer one, the newest

_EARLIEST_MS = 946_684_800_000  # 2000-01-01; before it, the sensor has no clock (1970)
_LATEST_MS = 253_402_300_799_000  # 9999-12-31
_MILLISECONDS_FROM = 1e11  # from here on a number is no longer in seconds
_FINER_UNITS = ((1e17, 1e6), (1e14, 1e3), (_MILLISECONDS_FROM, 1))  # from when on: milliseconds are so many

_ONLINE = {"online": True, "offline": False}

Item = tuple[str, Any, "int | None", "str | None"]
"""A value that was found: key, value, its own time in Unix ms, unit of measure."""


class EventPatterns:
    """Patterns of event types: a type, `workorder.*` for all types that begin with `workorder.`, or `*`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Make valid patterns ready to match."""
        self.patterns = frozenset(patterns)
        self._beginnings = tuple(each.removesuffix("*") for each in self.patterns if each.endswith("*"))

    def __contains__(self, event_type: str) -> bool:
        """Return whether a pattern matches an event type."""
        return event_type in self.patterns or event_type.startswith(self._beginnings)


def check_event_pattern(text: str) -> str:
    """Return text that is a pattern of event types; raise ValueError if it is none."""
    if not re.fullmatch(EVENT_PATTERN, text):
        raise ValueError('is no event type: write workorder.created, workorder.* or, for all types, "*"')
    return text


def parse_event(body: bytes, *, received_ms: int, origin: Origin | None = None) -> Event:
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
    event_id, kind = _text(document, "id"), _text(document, "type")
    if kind == TELEMETRY and not isinstance(_object(document), dict):
        raise EventError("`data.object` is missing or not an object")
    if readable is not body and "\ufffd" in event_id:  # two ids might look alike now
        raise EventError("`id` is no text")
    return Event(event_id, kind, readable, document, received_ms, origin)


def _text(document: dict[str, Any], name: str) -> str:
    text = document.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_ID:
        raise EventError(f"`{name}` is missing or not a string")
    return text


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


def read_online(event: Event) -> OnlineState | None:
    """Return the connection of the device in an `asset.status.changed`, None if it states none.

    It is `connectionStatus` if that is a boolean, otherwise a `status` of online or offline.
    """
    asset, thing = asset_of(event), _object(event.document)
    if asset is None:
        return None
    online = thing.get("connectionStatus")
    if not isinstance(online, bool):
        online = _ONLINE.get(str(thing.get("status")).strip().lower())
    return None if online is None else OnlineState(asset, online, _event_time_ms(event))


def asset_of(event: Event) -> str | None:
    """Return the id of the asset that an event names, None if it names none."""
    thing = _object(event.document)
    if not isinstance(thing, dict):
        return None
    nested = thing.get("asset")
    own = thing.get("id") if event.type.startswith(ABOUT_ASSETS) else None  # not that of a work order
    named = (thing.get("assetId"), nested.get("id") if isinstance(nested, dict) else nested, own)
    return next((asset for asset in named if isinstance(asset, str)), None) or None


def parse_time(value: object) -> int | None:
    """Return Unix ms for seconds, milliseconds or finer as number or text, or for ISO 8601; else None."""
    if isinstance(value, str):
        return _parse_time_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    time_ms = value * 1e3
    if value >= _MILLISECONDS_FROM:
        time_ms = value / next(divisor for bound, divisor in _FINER_UNITS if value >= bound)
    return round(time_ms) if _EARLIEST_MS <= time_ms <= _LATEST_MS else None


def _parse_time_text(text: str) -> int | None:
    with suppress(ValueError):
        return parse_time(float(text))
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        return parse_time((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return None


def named_shadows(shadows: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield each device shadow with its name, such as `DeviceUplink`; a lone shadow has the name None."""
    if _reported(shadows) is not None:
        yield None, shadows
        return
    for name, shadow in shadows.items():
        if isinstance(shadow, dict):
            yield name, shadow


def shadow_items(shadow: dict[str, Any]) -> Iterator[Item]:
    """Yield the readings in one device shadow.

    A time is the reading's own, else the key's in `metadata`, else that of the whole reported state. The
    shadow's own `timestamp` does not count: AWS sets it to the time of each answer.
    """
    readings, times = _split_shadow(shadow)
    return _map_items(readings, _timestamp(_reported(shadow)), times)


def shadow_time_ms(shadow: dict[str, Any], steps: Sequence[str | int]) -> int | None:
    """Return the time in Unix ms of the value at a path into one shadow (or None), as `shadow_items`."""
    found, times = _split_shadow(shadow)
    if found is not shadow:
        if steps[:2] != ["state", "reported"]:
            return None
        steps = steps[2:]
    time_ms = _timestamp(_reported(shadow))
    for step in steps:
        found, times = _entry(found, step), _entry(times, step)
        time_ms = _nearest_ms(found, times) or time_ms
    return time_ms


def _find_readings(event: Event, asset: str) -> Telemetry:
    event_ms = _event_time_ms(event)
    latest_ms = event.dated_ms + CLOCK_LEAD_MS
    for container, items in _candidates(_object(event.document)):
        readings: list[Reading] = []
        clock_ahead = 0
        for key, value, own_ms, unit in items:
            time_ms = own_ms or event_ms
            if time_ms > latest_ms:
                time_ms = event.dated_ms
                clock_ahead += 1
            readings.append(Reading(key, value, time_ms, unit))
        if readings:
            return Telemetry(asset, event_ms, tuple(readings), container, clock_ahead)
    return Telemetry(asset, event_ms)


def _event_time_ms(event: Event) -> int:
    """Return the time of readings without their own: the resource's, else `created`, else of receipt."""
    own_ms = _timestamp(_object(event.document)) or parse_time(event.document.get("created"))
    dated_ms = event.dated_ms
    return dated_ms if own_ms is None or own_ms > dated_ms + CLOCK_LEAD_MS else own_ms


def _object(document: dict[str, Any]) -> Any:
    data = document.get("data")
    return data.get("object") if isinstance(data, dict) else None


def _candidates(thing: dict[str, Any]) -> Iterator[tuple[str, Iterable[Item]]]:
    """Yield each container found, with its items."""
    for name in _CONTAINERS:
        container = thing.get(name)
        if isinstance(container, dict):
            yield name, _map_items(container, _timestamp(container))
        elif isinstance(container, list):
            yield f"{name}[]", _list_items(container)
    for name in _SHADOWS:
        container = thing.get(name)
        if isinstance(container, dict):
            yield _shadow_candidate(name, container)
    if "value" in thing:
        yield "value", _list_items([thing])


def _map_items(
    mapping: dict[str, Any],
    time_ms: int | None,
    times: Any = None,
    unit: str | None = None,
    *,
    prefix: str = "",
    depth: int = 0,
) -> Iterator[Item]:
    """Yield the values of a map, with the keys of nested objects joined by dots.

    `times` is the same map in the metadata of a shadow, with times instead of values.
    """
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _object_items(
                prefix + key, value, time_ms, times and _entry(times, key), unit, depth=depth
            )
        elif key != "timestamp":
            own_ms = _timestamp(_entry(times, key)) if times else None
            if isinstance(value, list):
                yield from _history_items(prefix + key, value, own_ms or time_ms, unit, depth=depth)
            else:
                yield prefix + key, value, own_ms or time_ms, unit


def _object_items(
    key: str,
    found: dict[str, Any],
    time_ms: int | None,
    times: Any = None,
    unit: str | None = None,
    *,
    depth: int = 0,
) -> Iterator[Item]:
    """Yield the one reading of an object `{value, unit, timestamp}`, or those of any other object."""
    if depth == _DEEPEST_NESTING:
        return
    time_ms = _nearest_ms(found, times) or time_ms
    if "value" not in found:
        yield from _map_items(found, time_ms, times, unit, prefix=f"{key}.", depth=depth + 1)
        return
    value, stated = found["value"], found.get("unit")
    unit = stated[:_LONGEST_UNIT] if isinstance(stated, str) else unit
    if isinstance(value, dict):
        yield from _object_items(key, value, time_ms, _entry(times, "value"), unit, depth=depth + 1)
    elif isinstance(value, list):
        yield from _history_items(key, value, time_ms, unit, depth=depth + 1)
    else:
        yield key, value, time_ms, unit


def _history_items(
    key: str, entries: list[Any], time_ms: int | None, unit: str | None, *, depth: int
) -> Iterator[Item]:
    """Yield a list of `{value, timestamp}` as readings in the order of time. Any other list is no value.

    One entry without a time makes the list unusable: what is newest would be a guess.
    """
    timed = [(_timestamp(entry), entry) for entry in entries if isinstance(entry, dict) and "value" in entry]
    if not entries or len(timed) < len(entries) or any(own_ms is None for own_ms, _ in timed):
        yield key, None, time_ms, unit
        return
    for own_ms, entry in sorted(timed, key=itemgetter(0))[-_LONGEST_HISTORY:]:
        yield from _object_items(key, entry, own_ms, None, unit, depth=depth)


def _list_items(items: list[Any]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, dict) and "value" in item:
            key = next((item[name] for name in _KEY_NAMES if isinstance(item.get(name), str)), None)
            if key:
                yield from _object_items(key, item, None)


def _shadow_candidate(name: str, shadows: dict[str, Any]) -> tuple[str, Iterable[Item]]:
    """Return the reported state of a lone shadow, or of all named ones (`DeviceUplink` and others) together.

    Of a key in several shadows, those of the shadow with the newest reading count; one with a time wins over
    one without. In an event, unlike in an answer of the API, the shadow's own `timestamp` is a time of its
    readings.
    """
    places: list[str] = []
    found: list[list[Item]] = []
    for shadow_name, shadow in named_shadows(shadows):
        place = name if shadow_name is None else f"{name}.{shadow_name}"
        places.append(place if _reported(shadow) is None else f"{place}.state.reported")
        shadow_ms = _timestamp(shadow)
        items = shadow_items(shadow)
        found.append([(key, value, own_ms or shadow_ms, unit) for key, value, own_ms, unit in items])
    return ", ".join(places), found[0] if len(found) == 1 else _newest_items(found)


def _newest_items(shadows: Iterable[list[Item]]) -> Iterator[Item]:
    """Return the items of each key from the shadow where its newest one is."""
    newest: dict[str, list[Item]] = {}
    for items in shadows:
        by_key: dict[str, list[Item]] = {}
        for item in items:
            by_key.setdefault(item[0], []).append(item)
        for key, of_key in by_key.items():
            if key not in newest or (of_key[-1][2] or 0) > (newest[key][-1][2] or 0):
                newest[key] = of_key
    return chain.from_iterable(newest.values())


def _split_shadow(shadow: dict[str, Any]) -> tuple[Any, Any]:
    """Return the readings of a shadow, and their times in `metadata`."""
    reported = _reported(shadow)
    return shadow if reported is None else reported, _entry(shadow.get("metadata"), "reported")


def _reported(shadow: dict[str, Any]) -> dict[str, Any] | None:
    reported = _entry(shadow.get("state"), "reported")
    return reported if isinstance(reported, dict) else None


def _nearest_ms(found: Any, times: Any) -> int | None:
    """Return the time of a value or object: its own, else that in the metadata of it or of its `value`."""
    own_ms = _timestamp(found)
    return own_ms if own_ms or times is None else _timestamp(times) or _timestamp(_entry(times, "value"))


def _timestamp(found: Any) -> int | None:
    stated = found.get("timestamp") if isinstance(found, dict) else None
    return None if stated is None else parse_time(stated)


def _entry(container: Any, step: str | int) -> Any:
    """Return the value at one step of a path, None if there is none."""
    if isinstance(container, dict):
        return container.get(step)
    is_there = isinstance(container, list) and isinstance(step, int) and step < len(container)
    return container[step] if is_there else None
