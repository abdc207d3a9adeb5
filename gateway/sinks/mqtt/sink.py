"""MQTT: retained topics of points or assets that only move forward in event time; `$history` for the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.clock import now_ms
from gateway.errors import RefusedError
from gateway.sinks.broker.message import Message
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.broker.paho_client import Will
from gateway.sinks.broker.reconnecting import ReconnectingBroker
from gateway.sinks.connecting import ConnectingSink
from gateway.sinks.mqtt.alarm_publisher import AlarmPublisher
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery
from gateway.sinks.mqtt.message_builder import MessageBuilder
from gateway.sinks.mqtt.metadata import MetadataPublisher, log_rejected
from gateway.sinks.mqtt.topic_map import TopicMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Refusal, Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.broker.message import Rejection
    from gateway.sinks.broker.mqtt_connection import MqttConnection
    from gateway.status import SinkStatus

__all__ = ["MqttConfig", "MqttSink"]

# PUBACK failures that mean "not now": packet identifier in use, quota exceeded. All others are about
# this message ("does not accept the publish", "not willing to accept it", in the standard's words):
# published again they would fail again.
_NOT_NOW = frozenset({0x91, 0x97})
_RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


class MqttSink(ConnectingSink):
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
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Make the topics. `gateway` is this gateway's name, `clock` returns Unix milliseconds.

        `retained`: topics that a former run has left on the broker, see `MetadataPublisher`. `alarms`: those
        to publish.
        """
        self._name = name
        self._config = config
        self._client_id = config.client_id or f"gateway-{gateway}-{name}"
        self._status_topic = f"{config.prefix}/$gateway/{gateway}/status"
        alarms_topic = f"{config.prefix}/$gateway/{gateway}/alarms"
        self._topics = config.topics(gateway)
        self._discovery = None
        if config.home_assistant is not None:
            self._discovery = HomeAssistantDiscovery(
                prefix=config.home_assistant.discovery_prefix,
                gateway=gateway,
                status_topic=self._status_topic,
                bare=config.payload == "value",
            )
        self._retained = retained = {} if retained is None else retained
        self._builder = MessageBuilder(
            self._map_topics(points), latest, has_history=config.history, retained=retained
        )
        self._metadata = MetadataPublisher(
            self._builder, sink=name, retained=retained, other_topics=(self._status_topic, alarms_topic)
        )
        self._alarms = (
            None
            if alarms is None
            else AlarmPublisher(alarms, sink=name, topic=alarms_topic, retained=retained)
        )
        self._broker = ReconnectingBroker(
            name=name, url=config.url, status=status, session=self._session, clock=clock
        )
        super().__init__(self._broker.stay_connected, task_name=f"mqtt sink {name}")
        self._retry = _QuotaRetry(self._present_status)
        self._publishing = asyncio.Lock()  # a connection publishes for one caller at a time

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish each update, live or as history, and return when the broker has acknowledged all."""
        connection = await self._broker.wait_connected()
        refusals: list[Refusal] = []
        async with self._publishing:
            messages = self._builder.messages(updates, refusals)
            rejections = await self._retry.publish(connection, messages)
        refusals += self._builder.check_rejections(rejections)
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Make the topics of another point table; those without a point, or a value, will be cleared."""
        topics, former = self._map_topics(points), self._builder.topics
        outdated = topics.outdated_assets(former)
        for asset in outdated:
            asset.is_outdated = True
        dirty = topics.changed_topics(former) + [asset.topic for asset in outdated]
        dirty += [
            name
            for name, topic in topics.by_topic.items()
            if self._retained.get(name) and not topic.has_value(latest)
        ]

        def adopt(_: Iterable[Update]) -> None:
            self._builder.change_table(topics, latest)
            self._metadata.mark_dirty(dirty)

        return adopt

    def _map_topics(self, points: PointSource) -> TopicMap:
        return TopicMap(
            points.points,
            sink=self._name,
            topics=self._topics,
            bare=self._config.payload == "value",
            discovery=self._discovery,
        )

    async def _session(self) -> str:
        """Connect, restore, and publish until the connection is lost; return why it was."""
        will = Will(self._status_topic, b"offline")
        connection = await connect(
            self._config, client_id=self._client_id, will=will, skipped_topics=self._broker.skipped_topics
        )
        try:
            await self._restore(connection)
            self._broker.set_up(connection)
            return await self._publish_metadata(connection)
        finally:
            self._broker.set_down()
            await connection.close(self._status(is_online=False))

    async def _restore(self, connection: MqttConnection) -> None:
        """Publish all retained state again, which the broker may have lost, and `online` last.

        Until then `offline` marks what is retained as possibly old.
        """
        builder, topics = self._builder, None
        if self._status_topic not in self._retained:
            self._retained[self._status_topic] = False  # to be cleared one day
        self._retry.reset()
        rejections: list[Rejection] = []
        if self._broker.skipped_topics.suspects:  # that this is accepted puts the blame on a suspect
            rejections += await connection.publish([self._status(is_online=False)])
        while topics is not builder.topics:  # once more where a reload came in between
            topics = builder.topics
            rejections += await self._retry.publish(connection, builder.all_state())
        builder.check_rejections(rejections)
        rejections += await connection.publish([self._status(is_online=True)])
        log_rejected(rejections, sink=self._name)

    async def _publish_metadata(self, connection: MqttConnection) -> str:
        """Publish metadata and alarms, now and when they change; return why the connection was lost."""

        async def publish(messages: Iterable[Message]) -> list[Rejection]:
            async with self._publishing:
                return await connection.publish(messages)

        self._metadata.mark_all_dirty()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._metadata.run(publish), name=f"mqtt meta {self._name}")]
            if self._alarms is not None:
                running.append(tasks.create_task(self._alarms.run(publish), name=f"mqtt alarms {self._name}"))
            await asyncio.wait([connection.lost])
            for task in running:
                task.cancel()
        return connection.lost.result()

    def _present_status(self) -> Message:
        return self._status(is_online=self._broker.connection is not None)

    def _status(self, *, is_online: bool) -> Message:
        return Message(self._status_topic, b"online" if is_online else b"offline", retain=True)


class _QuotaRetry:
    """Publishes, and retries what the broker refuses for now, as when a quota is exceeded."""

    def __init__(self, probe: Callable[[], Message]) -> None:
        """`probe` returns a message that shows whether the broker accepts anything."""
        self._probe = probe
        self._exhausted: set[str] = set()  # topics refused at every retry: from then on without retries

    def reset(self) -> None:
        """Retry every topic again: another connection, another quota."""
        self._exhausted.clear()

    async def publish(self, connection: MqttConnection, messages: Iterable[Message]) -> list[Rejection]:
        """Return what the broker refuses for good, or at every retry.

        The latter is final if the broker accepts another message meanwhile.
        """
        final, for_now = self._split(await connection.publish(messages))
        pauses = iter(_RETRY_PAUSES_S)
        while for_now and (pause_s := next(pauses, None)) is not None:
            await asyncio.sleep(pause_s)
            rejections = await connection.publish([each.message for each in for_now])
            more_final, still = self._split(rejections)
            if len(still) < len(for_now):
                pauses = iter(_RETRY_PAUSES_S)
            final, for_now = final + more_final, still
        if for_now and await self._accepts_probe(connection):
            self._exhausted.update(each.message.topic for each in for_now)
            return final + for_now
        return final + [each._replace(is_final=False) for each in for_now]

    def _split(self, rejections: Iterable[Rejection]) -> tuple[list[Rejection], list[Rejection]]:
        """Return what is refused for good, and what may be accepted later."""
        final: list[Rejection] = []
        for_now: list[Rejection] = []
        for each in rejections:
            is_for_now = each.code in _NOT_NOW and each.message.topic not in self._exhausted
            (for_now if is_for_now else final).append(each)
        return final, for_now

    async def _accepts_probe(self, connection: MqttConnection) -> bool:
        return not any(each.code in _NOT_NOW for each in await connection.publish([self._probe()]))
