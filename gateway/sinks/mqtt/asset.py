"""What an asset looks like on MQTT where its points share a message: always the whole of its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from gateway.sinks.broker.deadband import is_small_change
from gateway.sinks.broker.message import Message
from gateway.sinks.mqtt.outlet import Companion, described, device_of, filled
from gateway.sinks.mqtt.payload import (
    NO_EXPIRY,
    NOT_IN_JSON,
    asset_property,
    event_parts,
    expiry,
    fresh_s,
    middles,
    properties,
    reading_json,
    time_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.model import Point, Update
    from gateway.ports import LatestValues


@dataclass(slots=True, eq=False)
class Member:
    """One point in the messages of its asset."""

    point: Point
    plain: bool
    key: bytes
    middle: tuple[bytes, ...]
    published: Update | None = None  # the last one in a live message, on this connection
    part: bytes = b""  # what that says of the point
    is_impossible: bool = False  # nothing, for JSON cannot hold the value

    @classmethod
    def of(cls, point: Point, *, plain: bool) -> Member:
        """Prepare a point's part."""
        key = orjson.dumps(point.point) + b":"
        return cls(point, plain, key, middles(point.unit_of_measure))

    def show(self, update: Update) -> bytes:
        """Return what a message says of an update; raise one of NOT_IN_JSON where it cannot be shown."""
        if self.plain:
            return self.key + orjson.dumps(update.safe_value)
        return b"%b%b}" % (self.key, reading_json(update, self.middle))

    def publish(self, update: Update) -> None:
        """Make an update the one that live messages show."""
        if update is self.published:
            return
        self.published, self.is_impossible = update, False
        try:
            self.part = self.show(update)
        except NOT_IN_JSON:
            self.part, self.is_impossible = b"", True  # but it must not keep all others from being seen


@dataclass(slots=True, eq=False)
class AssetOutlet:
    """All points of one asset on one sink, in the order of the table."""

    topic: str
    plain: bool  # {"ZN-T": 21.5} instead of value, unit, quality and time of each point
    members: dict[Point, Member]
    is_outdated: bool = False  # the broker shows points as a former table had them

    @classmethod
    def of(cls, points: Iterable[Point], topic: str, *, plain: bool) -> AssetOutlet:
        """Make the outlet of points that share a topic."""
        return cls(topic, plain, {point: Member.of(point, plain=plain) for point in points})

    @property
    def points(self) -> tuple[Point, ...]:
        """Whatever is seen on the topic."""
        return tuple(self.members)

    def is_told(self, update: Update) -> bool:
        """Say whether a live message has shown the update, or one from which it differs too little."""
        member = self.members[update.point]
        last = member.published
        return last is update or (last is not None and is_small_change(member.point.cov, last, update))

    def forget(self) -> None:
        """Take it that the broker has nothing: whatever comes next is worth a message."""
        for member in self.members.values():
            member.published = None

    def live(self, latest: LatestValues, *, updates: tuple[Update, ...] = ()) -> Message | None:
        """Return the retained message with what every point shows now, None where no point has a value.

        It expires when the first of its good values is no longer fresh. `updates`: those that call for it.
        """
        called = {update.point: update for update in updates}
        shown = []
        for member in self.members.values():
            update = latest.latest(member.point) or called.get(member.point)
            if update is not None:
                member.publish(update)
                shown.append(member)
        self.is_outdated = False
        if not shown:
            return None
        current = [member.published for member in shown if member.published is not None]
        lefts_s = (fresh_s(update, age_ms=latest.age_ms(update)) for update in current)
        left_s = [left for left in lefts_s if left is not None]
        return self._message(
            self.topic,
            [member.part for member in shown],
            newest_of(current),
            retain=True,
            expires=expiry(min(left_s, default=None)),
            updates=updates,
        )

    def can_show(self, update: Update) -> bool:
        """Say whether JSON can hold the update."""
        try:
            self.members[update.point].show(update)
        except NOT_IN_JSON:
            return False
        return True

    def lacks(self, update: Update) -> bool:
        """Say whether live messages are without the point of an update, for JSON cannot hold the value."""
        return self.members[update.point].is_impossible

    def history(self, updates: Sequence[Update]) -> Message:
        """Return the message for readings of one event that are not the newest; raises as `show`."""
        return self._message(
            f"{self.topic}/$history",
            [self.members[update.point].show(update) for update in updates],
            newest_of(updates),
            retain=False,
            updates=tuple(updates),
        )

    def meta(self) -> Companion:
        """Return what the asset and its points are, as JSON without what is empty, and where that is said."""
        points = self.points
        has_one_asset = len({point.asset for point in points}) == 1
        of_asset = device_of(points[0]) if has_one_asset else {}
        said = {point.point: {} if has_one_asset else device_of(point) for point in points}
        for point in points:
            said[point.point] |= described(point)
        document = filled(of_asset | {"tag": points[0].tag})
        document["points"] = {name: filled(of_point) for name, of_point in said.items()}
        return Companion(f"{self.topic}/$meta", orjson.dumps(document))

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
            if self.plain
            else b'{"ts":"%b,"event":%b,"points":%b}' % (time_json(newest), event.json, points),
            retain=retain,
            properties=properties(expires, event.user_property, asset_property(newest.point.asset)),
            updates=updates,
        )


def newest_of(updates: Sequence[Update]) -> Update:
    """Return the update whose time and event a message bears: the newest reading, if there is any."""
    measured = [update for update in updates if not update.point.is_pseudo]
    return max(measured or updates, key=lambda update: (update.time_ms, update.seq))


def by_event(updates: Iterable[Update]) -> Iterator[list[Update]]:
    """Part readings into those of one message each: of one event, and no point twice."""
    group: list[Update] = []
    points: set[Point] = set()
    for update in updates:
        if group and (update.event_id != group[0].event_id or update.point in points):
            yield group
            group, points = [], set()
        group.append(update)
        points.add(update.point)
    if group:
        yield group
