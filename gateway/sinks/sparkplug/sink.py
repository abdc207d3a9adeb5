"""Sparkplug B for SCADA hosts: the gateway is an edge node, each tag a device, each point a metric.

Everything is sent with QoS 0, as the specification demands; a round trip after each batch proves that the
broker has it. What hosts know is born again on every connection, so nothing is retained by the broker.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from gateway.clock import now_ms
from gateway.config.decode import STRICT
from gateway.errors import RefusedError, TransientError
from gateway.mapping.table_types import Level
from gateway.model import Quality
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.broker.message import Message
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.broker.paho_client import Will
from gateway.sinks.broker.reconnecting import ReconnectingBroker
from gateway.sinks.connecting import ConnectingSink
from gateway.sinks.sparkplug.bd_seq import BdSeq
from gateway.sinks.sparkplug.host import PrimaryHost
from gateway.sinks.sparkplug.layout import Layout
from gateway.sinks.sparkplug.node import EdgeNode, NodeName, node_death, state_topic
from gateway.sinks.sparkplug.payload import asks_for_rebirth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Refusal, Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.broker.mqtt_connection import MqttConnection
    from gateway.sinks.sparkplug.layout import QualityCodes
    from gateway.status import SinkStatus

__all__ = ["MqttSparkplugConfig", "MqttSparkplugSink"]

_REBIRTH_PAUSE_S = 5.0  # between one answer to a demand for births and the next
_LARGEST_COMMAND_BYTES = 1 << 16

# Section 6.4.9.1 knows three codes. A forced value is there to be acted upon, so it is good; that it was
# forced, or which kind of not fresh a value is, says the property GatewayQuality.
_STALE = (Quality.HELD, Quality.STALE, Quality.OFFLINE)
_QUALITY_CODES: dict[str, QualityCodes] = {
    "sparkplug": dict.fromkeys(Quality, 192) | dict.fromkeys(_STALE, 500) | {Quality.BAD: 0},
    # Ignition takes the number for its own QualityCode, whose level is in the top bits (Cirrus Link's
    # documentation, "Ignition 8 Quality Codes"): to it, 500 and 0 are kinds of good.
    "ignition": dict.fromkeys(Quality, 192) | dict.fromkeys(_STALE, -2147483132) | {Quality.BAD: -2147483136},
}


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttSparkplugConfig(BrokerConfig):
    """One Sparkplug B edge node on one broker."""

    type: Literal["mqtt_sparkplug"]
    """A Sparkplug B edge node on an MQTT broker."""
    group: Level
    """The group id, by which hosts sort edge nodes."""
    node: Level | None = None
    """The edge node id, unique in its group; the gateway's name if not written."""
    primary_host: Level | None = None
    """Publish only while this host application says that it is online."""
    quality_codes: Literal["sparkplug", "ignition"] = "sparkplug"
    """sparkplug: 192, 500 and 0, as specified; ignition: what Ignition shows as good, stale and bad."""
    history: bool = True
    """Whether readings that are not the newest are sent, marked as historical."""
    types_in_data: bool = False
    """Whether data tells the types of its values again, for hosts that do not remember those of births."""

    @property
    def codes(self) -> QualityCodes:
        """The number for each quality."""
        return _QUALITY_CODES[self.quality_codes]

    def name_of(self, gateway: str) -> NodeName:
        """Return what a gateway of this name is called."""
        return NodeName(self.group, self.node or gateway)


class MqttSparkplugSink(ConnectingSink):
    """The points of one gateway as one edge node, born on every connection anew.

    Leaving publishes the node's death.
    """

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
        alarms: Alarms | None = None,  # noqa: ARG002 - what all sinks are given; Sparkplug has no place for them
        clock: Callable[[], int] = now_ms,
        rebirth_pause_s: float = _REBIRTH_PAUSE_S,
    ) -> None:
        """Sort the points by device. `clock` gives Unix milliseconds. `retained`: see `BdSeq`."""
        self._sink_name = name
        self._config = config
        self._client_id = config.client_id or f"gateway-{gateway}-{name}"
        self._clock = clock
        self._rebirth_pause_s = rebirth_pause_s
        self._name = config.name_of(gateway)
        self._link = ReconnectingBroker(
            name=name, url=config.url, status=status, session=self._session, clock=clock
        )
        self._node = EdgeNode(
            sink=name,
            name=self._name,
            layout=Layout.of(points.points, sink=name),
            latest=latest,
            codes=config.codes,
            history=config.history,
            types_in_data=config.types_in_data,
            skips=self._link.skipped_topics.is_skipped,
            clock=clock,
        )
        super().__init__(self._link.stay_connected, task_name=f"mqtt sink {name}")
        self._bd_seq = BdSeq({} if retained is None else retained, will_topic=self._name.topic("NDEATH"))
        self._publishing = asyncio.Lock()  # a connection publishes for one at a time
        self._host: PrimaryHost | None = None
        self._is_rebirth_demanded = False
        self._news = asyncio.Event()

    async def write(self, updates: Sequence[Update]) -> None:
        """Tell hosts what is new in the updates, live or as history; return when the broker has all of it."""
        connection = await self._link.wait_connected()
        refusals: list[Refusal] = []
        async with self._publishing:
            if connection is not self._link.connection:  # what hosts know belongs to another one by now
                raise TransientError(f"{self._config.url} was away: connected again meanwhile")
            await self._tell(connection, self._node.data(updates, refusals))
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Sort the points of another table; devices that change are born anew, those that go die."""
        layout = Layout.of(points.points, sink=self._sink_name)
        same = layout.follow(self._node.layout)

        def adopt(_: Iterable[Update]) -> None:
            self._node.adopt(layout, latest, same)
            self._news.set()

        return adopt

    async def _session(self) -> str:
        """Hold one connection until it is lost or the primary host leaves; return which it was."""
        self._bd_seq.advance()
        connection = await connect(
            self._config,
            client_id=self._client_id,
            will=Will(self._name.topic("NDEATH"), self._death(), retain=False),
            skipped_topics=self._link.skipped_topics,
        )
        try:
            await self._listen(connection)
            async with self._publishing:
                self._is_rebirth_demanded = False
                self._node.begin(bd_seq=self._bd_seq.number, largest_bytes=connection.largest_bytes)
                await self._tell(connection, self._node.announcements())
            self._link.set_up(connection)
            reason = await self._attending(connection)
            self._link.set_down()
            async with self._publishing:  # lets a write come to its end
                return reason
        finally:
            self._link.set_down()
            # With MQTT 5, section 6.4.25 demands both the message and the will.
            await connection.close(
                Message(self._name.topic("NDEATH"), self._death(), retain=False),
                with_will=True,
            )

    async def _listen(self, connection: MqttConnection) -> None:
        """Hear commands, and wait for the primary host where there is one."""
        topics = [self._name.topic("NCMD")]
        if self._config.primary_host is None:
            await connection.subscribe(topics, self._receive)
            return
        self._host = host = PrimaryHost(self._config.primary_host)
        await connection.subscribe([*topics, state_topic(host.name)], self._receive)
        self._link.mark_away(f"waiting for the primary host {host.name} to be online")
        await _first_of(host.arrived, connection.wait_lost)

    def _receive(self, topic: str, payload: bytes) -> None:
        if self._host is not None and topic == state_topic(self._host.name):
            self._host.take(payload)
        elif (
            not self._is_rebirth_demanded
            and len(payload) <= _LARGEST_COMMAND_BYTES
            and asks_for_rebirth(payload)
        ):
            self._is_rebirth_demanded = True
            self._news.set()

    async def _attending(self, connection: MqttConnection) -> str:
        """Tell what news there is until the session has to end; return why."""
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(
                self._tell_news(connection), name=f"sparkplug births {self._sink_name}"
            )
            leaving = () if self._host is None else (self._host.left,)
            reason = await _first_of(connection.wait_lost, *leaving)
            telling.cancel()
        return reason

    async def _tell_news(self, connection: MqttConnection) -> None:
        """Announce what a reload has changed, and everything where a host demands it, but not too often."""
        with suppress(TransientError):
            while True:
                await self._news.wait()
                self._news.clear()
                is_rebirth, self._is_rebirth_demanded = self._is_rebirth_demanded, False
                async with self._publishing:
                    if is_rebirth:
                        self._node.be_reborn()
                    await self._tell(connection, self._node.announcements())
                if is_rebirth:
                    await asyncio.sleep(self._rebirth_pause_s)

    async def _tell(self, connection: MqttConnection, messages: Iterator[Message]) -> None:
        """Publish, and return when the broker has everything; where there is nothing, at once."""
        first = next(messages, None)
        if first is not None:
            await connection.publish(chain((first,), messages))
            # QoS 0 has no acknowledgement. Once for all of them, the answer to a packet behind them stands
            # in for it; nobody is ever subscribed to this topic.
            await connection.settle(self._name.topic("NCMD") + "/settled")

    def _death(self) -> bytes:
        return node_death(bd_seq=self._bd_seq.number, time_ms=self._clock())


async def _first_of(*waits: Callable[[], Awaitable[str]]) -> str:
    """Return what is returned first; nobody waits for the others any more."""
    first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def pass_on(wait: Callable[[], Awaitable[str]]) -> None:
        said = await wait()
        if not first.done():
            first.set_result(said)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(pass_on(wait), name=f"sparkplug {wait.__name__}") for wait in waits]
        said = await first
        for task in running:
            task.cancel()
    return said
