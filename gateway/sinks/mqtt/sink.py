"""MQTT: retained topics of points or assets that only move forward in event time; `$history` for the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.clock import now_ms
from gateway.errors import RefusedError
from gateway.sinks.broker.connection import connect
from gateway.sinks.broker.dial import Dial, Will
from gateway.sinks.broker.link import Link
from gateway.sinks.broker.message import Message
from gateway.sinks.connecting import ConnectingSink
from gateway.sinks.mqtt.alarm_board import AlarmBoard
from gateway.sinks.mqtt.announcer import Announcer, log_rejected
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.mqtt.describing import describer
from gateway.sinks.mqtt.desk import Desk
from gateway.sinks.mqtt.insistence import Insistence
from gateway.sinks.mqtt.layout import Change, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Refusal, Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.broker.connection import Connection
    from gateway.sinks.broker.message import Rejection
    from gateway.status import SinkStatus

__all__ = ["MqttConfig", "MqttSink"]

_FAREWELL_S = 2.0


class MqttSink(ConnectingSink):
    """The points of one gateway on one broker, connected and connected again for as long as it lives.

    Leaving publishes `offline`.
    """

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
        """Prepare the topics. `gateway` is this gateway's name, `clock` gives Unix milliseconds.

        `retained`: what a former run has left on the broker, see `Announcer`. `alarms`: those to publish.
        """
        self._name = name
        self._config = config
        self._status_topic = f"{config.prefix}/$gateway/{gateway}/status"
        alarms_topic = f"{config.prefix}/$gateway/{gateway}/alarms"
        self._dial = Dial.to(
            config, client_id=f"gateway-{gateway}-{name}", will=Will(self._status_topic, b"offline")
        )
        self._topics = config.topics(gateway)
        self._describe = describer(config, topics=self._topics, status_topic=self._status_topic)
        self._retained = retained = {} if retained is None else retained
        self._announcer = Announcer(sink=name, retained=retained, beside=(self._status_topic, alarms_topic))
        self._board = (
            AlarmBoard(alarms, sink=name, topic=alarms_topic, retained=retained)
            if alarms is not None
            else None
        )
        self._desk = Desk(self._lay_out(points), latest, has_history=config.history, retained=retained)
        self._link = Link(name=name, url=config.url, status=status, session=self._session, clock=clock)
        super().__init__(self._link.stay_connected, task_name=f"mqtt sink {name}")
        self._insistence = Insistence(self._present_status)
        self._publishing = asyncio.Lock()  # a connection publishes for one at a time

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish each update, live or as history, and return when the broker has acknowledged all."""
        connection = await self._link.connected()
        refusals: list[Refusal] = []
        async with self._publishing:
            messages = self._desk.messages(updates, refusals)
            rejections = await self._insistence.publish(connection, messages)
        refusals += self._desk.judge(rejections)
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Lay out the topics of another point table; those without a point, or a value, will be cleared."""
        change = Change.between(self._desk.layout, self._lay_out(points))
        emptied = self._desk.emptied(change, latest)

        def adopt(_: Iterable[Update]) -> None:
            self._desk.adopt(change, latest)
            self._announcer.note((*change.topics, *emptied))

        return adopt

    def _lay_out(self, points: PointSource) -> Layout:
        return Layout.of(
            points.points,
            sink=self._name,
            topics=self._topics,
            plain=self._config.payload == "value",
            describe=self._describe,
        )

    async def _session(self) -> str:
        """Hold one connection until it is lost, and return why it was."""
        connection = await connect(self._dial, self._link.hang_ups)
        try:
            await self._restore(connection)
            self._link.come_up(connection)
            return await self._announcing(connection)
        finally:
            self._link.go_down()
            await connection.close(self._status(is_online=False), timeout_s=_FAREWELL_S)

    async def _announcing(self, connection: Connection) -> str:
        """Tell what the points are, and the alarms, now and at every change, until the connection is lost."""

        async def publish(messages: Iterable[Message]) -> list[Rejection]:
            async with self._publishing:
                return await connection.publish(messages)

        self._announcer.note_all(self._desk.layout)
        async with asyncio.TaskGroup() as tasks:
            telling = [
                tasks.create_task(
                    self._announcer.run(publish, layout=lambda: self._desk.layout, value=self._desk.value),
                    name=f"mqtt meta {self._name}",
                )
            ]
            if self._board is not None:
                telling.append(tasks.create_task(self._board.run(publish), name=f"mqtt alarms {self._name}"))
            reason = await connection.ended()
            for task in telling:
                task.cancel()
        return reason

    async def _restore(self, connection: Connection) -> None:
        """Publish all retained state again, which the broker may have lost, and say `online` last.

        Until then, `offline` says that what stands there may be of yesterday.
        """
        desk, layout = self._desk, None
        if self._status_topic not in self._retained:
            self._retained[self._status_topic] = False  # to be cleared one day
        self._insistence.begin()
        rejections: list[Rejection] = []
        if self._link.hang_ups.suspects:  # that it takes this shows that it hangs up at another for itself
            rejections += await connection.publish([self._status(is_online=False)])
        while layout is not desk.layout:  # once more where the point table is swapped meanwhile
            layout = desk.layout
            rejections += await self._insistence.publish(connection, desk.all_state())
        desk.judge(rejections)
        rejections += await connection.publish([self._status(is_online=True)])
        log_rejected(rejections, sink=self._name)

    def _present_status(self) -> Message:
        return self._status(is_online=self._link.connection is not None)

    def _status(self, *, is_online: bool) -> Message:
        return Message(self._status_topic, b"online" if is_online else b"offline", retain=True)
