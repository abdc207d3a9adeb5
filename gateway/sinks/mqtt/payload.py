"""Parts of MQTT messages as bytes: readings, times, and the properties of MQTT 5."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gateway.model import Quality
from gateway.sinks.broker.paho_client import PackedProperties

if TYPE_CHECKING:
    from gateway.model import Scalar, Update

NOT_IN_JSON = (TypeError, ValueError, OverflowError)
"""The exceptions for a value that JSON cannot hold."""

_MESSAGE_EXPIRY = b"\x02"  # MQTT 5 property identifiers
_USER_PROPERTY = b"\x26"
_SEVEN_BITS = 0x7F
_LONGEST_EXPIRY_S = 0xFFFFFFFF


class EventParts(NamedTuple):
    """An event's id as JSON and as user property."""

    json: bytes
    user_property: bytes


@lru_cache(maxsize=256)  # an event has several readings, which come together
def event_parts(event_id: str | None) -> EventParts:
    """Return how a message names its event; None: no event caused it."""
    return EventParts(orjson.dumps(event_id), _user_property("event", event_id or ""))


@lru_cache(maxsize=1024)  # a building has few units of measure
def unit_and_quality(unit_of_measure: str | None) -> tuple[bytes, ...]:
    """Return the JSON between value and time of a reading, by quality."""
    unit = orjson.dumps(unit_of_measure)
    return tuple(
        b',"unit":%b,"quality":"%b","ts":"' % (unit, quality.name.lower().encode()) for quality in Quality
    )


def reading_json(update: Update, by_quality: tuple[bytes, ...]) -> bytes:
    """Return value, unit, quality and time as JSON without the closing brace.

    `by_quality` is the unit's `unit_and_quality`. Raises one of NOT_IN_JSON.
    """
    return b"".join((b'{"value":', orjson.dumps(update.value), by_quality[update.quality], time_json(update)))


def time_json(update: Update) -> bytes:
    """Return the time as JSON without the opening quote, always to the millisecond: so it sorts as text."""
    second, millisecond = divmod(update.time_ms, 1000)
    return b'%b.%03dZ"' % (_iso_second(second), millisecond)


def bare_value(value: Scalar) -> bytes:
    """Return the value as text. An empty payload would delete the retained topic: no value is `null`."""
    return (value.encode() if isinstance(value, str) else orjson.dumps(value)) or b"null"


def fresh_s(update: Update, *, age_ms: int) -> int | None:
    """Return for how many seconds the value stays fresh, at least 1; None if the message must not expire.

    A value that is held, stale or bad already does not expire: its quality stays visible.
    """
    stale_after_ms = update.point.stale_after_ms
    if update.quality is not Quality.GOOD or stale_after_ms is None:
        return None
    return min(max(1, (stale_after_ms - age_ms) // 1000), _LONGEST_EXPIRY_S)


def properties(asset: str, event: EventParts, *, expires_s: int | None) -> PackedProperties:
    """Return the properties of one PUBLISH. `expires_s`: when the broker drops it; None: never."""
    packed = event.user_property + _asset_property(asset)
    if expires_s is not None:
        packed = _MESSAGE_EXPIRY + expires_s.to_bytes(4, "big") + packed
    return PackedProperties(_variable_length(len(packed)) + packed)


@lru_cache(maxsize=1024)  # points of one asset are built and sent together
def _asset_property(asset: str) -> bytes:
    return _user_property("asset", asset)


@lru_cache(maxsize=1024)  # the readings of an event, and many events, share their second
def _iso_second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()


def _user_property(name: str, value: str) -> bytes:
    """Return a user property; none without value or with control characters: brokers disconnect at those."""
    if not value or not value.isprintable():
        return b""
    return _USER_PROPERTY + b"".join(
        len(text.encode()).to_bytes(2, "big") + text.encode() for text in (name, value)
    )


def _variable_length(length: int) -> bytes:
    """Return MQTT's variable byte integer: seven bits a byte, lowest first, the high bit means "more"."""
    encoded = bytearray()
    while length > _SEVEN_BITS:
        encoded.append(length & _SEVEN_BITS | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
