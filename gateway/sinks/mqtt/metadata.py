"""Publishes metadata (`$meta`, Home Assistant's discovery) and alarms; clears retained topics."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.sinks.broker.paho_client import Message
from gateway.sinks.mqtt.value_topics import has_value
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

    from gateway.alarms import Alarms
    from gateway.records import Alarm
    from gateway.sinks.broker.mqtt_connection import Rejection
    from gateway.sinks.mqtt.message_builder import MessageBuilder

    Publish = Callable[[Iterable[Message]], Awaitable[list[Rejection]]]

_AT_ONCE = 50  # topics before live values have their turn
_CLEAR_AGAIN_FOR_S = 3600.0  # mosquitto saves itself every half hour; much later, others may use the topics

_log = structlog.get_logger()


@dataclass
class MetadataPublisher:
    """Publishes metadata of the topics that are dirty, and clears those that have no point or no value.

    A topic without a value is cleared, since what the broker retains there was measured by another device.
    All topics are dirty at each connection. A cleared topic is cleared again at each connection for an hour:
    a broker that lost power restarts with what it last saved.
    """

    builder: MessageBuilder
    sink: str
    other_topics: Collection[str] = ()
    """Topics that belong to no point, and are left alone."""
    clock_s: Callable[[], float] = time.monotonic
    _cleared_at_s: dict[str, float] = field(default_factory=dict)  # oldest first
    _dirty: dict[str, None] = field(default_factory=dict)
    _has_dirty: asyncio.Event = field(default_factory=asyncio.Event)

    def mark_dirty(self, topics: Iterable[str]) -> None:
        """Mark these topics as dirty: their metadata is published, or cleared if they are gone."""
        self._dirty.update(dict.fromkeys(topics))
        self._has_dirty.set()

    def mark_all_dirty(self) -> None:
        """Mark everything as dirty: all metadata is published, and whatever else is retained is cleared."""
        topics = self.builder.topics
        gone = [
            each for each in self.builder.retained if each not in self.other_topics and each not in topics
        ]
        self.mark_dirty((*topics.by_topic, *gone))

    async def run(self, publish: Publish) -> None:
        """Publish whatever is dirty; raise `TransientError` when the connection is lost."""
        while True:
            await self._has_dirty.wait()
            self._has_dirty.clear()
            while self._dirty:
                topics = list(islice(self._dirty, _AT_ONCE))
                for topic in topics:
                    del self._dirty[topic]
                cleared: dict[str, None] = {}
                rejections = await publish(self._messages(topics, cleared))
                log_rejected(rejections, sink=self.sink)
                for rejection in rejections:
                    cleared.pop(rejection.message.topic, None)
                self._record_cleared(cleared)

    def _messages(self, dirty: Iterable[str], cleared: dict[str, None]) -> Iterator[Message]:
        """Yield messages by the table in force when each is sent; add to `cleared` the topics cleared."""
        for name in dirty:
            topics = self.builder.topics
            topic = topics.by_topic.get(name)
            if topic is None and topics.is_metadata(name):
                continue  # published with the topic that it describes
            if name in self.builder.retained and (topic is None or not has_value(topic, self.builder.latest)):
                cleared[name] = None
                yield Message(name, b"", retain=True)
            if topic is None:
                continue
            if topic.is_outdated and (state := self.builder.state(topic, {})) is not None:
                yield state
            for each in topics.describe(topic):
                if self.builder.retained.get(each.topic) is not False:
                    self.builder.retained[each.topic] = False
                cleared.pop(each.topic, None)  # a reload during this loop has brought it back
                self._cleared_at_s.pop(each.topic, None)
                yield each

    def _record_cleared(self, topics: Iterable[str]) -> None:
        """Record topics as cleared, and forget those cleared an hour ago."""
        now_s = self.clock_s()
        for topic in topics:
            if self.builder.retained[topic]:  # a value was published there after it was last cleared
                self.builder.retained[topic] = False
                self._cleared_at_s.pop(topic, None)
            self._cleared_at_s.setdefault(topic, now_s)
        for topic, cleared_at_s in list(self._cleared_at_s.items()):
            if now_s - cleared_at_s < _CLEAR_AGAIN_FOR_S:
                return
            del self._cleared_at_s[topic]
            if not self.builder.retained[topic]:  # otherwise it has a value again
                del self.builder.retained[topic]


async def publish_alarms(
    alarms: Alarms, publish: Publish, *, topic: str, sink: str, retained: dict[str, bool]
) -> None:
    """Publish all current alarms in one message, now and whenever they change."""
    changed = asyncio.Event()
    alarms.subscribe(changed.set)
    try:
        published = None
        while True:
            changed.clear()
            payload = orjson.dumps({"alarms": [_alarm_document(alarm) for alarm in alarms.current()]})
            if payload != published:
                if topic not in retained:
                    retained[topic] = False
                log_rejected(await publish([Message(topic, payload, retain=True)]), sink=sink)
                published = payload
            await changed.wait()
    finally:
        alarms.unsubscribe(changed.set)


def _alarm_document(alarm: Alarm) -> dict[str, str]:
    document = {"alarm": alarm.name, "since": second_text(alarm.since_ms), "reason": alarm.reason}
    if alarm.acknowledged_ms is not None:
        document["acknowledged"] = second_text(alarm.acknowledged_ms)
    return document


def log_rejected(rejections: Sequence[Rejection], *, sink: str) -> None:
    """Log once what the broker refuses of messages that no write waits for."""
    if rejections:
        topic, reason = rejections[0].message.topic, rejections[0].reason
        _log.warning("sink.refused", sink=sink, topics=len(rejections), first=topic, reason=reason)
