"""What events are dated by against what has passed since: the wall clock may be set, the steady one not."""

from __future__ import annotations

from bisect import bisect_left

_SMALLEST_STEP_MS = 1_000
CLOCK_LEAD_MS = 300_000
"""Infodeck's clock may be ahead of ours by so much."""


class ClockSteps:
    """Tells how old readings are, wherever the wall clock was set meanwhile. Times are Unix milliseconds.

    The steady clock shows the same as the wall clock when the process starts, and only passes. A reading
    is dated by the wall clock as that was when its event was received, which the event's number tells.
    How old events of an earlier run are, only the wall clock knows: they look no younger by either clock.
    """

    def __init__(self) -> None:
        self.earlier_run_through = 0  # the number of the last event that an earlier run received
        self.ahead_ms = 0  # by how much the wall clock is ahead of the steady one; negative: behind
        self.count = 0  # how often it was set
        self._after = [0]  # the clock was set after these events
        self._ahead_ms = [0]  # and was ahead by so much from then on

    def follow(self, ahead_ms: int, *, after: int) -> None:
        """Note by how much the wall clock is ahead, for events with larger numbers than `after`."""
        if abs(ahead_ms - self.ahead_ms) >= _SMALLEST_STEP_MS:
            self.ahead_ms = ahead_ms
            self.count += 1
            self._after.append(after)
            self._ahead_ms.append(ahead_ms)

    def steady_ms(self, dated_ms: int, seq: int) -> int:
        """Return when the steady clock showed what an event is dated."""
        if not self.count:
            return dated_ms
        return dated_ms - self._ahead_ms[max(0, bisect_left(self._after, seq) - 1)]

    def age_ms(self, dated_ms: int, seq: int, now_ms: int) -> int:
        """Return how old something of an event is; `now_ms` is by the steady clock."""
        if seq <= self.earlier_run_through:
            return now_ms - dated_ms + max(0, self.ahead_ms)
        return now_ms - (self.steady_ms(dated_ms, seq) if self.count else dated_ms)

    def is_age_known(self, dated_ms: int, seq: int, now_ms: int) -> bool:
        """Say whether `age_ms` can be relied on: not where an earlier run was ahead of the clock."""
        return seq > self.earlier_run_through or dated_ms <= now_ms + self.ahead_ms + CLOCK_LEAD_MS
