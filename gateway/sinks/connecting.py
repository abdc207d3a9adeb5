"""What sinks that connect to a receiver share: the task that stays connected, the state of the receiver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from gateway.status import SinkStatus

RECEIVER_WAIT_S = 3.0
"""How long a write waits for a receiver that is away."""

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
