"""Group commit: how long events wait for others, so that one commit serves several."""

from __future__ import annotations

_LONGEST_S = 0.01
_LOAD_EVENTS = 4  # in one commit mean load: the next ones come while it is written
_LOAD_PAUSE_S = 0.0005  # which makes commits under load half as many and twice as large
_EXPECTED = 3  # events to wait for
_SMOOTHING = 0.25
_SLOWER = 1.5
_FEWEST_PAUSES = 8  # commits with a pause, in a row
_MOST_PAUSES = 128
_SHORTEST_REST = 24  # commits without a pause, in a row
_LONGEST_REST = 3_200


class GatheringPause:
    """Chooses the pause before a commit: until some three more events are there, at most 10 ms.

    Below 100 events/s nothing waits, nor does an event after a quiet time. Senders that wait for answers
    send nothing during a pause. So commits with and without pauses take turns: where events come more slowly
    with pauses, there are none for a while, each time for longer. Times are by a steady clock.
    """

    def __init__(self) -> None:
        self._interval_s = 1.0  # between events, on average
        self._last_s = 0.0  # when the last batch was handed over
        self._has_pauses = False
        self._commits = _SHORTEST_REST  # until the next turn
        self._pauses, self._rest = _FEWEST_PAUSES, _SHORTEST_REST  # commits of the next turns
        self._events = 0  # of this turn
        self._took_s = 0.0  # this turn
        self._unhindered_s = 1.0  # between events, in the last turn without pauses

    def next_s(self, *, after: int, now_s: float) -> float:
        """Return how long events wait that came while a batch of `after` events was written."""
        if after >= _LOAD_EVENTS:
            return _LOAD_PAUSE_S
        if self._interval_s > _LONGEST_S or now_s - self._last_s > 2 * _LONGEST_S or not self._has_pauses:
            return 0.0
        return min(_LONGEST_S, _EXPECTED * self._interval_s)

    def record(self, events: int, *, now_s: float) -> None:
        """Record that a batch is handed over."""
        since_s = now_s - self._last_s
        self._interval_s += (min(1.0, since_s / events) - self._interval_s) * _SMOOTHING
        self._last_s = now_s
        self._events += events
        self._took_s += min(2 * _LONGEST_S, since_s)  # a quiet time says nothing
        self._commits -= 1
        if not self._commits:
            self._take_turns()

    def _take_turns(self) -> None:
        interval_s = self._took_s / self._events
        self._events, self._took_s = 0, 0.0
        if not self._has_pauses:
            self._unhindered_s, self._commits = interval_s, self._pauses
        elif interval_s > _SLOWER * self._unhindered_s:
            self._pauses, self._commits = _FEWEST_PAUSES, self._rest
            self._rest = min(4 * self._rest, _LONGEST_REST)
        else:
            self._pauses, self._commits = min(2 * self._pauses, _MOST_PAUSES), _SHORTEST_REST
            self._rest = _SHORTEST_REST
        self._has_pauses = not self._has_pauses
