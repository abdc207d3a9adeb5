"""The topics that show values, of one point or of a whole asset: their messages and deadbands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.sinks.broker.deadband import is_small_change
from gateway.sinks.broker.message import Message
from gateway.sinks.mqtt.payload import (
    NO_EXPIRY,
    NOT_IN_JSON,
    asset_property,
    bare_value,
    event_parts,
    expiry,
    fresh_s,
    properties,
    reading_json,
    time_json,
    unit_and_quality,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import Point, Update
    from gateway.ports import LatestValues


class Metadata(NamedTuple):
    """A retained message that describes a point or an asset, such as `…/$meta`."""

    topic: str
    payload: bytes


class PointTopic:
    """The topic of one point on one sink. `bare`: messages are the bare value instead of JSON."""

    __slots__ = ("_asset_property", "_bare", "_by_quality", "_published", "point", "topic")

    def __init__(self, point: Point, topic: str, *, bare: bool) -> None:
        self.point = point
        self.topic = topic
        self._bare = bare
        self._by_quality = unit_and_quality(point.unit_of_measure)
        self._asset_property = asset_property(point.asset)
        self._published: Update | None = None  # the last one on the live topic, on this connection

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that the topic shows."""
        return (self.point,)

    def has_value(self, latest: LatestValues) -> bool:
        """Return whether the point has a value."""
        return latest.latest(self.point) is not None

    def is_within_deadband(self, update: Update) -> bool:
        """Return whether `update` differs too little from the last message, and comes too early after it."""
        return self._published is not None and is_small_change(self.point.cov, self._published, update)

    def reset_deadband(self) -> None:
        """Reset the deadband: the next value is published."""
        self._published = None

    def live(self, update: Update, *, age_ms: int) -> Message:
        """Return the retained message; it expires when the value is no longer fresh."""
        message = self._message(
            self.topic, update, retain=True, expires=expiry(fresh_s(update, age_ms=age_ms))
        )
        self._published = update
        return message

    def history(self, update: Update) -> Message:
        """Return the message for a reading that is not the newest: on `$history`, not retained."""
        return self._message(f"{self.topic}/$history", update, retain=False)

    def meta(self) -> Metadata:
        """Return `$meta`: what the point is."""
        point = self.point
        document = _device(point) | {"tag": point.tag, "point": point.point} | _description(point)
        return Metadata(f"{self.topic}/$meta", orjson.dumps(_without_empty(document)))

    def _message(self, topic: str, update: Update, *, retain: bool, expires: bytes = NO_EXPIRY) -> Message:
        event = event_parts(update.event_id)
        return Message(
            topic=topic,
            payload=bare_value(update.safe_value)
            if self._bare
            else b'%b,"event":%b}' % (reading_json(update, self._by_quality), event.json),
            retain=retain,
            properties=properties(expires, event.user_property, self._asset_property),
            updates=(update,),
        )


class AssetMember:
    """One point in the messages of its asset."""

    __slots__ = ("_bare", "_by_quality", "_key", "part", "point", "published")

    def __init__(self, point: Point, *, bare: bool) -> None:
        self.point = point
        self._bare = bare
        self._key = orjson.dumps(point.point) + b":"
        self._by_quality = unit_and_quality(point.unit_of_measure)
        self.published: Update | None = None  # the last one in a live message, on this connection
        self.part = b""  # the JSON of it; empty where JSON cannot hold the value

    def json(self, update: Update) -> bytes:
        """Return the point's part of a message; raise one of NOT_IN_JSON."""
        if self._bare:
            return self._key + orjson.dumps(update.safe_value)
        return b"%b%b}" % (self._key, reading_json(update, self._by_quality))

    def can_show(self, update: Update) -> bool:
        """Return whether JSON can hold the value."""
        try:
            self.json(update)
        except NOT_IN_JSON:
            return False
        return True

    def set_published(self, update: Update) -> None:
        """Show an update in live messages from now on."""
        if update is not self.published:
            self.published = update
            self.part = self.json(update) if self.can_show(update) else b""


@dataclass(slots=True, eq=False)
class AssetTopic:
    """The topic of all points of one asset on one sink; a message has the whole state of the asset.

    `bare`: {"ZN-T": 21.5} instead of value, unit, quality and time of each point. `is_outdated`: the broker
    retains a message that shows points as a former table had them.
    """

    topic: str
    bare: bool
    members: dict[Point, AssetMember]
    is_outdated: bool = False

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that the topic shows."""
        return tuple(self.members)

    def has_value(self, latest: LatestValues) -> bool:
        """Return whether any of the points has a value."""
        return any(latest.latest(point) is not None for point in self.members)

    def is_published(self, update: Update) -> bool:
        """Return whether a live message had the update, or one from which it differs too little."""
        member = self.members[update.point]
        last = member.published
        return last is update or (last is not None and is_small_change(member.point.cov, last, update))

    def reset_deadband(self) -> None:
        """Reset the deadbands: the next value of each point is published."""
        for member in self.members.values():
            member.published = None

    def live(self, latest: LatestValues, *, updates: tuple[Update, ...] = ()) -> Message | None:
        """Return the retained message with the latest value of every point; None where there is no value.

        It expires when the first of its good values is no longer fresh. `updates` are those it is sent for.
        """
        new = {update.point: update for update in updates}
        shown: list[Update] = []
        parts: list[bytes] = []
        for point, member in self.members.items():
            update = latest.latest(point) or new.get(point)
            if update is not None:
                member.set_published(update)
                shown.append(update)
                parts.append(member.part)
        self.is_outdated = False
        if not shown:
            return None
        remaining_s = (fresh_s(update, age_ms=latest.age_ms(update)) for update in shown)
        return self._message(
            self.topic,
            parts,
            _newest_of(shown),
            retain=True,
            expires=expiry(min((left_s for left_s in remaining_s if left_s is not None), default=None)),
            updates=updates,
        )

    def history(self, updates: Sequence[Update]) -> Message:
        """Return the message for readings of one event that are not the newest: on `$history`."""
        return self._message(
            f"{self.topic}/$history",
            [self.members[update.point].json(update) for update in updates],
            _newest_of(updates),
            retain=False,
            updates=tuple(updates),
        )

    def meta(self) -> Metadata:
        """Return `$meta`: what the asset and its points are."""
        points = self.points
        has_one_asset = len({point.asset for point in points}) == 1
        document = _without_empty((_device(points[0]) if has_one_asset else {}) | {"tag": points[0].tag})
        document["points"] = {
            point.point: _without_empty(({} if has_one_asset else _device(point)) | _description(point))
            for point in points
        }
        return Metadata(f"{self.topic}/$meta", orjson.dumps(document))

    def _message(
        self,
        topic: str,
        parts: Iterable[bytes],
        newest: Update,
        *,
        retain: bool,
        expires: bytes = NO_EXPIRY,
        updates: tuple[Update, ...],
    ) -> Message:
        event = event_parts(newest.event_id)
        points = b"{%b}" % b",".join(filter(None, parts))
        return Message(
            topic=topic,
            payload=points
            if self.bare
            else b'{"ts":"%b,"event":%b,"points":%b}' % (time_json(newest), event.json, points),
            retain=retain,
            properties=properties(expires, event.user_property, asset_property(newest.point.asset)),
            updates=updates,
        )


ValueTopic = PointTopic | AssetTopic


def _newest_of(updates: Sequence[Update]) -> Update:
    """Return the update whose time and event a message has: the newest reading, if there is one."""
    measured = [update for update in updates if not update.point.is_pseudo]
    return max(measured or updates, key=lambda update: (update.time_ms, update.seq))


def _device(point: Point) -> dict[str, Any]:
    """Return the point's asset, with name and place as far as the API lists them."""
    known = point.known
    if known is None:
        return {"asset": point.asset}
    return {"asset": point.asset, "name": known.name, "location": known.place}


def _description(point: Point) -> dict[str, Any]:
    return {
        "description": point.description,
        "unit": point.unit_of_measure,
        "tags": dict(point.tags) if point.tags else None,
    }


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value}
