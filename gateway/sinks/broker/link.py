"""A broker that is connected to, and connected to again, for as long as a sink lives."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.backoff import Backoff
from gateway.errors import GatewayError, TransientError
from gateway.sinks.broker.hang_ups import HangUps
from gateway.sinks.connecting import RECEIVER_WAIT_S, ReceiverState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sinks.broker.config import BrokerUrl
    from gateway.sinks.broker.connection import Connection
    from gateway.status import SinkStatus

_SETTLED_S = 30.0  # a connection that held so long is followed by the shortest pause again


class Link:
    """Runs one session after the other, with pauses that grow, and tells log and status how it is.

    A session dials, says what must be said first, calls `come_up`, and returns the reason when the connection
    is lost, or raises `GatewayError` where none comes about.
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
        """`name` is the sink's; `clock` gives Unix milliseconds."""
        self._url = url
        self._receiver = ReceiverState(sink=name, status=status, clock=clock, log_fields={"broker": str(url)})
        self._session = session
        self._up = asyncio.Event()
        self.connection: Connection | None = None  # None unless it is up
        self.hang_ups = HangUps()

    async def connected(self) -> Connection:
        """Return the connection; raise `TransientError` where there is none even after a while."""
        if self.connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RECEIVER_WAIT_S):
                    await self._up.wait()
        if self.connection is None:
            raise TransientError(self._receiver.away_reason)
        return self.connection

    def come_up(self, connection: Connection) -> None:
        """Offer a connection, on which all is said that must be said first, to whoever writes."""
        self.connection = connection
        self._receiver.count_connection()
        self._receiver.mark_up()
        self._up.set()

    async def stay_connected(self) -> None:
        """Run sessions until cancelled, which ends the one that is under way."""
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while True:
            began_s, clues = loop.time(), self.hang_ups.clues
            try:
                reason = await self._session()
            except GatewayError as error:
                reason = str(error)
            self.note_away(reason)
            if loop.time() - began_s > _SETTLED_S or self.hang_ups.clues > clues:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def go_down(self) -> None:
        """Offer the connection to nobody any more."""
        self.connection = None
        self._up.clear()

    def note_away(self, reason: str) -> None:
        """Tell once that the broker is away, and why."""
        self._receiver.mark_away(reason)
