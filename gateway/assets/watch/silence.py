"""Pure: whether webhooks have been silent for too long. Times are Unix milliseconds, periods too.

Silence alone proves little: a building sleeps. So it is worth an alarm after `infodeck.silence`; sooner
where several assets are known to report more often, for a single one may just have died. Where the API can be
asked, it is asked first, and where that has nothing new either, silence is what is to be expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.assets.watch.arrivals import Arrivals
    from gateway.assets.watch.pace import Pace
    from gateway.assets.watch.undelivered import ApiSays

_WITNESSES = 3  # assets that must be overdue: fewer may have died
_EXPECTATIONS = 3


class Silence:
    """Judges it again and again; `is_held` is what it said last."""

    def __init__(
        self, arrivals: Arrivals, *, pace: Pace, keep_alive_ms: Callable[[str], int | None], started_ms: int
    ) -> None:
        """`started_ms`: since when webhooks can have come."""
        self.is_held = False
        self._arrivals = arrivals
        self._pace = pace
        self._keep_alive_ms = keep_alive_ms
        self._started_ms = started_ms
        self._restored_ms: int | None = None
        self._excused_ms = 0
        self._asked_ms: int | None = None
        self._limit: tuple[int | None, int] | None = None  # that of the silence since then

    @property
    def last_ms(self) -> int | None:
        """When the last webhook came, also before the last start; None: that is not known."""
        return self._arrivals.received_ms or self._restored_ms

    def restore(self, received_ms: int | None) -> None:
        """Take over when the last webhook before the start had come."""
        self._restored_ms = received_ms

    def excuse(self, at_ms: int) -> None:
        """Let silence until now count for nothing: webhooks could not be accepted."""
        self._excused_ms = max(self._excused_ms, at_ms)

    def hear(self, said: ApiSays) -> None:
        """Let silence count for nothing that the API confirms."""
        if said.is_quiet:
            self.excuse(said.at_ms)

    def judge(self, now_ms: int, *, ask_api: Callable[[], None] | None) -> bool:
        """Say whether it is too long by now. `ask_api` has the API asked soon; None: it cannot be."""
        since_ms = max(self.last_ms or self._started_ms, self._excused_ms)
        silent_ms = now_ms - since_ms
        pace = self._pace
        if silent_ms < pace.shortest_silence_ms or now_ms - self._started_ms < pace.shortest_silence_ms:
            self.is_held, self._asked_ms = False, None
        elif not self.is_held and silent_ms >= self._limit_ms():
            self.is_held = self._is_confirmed(now_ms, ask_api)
        return self.is_held

    def _limit_ms(self) -> int:
        """Return how much silence is too much; worked out once for each, for nothing changes meanwhile."""
        received_ms = self._arrivals.received_ms
        if self._limit is None or self._limit[0] != received_ms:
            self._limit = received_ms, self._work_out_limit_ms()
        return self._limit[1]

    def _work_out_limit_ms(self) -> int:
        pace = self._pace
        expected_ms = self._arrivals.shortest_expectation_ms(
            of=_WITNESSES, seen_for_ms=pace.seen_for_ms, keep_alive_ms=self._keep_alive_ms
        )
        if expected_ms is None:
            return pace.silence_ms
        return min(max(_EXPECTATIONS * expected_ms, pace.shortest_silence_ms), pace.silence_ms)

    def _is_confirmed(self, now_ms: int, ask_api: Callable[[], None] | None) -> bool:
        """Say whether the API cannot excuse it, or does not within the time that it is given for that."""
        if ask_api is None:
            return True
        if self._asked_ms is None:
            self._asked_ms = now_ms
            ask_api()
        return now_ms - self._asked_ms >= self._pace.patience_ms
