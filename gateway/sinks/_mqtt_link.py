"""A broker that is connected to, and connected to again, for as long as a sink lives."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError, TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from gateway.sinks._mqtt_broker import BrokerUrl
    from gateway.sinks._mqtt_connection import Connection
    from gateway.status import SinkStatus

_SETTLED_S = 30.0  # a connection that held so long is followed by the shortest pause again
_PATIENCE_S = 3.0  # how long a write waits for a connection that is away

_log = structlog.get_logger()


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
        self._name = name
        self._url = url
        self._status = status
        self._session = session
        self._clock = clock
        self._up = asyncio.Event()
        self._away = "not connected yet"  # why it is, in words
        self._connected_before = False
        self.connection: Connection | None = None  # None unless it is up

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
        """End the session by cancelling it."""
        self._keeper.cancel()
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            # Perhaps the group's own, because the keeper failed: the group knows.
            await self._tasks.__aexit__(exc_type, exc, traceback)
        else:
            await self._tasks.__aexit__(None, None, None)  # what the caller raised stays as it is

    async def connected(self) -> Connection:
        """Return the connection; raise `TransientError` where there is none even after a while."""
        if self.connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._up.wait()
        if self.connection is None:
            raise TransientError(f"{self._url} is away: {self._away}")
        return self.connection

    def come_up(self, connection: Connection) -> None:
        """Offer a connection, on which all is said that must be said first, to whoever writes."""
        self.connection = connection
        if self._connected_before:
            self._status.reconnects += 1
        self._connected_before = True
        if self._status.state != "up":
            _log.info("sink.up", sink=self._name, was=self._status.state, broker=str(self._url))
        self._status.state = "up"
        self._up.set()

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                reason = await self._session()
            except GatewayError as error:
                reason = str(error)
            self.note_away(reason)
            if loop.time() - began_s > _SETTLED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def go_down(self) -> None:
        """Offer the connection to nobody any more."""
        self.connection = None
        self._up.clear()

    def note_away(self, reason: str) -> None:
        """Tell once that the broker is away, and why."""
        if self._status.state != "away":  # once down, once up; a failed write may have told it first
            _log.warning("sink.away", sink=self._name, reason=reason, broker=str(self._url))
        self._status.state = "away"
        self._away = reason
        self._status.note_error(reason, at_ms=self._clock())
