"""MQTT: one retained topic per point, which only moves forward in event time, and `$history` for the rest."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError, RefusedError, TransientError
from gateway.model import STAND_INS, Refusal
from gateway.sinks._home_assistant import Discovery
from gateway.sinks._mqtt_announcer import Announcer
from gateway.sinks._mqtt_config import MqttConfig
from gateway.sinks._mqtt_connection import Message, connect
from gateway.sinks._mqtt_dial import Dial, Will
from gateway.sinks._mqtt_layout import Change, Layout, describe_by_meta
from gateway.sinks._mqtt_outlet import Companion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks._mqtt_connection import Connection, Rejection
    from gateway.sinks._mqtt_layout import Describe
    from gateway.sinks._mqtt_outlet import Outlet
    from gateway.status import SinkStatus

__all__ = ["MqttConfig", "MqttSink"]

_SETTLED_S = 30.0  # a connection that held so long is followed by the shortest pause again
_PATIENCE_S = 3.0  # how long a write waits for a connection that is away
_FAREWELL_S = 2.0
# PUBACK failures that say "not now": packet identifier in use, quota exceeded. All others are about
# this message ("does not accept the publish", "not willing to accept it", in the standard's words):
# sent again they would fail again, and hold up every other point.
_NOT_NOW = frozenset({0x91, 0x97})

_log = structlog.get_logger()


class MqttSink:
    """The points of one gateway on one broker, connected and connected again for as long as it lives."""

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
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Prepare the topics. `gateway` is this gateway's name, `clock` gives Unix milliseconds.

        `retained`: what a former run has left on the broker, see `Announcer`.
        """
        self._name = name
        self._config = config
        self._latest = latest
        self._status = status
        self._clock = clock
        self._status_topic = f"{config.prefix}/$gateway/{gateway}/status"
        self._dial = Dial.to(
            config, client_id=f"gateway-{gateway}-{name}", will=Will(self._status_topic, b"offline")
        )
        self._topics = config.topics(gateway)
        self._describe = _describer(config, gateway=gateway, status_topic=self._status_topic)
        self._layout = self._lay_out(points)
        self._retained = {} if retained is None else retained
        self._announcer = Announcer(sink=name, retained=self._retained)
        self._connection: Connection | None = None  # None until all retained state is published again
        self._up = asyncio.Event()
        self._away = "not connected yet"  # why it is, in words
        self._connected_before = False
        self._publishing = asyncio.Lock()  # a connection publishes for one at a time

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._keeper = self._tasks.create_task(self._stay_connected(), name=f"mqtt sink {self._name}")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Publish `offline` and disconnect."""
        self._keeper.cancel()
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            # Perhaps the group's own, because the keeper failed: the group knows.
            await self._tasks.__aexit__(exc_type, exc, traceback)
        else:
            await self._tasks.__aexit__(None, None, None)  # what the caller raised stays as it is

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish each update, live or as history, and return when the broker has acknowledged all."""
        connection = await self._connected()
        refusals: list[Refusal] = []
        async with self._publishing:
            rejections = await connection.publish(self._messages(updates, refusals))
        refusals += self._judge(rejections)
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Lay out the topics of another point table; topics that no point has any more will be cleared."""
        change = Change.between(self._layout, self._lay_out(points))

        def adopt(_: Iterable[Update]) -> None:
            self._layout, self._latest = change.new, latest
            for before, outlet in change.kept:
                outlet.published = before.published
            self._announcer.note(change.topics)

        return adopt

    async def _connected(self) -> Connection:
        if self._connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._up.wait()
        if self._connection is None:
            raise TransientError(f"{self._config.url} is away: {self._away}")
        return self._connection

    def _lay_out(self, points: PointSource) -> Layout:
        config = self._config
        return Layout.of(
            points.points,
            sink=self._name,
            topics=self._topics,
            plain=config.payload == "value",
            describe=self._describe,
        )

    def _messages(self, updates: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Make the messages one by one: whether an update is its point's newest is decided as it is sent."""
        for update in updates:
            outlet = self._layout.outlets.get(update.point)
            if outlet is None:
                continue  # not on this sink, or not in the point table any more
            try:
                message = self._message(outlet, update)
            except (TypeError, ValueError, OverflowError) as error:
                refusals.append(Refusal(update, f"cannot be written to {outlet.topic}: {error}"))
                continue
            if message is not None:
                yield message

    def _message(self, outlet: Outlet, update: Update) -> Message | None:
        if not self._latest.is_newest(update):
            # History is what was measured: not pseudo-readings, nor what stood in for a reading.
            is_measured = not update.point.is_pseudo and update.quality not in STAND_INS
            return outlet.history(update) if self._config.history and is_measured else None
        if outlet.within_deadband(update):
            return None
        if not self._retained.get(outlet.topic):
            self._retained[outlet.topic] = True
        message = outlet.live(update, now_ms=self._clock())
        outlet.published = update
        return message

    def _judge(self, rejections: Iterable[Rejection]) -> list[Refusal]:
        """Return what was refused for good; raise `TransientError` where the broker may take it later."""
        refusals: list[Refusal] = []
        not_now: str | None = None
        for message, code, reason in rejections:
            if message.update is None:
                continue
            outlet = self._layout.by_topic.get(message.topic)  # perhaps by another table meanwhile
            if outlet is not None:
                outlet.published = None  # or its repetition would fall into the deadband
            words = f"the broker refuses {message.topic}: {reason}"
            if code in _NOT_NOW:
                not_now = words
            else:
                refusals.append(Refusal(message.update, words))
        if not_now is not None:
            raise TransientError(not_now)
        return refusals

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                reason = await self._session()
            except GatewayError as error:
                reason = str(error)
            self._note_away(reason)
            if loop.time() - began_s > _SETTLED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _session(self) -> str:
        """Hold one connection until it is lost, and return why it was."""
        connection = await connect(self._dial)
        try:
            await self._restore(connection)
            self._connection = connection
            self._note_up()
            return await self._announcing(connection)
        finally:
            self._connection = None
            self._up.clear()
            await connection.close(
                Message(self._status_topic, b"offline", retain=True), timeout_s=_FAREWELL_S
            )

    async def _announcing(self, connection: Connection) -> str:
        """Tell what the points are, now and after every reload, until the connection is lost."""

        async def publish(messages: Iterable[Message]) -> list[Rejection]:
            async with self._publishing:
                return await connection.publish(messages)

        self._announcer.note_all(self._layout)
        async with asyncio.TaskGroup() as tasks:
            announcing = tasks.create_task(
                self._announcer.run(
                    publish,
                    layout=lambda: self._layout,
                    has_value=lambda outlet: self._latest.latest(outlet.point) is not None,
                ),
                name=f"mqtt meta {self._name}",
            )
            reason = await connection.ended()
            announcing.cancel()
        return reason

    async def _restore(self, connection: Connection) -> None:
        """Say `online` and publish all retained state again: the broker may have lost it."""
        layout = None
        rejections = await connection.publish([Message(self._status_topic, b"online", retain=True)])
        while layout is not self._layout:  # once more where the point table is swapped meanwhile
            layout = self._layout
            for outlet in layout.outlets.values():
                outlet.published = None
            rejections += await connection.publish(self._messages(self._newest(layout), []))
        self._judge(rejections)
        if rejections:
            topic, reason = rejections[0].message.topic, rejections[0].reason
            _log.warning("sink.refused", sink=self._name, topics=len(rejections), first=topic, reason=reason)

    def _newest(self, layout: Layout) -> Iterator[Update]:
        for point in layout.outlets:
            if layout is not self._layout:
                return
            update = self._latest.latest(point)
            if update is not None:
                yield update

    def _note_up(self) -> None:
        if self._connected_before:
            self._status.reconnects += 1
        self._connected_before = True
        if self._status.state != "up":
            _log.info("sink.up", sink=self._name, was=self._status.state, broker=str(self._config.url))
        self._status.state = "up"
        self._up.set()

    def _note_away(self, reason: str) -> None:
        if self._status.state != "away":  # once down, once up; a failed write may have told it first
            _log.warning("sink.away", sink=self._name, reason=reason, broker=str(self._config.url))
        self._status.state = "away"
        self._status.last_error = self._away = reason


def _describer(config: MqttConfig, *, gateway: str, status_topic: str) -> Describe:
    """Return what describes points beside their values: `$meta`, and Home Assistant's discovery if asked."""
    if config.home_assistant is None:
        return describe_by_meta
    discovery = Discovery(
        prefix=config.home_assistant.discovery_prefix,
        gateway=gateway,
        status_topic=status_topic,
        plain=config.payload == "value",
    )

    def describe(outlet: Outlet) -> Iterable[Companion]:
        told = discovery.tell(outlet.point, topic=outlet.topic)
        return (outlet.meta(),) if told is None else (outlet.meta(), Companion(*told))

    return describe
