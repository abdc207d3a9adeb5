"""Group commit: how long events wait for others, so that one commit serves several."""

from __future__ import annotations

_LONGEST_S = 0.01
_LOAD_EVENTS = 4  # in one commit mean load: the next ones come while it is written
_LOAD_PAUSE_S = 0.0005  # which makes commits under load half as many and twice as large
_EXPECTED = 3  # events to wait for
_SMOOTHING = 0.25
_MOST_IN_VAIN = 3
_SHORTEST_REST = 100  # commits
_LONGEST_REST = 3_200


class GatheringPause:
    """Chooses the pause before a commit: until some three more events are there, at most 10 ms.

    Below 100 events/s nothing waits, nor does an event after a quiet time. A sender that waits for each
    answer sends nothing during a pause, so after some pauses in vain there are none for a while, each time
    for longer. Times are by a steady clock.
    """

    def __init__(self) -> None:
        self._interval_s = 1.0  # between events, on average
        self._last_s = 0.0  # when the last batch was handed over
        self._waiting: int | None = None  # events that a pause began with
        self._in_vain = 0
        self._rest = _SHORTEST_REST
        self._resting = 0  # commits without a pause

    def next_s(self, waiting: int, *, after: int, now_s: float) -> float:
        """Return how long `waiting` events wait, that came while a batch of `after` events was written."""
        if after >= _LOAD_EVENTS:
            return _LOAD_PAUSE_S
        if self._resting:
            self._resting -= 1
            return 0.0
        if self._interval_s > _LONGEST_S or now_s - self._last_s > 2 * _LONGEST_S:
            return 0.0
        self._waiting = waiting
        return min(_LONGEST_S, _EXPECTED * self._interval_s)

    def record(self, events: int, *, now_s: float) -> None:
        """Record that a batch is handed over."""
        interval_s = min(1.0, (now_s - self._last_s) / events)
        self._interval_s += (interval_s - self._interval_s) * _SMOOTHING
        self._last_s = now_s
        if self._waiting is None:
            return
        self._in_vain = self._in_vain + 1 if events == self._waiting else 0
        self._waiting = None
        if not self._in_vain:
            self._rest = _SHORTEST_REST
        elif self._in_vain == _MOST_IN_VAIN:
            self._in_vain, self._resting = 0, self._rest
            self._rest = min(2 * self._rest, _LONGEST_REST)
