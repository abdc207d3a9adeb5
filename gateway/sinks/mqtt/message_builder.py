"""Builds messages from updates: which are published live, which are history, and which are refused."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import TransientError
from gateway.model import Refusal
from gateway.sinks.mqtt.payload import NOT_IN_JSON
from gateway.sinks.mqtt.value_topics import AssetTopic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.model import Point, Update
    from gateway.ports import LatestValues
    from gateway.sinks.broker.message import Message, Rejection
    from gateway.sinks.mqtt.topic_map import TopicMap
    from gateway.sinks.mqtt.value_topics import PointTopic, ValueTopic


class MessageBuilder:
    """Builds each message of a sink when it is sent, by the topics and latest values of that moment."""

    def __init__(
        self, topics: TopicMap, latest: LatestValues, *, has_history: bool, retained: dict[str, bool]
    ) -> None:
        """`retained`: topics that the broker may retain a message on, and whether that is a value."""
        self.topics = topics
        self._latest = latest
        self._has_history = has_history
        self._retained = retained

    def change_table(self, topics: TopicMap, latest: LatestValues) -> None:
        """Use the topics and values of another table."""
        self.topics, self._latest = topics, latest

    def messages(self, updates: Sequence[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Yield the messages; add to `refusals` the updates that no message can hold.

        Whether an update is its point's newest is decided when its message is built.
        """
        for update in updates:
            topic = self.topics.by_point.get(update.point)
            if topic is None:
                continue  # no topic of its own on this sink, or of a former table
            try:
                message = self._point_message(topic, update)
            except NOT_IN_JSON as error:
                refusals.append(Refusal(update, f"cannot be written to {topic.topic}: {error}"))
                continue
            if message is not None:
                yield message
        if self.topics.asset_by_point:
            yield from self._asset_messages(updates, refusals)

    def all_state(self) -> Iterator[Message]:
        """Yield the latest values of all points and assets, for a broker that may have lost everything."""
        topics = self.topics
        for topic in topics.by_topic.values():
            topic.reset_deadband()
        for topic in topics.by_topic.values():
            if topics is not self.topics:
                return  # a reload: the caller starts again
            if isinstance(topic, AssetTopic):
                yield from self._asset_state(topic)
            elif (update := self._latest.latest(topic.point)) is not None:
                with suppress(*NOT_IN_JSON):  # it was refused when it came
                    message = self._point_message(topic, update)
                    if message is not None:
                        yield message

    def has_value(self, topic: ValueTopic) -> bool:
        """Return whether any point of a topic has a value at present."""
        return topic.has_value(self._latest)

    def outdated_state(self, topic: ValueTopic) -> Iterator[Message]:
        """Yield the state of an asset whose retained message shows points of a former table."""
        if isinstance(topic, AssetTopic) and topic.is_outdated:
            yield from self._asset_state(topic)

    def check_rejections(self, rejections: Iterable[Rejection]) -> list[Refusal]:
        """Return the updates refused for good; raise `TransientError` if the broker may accept some later."""
        refusals: list[Refusal] = []
        retry_reason: str | None = None
        for message, _, reason, is_final in rejections:
            topic = self.topics.by_topic.get(message.topic)
            if topic is not None:
                topic.reset_deadband()  # or its repetition would fall into the deadband
            text = f"the broker refuses {message.topic}: {reason}"
            if is_final:
                refusals += [Refusal(update, text) for update in message.updates]
            else:  # restored state has no updates, but must be published again, too
                retry_reason = text
        if retry_reason is not None:
            raise TransientError(retry_reason)
        return refusals

    def _point_message(self, topic: PointTopic, update: Update) -> Message | None:
        if not self._latest.is_newest(update):
            return topic.history(update) if self._has_history and self._is_history(update) else None
        if topic.is_within_deadband(update):
            return None
        self._mark_retained(topic)
        return topic.live(update, age_ms=self._latest.age_ms(update))

    def _is_history(self, update: Update) -> bool:
        """Return whether an update that is not the newest is a reading, and not one that came twice."""
        return update.is_measured and not update.is_repeated_by(self._latest.latest(update.point))

    def _asset_messages(self, updates: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Yield the messages of assets: the history of each in order, then its present state."""
        topics = self.topics
        for asset, of_asset in self._by_asset(updates, refusals).items():
            if self.topics is not topics:
                return  # a reload: all of it comes again
            newest, past = self._split(of_asset)
            while past and self._has_history:
                yield from map(asset.history, _by_event(past))
                if self.topics is not topics:
                    return
                newest, past = self._split(newest)  # a newer reading may have come while these were sent
            news = tuple(update for update in newest if not asset.is_published(update))
            if news:
                yield from self._asset_state(asset, news)

    def _by_asset(self, updates: Iterable[Update], refusals: list[Refusal]) -> dict[AssetTopic, list[Update]]:
        found: dict[AssetTopic, list[Update]] = {}
        for update in updates:
            asset = self.topics.asset_by_point.get(update.point)
            if asset is None:
                continue
            found.setdefault(asset, [])
            if asset.members[update.point].can_show(update):
                found[asset].append(update)
            else:
                reason = f"cannot be written to {asset.topic}: JSON cannot hold the value"
                refusals.append(Refusal(update, reason))
        return found

    def _split(self, updates: Iterable[Update]) -> tuple[list[Update], list[Update]]:
        """Return the updates that the present state shows, and those that are history."""
        newest: list[Update] = []
        past: list[Update] = []
        for update in updates:
            if self._latest.is_newest(update) and _is_same(update, self._latest.latest(update.point)):
                newest.append(update)
            elif self._is_history(update):
                past.append(update)
        return newest, past

    def _asset_state(self, asset: AssetTopic, news: tuple[Update, ...] = ()) -> Iterator[Message]:
        message = asset.live(self._latest, updates=news)
        if message is not None:
            self._mark_retained(asset)
            yield message

    def _mark_retained(self, topic: ValueTopic) -> None:
        if not self._retained.get(topic.topic):
            self._retained[topic.topic] = True


def _is_same(update: Update, latest: Update | None) -> bool:
    """Return whether the latest value is just this reading, and not another one of the same time."""
    if latest is None or latest is update:
        return True
    return (latest.seq, latest.raw, latest.value) == (update.seq, update.raw, update.value)


def _by_event(updates: Iterable[Update]) -> Iterator[list[Update]]:
    """Group readings into those of one message each: of one event, and no point twice."""
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
