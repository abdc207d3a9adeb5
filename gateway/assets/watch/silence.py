"""Pure: whether webhooks have been silent for too long. Times are Unix milliseconds, periods too.

Silence alone proves little: a building sleeps. So it is worth an alarm after `infodeck.silence`; sooner
where several assets are known to report more often, for a single one may just have died. Where the API can be
asked, it is asked first, and where that has nothing new either, silence is what is to be expected.

But not for ever: an API may have nothing because nothing reaches Infodeck, and webhooks may bring everything
but what the point tables name. For longer than `Pace.longest_quiet_ms`, nothing excuses that.
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
        self.others_come = False
        """Whether telemetry comes, but of none of the assets that point tables name."""
        self._arrivals = arrivals
        self._pace = pace
        self._keep_alive_ms = keep_alive_ms
        self._started_ms = started_ms
        self._from_ms = started_ms  # what is silent is so since then at the earliest
        self._restored_ms: int | None = None
        self._restored_mapped_ms: int | None = None
        self._excused_ms = 0
        self._asked_ms: int | None = None
        self._signs: tuple[int | None, ...] = ()  # of life, as of the last judgement
        self._limit: tuple[int | None, int] | None = None  # that of the silence since then
        self._longest: tuple[int | None, int] | None = None  # likewise, where it is excused

    @property
    def last_ms(self) -> int | None:
        """When the last webhook came, also before the last start; None: that is not known."""
        return self._arrivals.received_ms or self._restored_ms

    @property
    def last_mapped_ms(self) -> int | None:
        """Likewise, with telemetry of an asset that point tables name."""
        return self._arrivals.mapped_ms or self._restored_mapped_ms

    @property
    def is_excused(self) -> bool:
        """Whether the API had nothing newer when it was asked last."""
        return self._excused_ms > max(self.last_ms or 0, self._from_ms)

    def restore(self, received_ms: int | None, *, mapped_ms: int | None) -> None:
        """Take over when the last webhook before the start had come, and the last one of a mapped asset."""
        self._restored_ms, self._restored_mapped_ms = received_ms, mapped_ms
        known_ms = [at_ms for at_ms in (received_ms, mapped_ms) if at_ms is not None]
        self._from_ms = min([self._started_ms, *known_ms])

    def begin(self, at_ms: int) -> None:
        """Let silence until now count for nothing: webhooks could not come, or the clock was another one."""
        self._started_ms = self._from_ms = at_ms
        self._excused_ms = min(self._excused_ms, at_ms)

    def hear(self, said: ApiSays) -> None:
        """Let silence count for nothing that the API confirms."""
        if said.is_quiet:
            self._excused_ms = max(self._excused_ms, said.at_ms)

    def judge(self, now_ms: int, *, ask_api: Callable[[], None] | None) -> bool:
        """Say whether it is too long by now. `ask_api` has the API asked soon; None: it cannot be."""
        self.others_come = (self.last_ms or 0) > max(self.last_mapped_ms or 0, now_ms - self._pace.silence_ms)
        signs = (self._arrivals.received_ms, self._arrivals.mapped_ms, self._excused_ms)
        if self.is_held and signs == self._signs:
            return True  # nothing but a sign of life ends it
        self._signs = signs
        self.is_held = self._is_quiet_too_long(now_ms) or self._is_silent_too_long(now_ms, ask_api)
        return self.is_held

    def _is_quiet_too_long(self, now_ms: int) -> bool:
        """Say whether nothing has come for the point tables for longer than anything can excuse."""
        quiet_ms = now_ms - max(min(self.last_mapped_ms or 0, now_ms), self._from_ms)
        is_new = now_ms - self._started_ms < self._pace.shortest_silence_ms
        return not is_new and quiet_ms >= self._pace.silence_ms and quiet_ms >= self._longest_quiet_ms()

    def _is_silent_too_long(self, now_ms: int, ask_api: Callable[[], None] | None) -> bool:
        silent_ms = now_ms - max(min(self.last_ms or 0, now_ms), self._excused_ms, self._from_ms)
        shortest_ms = self._pace.shortest_silence_ms
        if silent_ms < shortest_ms or now_ms - self._started_ms < shortest_ms:
            self._asked_ms = None
            return False
        return silent_ms >= self._limit_ms() and self._is_confirmed(now_ms, ask_api)

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

    def _longest_quiet_ms(self) -> int:
        """Return for how long quiet can be excused; likewise worked out once."""
        mapped_ms = self._arrivals.mapped_ms
        if self._longest is None or self._longest[0] != mapped_ms:
            self._longest = mapped_ms, self._work_out_longest_ms()
        return self._longest[1]

    def _work_out_longest_ms(self) -> int:
        """Return a shorter time only where a week has shown it: what devices promise is not their nights."""
        pace = self._pace
        expected_ms = self._arrivals.shortest_expectation_ms(
            of=_WITNESSES, seen_for_ms=pace.week_ms, keep_alive_ms=lambda _: None, only_mapped=True
        )
        if expected_ms is None:
            return pace.longest_quiet_ms
        return min(max(_EXPECTATIONS * expected_ms, pace.silence_ms), pace.longest_quiet_ms)

    def _is_confirmed(self, now_ms: int, ask_api: Callable[[], None] | None) -> bool:
        """Say whether the API cannot excuse it, or does not within the time that it is given for that."""
        if ask_api is None:
            return True
        if self._asked_ms is None or self._asked_ms > now_ms:
            self._asked_ms = now_ms
            ask_api()
        return now_ms - self._asked_ms >= self._pace.patience_ms
