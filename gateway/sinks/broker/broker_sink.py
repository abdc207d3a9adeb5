"""What both MQTT sinks share: one session with the broker after the other, and the deadband."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, TypeGuard

from gateway.backoff import Backoff
from gateway.clock import now_ms
from gateway.errors import GatewayError, TransientError
from gateway.model import Quality
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.broker.skipped_topics import SkippedTopics
from gateway.sinks.connecting import ConnectingSink, ReceiverState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.model import Cov, Scalar, Update
    from gateway.sinks.broker.config import BrokerConfig
    from gateway.sinks.broker.mqtt_connection import MqttConnection
    from gateway.sinks.broker.paho_client import Message
    from gateway.status import SinkStatus

_RECEIVER_WAIT_S = 3.0  # how long a write waits for a broker that is away
_STABLE_S = 30.0  # a session that lasted so long is followed by the shortest pause again


class BrokerSink(ConnectingSink):
    """Base of sinks on an MQTT broker: stays connected, and reports whether the broker is up or away."""

    def __init__(self, *, name: str, broker: BrokerConfig, gateway: str, status: SinkStatus) -> None:
        """`gateway` is this gateway's name."""
        super().__init__(self._stay_connected, task_name=f"mqtt sink {name}")
        self.name = name
        self._broker = broker
        self._client_id = broker.client_id or f"gateway-{gateway}-{name}"
        self.receiver = ReceiverState(
            sink=name, status=status, clock=now_ms, log_fields={"broker": str(broker.url)}
        )
        self.skipped_topics = SkippedTopics()
        self.publishing = asyncio.Lock()
        """A connection publishes for one caller at a time."""
        self.connection: MqttConnection | None = None
        """The connection to publish on; None while the broker is away or its state is being restored."""
        self._up = asyncio.Event()

    @abstractmethod
    async def session(self) -> str:
        """Connect, restore state, `set_up`; return the reason when the connection is lost.

        Raises `GatewayError` if it cannot connect. Cancelled when the sink ends.
        """

    async def connect(self, will: Message) -> MqttConnection:
        """Return a new connection; raise `GatewayError` if there is none to be had."""
        return await connect(
            self._broker, client_id=self._client_id, will=will, skipped_topics=self.skipped_topics
        )

    async def wait_connected(self) -> MqttConnection:
        """Return the connection; raise `TransientError` where there is none even after a while."""
        if self.connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECEIVER_WAIT_S):
                    await self._up.wait()
        if self.connection is None:
            raise TransientError(self.receiver.away_reason)
        return self.connection

    def set_up(self, connection: MqttConnection) -> None:
        """Release a connection, on which state is restored, to `wait_connected`."""
        self.connection = connection
        self.receiver.count_connection()
        self.receiver.mark_up()
        self._up.set()

    def set_down(self) -> None:
        """Withdraw the connection."""
        self.connection = None
        self._up.clear()

    async def run_until(
        self, ends: set[asyncio.Future[str]], publishers: dict[str, Coroutine[None, None, None]]
    ) -> str:
        """Run publishers until one of `ends` is done; return its result. The next connection starts anew."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_until_lost(each), name=f"mqtt {what} {self.name}")
                for what, each in publishers.items()
            ]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
        return done.pop().result()

    async def _stay_connected(self) -> None:
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            began_s, alone_count = loop.time(), self.skipped_topics.alone_count
            try:
                reason = await self.session()
            except GatewayError as error:
                reason = str(error)
            self.receiver.mark_away(reason)
            # While a topic is being narrowed down, the next try is worth making soon.
            if loop.time() - began_s > _STABLE_S or self.skipped_topics.alone_count > alone_count:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())


async def _until_lost(publisher: Coroutine[None, None, None]) -> None:
    with suppress(TransientError):
        await publisher


def is_small_change(cov: Cov | None, last: Update, update: Update) -> bool:
    """Return whether `update` is within the deadband around the last published one, and within its time."""
    if cov is None or update.quality is not last.quality:
        return False
    if abs(update.time_ms - last.time_ms) >= cov.every_ms:  # the clock may have been set back
        return False
    if update.quality is Quality.GOOD and _is_number(update.value) and _is_number(last.value):
        # A millionth less than `delta`: in binary, 21.7 - 21.6 does not reach a deadband of 0.1.
        return abs(update.value - last.value) < cov.delta * 0.999999
    return update.value == last.value


def _is_number(value: Scalar) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
