"""What sinks share: the task that stays connected, the state of the receiver, TCP keep-alive."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

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

_log = structlog.get_logger()


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
