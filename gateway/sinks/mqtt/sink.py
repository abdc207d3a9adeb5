"""MQTT: retained topics of points or assets that only move forward in event time; `$history` for the rest."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from gateway.errors import RefusedError, TransientError
from gateway.events import EventPatterns
from gateway.model import EventCopy, is_backfilled
from gateway.sinks.broker.broker_sink import BrokerSink
from gateway.sinks.broker.paho_client import Message
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery
from gateway.sinks.mqtt.message_builder import MessageBuilder
from gateway.sinks.mqtt.metadata import MetadataPublisher, log_rejected, publish_alarms
from gateway.sinks.mqtt.value_topics import TopicMap, has_value, message_properties

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Refusal, Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.broker.mqtt_connection import MqttConnection, Rejection
    from gateway.status import SinkStatus

__all__ = ["MqttConfig", "MqttSink"]

# PUBACK failures that mean "not now": packet identifier in use, quota exceeded. All others are about
# this message ("does not accept the publish", "not willing to accept it", in the standard's words):
# published again they would fail again.
_NOT_NOW = frozenset({0x91, 0x97})
_RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


class MqttSink(BrokerSink):
    """The points of one gateway on one broker. Leaving publishes `offline`."""

    def __init__(
        self,
        *,
        name: str,
        config: MqttConfig,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,
        alarms: Alarms | None = None,
    ) -> None:
        """Make the topics. `gateway` is this gateway's name.

        `retained`: topics that a former run has left on the broker, see `MetadataPublisher`. `alarms`: those
        to publish.
        """
        super().__init__(name=name, broker=config, gateway=gateway, status=status)
        self._status_topic = f"{config.prefix}/$gateway/{gateway}/status"
        self._alarms_topic = f"{config.prefix}/$gateway/{gateway}/alarms"
        is_bare, discovery = config.payload == "value", None
        if config.home_assistant is not None:
            discovery = HomeAssistantDiscovery(
                prefix=config.home_assistant.discovery_prefix,
                gateway=gateway,
                status_topic=self._status_topic,
                bare=is_bare,
            )
        self._map_topics = partial(
            TopicMap, sink=name, topics=config.topics(gateway), bare=is_bare, discovery=discovery
        )
        self._retained = {} if retained is None else retained
        self._builder = MessageBuilder(
            self._map_topics(points.points), latest, has_history=config.history, retained=self._retained
        )
        self._metadata = MetadataPublisher(
            self._builder, sink=name, other_topics=(self._status_topic, self._alarms_topic)
        )
        self._events = EventPatterns(config.events)
        self._prefix = config.prefix
        self._alarms = alarms
        self._exhausted: set[str] = set()  # topics refused at every retry: on this connection without retries

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish each update, live or as history, and return when the broker has acknowledged all."""
        connection = await self.wait_connected()
        refusals: list[Refusal] = []
        async with self.publishing:
            messages = self._builder.messages(updates, refusals)
            if self._events.patterns:
                messages = chain(messages, self._event_messages(updates))
            rejections = await self._publish_patiently(connection, messages)
        refusals += self._builder.refused_updates(rejections)
        if refusals:
            raise RefusedError(refusals)

    def _event_messages(self, updates: Iterable[Update]) -> Iterator[Message]:
        """Yield the events of the sink's `events` as received, in their order."""
        for update in updates:
            if isinstance(update, EventCopy) and self._publishes(update):
                topic, packed = f"{self._prefix}/{update.point.name}", message_properties(update)
                yield Message(topic, update.body, False, packed, (update,))  # noqa: FBT003 - not retained

    def _publishes(self, copy: EventCopy) -> bool:
        """Return whether the sink's `events` name the event's type, and a webhook has brought it."""
        return copy.point.point in self._events and not is_backfilled(copy.event_id)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Make the topics of another point table; those without a point, or a value, will be cleared."""
        topics = self._map_topics(points.points)
        dirty = topics.changes_from(self._builder.topics)
        dirty += [
            name
            for name, topic in topics.by_topic.items()
            if self._retained.get(name) and not has_value(topic, latest)
        ]

        def adopt(_: Iterable[Update]) -> None:
            self._builder.topics, self._builder.latest = topics, latest
            self._metadata.mark_dirty(dirty)

        return adopt

    async def session(self) -> str:
        """Connect, restore, and publish until the connection is lost; return why it was."""
        connection = await self.connect(self._status(is_online=False))
        try:
            await self._restore(connection)
            self.set_up(connection)
            return await self._publish_metadata(connection)
        finally:
            self.set_down()
            await connection.close(self._status(is_online=False))

    async def _restore(self, connection: MqttConnection) -> None:
        """Publish all retained state again, which the broker may have lost, and `online` last.

        Until then `offline` marks what is retained as possibly old.
        """
        builder, topics = self._builder, None
        if self._status_topic not in self._retained:
            self._retained[self._status_topic] = False  # to be cleared one day
        self._exhausted.clear()
        rejections: list[Rejection] = []
        if self.skipped_topics.suspects:  # that this is accepted puts the blame on a suspect
            rejections += await connection.publish([self._status(is_online=False)])
        while topics is not builder.topics:  # once more where a reload came in between
            topics = builder.topics
            rejections += await self._publish_patiently(connection, builder.all_state())
        builder.refused_updates(rejections)
        rejections += await connection.publish([self._status(is_online=True)])
        log_rejected(rejections, sink=self.name)

    async def _publish_metadata(self, connection: MqttConnection) -> str:
        """Publish metadata and alarms, now and when they change; return why the connection was lost."""

        async def publish(messages: Iterable[Message]) -> list[Rejection]:
            async with self.publishing:
                return await connection.publish(messages)

        self._metadata.mark_all_dirty()
        publishers = {"meta": self._metadata.run(publish)}
        if self._alarms is not None:
            publishers["alarms"] = publish_alarms(
                self._alarms, publish, topic=self._alarms_topic, sink=self.name, retained=self._retained
            )
        return await self.run_until({connection.lost}, publishers)

    async def _publish_patiently(
        self, connection: MqttConnection, messages: Iterable[Message]
    ) -> list[Rejection]:
        """Publish, and retry what the broker refuses for now, as when a quota is exceeded.

        Return what it refuses for good, and what it refuses at every retry although it accepts another
        message. Raise `TransientError` if it accepts nothing at present.
        """
        final, for_now = self._split(await connection.publish(messages))
        pauses = iter(_RETRY_PAUSES_S)
        while for_now and (pause_s := next(pauses, None)) is not None:
            await asyncio.sleep(pause_s)
            more, still = self._split(await connection.publish([each.message for each in for_now]))
            if len(still) < len(for_now):
                pauses = iter(_RETRY_PAUSES_S)
            final, for_now = final + more, still
        rejections = final + for_now
        if for_now:
            probe = self._status(is_online=self.connection is not None)
            if self._split(await connection.publish([probe]))[1]:
                self._builder.refused_updates(rejections)
                raise TransientError(f"the broker refuses {for_now[0].message.topic}: {for_now[0].reason}")
            self._exhausted.update(each.message.topic for each in for_now)
        return rejections

    def _split(self, rejections: Iterable[Rejection]) -> tuple[list[Rejection], list[Rejection]]:
        """Return what is refused for good, and what may be accepted later."""
        final: list[Rejection] = []
        for_now: list[Rejection] = []
        for each in rejections:
            is_for_now = each.code in _NOT_NOW and each.message.topic not in self._exhausted
            (for_now if is_for_now else final).append(each)
        return final, for_now

    def _status(self, *, is_online: bool) -> Message:
        return Message(self._status_topic, b"online" if is_online else b"offline", retain=True)
