"""The newest mapped events, held in memory once for all sinks; older ones are in the event log alone."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Update

_MOST_UPDATES = 10_000
_SEQ = itemgetter(0)


class MappedEvent(NamedTuple):
    """The updates that an event brings the sinks. `received_ms` is by the steady clock."""

    seq: int
    received_ms: int
    updates: Sequence[Update]


class RecentEvents:
    """Has every event after number `start` that brings updates. `head` is the newest event of all."""

    def __init__(self, head: int) -> None:
        self.start = self.head = head
        self._events: list[MappedEvent] = []
        self._size = 0  # updates

    def add(self, event: MappedEvent) -> None:
        """Add the newest event; drop the older half if there are too many updates."""
        self.head = event.seq
        if event.updates:
            self._events.append(event)
            self._size += len(event.updates)
            while self._size > _MOST_UPDATES:
                self._drop((len(self._events) + 1) // 2)

    def after(self, seq: int, *, at_least: int) -> list[MappedEvent]:
        """Return the next events after number `seq`, as many as have `at_least` updates together."""
        first = end = bisect_right(self._events, seq, key=_SEQ)
        while end < len(self._events) and at_least > 0:
            at_least -= len(self._events[end].updates)
            end += 1
        return self._events[first:end]

    def updates_after(self, seq: int) -> int:
        """Return how many updates there are after event `seq`."""
        at = bisect_right(self._events, seq, key=_SEQ)
        return sum(len(event.updates) for event in self._events[at:])

    def drop_through(self, seq: int) -> None:
        """Free the events up to number `seq`, which every sink has taken."""
        self._drop(bisect_right(self._events, seq, key=_SEQ))
        self.start = max(self.start, min(seq, self.head))

    def clear(self) -> None:
        """Free all events: they were mapped by a point table that is no longer in force."""
        self._drop(len(self._events))
        self.start = self.head

    def _drop(self, count: int) -> None:
        if count:
            self.start = self._events[count - 1].seq
            self._size -= sum(len(event.updates) for event in self._events[:count])
            del self._events[:count]
