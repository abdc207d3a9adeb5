"""Answers that wait until a sink has delivered the event: `intake.acknowledge: {forwarded: NAME}`."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gateway.errors import TransientError

if TYPE_CHECKING:
    from gateway.ports import EventLog

log = structlog.get_logger()

FORWARDED_WITHIN_S = 10.0
"""Requests are answered with 503 after this; with a slow commit before it, Infodeck's limit of 30 s holds."""

_RETRY_AFTER_S = 10
_STOPPING_RETRY_AFTER_S = 5


@dataclass(slots=True)
class _Waiting:
    """The requests that wait for the sink to deliver the events up to number `through`."""

    through: int
    done: asyncio.Future[None]
    timeout: asyncio.TimerHandle

    def answer(self, error: TransientError | None) -> None:
        """Let all of them go on."""
        self.timeout.cancel()
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
            self.done.exception()  # its requests may have ended meanwhile


@dataclass(kw_only=True, eq=False)
class Forwarding:
    """Waits for the cursor of one sink. The requests of a commit share a future and a timer.

    While the sink has not delivered an event within its time, later requests are refused at once, so that
    they do not fill the intake's places: their events come after it.
    """

    event_log: EventLog
    sink: str
    within_s: float = FORWARDED_WITHIN_S
    _waiting: deque[_Waiting] = field(default_factory=deque, init=False)  # by growing `through`
    _late_through: int = field(default=0, init=False)  # the newest event that was not delivered in time
    _is_stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.event_log.follow_cursor(self.sink, self._delivered)

    async def wait(self) -> None:
        """Return once the sink has delivered every event that is durable now.

        Raise TransientError if it takes too long.
        """
        through, cursor = self.event_log.head, self.event_log.cursor(self.sink)
        if cursor >= through:
            return
        if self._is_stopped:
            raise _stopping()
        if cursor < self._late_through:
            raise self._late()
        if not self._waiting or self._waiting[-1].through < through:
            loop = asyncio.get_running_loop()
            timeout = loop.call_later(self.within_s, self._give_up)
            self._waiting.append(_Waiting(through, loop.create_future(), timeout))
        await asyncio.shield(self._waiting[-1].done)

    def stop(self) -> None:
        """Refuse the requests that still wait: the gateway ends before the sink delivers."""
        self._is_stopped = True
        while self._waiting:
            self._waiting.popleft().answer(_stopping())

    def _delivered(self, through: int) -> None:
        """Answer the requests whose events the sink has delivered."""
        while self._waiting and self._waiting[0].through <= through:
            self._waiting.popleft().answer(None)
        if self._late_through and through >= self._late_through:
            self._late_through = 0
            log.info("intake.forwarding", sink=self.sink)

    def _give_up(self) -> None:
        """Refuse the requests that have waited for longest, and later ones until the sink is that far."""
        if not self._late_through:
            log.error(
                "intake.not_forwarded",
                sink=self.sink,
                within_s=self.within_s,
                events="kept in the journal",
                answers="503 until this ends",
            )
        late = self._waiting.popleft()
        self._late_through = late.through
        late.answer(self._late())

    def _late(self) -> TransientError:
        return TransientError(
            f"the event is journalled, but sink {self.sink} has not delivered it within {self.within_s:g} s",
            retry_after_s=_RETRY_AFTER_S,
        )


def _stopping() -> TransientError:
    return TransientError("the gateway is stopping", retry_after_s=_STOPPING_RETRY_AFTER_S)
