"""Builds messages from updates: which are published live, which are history, and which are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import Refusal
from gateway.sinks.mqtt.value_topics import is_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.model import Point, Update
    from gateway.ports import LatestValues
    from gateway.sinks.broker.mqtt_connection import Rejection
    from gateway.sinks.broker.paho_client import Message
    from gateway.sinks.mqtt.value_topics import TopicMap, ValueTopic


@dataclass
class MessageBuilder:
    """Builds each message of a sink when it is sent, by the topics and latest values of that moment.

    `retained`: topics that the broker may retain a message on, and whether that is a value.
    """

    topics: TopicMap
    latest: LatestValues
    has_history: bool
    retained: dict[str, bool]

    def messages(self, updates: Sequence[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Yield the messages; add to `refusals` the updates that no message can hold.

        By topic, the history comes first, in order, and then the present state. Whether an update is its
        point's newest is decided when its message is built.
        """
        topics = self.topics
        for topic, of_topic in self._by_topic(updates, refusals).items():
            newest, past = self._split(of_topic)
            while past:
                for group in _by_event(past):
                    if self.topics is not topics:
                        return  # a reload: all of it comes again
                    yield topic.history(group)
                newest, past = self._split(newest)  # a newer reading may have come while these were sent
            if self.topics is not topics:
                return
            news = {update.point: update for update in newest if not topic.is_published(update)}
            if news and (message := self.state(topic, news)) is not None:
                yield message

    def all_state(self) -> Iterator[Message]:
        """Yield the latest values of all points and assets, for a broker that may have lost everything."""
        topics = self.topics
        for topic in topics.by_topic.values():
            topic.reset_deadband()
        for topic in topics.by_topic.values():
            if topics is not self.topics:
                return  # a reload: the caller starts again
            if (message := self.state(topic, {})) is not None:
                yield message

    def state(self, topic: ValueTopic, news: Mapping[Point, Update]) -> Message | None:
        """Return the present state of a topic, if there is any; `news` are the updates it is sent for."""
        message = topic.live(self.latest, news)
        if message is not None and not self.retained.get(topic.topic):
            self.retained[topic.topic] = True
        return message

    def refused_updates(self, rejections: Iterable[Rejection]) -> list[Refusal]:
        """Return the updates in rejected messages, and reset the deadbands that held them."""
        refusals: list[Refusal] = []
        for message, _, reason in rejections:
            topic = self.topics.by_topic.get(message.topic)
            if topic is not None:
                topic.reset_deadband()  # or its repetition would fall into the deadband
            text = f"the broker refuses {message.topic}: {reason}"
            refusals += [Refusal(update, text) for update in message.updates]
        return refusals

    def _by_topic(self, updates: Iterable[Update], refusals: list[Refusal]) -> dict[ValueTopic, list[Update]]:
        """Return the updates by topic, without those that are not on this sink or of a former table."""
        found: dict[ValueTopic, list[Update]] = {}
        for update in updates:
            for topic in self.topics.by_point.get(update.point, ()):
                if is_json(update):
                    found.setdefault(topic, []).append(update)
                else:
                    reason = f"cannot be written to {topic.topic}: JSON cannot hold the value"
                    refusals.append(Refusal(update, reason))
                    break
        return found

    def _split(self, updates: Iterable[Update]) -> tuple[list[Update], list[Update]]:
        """Return the updates that the present state shows, and those that are history."""
        newest: list[Update] = []
        past: list[Update] = []
        for update in updates:
            if self.latest.is_newest(update) and _is_same(update, self.latest.latest(update.point)):
                newest.append(update)
            elif self._is_history(update):
                past.append(update)
        return newest, past

    def _is_history(self, update: Update) -> bool:
        """Return whether an update that is not the newest is a reading, and not one that came twice."""
        if not self.has_history:
            return False
        return update.is_measured and not update.is_repeated_by(self.latest.latest(update.point))


def _is_same(update: Update, latest: Update | None) -> bool:
    """Return whether the latest value is just this reading, and not another one of the same time."""
    if latest is None or latest is update:
        return True
    return (latest.seq, latest.raw, latest.value) == (update.seq, update.raw, update.value)


def _by_event(updates: Iterable[Update]) -> Iterator[list[Update]]:
    """Group readings into those of one message each: of one event, and no point twice."""
    group: list[Update] = []
    for update in updates:
        if group and (update.event_id != group[0].event_id or update.point in {one.point for one in group}):
            yield group
            group = []
        group.append(update)
    if group:
        yield group
