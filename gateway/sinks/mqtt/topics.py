"""The topics of one sink, of one point or of a whole asset: their messages, metadata and deadbands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.model import Quality
from gateway.sinks.broker.broker_sink import is_small_change
from gateway.sinks.broker.paho_client import Message, PackedProperties

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Scalar, Update
    from gateway.ports import LatestValues
    from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery

_MESSAGE_EXPIRY = b"\x02"  # MQTT 5 property identifiers
_USER_PROPERTY = b"\x26"
_SEVEN_BITS = 0x7F
_LONGEST_EXPIRY_S = 0xFFFFFFFF
_shown = attrgetter("point", "asset", "source", "unit_of_measure")


class PointTopic:
    """The topic of one point on one sink. `bare`: messages are the bare value instead of JSON."""

    __slots__ = ("_bare", "_by_quality", "points", "published", "topic")

    is_outdated = False

    def __init__(self, point: Point, topic: str, *, bare: bool) -> None:
        self.points = (point,)
        self.topic = topic
        self._bare = bare
        self._by_quality = unit_and_quality(point.unit_of_measure)
        self.published: Update | None = None  # the last one on the live topic, on this connection

    def is_published(self, update: Update) -> bool:
        """Return whether `update` differs too little from the last message, and comes too early after it."""
        return self.published is not None and is_small_change(update.point.cov, self.published, update)

    def reset_deadband(self) -> None:
        """Reset the deadband: the next value is published."""
        self.published = None

    def live(self, latest: LatestValues, news: Mapping[Point, Update]) -> Message | None:
        """Return the retained message with the latest value; None where there is no value.

        It expires when the value is no longer fresh. `news` are the updates that it is sent for.
        """
        (point,) = self.points
        update = latest.latest(point) or news.get(point)
        if update is None or not is_json(update):
            return None
        self.published = update
        expires_s = fresh_s(update, age_ms=latest.age_ms(update))
        return self._message(self.topic, update, (*news.values(),), expires_s=expires_s, retain=True)

    def history(self, updates: Sequence[Update]) -> Message:
        """Return the message for a reading that is not the newest: on `$history`, not retained."""
        topic, (update,) = f"{self.topic}/$history", updates
        return self._message(topic, update, (update,), expires_s=None, retain=False)

    def meta(self) -> Message:
        """Return `$meta`: what the point is."""
        (point,) = self.points
        names = {"tag": point.tag, "point": point.point}
        return _meta(self.topic, _device(point) | names | _description(point))

    def _message(
        self, topic: str, update: Update, updates: tuple[Update, ...], *, expires_s: int | None, retain: bool
    ) -> Message:
        event = event_parts(update.event_id)
        if self._bare:
            payload = bare_value(update.safe_value)
        else:
            payload = b'%b,"event":%b}' % (reading_json(update, self._by_quality), event.json)
        packed = properties(update.point.asset, event, expires_s=expires_s)
        return Message(topic, payload, retain, packed, updates)


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

    def live(self, latest: LatestValues, news: Mapping[Point, Update]) -> Message | None:
        """Return the retained message with the latest value of every point; None where there is no value.

        It expires when the first of its good values is no longer fresh. `news` as for a point.
        """
        found = ((point, latest.latest(point) or news.get(point)) for point in self.points)
        shown = {point: update for point, update in found if update is not None}
        self.published |= shown
        self.is_outdated = False
        if not shown:
            return None
        fresh = (fresh_s(update, age_ms=latest.age_ms(update)) for update in shown.values())
        expires_s = min((seconds for seconds in fresh if seconds is not None), default=None)
        readings = [*filter(is_json, shown.values())]
        return self._message(self.topic, readings, (*news.values(),), expires_s=expires_s, retain=True)

    def history(self, updates: Sequence[Update]) -> Message:
        """Return the message for readings of one event that are not the newest: on `$history`."""
        topic = f"{self.topic}/$history"
        return self._message(topic, updates, (*updates,), expires_s=None, retain=False)

    def meta(self) -> Message:
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
        """Return the part of one point in a message."""
        if self.bare:
            value = orjson.dumps(update.safe_value)
        else:
            value = reading_json(update, unit_and_quality(update.point.unit_of_measure)) + b"}"
        return b"%b:%b" % (orjson.dumps(update.point.point), value)

    def _message(
        self,
        topic: str,
        shown: Sequence[Update],
        updates: tuple[Update, ...],
        *,
        expires_s: int | None,
        retain: bool,
    ) -> Message:
        payload = b"{%b}" % b",".join(map(self.member_json, shown))
        # Time and event of a message are those of its newest reading, if there is one.
        measured = [update for update in shown if not update.point.is_pseudo] or shown
        newest = max(measured, key=lambda update: (update.time_ms, update.seq), default=None)
        if newest is None:
            return Message(topic, payload, retain, updates=updates)
        event = event_parts(newest.event_id)
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

    def topics_of(self, point: Point) -> list[ValueTopic]:
        """Return the topics that show a point; none if it is not on this sink."""
        found = (self.by_point.get(point), self.asset_by_point.get(point))
        return [topic for topic in found if topic is not None]

    def describe(self, topic: ValueTopic) -> Iterator[Message]:
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
                yield Message(*entity, retain=True)

    def changes_from(self, former: TopicMap) -> list[str]:
        """Return the topics that are gone, are new, or have other metadata or points than in a former map.

        Assets that are new, or show other points, are marked as outdated.
        """
        changed = [topic for topic in (*former.by_topic, *former.metadata) if topic not in self]
        for name, topic in self.by_topic.items():
            before = former.by_topic.get(name)
            is_same = before is not None and [*map(_shown, before.points)] == [*map(_shown, topic.points)]
            if isinstance(topic, AssetTopic):
                topic.is_outdated = not is_same or (before is not None and before.is_outdated)
            if before is None or not is_same or [*former.describe(before)] != [*self.describe(topic)]:
                changed.append(name)
        return changed


def is_json(update: Update) -> bool:
    """Return whether JSON can hold the value."""
    try:
        orjson.dumps(update.value)
        orjson.dumps(update.safe_value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def has_value(topic: ValueTopic, latest: LatestValues) -> bool:
    """Return whether any point of a topic has a value."""
    return any(latest.latest(point) is not None for point in topic.points)


def _meta(topic: str, document: dict[str, Any]) -> Message:
    return Message(f"{topic}/$meta", orjson.dumps(_without_empty(document)), retain=True)


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

    `by_quality` is the unit's `unit_and_quality`.
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
