"""What a point looks like on MQTT where it has a topic of its own: its messages, and its deadband."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.sinks.broker.deadband import is_small_change
from gateway.sinks.broker.message import Message
from gateway.sinks.mqtt.payload import (
    NO_EXPIRY,
    asset_property,
    bare,
    event_parts,
    expiry,
    fresh_s,
    middles,
    properties,
    reading_json,
)

if TYPE_CHECKING:
    from gateway.model import Point, Update


class Companion(NamedTuple):
    """A retained message beside the values, which says what something is."""

    topic: str
    payload: bytes


@dataclass(slots=True, eq=False)
class Outlet:
    """One point on one sink, with all that its messages have in common, made once."""

    point: Point
    topic: str
    plain: bool  # the bare value instead of JSON
    middle: tuple[bytes, ...]
    asset_property: bytes
    published: Update | None = None  # the last one on the live topic, on this connection

    @classmethod
    def of(cls, point: Point, topic: str, *, plain: bool) -> Outlet:
        """Make the outlet of a point."""
        return cls(point, topic, plain, middles(point.unit_of_measure), asset_property(point.asset))

    @property
    def points(self) -> tuple[Point, ...]:
        """Whatever is seen on the topic."""
        return (self.point,)

    def within_deadband(self, update: Update) -> bool:
        """Say whether `update` differs too little, and comes too early, to be worth a message."""
        return self.published is not None and is_small_change(self.point.cov, self.published, update)

    def forget(self) -> None:
        """Take it that the broker has nothing: whatever comes next is worth a message."""
        self.published = None

    def live(self, update: Update, *, age_ms: int) -> Message:
        """Return the retained message; it expires when the value is no longer fresh."""
        return self._message(self.topic, update, retain=True, expires=expiry(fresh_s(update, age_ms=age_ms)))

    def history(self, update: Update) -> Message:
        """Return the message for a reading that is not the newest: beside the live topic, not retained."""
        return self._message(f"{self.topic}/$history", update, retain=False)

    def meta(self) -> Companion:
        """Return what the point is, as JSON without what is empty, and where that is said."""
        point = self.point
        said = device_of(point) | {"tag": point.tag, "point": point.point} | described(point)
        return Companion(f"{self.topic}/$meta", orjson.dumps(filled(said)))

    def _message(self, topic: str, update: Update, *, retain: bool, expires: bytes = NO_EXPIRY) -> Message:
        event = event_parts(update.event_id)
        return Message(
            topic=topic,
            payload=bare(update.safe_value)
            if self.plain
            else b'%b,"event":%b}' % (reading_json(update, self.middle), event.json),
            retain=retain,
            properties=properties(expires, event.user_property, self.asset_property),
            updates=(update,),
        )


def device_of(point: Point) -> dict[str, Any]:
    """Return what `$meta` says of the device behind a point: as the API does, as far as it does."""
    known = point.known
    if known is None:
        return {"asset": point.asset}
    return {"asset": point.asset, "name": known.name, "location": known.place}


def described(point: Point) -> dict[str, Any]:
    """Return what `$meta` says of a point itself."""
    return {
        "description": point.description,
        "unit": point.unit_of_measure,
        "tags": dict(point.tags) if point.tags else None,
    }


def filled(said: dict[str, Any]) -> dict[str, Any]:
    """Return what is said without keys that would be empty."""
    return {key: value for key, value in said.items() if value}
