"""What sinks that connect to a receiver share: the task that does it, and how they tell of the receiver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from gateway.status import SinkStatus

PATIENCE_S = 3.0
"""How long a write waits for a receiver that is away."""

_log = structlog.get_logger()


class ConnectingSink:
    """The life of a sink that connects: one task from entering until leaving, which cancels it."""

    def __init__(self, keep: Callable[[], Coroutine[Any, Any, None]], *, task_name: str) -> None:
        """`keep` connects, never returns by itself, and says goodbye when it is cancelled."""
        self._keep = keep
        self._task_name = task_name

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._task = self._tasks.create_task(self._keep(), name=self._task_name)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Say goodbye and disconnect."""
        self._task.cancel()
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            # Perhaps the group's own, because the task failed: the group knows.
            await self._tasks.__aexit__(exc_type, exc, traceback)
        else:
            await self._tasks.__aexit__(None, None, None)  # what the caller raised stays as it is


class Contact:
    """Whether a sink's receiver is there, in its status, and in the log: once down, once up."""

    def __init__(
        self, *, sink: str, status: SinkStatus, clock: Callable[[], int], log_fields: dict[str, str]
    ) -> None:
        """`clock` gives Unix milliseconds; `log_fields` say which receiver it is."""
        self._status = status
        self._clock = clock
        self._log = _log.bind(sink=sink, **log_fields)
        self._was_connected = False
        self.away = "not connected yet"
        """Why it is or was away, in words."""

    def note_connected(self) -> None:
        """Count a connection, unless it is the first one."""
        if self._was_connected:
            self._status.reconnects += 1
        self._was_connected = True

    def note_up(self) -> None:
        """Tell that it is there."""
        if self._status.state != "up":
            self._log.info("sink.up", was=self._status.state)
        self._status.state = "up"

    def note_away(self, reason: str) -> None:
        """Tell that it is away, and why."""
        if self._status.state != "away":  # a failed write may have told it first
            self._log.warning("sink.away", reason=reason)
        self._status.state = "away"
        self.away = reason
        self.note_error(reason)

    def note_error(self, reason: str) -> None:
        """Remember what went wrong, which alone is no news for the log."""
        self._status.note_error(reason, at_ms=self._clock())
