"""What a point looks like on MQTT: its topics, its messages, and its deadband."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import orjson

from gateway.model import Quality
from gateway.sinks._mqtt_connection import Message, PackedProperties

if TYPE_CHECKING:
    from gateway.model import Point, Scalar, Update

_EXPIRY = b"\x02"  # MQTT 5 property identifiers
_USER_PROPERTY = b"\x26"
_SEVEN_BITS = 0x7F
_LONGEST_EXPIRY_S = 0xFFFFFFFF


class Companion(NamedTuple):
    """A retained message beside the values, which says what something is."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class Outlet:
    """One point on one sink, with all that its messages have in common, made once."""

    point: Point
    topic: str
    plain: bool  # the bare value instead of JSON
    middles: tuple[bytes, ...]  # of the JSON: all between value and time, by quality
    asset_property: bytes
    published: Update | None = None  # the last one on the live topic, on this connection

    @classmethod
    def of(cls, point: Point, topic: str, *, plain: bool) -> Outlet:
        """Make the outlet of a point."""
        unit = orjson.dumps(point.unit_of_measure)
        return cls(
            point=point,
            topic=topic,
            plain=plain,
            middles=tuple(
                b',"unit":%b,"quality":"%b","ts":"' % (unit, quality.name.lower().encode())
                for quality in Quality
            ),
            asset_property=_user_property("asset", point.asset) if point.asset else b"",
        )

    def within_deadband(self, update: Update) -> bool:
        """Say whether `update` differs too little, and comes too early, to be worth a message."""
        cov, last = self.point.cov, self.published
        if cov is None or last is None or update.quality is not last.quality:
            return False
        if update.time_ms - last.time_ms >= cov.every_ms:
            return False
        if update.quality is Quality.GOOD and _is_number(update.value) and _is_number(last.value):
            # A millionth less than `delta`: in binary, 21.7 - 21.6 does not reach a deadband of 0.1.
            return abs(update.value - last.value) < cov.delta * 0.999999
        return update.value == last.value

    def live(self, update: Update, *, now_ms: int) -> Message:
        """Return the retained message; it expires when the value is no longer fresh.

        A value that is already shown as held, stale or bad does not expire: its flag stays to be seen.
        """
        stale_after_ms = self.point.stale_after_ms
        expiry = b""
        if update.quality is Quality.GOOD and stale_after_ms is not None:
            fresh_s = (stale_after_ms - (now_ms - update.time_ms)) // 1000
            expiry = _EXPIRY + min(max(1, fresh_s), _LONGEST_EXPIRY_S).to_bytes(4, "big")
        return self._message(self.topic, update, retain=True, expiry=expiry)

    def history(self, update: Update) -> Message:
        """Return the message for a reading that is not the newest: beside the live topic, not retained."""
        return self._message(f"{self.topic}/$history", update, retain=False)

    def meta(self) -> Companion:
        """Return what the point is, as JSON without what is empty, and where that is said."""
        point = self.point
        said = {
            "asset": point.asset,
            "tag": point.tag,
            "point": point.point,
            "description": point.description,
            "unit": point.unit_of_measure,
            "tags": dict(point.tags) if point.tags else None,
        }
        payload = orjson.dumps({key: value for key, value in said.items() if value})
        return Companion(f"{self.topic}/$meta", payload)

    def _message(self, topic: str, update: Update, *, retain: bool, expiry: bytes = b"") -> Message:
        event = _user_property("event", update.event_id) if update.event_id is not None else b""
        packed = expiry + event + self.asset_property
        return Message(
            topic=topic,
            payload=_bare(update.plain) if self.plain else self._json(update),
            retain=retain,
            properties=PackedProperties(_variable_length(len(packed)) + packed),
            update=update,
        )

    def _json(self, update: Update) -> bytes:
        second, millisecond = divmod(update.time_ms, 1000)
        return b"".join(
            (
                b'{"value":',
                orjson.dumps(update.value),
                self.middles[update.quality],
                _iso(second),
                b'.%03dZ","event":' % millisecond if millisecond else b'Z","event":',
                orjson.dumps(update.event_id),
                b"}",
            )
        )


def _is_number(value: Scalar) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bare(value: Scalar) -> bytes:
    """Return the value as text. An empty payload would delete the retained topic: no value is `null`."""
    return (value.encode() if isinstance(value, str) else orjson.dumps(value)) or b"null"


@lru_cache(maxsize=1024)  # the readings of an event, and many events, share their second
def _iso(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()


def _user_property(name: str, value: str) -> bytes:
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
