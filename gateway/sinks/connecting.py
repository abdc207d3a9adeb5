"""What sinks share: the task that stays connected, the state of the receiver, TCP keep-alive."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import structlog

from gateway.backoff import Backoff
from gateway.clock import now_ms
from gateway.errors import GatewayError, TransientError

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from gateway.status import SinkStatus

# A peer that vanishes without closing, as when it loses power, is found within a minute.
_KEEPALIVE_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
)

_RECEIVER_WAIT_S = 3.0  # how long a write waits for a receiver that is away
_STABLE_S = 30.0  # a session that lasted so long is followed by the shortest pause again

_log = structlog.get_logger()

Connection = TypeVar("Connection")


class ConnectingSink:
    """Base of sinks that connect: one task runs from entering until leaving, which cancels it."""

    def __init__(self, stay_connected: Callable[[], Coroutine[Any, Any, None]], *, task_name: str) -> None:
        """`stay_connected` runs until it is cancelled, and disconnects then."""
        self._stay_connected = stay_connected
        self._task_name = task_name

    async def __aenter__(self) -> Self:
        """Start to connect."""
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._task = self._tasks.create_task(self._stay_connected(), name=self._task_name)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Disconnect."""
        self._task.cancel()
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            # Perhaps the task failed and the group cancelled its parent: the group can tell.
            await self._tasks.__aexit__(exc_type, exc, traceback)
        else:
            await self._tasks.__aexit__(None, None, None)  # what the caller raised stays as it is


class SessionSink(ConnectingSink, Generic[Connection]):
    """Base of sinks with one session with their receiver after the other."""

    def __init__(self, *, name: str, status: SinkStatus, kind: str, address: dict[str, str]) -> None:
        """`kind` names the task; `address` is the receiver's, for the log."""
        super().__init__(self._stay_connected, task_name=f"{kind} sink {name}")
        self.name = name
        self.receiver = ReceiverState(sink=name, status=status, clock=now_ms, log_fields=address)
        self.connection: Connection | None = None
        """The connection to write on; None while the receiver is away or its state is being restored."""
        self._up = asyncio.Event()

    @abstractmethod
    async def session(self) -> str:
        """Connect, restore state, `set_up`; return the reason when the connection is lost.

        Raises `GatewayError` if it cannot connect. Cancelled when the sink ends.
        """

    def retries_soon(self) -> bool:
        """Return whether the next try is worth making soon."""
        return False

    async def wait_connected(self) -> Connection:
        """Return the connection; raise `TransientError` where there is none even after a while."""
        if self.connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECEIVER_WAIT_S):
                    await self._up.wait()
        if self.connection is None:
            raise TransientError(self.receiver.away_reason)
        return self.connection

    def set_up(self, connection: Connection) -> None:
        """Release a connection, on which state is restored, to `wait_connected`."""
        self.connection = connection
        self.receiver.count_connection()
        self.receiver.mark_up()
        self._up.set()

    def set_down(self) -> None:
        """Withdraw the connection."""
        self.connection = None
        self._up.clear()

    async def _stay_connected(self) -> None:
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                reason = await self.session()
            except GatewayError as error:
                reason = str(error)
            self.receiver.mark_away(reason)
            if loop.time() - began_s > _STABLE_S or self.retries_soon():
                backoff.reset()
            await asyncio.sleep(backoff.next_s())


class ReceiverState:
    """Whether a sink's receiver is up or away, in the sink's status and in the log: once down, once up."""

    def __init__(
        self, *, sink: str, status: SinkStatus, clock: Callable[[], int], log_fields: dict[str, str]
    ) -> None:
        """`clock` returns Unix milliseconds; `log_fields` name the receiver."""
        self._status = status
        self._clock = clock
        self._log = _log.bind(sink=sink, **log_fields)
        self._was_connected = False
        self.away_reason = "not connected yet"

    def count_connection(self) -> None:
        """Count a reconnection; the first connection is none."""
        if self._was_connected:
            self._status.reconnects += 1
        self._was_connected = True

    def mark_up(self) -> None:
        """Set the state to up, and log the change."""
        if self._status.state != "up":
            self._log.info("sink.up", was=self._status.state)
        self._status.state = "up"

    def mark_away(self, reason: str) -> None:
        """Set the state to away, and log the change."""
        if self._status.state != "away":  # the delivery loop sets it too, after a failed write
            self._log.warning("sink.away", reason=reason)
        self._status.state = "away"
        self.away_reason = reason
        self.record_error(reason)

    def record_error(self, reason: str) -> None:
        """Show an error in the status, without a line in the log."""
        self._status.record_error(reason, at_ms=self._clock())


def enable_keepalive(transport: BaseTransport) -> None:
    """Turn on TCP keep-alive: the system closes an idle connection whose peer is gone."""
    for option in _KEEPALIVE_OPTIONS:
        transport.get_extra_info("socket").setsockopt(*option)
