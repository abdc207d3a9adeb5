"""A sink that records its updates, and fails on request."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from gateway.errors import RefusedError, TransientError
from gateway.model import Refusal
from gateway.status import SinkStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource


@dataclass
class Receiver:
    """The receiver behind the sink, which outlives its restarts."""

    status: SinkStatus = field(default_factory=lambda: SinkStatus(type="recording"))
    updates: list[Update] = field(default_factory=list)  # all that arrived
    adopted: list[tuple[PointSource, LatestValues, list[Update]]] = field(default_factory=list)
    attempts: list[list[int]] = field(default_factory=list)  # numbers of the events of each write
    events: list[str] = field(default_factory=list)  # "enter", "leave"
    away: int = 0  # how many writes fail for now
    refuses: set[str] = field(default_factory=set)  # names of points
    fails_to_enter: list[Exception] = field(default_factory=list)
    fails_to_write: list[BaseException] = field(default_factory=list)
    fails_to_leave: Exception | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)  # while clear, writes do not return
    preparing: threading.Event = field(default_factory=threading.Event)  # set by every `prepare`
    may_prepare: threading.Event = field(default_factory=threading.Event)  # while clear, it does not return
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # set by every write

    def __post_init__(self) -> None:
        """Answer from the start."""
        self.open.set()
        self.may_prepare.set()

    def values(self, point: str) -> list[object]:
        """Return the values of one point in their order of arrival."""
        return [update.value for update in self.updates if update.point.name == point]

    def make_sink(self) -> RecordingSink:
        """Return a sink for this receiver."""
        return RecordingSink(self)


class RecordingSink:
    """Implements `gateway.ports.Sink`."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def __aenter__(self) -> Self:
        self._receiver.events.append("enter")
        if self._receiver.fails_to_enter:
            raise self._receiver.fails_to_enter.pop(0)
        self._receiver.status.state = "up"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self._receiver.events.append("leave")
        if self._receiver.fails_to_leave is not None:
            raise self._receiver.fails_to_leave

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Record another point table; updates of all points are accepted as before."""
        self._receiver.preparing.set()
        self._receiver.may_prepare.wait(timeout=60)

        def adopt(news: Iterable[Update]) -> None:
            self._receiver.adopted.append((points, latest, list(news)))

        return adopt

    async def write(self, updates: Sequence[Update]) -> None:
        """Record the updates, or fail as requested: an exception, away, or a refusal by point."""
        receiver = self._receiver
        receiver.attempts.append([update.seq for update in updates])
        receiver.asked.set()
        await receiver.open.wait()
        if receiver.fails_to_write:
            raise receiver.fails_to_write.pop(0)
        if receiver.away:
            receiver.away -= 1
            raise TransientError("the receiver is away")
        refused = [update for update in updates if update.point.name in receiver.refuses]
        receiver.updates += [update for update in updates if update.point.name not in receiver.refuses]
        if refused:
            raise RefusedError([Refusal(update, "no such register") for update in refused])
