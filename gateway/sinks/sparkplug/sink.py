"""Sparkplug B for SCADA hosts: the gateway is an edge node, each tag a device, each point a metric.

Everything is published with QoS 0, as the specification demands; a round trip after each batch proves that
the broker has it. Births are published on every connection, and the broker retains nothing.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

import orjson

from gateway.clock import now_ms
from gateway.errors import RefusedError, TransientError
from gateway.sinks.broker.broker_sink import BrokerSink
from gateway.sinks.broker.paho_client import Message
from gateway.sinks.sparkplug.config import MqttSparkplugConfig, next_bd_seq, state_topic
from gateway.sinks.sparkplug.edge_node import DeviceMap, EdgeNode
from gateway.sinks.sparkplug.payload import asks_for_rebirth, node_death

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Refusal, Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.broker.mqtt_connection import MqttConnection
    from gateway.status import SinkStatus

__all__ = ["MqttSparkplugConfig", "MqttSparkplugSink"]

_REBIRTH_PAUSE_S = 5.0  # between the births that hosts ask for
_LARGEST_COMMAND_BYTES = 1 << 16


class MqttSparkplugSink(BrokerSink):
    """The points of one gateway as one edge node. Leaving publishes the node's death."""

    def __init__(
        self,
        *,
        name: str,
        config: MqttSparkplugConfig,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,
        alarms: Alarms | None = None,  # noqa: ARG002 - all sinks are given it; Sparkplug has no place for alarms
        rebirth_pause_s: float = _REBIRTH_PAUSE_S,
    ) -> None:
        """Sort the points by device. `retained`: see `next_bd_seq`."""
        super().__init__(name=name, broker=config, gateway=gateway, status=status)
        self._config = config
        self._rebirth_pause_s = rebirth_pause_s
        self._node_name = config.node_name(gateway)
        self._node = EdgeNode(
            name=self._node_name,
            config=config,
            devices=DeviceMap(points.points, sink=name),
            latest=latest,
            is_skipped=self.skipped_topics.is_skipped,
        )
        self._retained = {} if retained is None else retained
        self._bd_seq = 0
        self._host: _PrimaryHost | None = None
        self._is_rebirth_requested = False
        self._has_births = asyncio.Event()

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish the updates, live or as history, and return when the broker has all of them."""
        connection = await self.wait_connected()
        refusals: list[Refusal] = []
        async with self.publishing:
            if connection is not self.connection:  # the births of this one are not those of another
                raise TransientError(f"{self._config.url} was away: connected again meanwhile")
            await self._publish(connection, self._node.data(updates, refusals))
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Sort the points of another table: devices that are gone die, all others are born again."""
        devices = DeviceMap(points.points, sink=self.name)

        def adopt(_: Iterable[Update]) -> None:
            self._node.change_table(devices, latest)
            self._has_births.set()

        return adopt

    async def session(self) -> str:
        """Connect and publish until the connection is lost or the primary host leaves; return why."""
        self._bd_seq = next_bd_seq(self._retained, will_topic=self._node_name.topic("NDEATH"))
        connection = await self.connect(self._death())
        try:
            await self._subscribe(connection)
            async with self.publishing:
                self._is_rebirth_requested = False
                self._node.begin_session(bd_seq=self._bd_seq, largest_bytes=connection.largest_bytes)
                await self._publish(connection, self._node.births_and_deaths())
            self.set_up(connection)
            reason = await self._publish_until_end(connection)
            self.set_down()
            async with self.publishing:  # a write that is running may end
                return reason
        finally:
            self.set_down()
            # With MQTT 5, section 6.4.25 demands both the message and the will.
            await connection.close(self._death(), with_will=True)

    async def _subscribe(self, connection: MqttConnection) -> None:
        """Subscribe to commands; wait for the primary host where there is one."""
        topics = [self._node_name.topic("NCMD")]
        if self._config.primary_host is None:
            await connection.subscribe(topics, self._receive)
            return
        self._host = host = _PrimaryHost(self._config.primary_host)
        await connection.subscribe([*topics, state_topic(host.name)], self._receive)
        if not host.is_online.done():
            self.receiver.mark_away(f"waiting for the primary host {host.name} to be online")
        await asyncio.wait((host.is_online, connection.lost), return_when=asyncio.FIRST_COMPLETED)

    def _receive(self, topic: str, payload: bytes) -> None:
        if self._host is not None and topic == state_topic(self._host.name):
            self._host.apply_state(payload)
        elif (
            not self._is_rebirth_requested
            and len(payload) <= _LARGEST_COMMAND_BYTES
            and asks_for_rebirth(payload)
        ):
            self._is_rebirth_requested = True
            self._has_births.set()

    async def _publish_until_end(self, connection: MqttConnection) -> str:
        """Publish births and deaths that become due; return why the session has to end."""
        ends = {connection.lost} if self._host is None else {connection.lost, self._host.is_gone}
        return await self.run_until(ends, {"births": self._publish_births(connection)})

    async def _publish_births(self, connection: MqttConnection) -> None:
        """Publish what a reload has changed, and all births where a host asks for them, but not too often."""
        while True:
            await self._has_births.wait()
            self._has_births.clear()
            is_rebirth, self._is_rebirth_requested = self._is_rebirth_requested, False
            async with self.publishing:
                if is_rebirth:
                    self._node.request_rebirth()
                await self._publish(connection, self._node.births_and_deaths())
            if is_rebirth:
                await asyncio.sleep(self._rebirth_pause_s)

    async def _publish(self, connection: MqttConnection, messages: Iterator[Message]) -> None:
        """Publish, and return when the broker has everything; at once where there is nothing."""
        first = next(messages, None)
        if first is not None:
            await connection.publish(chain((first,), messages))
            # QoS 0 has no acknowledgement. The answer to a packet behind all of them stands in for it;
            # nobody is ever subscribed to this topic.
            await connection.settle(self._node_name.topic("NCMD") + "/settled")

    def _death(self) -> Message:
        payload = node_death(bd_seq=self._bd_seq, time_ms=now_ms())
        return Message(self._node_name.topic("NDEATH"), payload, retain=False)


class _PrimaryHost:
    """The state of one host application during one session (sections 5.4 and 5.5: STATE)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._state_ms = 0
        loop = asyncio.get_running_loop()
        self.is_online: asyncio.Future[None] = loop.create_future()
        self.is_gone: asyncio.Future[str] = loop.create_future()
        """Done, with a text for the log, once the host is offline after it was online."""

    def apply_state(self, payload: bytes) -> None:
        """Apply JSON with `online` and `timestamp`, unless it is older than the last one."""
        try:
            state = orjson.loads(payload)
            online, state_ms = state["online"], state["timestamp"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return
        if not isinstance(online, bool) or not isinstance(state_ms, int) or state_ms < self._state_ms:
            return
        self._state_ms = state_ms
        if online and not self.is_online.done():
            self.is_online.set_result(None)
        elif not online and self.is_online.done() and not self.is_gone.done():
            self.is_gone.set_result(f"the primary host {self.name} is offline")
