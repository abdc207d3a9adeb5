"""Keeps a sink connected to its broker: one session after the other, with growing pauses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.backoff import Backoff
from gateway.errors import GatewayError, TransientError
from gateway.sinks.broker.skipped_topics import SkippedTopics
from gateway.sinks.connecting import RECEIVER_WAIT_S, ReceiverState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sinks.broker.config import BrokerUrl
    from gateway.sinks.broker.mqtt_connection import MqttConnection
    from gateway.status import SinkStatus

_STABLE_S = 30.0  # a session that lasted so long is followed by the shortest pause again


class ReconnectingBroker:
    """Runs sessions, and reports to log and status whether the broker is up or away.

    A session connects, restores state, calls `set_up`, and returns the reason when the connection is lost; it
    raises `GatewayError` where it cannot connect.
    """

    def __init__(
        self,
        *,
        name: str,
        url: BrokerUrl,
        status: SinkStatus,
        session: Callable[[], Awaitable[str]],
        clock: Callable[[], int],
    ) -> None:
        """`name` is the sink's; `clock` returns Unix milliseconds."""
        self._state = ReceiverState(sink=name, status=status, clock=clock, log_fields={"broker": str(url)})
        self._session = session
        self._up = asyncio.Event()
        self.connection: MqttConnection | None = None
        """The connection to publish on; None while the broker is away or its state is being restored."""
        self.skipped_topics = SkippedTopics()

    async def wait_connected(self) -> MqttConnection:
        """Return the connection; raise `TransientError` where there is none even after a while."""
        if self.connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RECEIVER_WAIT_S):
                    await self._up.wait()
        if self.connection is None:
            raise TransientError(self._state.away_reason)
        return self.connection

    def set_up(self, connection: MqttConnection) -> None:
        """Release a connection, on which state is restored, to `wait_connected`."""
        self.connection = connection
        self._state.count_connection()
        self._state.mark_up()
        self._up.set()

    def set_down(self) -> None:
        """Withdraw the connection."""
        self.connection = None
        self._up.clear()

    def mark_away(self, reason: str) -> None:
        """Report that the broker, or who must be there with it, is away."""
        self._state.mark_away(reason)

    async def stay_connected(self) -> None:
        """Run sessions until cancelled, which ends the one that is running."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            began_s, alone_count = loop.time(), self.skipped_topics.alone_count
            try:
                reason = await self._session()
            except GatewayError as error:
                reason = str(error)
            self.mark_away(reason)
            # While a topic is being narrowed down, the next try is worth making soon.
            if loop.time() - began_s > _STABLE_S or self.skipped_topics.alone_count > alone_count:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())
