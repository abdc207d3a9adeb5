"""The topics of one sink, of one point or of a whole asset: their messages, metadata and deadbands."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model import Quality
from gateway.sinks.broker.broker_sink import is_small_change
from gateway.sinks.broker.paho_client import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Scalar, Update
    from gateway.ports import LatestValues
    from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery

META = "/$meta"
"""The end of the topic that describes another one."""

_MESSAGE_EXPIRY = b"\x02"  # MQTT 5 property identifiers
_EVENT_PROPERTY = b"\x26\x00\x05event"  # user properties without their value
_ASSET_PROPERTY = b"\x26\x00\x05asset"
_LONGEST_EXPIRY_S = 0xFFFFFFFF
_shown = attrgetter("point", "asset", "source", "unit_of_measure")


class ValueTopic:
    """The topic of one point, or of all points of one asset, on one sink.

    A message of an asset has its whole state. `bare`: messages are 21.5, or {"ZN-T": 21.5} of an asset,
    instead of value, unit, quality and time.
    """

    __slots__ = ("_bare", "_published", "is_asset", "is_outdated", "points", "topic")

    def __init__(self, topic: str, points: tuple[Point, ...], *, bare: bool, is_asset: bool = False) -> None:
        self.topic = topic
        self.points = points
        self._bare = bare
        self.is_asset = is_asset
        self._published: Sequence[Update] = ()  # what the last live message on this connection showed
        self.is_outdated = False
        """The broker retains a message of an asset that shows points as a former table had them."""

    def is_published(self, update: Update) -> bool:
        """Return whether a live message had the update, or one from which it differs too little."""
        for last in self._published:
            if last.point is update.point:
                return (last is update and self.is_asset) or is_small_change(update.point.cov, last, update)
        return False

    def reset_deadband(self) -> None:
        """Reset the deadband: the next value of each point is published."""
        self._published = ()

    def live(self, latest: LatestValues, news: Mapping[Point, Update]) -> Message | None:
        """Return the retained message with the latest value of every point; None where there is no value.

        It expires when the first of its good values is no longer fresh. `news` are those it is sent for.
        """
        shown: list[Update] = []
        expires_s: int | None = None
        for point in self.points:
            update = latest.latest(point) or news.get(point)
            if update is not None and (point in news or is_json(update)):
                shown.append(update)
                seconds = fresh_s(update, age_ms=latest.age_ms(update))
                if seconds is not None and (expires_s is None or seconds < expires_s):
                    expires_s = seconds
        self._published = (*shown,)
        self.is_outdated = False
        if not shown:
            return None
        return self._message(self.topic, shown, (*news.values(),), expires_s=expires_s, retain=True)

    def history(self, updates: Sequence[Update]) -> Message:
        """Return the message for readings of one event that are not the newest: on `$history`."""
        topic = f"{self.topic}/$history"
        return self._message(topic, updates, (*updates,), expires_s=None, retain=False)

    def meta(self) -> Message:
        """Return `$meta`: what the point is, or the asset and its points."""
        first = self.points[0]
        if not self.is_asset:
            document = _device(first) | {"tag": first.tag, "point": first.point} | _description(first)
        else:
            has_one_device = len({point.asset for point in self.points}) == 1
            document = (_device(first) if has_one_device else {}) | {"tag": first.tag}
            document["points"] = {
                point.point: _without_empty(({} if has_one_device else _device(point)) | _description(point))
                for point in self.points
            }
        return Message(f"{self.topic}{META}", orjson.dumps(_without_empty(document)), retain=True)

    def _message(
        self,
        topic: str,
        shown: Sequence[Update],
        updates: tuple[Update, ...],
        *,
        expires_s: int | None,
        retain: bool,
    ) -> Message:
        newest = shown[0] if len(shown) == 1 else _newest_of(shown)
        packed = message_properties(newest, expires_s=expires_s)
        return Message(topic, self._payload(shown, newest), retain, packed, updates)

    def _payload(self, shown: Sequence[Update], newest: Update) -> bytes:
        if not self.is_asset:
            if self._bare:
                return bare_value(newest.safe_value)
            return b'%b,"event":%b}' % (reading_json(newest), orjson.dumps(newest.event_id))
        points = b"{%b}" % b",".join(member_json(update, bare=self._bare) for update in shown)
        if self._bare:
            return points
        event = orjson.dumps(newest.event_id)
        return b'{"ts":"%b,"event":%b,"points":%b}' % (time_json(newest), event, points)


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
        self._discovery = discovery
        self.by_topic: dict[str, ValueTopic] = {}
        self.by_point: dict[Point, tuple[ValueTopic, ...]] = {}
        for point in points:
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            own, of_asset = topics.point_topic(point, own=point.mqtt.topic), topics.asset_topic(point)
            if own is not None:
                self.by_topic[own] = ValueTopic(own, (point,), bare=bare)
            if of_asset is not None:
                asset = self.by_topic.setdefault(of_asset, ValueTopic(of_asset, (), bare=bare, is_asset=True))
                asset.points = (*asset.points, point)
            self.by_point[point] = tuple(self.by_topic[each] for each in (own, of_asset) if each is not None)
        self._entities = {each for topic in self.by_topic.values() for each, _ in self._entities_of(topic)}

    def __contains__(self, topic: str) -> bool:
        """Return whether a value or metadata may be retained on a topic."""
        return topic in self.by_topic or self.is_metadata(topic)

    def is_metadata(self, topic: str) -> bool:
        """Return whether a topic describes another one."""
        is_meta = topic.endswith(META) and topic.removesuffix(META) in self.by_topic
        return is_meta or topic in self._entities

    def describe(self, topic: ValueTopic) -> Iterator[Message]:
        """Yield the metadata of a topic, which is published and cleared with it."""
        yield topic.meta()
        for entity in self._entities_of(topic):
            yield Message(*entity, retain=True)

    def changes_from(self, former: TopicMap) -> list[str]:
        """Return the topics that are gone, are new, or have other metadata than in a former map.

        Assets that are new, or show other points, are marked as outdated.
        """
        once = (*former.by_topic, *(f"{topic}{META}" for topic in former.by_topic), *former._entities)
        changed = [topic for topic in once if topic not in self]
        for name, topic in self.by_topic.items():
            before = former.by_topic.get(name)
            if topic.is_asset:
                is_same = before and [*map(_shown, before.points)] == [*map(_shown, topic.points)]
                topic.is_outdated = not is_same or (before is not None and before.is_outdated)
            if before is None or topic.is_outdated or [*former.describe(before)] != [*self.describe(topic)]:
                changed.append(name)
        return changed

    def _entities_of(self, topic: ValueTopic) -> Iterator[tuple[str, bytes]]:
        """Yield what Home Assistant's discovery has of a topic."""
        if self._discovery is None:
            return
        for point in topic.points:
            if self.by_point[point][0] is topic:  # once, by its own topic rather than by its asset's
                entity = self._discovery.entity(point, topic=topic.topic, in_asset=topic.is_asset)
                if entity is not None:
                    yield entity


def is_json(update: Update) -> bool:
    """Return whether JSON can hold the value."""
    try:
        orjson.dumps(update.value)
        if update.safe_value is not update.value:
            orjson.dumps(update.safe_value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def has_value(topic: ValueTopic, latest: LatestValues) -> bool:
    """Return whether any point of a topic has a value."""
    return any(latest.latest(point) is not None for point in topic.points)


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


def reading_json(update: Update) -> bytes:
    """Return value, unit, quality and time as JSON without the closing brace."""
    unit = _unit_and_quality(update.point.unit_of_measure)[update.quality]
    return b"".join((b'{"value":', orjson.dumps(update.value), unit, time_json(update)))


def member_json(update: Update, *, bare: bool) -> bytes:
    """Return the part of one point in a message of its asset."""
    value = orjson.dumps(update.safe_value) if bare else reading_json(update) + b"}"
    return b"%b:%b" % (orjson.dumps(update.point.point), value)


@lru_cache(maxsize=1024)  # a building has few units of measure
def _unit_and_quality(unit_of_measure: str | None) -> tuple[bytes, ...]:
    """Return the JSON between value and time of a reading, by quality."""
    unit = orjson.dumps(unit_of_measure)
    return tuple(
        b',"unit":%b,"quality":"%b","ts":"' % (unit, quality.name.lower().encode()) for quality in Quality
    )


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


def message_properties(update: Update, *, expires_s: int | None = None) -> bytes:
    """Return the properties of one PUBLISH. `expires_s`: when the broker drops it; None: never."""
    packed = _event_property(update.event_id) + _asset_property(update.point.asset)
    if expires_s is not None:
        packed = _MESSAGE_EXPIRY + expires_s.to_bytes(4, "big") + packed
    return packed


@lru_cache(maxsize=256)  # an event has several readings, which come together
def _event_property(event_id: str | None) -> bytes:
    return _user_property(_EVENT_PROPERTY, event_id or "")


@lru_cache(maxsize=1024)  # points of one asset are built and sent together
def _asset_property(asset: str) -> bytes:
    return _user_property(_ASSET_PROPERTY, asset)


@lru_cache(maxsize=1024)  # the readings of an event, and many events, share their second
def _iso_second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()


def _user_property(name: bytes, value: str) -> bytes:
    """Return a user property; none without value or with control characters: brokers disconnect at those."""
    if not value or not value.isprintable():
        return b""
    encoded = value.encode()
    return name + len(encoded).to_bytes(2, "big") + encoded
