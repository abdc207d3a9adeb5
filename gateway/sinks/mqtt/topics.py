"""The topics of one sink, of one point or of a whole asset: their messages, metadata and deadbands."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.sinks.broker.broker_sink import is_small_change
from gateway.sinks.broker.mqtt_connection import Message
from gateway.sinks.mqtt.payload import (
    NOT_IN_JSON,
    bare_value,
    event_parts,
    fresh_s,
    properties,
    reading_json,
    time_json,
    unit_and_quality,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Update
    from gateway.ports import LatestValues
    from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery

_shown = attrgetter("point", "asset", "source", "unit_of_measure")


class Metadata(NamedTuple):
    """A retained message that describes a point or an asset, such as `…/$meta`."""

    topic: str
    payload: bytes


class PointTopic:
    """The topic of one point on one sink. `bare`: messages are the bare value instead of JSON."""

    __slots__ = ("_bare", "_by_quality", "point", "published", "topic")

    def __init__(self, point: Point, topic: str, *, bare: bool) -> None:
        self.point = point
        self.topic = topic
        self._bare = bare
        self._by_quality = unit_and_quality(point.unit_of_measure)
        self.published: Update | None = None
        """The last update on the live topic, on this connection; None: the next one is published."""

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that the topic shows."""
        return (self.point,)

    def is_published(self, update: Update) -> bool:
        """Return whether `update` differs too little from the last message, and comes too early after it."""
        return self.published is not None and is_small_change(self.point.cov, self.published, update)

    def reset_deadband(self) -> None:
        """Reset the deadband: the next value is published."""
        self.published = None

    def live(self, update: Update, *, age_ms: int) -> Message:
        """Return the retained message; it expires when the value is no longer fresh."""
        message = self._message(self.topic, update, expires_s=fresh_s(update, age_ms=age_ms), retain=True)
        self.published = update
        return message

    def history(self, update: Update) -> Message:
        """Return the message for a reading that is not the newest: on `$history`, not retained."""
        return self._message(f"{self.topic}/$history", update, expires_s=None, retain=False)

    def meta(self) -> Metadata:
        """Return `$meta`: what the point is."""
        point = self.point
        names = {"tag": point.tag, "point": point.point}
        return _meta(self.topic, _device(point) | names | _description(point))

    def _message(self, topic: str, update: Update, *, expires_s: int | None, retain: bool) -> Message:
        event = event_parts(update.event_id)
        if self._bare:
            payload = bare_value(update.safe_value)
        else:
            payload = b'%b,"event":%b}' % (reading_json(update, self._by_quality), event.json)
        packed = properties(self.point.asset, event, expires_s=expires_s)
        return Message(topic, payload, retain, packed, (update,))


@dataclass(slots=True, eq=False)
class AssetTopic:
    """The topic of all points of one asset on one sink; a message has the whole state of the asset.

    `bare`: {"ZN-T": 21.5} instead of value, unit, quality and time of each point. `is_outdated`: the broker
    retains a message that shows points as a former table had them.
    """

    topic: str
    bare: bool
    points: list[Point] = field(default_factory=list)
    published: dict[Point, Update] = field(default_factory=dict)
    is_outdated: bool = False

    def is_published(self, update: Update) -> bool:
        """Return whether a live message had the update, or one from which it differs too little."""
        last = self.published.get(update.point)
        return last is update or (last is not None and is_small_change(update.point.cov, last, update))

    def reset_deadband(self) -> None:
        """Reset the deadbands: the next value of each point is published."""
        self.published.clear()

    def live(self, latest: LatestValues, news: dict[Point, Update]) -> Message | None:
        """Return the retained message with the latest value of every point; None where there is no value.

        It expires when the first of its good values is no longer fresh. `news` are those it is sent for.
        """
        found = ((point, latest.latest(point) or news.get(point)) for point in self.points)
        shown = {point: update for point, update in found if update is not None}
        self.published |= shown
        self.is_outdated = False
        if not shown:
            return None
        fresh = (fresh_s(update, age_ms=latest.age_ms(update)) for update in shown.values())
        expires_s = min((seconds for seconds in fresh if seconds is not None), default=None)
        return self._message(
            self.topic, [*shown.values()], expires_s=expires_s, retain=True, updates=(*news.values(),)
        )

    def history(self, updates: Sequence[Update]) -> Message:
        """Return the message for readings of one event that are not the newest: on `$history`."""
        topic = f"{self.topic}/$history"
        return self._message(topic, updates, expires_s=None, retain=False, updates=(*updates,))

    def meta(self) -> Metadata:
        """Return `$meta`: what the asset and its points are."""
        points = self.points
        has_one_asset = len({point.asset for point in points}) == 1
        document = (_device(points[0]) if has_one_asset else {}) | {"tag": points[0].tag}
        described = {
            point.point: _without_empty(({} if has_one_asset else _device(point)) | _description(point))
            for point in points
        }
        return _meta(self.topic, document | {"points": described})

    def member_json(self, update: Update) -> bytes:
        """Return the part of one point in a message; empty if JSON cannot hold its value."""
        try:
            if self.bare:
                value = orjson.dumps(update.safe_value)
            else:
                value = reading_json(update, unit_and_quality(update.point.unit_of_measure)) + b"}"
        except NOT_IN_JSON:
            return b""
        return b"%b:%b" % (orjson.dumps(update.point.point), value)

    def _message(
        self,
        topic: str,
        shown: Sequence[Update],
        *,
        expires_s: int | None,
        retain: bool,
        updates: tuple[Update, ...],
    ) -> Message:
        newest = _newest_of(shown)
        event = event_parts(newest.event_id)
        payload = b"{%b}" % b",".join(filter(None, map(self.member_json, shown)))
        if not self.bare:
            payload = b'{"ts":"%b,"event":%b,"points":%b}' % (time_json(newest), event.json, payload)
        packed = properties(newest.point.asset, event, expires_s=expires_s)
        return Message(topic, payload, retain, packed, updates)


ValueTopic = PointTopic | AssetTopic


class TopicMap:
    """The topics of a sink. A point may have a topic of its own, a part in its asset's, or both."""

    def __init__(
        self,
        points: Iterable[Point],
        *,
        sink: str,
        topics: TopicScheme,
        bare: bool,
        discovery: HomeAssistantDiscovery | None = None,
    ) -> None:
        """Make the topics of every point that goes to this sink."""
        self._scheme = topics
        self._discovery = discovery
        self.by_point: dict[Point, PointTopic] = {}
        self.asset_by_point: dict[Point, AssetTopic] = {}
        assets: dict[str, AssetTopic] = {}
        for point in points:
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            if (topic := topics.point_topic(point, own=point.mqtt.topic)) is not None:
                self.by_point[point] = PointTopic(point, topic, bare=bare)
            if (topic := topics.asset_topic(point)) is not None:
                self.asset_by_point[point] = asset = assets.setdefault(topic, AssetTopic(topic, bare))
                asset.points.append(point)
        self.by_topic: dict[str, ValueTopic] = {each.topic: each for each in self.by_point.values()} | assets
        self.metadata = {each.topic for topic in self.by_topic.values() for each in self.describe(topic)}
        """The topics that describe others."""

    def __contains__(self, topic: str) -> bool:
        """Return whether a value or metadata may be retained on a topic."""
        return topic in self.by_topic or topic in self.metadata

    def describe(self, topic: ValueTopic) -> Iterator[Metadata]:
        """Yield the metadata of a topic, which is published and cleared with it."""
        yield topic.meta()
        if self._discovery is None:
            return
        for point in topic.points:
            if self._scheme.topics(point)[0] != topic.topic:
                continue  # described once: by its own topic rather than by its asset's
            in_asset = isinstance(topic, AssetTopic)
            entity = self._discovery.entity(point, topic=topic.topic, in_asset=in_asset)
            if entity is not None:
                yield Metadata(*entity)

    def changes_from(self, former: TopicMap) -> list[str]:
        """Return the topics that are gone, are new, or have other metadata or points than in a former map.

        Assets that are new, or show other points, are marked as outdated.
        """
        changed = [topic for topic in (*former.by_topic, *former.metadata) if topic not in self]
        for name, topic in self.by_topic.items():
            before = former.by_topic.get(name)
            is_same = before is not None and [*map(_shown, before.points)] == [*map(_shown, topic.points)]
            if isinstance(topic, AssetTopic):
                topic.is_outdated = not is_same or (isinstance(before, AssetTopic) and before.is_outdated)
            if before is None or not is_same or [*former.describe(before)] != [*self.describe(topic)]:
                changed.append(name)
        return changed


def has_value(topic: ValueTopic, latest: LatestValues) -> bool:
    """Return whether any point of a topic has a value."""
    return any(latest.latest(point) is not None for point in topic.points)


def _newest_of(updates: Sequence[Update]) -> Update:
    """Return the update whose time and event a message has: the newest reading, if there is one."""
    measured = [update for update in updates if not update.point.is_pseudo]
    return max(measured or updates, key=lambda update: (update.time_ms, update.seq))


def _meta(topic: str, document: dict[str, Any]) -> Metadata:
    return Metadata(f"{topic}/$meta", orjson.dumps(_without_empty(document)))


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
