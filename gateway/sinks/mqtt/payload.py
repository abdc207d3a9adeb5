"""What MQTT messages are made of, as bytes: readings, times, and the properties of MQTT 5."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gateway.model import Quality
from gateway.sinks.broker.message import PackedProperties

if TYPE_CHECKING:
    from gateway.model import Scalar, Update

NO_EXPIRY = b""
NOT_IN_JSON = (TypeError, ValueError, OverflowError)
"""What is raised for a value that JSON cannot hold."""

_EXPIRY = b"\x02"  # MQTT 5 property identifiers
_USER_PROPERTY = b"\x26"
_SEVEN_BITS = 0x7F
_LONGEST_EXPIRY_S = 0xFFFFFFFF


class EventParts(NamedTuple):
    """An event's id as JSON and as user property."""

    json: bytes
    user_property: bytes


@lru_cache(maxsize=256)  # an event has several readings, which come together
def event_parts(event_id: str | None) -> EventParts:
    """Return how a message names the event that it comes from; None: no event caused it."""
    return EventParts(orjson.dumps(event_id), b"" if event_id is None else _user_property("event", event_id))


@lru_cache(maxsize=1024)  # points of one asset are made and sent together
def asset_property(asset: str) -> bytes:
    """Return the user property that names an asset; the gateway's own points have none."""
    return _user_property("asset", asset) if asset else b""


@lru_cache(maxsize=1024)  # a building has few units of measure
def middles(unit_of_measure: str | None) -> tuple[bytes, ...]:
    """Return what stands between value and time of a reading as JSON, by quality."""
    unit = orjson.dumps(unit_of_measure)
    return tuple(
        b',"unit":%b,"quality":"%b","ts":"' % (unit, quality.name.lower().encode()) for quality in Quality
    )


def reading_json(update: Update, middle: tuple[bytes, ...]) -> bytes:
    """Return value, unit, quality and time as JSON without the closing brace; `middle` is of its unit.

    Raises one of NOT_IN_JSON for a value that JSON cannot hold.
    """
    return b"".join((b'{"value":', orjson.dumps(update.value), middle[update.quality], time_json(update)))


def time_json(update: Update) -> bytes:
    """Return the time as JSON without the opening quote, always to the millisecond: so it sorts as text."""
    second, millisecond = divmod(update.time_ms, 1000)
    return b'%b.%03dZ"' % (_iso(second), millisecond)


def bare(value: Scalar) -> bytes:
    """Return the value as text. An empty payload would delete the retained topic: no value is `null`."""
    return (value.encode() if isinstance(value, str) else orjson.dumps(value)) or b"null"


def fresh_s(update: Update, *, age_ms: int) -> int | None:
    """Return for how many seconds the value stays fresh, at least 1; None where it does not expire.

    A value that is already shown as held, stale or bad does not expire: its flag stays to be seen.
    """
    stale_after_ms = update.point.stale_after_ms
    if update.quality is not Quality.GOOD or stale_after_ms is None:
        return None
    return min(max(1, (stale_after_ms - age_ms) // 1000), _LONGEST_EXPIRY_S)


def expiry(seconds: int | None) -> bytes:
    """Return the property of a message that the broker drops after some seconds; None: it keeps it."""
    return NO_EXPIRY if seconds is None else _EXPIRY + seconds.to_bytes(4, "big")


def properties(*parts: bytes) -> PackedProperties:
    """Return the properties of one PUBLISH."""
    packed = b"".join(parts)
    return PackedProperties(_variable_length(len(packed)) + packed)


@lru_cache(maxsize=1024)  # the readings of an event, and many events, share their second
def _iso(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()


def _user_property(name: str, value: str) -> bytes:
    """Return a user property; nothing for a value with control characters, at which brokers hang up."""
    if not value.isprintable():
        return b""
    return _USER_PROPERTY + _text(name) + _text(value)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _variable_length(length: int) -> bytes:
    """Return MQTT's variable byte integer: seven bits a byte, lowest first, the high bit says "more"."""
    encoded = bytearray()
    while length > _SEVEN_BITS:
        encoded.append(length & _SEVEN_BITS | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
