"""Pure: whether webhooks have been silent for too long. Times are Unix milliseconds, periods too.

Silence alone proves little: a building sleeps. So it is worth an alarm after `infodeck.silence`; sooner
where several assets are known to report more often, for a single one may just have died. Where the API can be
asked, it is asked first, and where that has nothing new either, silence is what is to be expected.

But not for ever: an API may have nothing because nothing reaches Infodeck, and webhooks may bring everything
but what the point tables ask for. For longer than `Pace.longest_quiet_ms`, nothing excuses that. Events in
which nothing can be read are worth an alarm sooner, for they are never what is to be expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.infodeck.delivery_monitor.arrivals import Arrivals
    from gateway.infodeck.delivery_monitor.pace import Pace
    from gateway.infodeck.delivery_monitor.undelivered import ApiSays
    from gateway.status import MappingStatus

_WITNESSES = 3  # assets that must be overdue: fewer may have died
_EXPECTATIONS = 3


class Silence:
    """Judges it again and again; `is_held` is what it said last."""

    def __init__(
        self,
        arrivals: Arrivals,
        *,
        mapping: MappingStatus,
        pace: Pace,
        keep_alive_ms: Callable[[str], int | None],
        started_ms: int,
    ) -> None:
        """`started_ms`: since when webhooks can have come. `mapping` counts what becomes of them."""
        self.is_held = False
        self.others_come = False
        """Whether telemetry comes, but of none of the assets that point tables name."""
        self.is_of_no_use = False
        """Whether telemetry of these comes, but with no reading that a point asks for."""
        self._arrivals = arrivals
        self._mapping = mapping
        self._used, self._unreadable = mapping.from_webhooks, mapping.unreadable
        self._used_ms: int | None = None  # when an event came last that was of use
        self._unreadable_ms: tuple[int, int] | None = None  # the first and last one, none of use in between
        self._pace = pace
        self._keep_alive_ms = keep_alive_ms
        self._started_ms = started_ms
        self._silent_from_ms = started_ms  # what is silent is so since then at the earliest
        self._unused_from_ms = started_ms  # likewise, what is of no use
        self._restored_ms: int | None = None
        self._restored_used_ms: int | None = None
        self._excused_ms = 0
        self._asked_ms: int | None = None
        self._signs: tuple[int | None, ...] = ()  # of life, as of the last judgement
        self._limit: tuple[int | None, int] | None = None  # that of the silence since then
        self._longest: tuple[int, int] | None = None  # when worked out, and that of excused silence

    @property
    def last_ms(self) -> int | None:
        """When the last webhook came, also before the last start; None: that is not known."""
        return self._arrivals.received_ms or self._restored_ms

    @property
    def last_used_ms(self) -> int | None:
        """Likewise, with a reading that a point asks for."""
        return self._used_ms or self._restored_used_ms

    @property
    def is_excused(self) -> bool:
        """Whether the API had nothing newer when it was asked last."""
        return self._excused_ms > max(self.last_ms or 0, self._started_ms)

    @property
    def is_unreadable(self) -> bool:
        """Whether events have come for so long in which nothing could be read, and none of use."""
        first_ms, last_ms = self._unreadable_ms or (0, 0)
        return last_ms - max(first_ms, self._started_ms) >= self._pace.silence_ms

    def restore(self, received_ms: int | None, *, used_ms: int | None) -> None:
        """Take over when the last webhook before the start had come, and the last one that was of use."""
        self._restored_ms, self._restored_used_ms = received_ms, used_ms
        known_ms = [at_ms for at_ms in (received_ms, used_ms) if at_ms is not None]
        self._silent_from_ms = self._unused_from_ms = min([self._started_ms, *known_ms])

    def begin(self, at_ms: int) -> None:
        """Let silence until now count for nothing: webhooks could not come."""
        self._started_ms = self._silent_from_ms = self._unused_from_ms = at_ms

    def skip(self, *, from_ms: int, to_ms: int) -> None:
        """Leave out a time, which is negative where the clock was set back: nobody watched."""
        self._silent_from_ms = self._silent_since_ms(from_ms) + to_ms - from_ms
        self._unused_from_ms = self._unused_since_ms(from_ms) + to_ms - from_ms
        self._excused_ms = min(self._excused_ms, to_ms)
        self._started_ms = to_ms  # webhooks need some time to come again

    def hear(self, said: ApiSays) -> None:
        """Let silence count for nothing that the API confirms."""
        if said.is_quiet:
            self._excused_ms = max(self._excused_ms, said.at_ms)

    def judge(self, now_ms: int, *, ask_api: Callable[[], None] | None) -> bool:
        """Say whether it is too long by now. `ask_api` has the API asked soon; None: it cannot be."""
        self._see_what_is_of_use(now_ms)
        signs = (self._arrivals.received_ms, self._used_ms, self._excused_ms, *(self._unreadable_ms or ()))
        if self.is_held and signs == self._signs:
            return True  # nothing but a sign of life ends it
        self._signs = signs
        self.is_held = (
            self.is_unreadable or self._is_quiet_too_long(now_ms) or self._is_silent_too_long(now_ms, ask_api)
        )
        return self.is_held

    def _see_what_is_of_use(self, now_ms: int) -> None:
        mapping, arrivals = self._mapping, self._arrivals
        if mapping.from_webhooks > self._used:
            self._used_ms, self._unreadable_ms = arrivals.mapped_ms, None
        elif mapping.unreadable > self._unreadable:
            self._unreadable_ms = (self._unreadable_ms or (now_ms, now_ms))[0], now_ms
        self._used, self._unreadable = mapping.from_webhooks, mapping.unreadable
        recently_ms = max(self.last_used_ms or 0, now_ms - self._pace.silence_ms)
        self.is_of_no_use = (arrivals.mapped_ms or 0) > recently_ms
        self.others_come = not self.is_of_no_use and (self.last_ms or 0) > recently_ms

    def _is_quiet_too_long(self, now_ms: int) -> bool:
        """Say whether nothing has come for the point tables for longer than anything can excuse."""
        quiet_ms = now_ms - self._unused_since_ms(now_ms)
        is_new = now_ms - self._started_ms < self._pace.shortest_silence_ms
        return not is_new and quiet_ms >= self._pace.silence_ms and quiet_ms >= self._longest_quiet_ms(now_ms)

    def _is_silent_too_long(self, now_ms: int, ask_api: Callable[[], None] | None) -> bool:
        silent_ms = now_ms - self._silent_since_ms(now_ms)
        shortest_ms = self._pace.shortest_silence_ms
        if silent_ms < shortest_ms or now_ms - self._started_ms < shortest_ms:
            self._asked_ms = None
            return False
        return silent_ms >= self._limit_ms() and self._is_confirmed(now_ms, ask_api)

    def _silent_since_ms(self, now_ms: int) -> int:
        return max(min(self.last_ms or 0, now_ms), min(self._excused_ms, now_ms), self._silent_from_ms)

    def _unused_since_ms(self, now_ms: int) -> int:
        return max(min(self.last_used_ms or 0, now_ms), self._unused_from_ms)

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

    def _longest_quiet_ms(self, now_ms: int) -> int:
        """Return for how long quiet can be excused; worked out every few minutes, for others may report."""
        if self._longest is None or not 0 <= now_ms - self._longest[0] < self._pace.look_again_ms:
            self._longest = now_ms, self._work_out_longest_ms()
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
