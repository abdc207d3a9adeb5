"""The stream of mapped events: the newest in memory, older ones read from the event log again.

What is in memory is shared by all sinks; what is mapped again is for one that is behind.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import GatewayError
from gateway.model import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.delivery.event_copies import EventCopies
    from gateway.delivery.mapper import Mapper
    from gateway.mapping.plan import AssetPlan
    from gateway.model import Update
    from gateway.ports import EventLog
    from gateway.records import StoredDeadLetter


_MOST_UPDATES = 10_000
_SEQ = itemgetter(0)


class MappedEvent(NamedTuple):
    """The updates that an event brings the sinks, and for how many they count: a large one is several.

    `received_ms` is by the steady clock.
    """

    seq: int
    received_ms: int
    updates: Sequence[Update]
    size: int


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
            self._size += event.size
            while self._size > _MOST_UPDATES:
                self._drop((len(self._events) + 1) // 2)

    def after(self, seq: int, *, at_least: int) -> list[MappedEvent]:
        """Return the next events after number `seq`, as many as have `at_least` updates together."""
        first = end = bisect_right(self._events, seq, key=_SEQ)
        while end < len(self._events) and at_least > 0:
            at_least -= self._events[end].size
            end += 1
        return self._events[first:end]

    def updates_after(self, seq: int) -> int:
        """Return how many updates there are after event `seq`."""
        at = bisect_right(self._events, seq, key=_SEQ)
        return sum(event.size for event in self._events[at:])

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
            self._size -= sum(event.size for event in self._events[:count])
            del self._events[:count]


_READ_EVENTS = 250
_TURN_EVENTS = 50  # mapped before the event loop goes on with other work


@dataclass(eq=False, kw_only=True)
class Replay:
    """The event log as the feeds of all sinks read it again.

    `push_changes` sends changes of the state to all sinks; `now_ms` is by the steady clock.
    """

    event_log: EventLog
    mapper: Mapper
    recent: RecentEvents
    push_changes: Callable[[Sequence[Update]], None]
    now_ms: Callable[[], int]
    copies: EventCopies

    async def read(self, after: int) -> tuple[Sequence[MappedEvent], int]:
        """Return the next events after number `after`, and the number up to which there are no others.

        It reads no further than the state is when this is called: later events are still to come.
        """
        head = self.recent.head
        records = [record for record in await self.event_log.read(after, _READ_EVENTS) if record.seq <= head]
        events: list[MappedEvent] = []
        last_of: dict[str, tuple[int, AssetPlan]] = {}  # each asset's last event in `events`
        for number, record in enumerate(records):
            if number % _TURN_EVENTS == _TURN_EVENTS - 1:
                await asyncio.sleep(0)
            mapped = self.mapper.map_again(record)
            updates: Sequence[Update] = [] if mapped is None else self._as_shown(*mapped)
            if mapped is not None and updates:
                last_of[updates[0].point.asset] = number, mapped[0]
            updates, size = self.copies.with_copy(updates, record)
            received_ms = self.mapper.state.clock_steps.received_ms(record)
            events.append(MappedEvent(record.seq, received_ms, updates, size))
        for number, plan in last_of.values():
            shown = self.mapper.state.shown_without_event(plan)
            events[number] = events[number]._replace(updates=[*events[number].updates, *shown])
        if last_of:
            # What is computed from several assets belongs to the present, not to any of these events.
            number, _ = max(last_of.values(), key=itemgetter(0))
            shown = self.mapper.state.computed.shown_after(plan for _, plan in last_of.values())
            events[number] = events[number]._replace(updates=[*events[number].updates, *shown])
        return events, records[-1].seq if records else head

    def show(self, name: str) -> Update | None:
        """Return what the point of a name shows, None if there is no such point or value."""
        state = self.mapper.state
        point = state.points.by_name.get(name)
        return state.latest(point) if point is not None else None

    def map_letter(self, stored: StoredDeadLetter) -> Sequence[Update]:
        """Return the updates of a dead letter; raise `GatewayError` with the reason if it has none.

        A dead letter that no event caused gives what its point shows now.
        """
        letter = stored.letter
        if letter.point.startswith(f"{EVENTS}/"):
            return [self.copies.map_letter(stored)]
        if not letter.seq:
            update = self.show(letter.point)
            if update is None:
                raise GatewayError(f"{letter.point} shows nothing, or is not in the point tables any more")
            return [update]
        plan, mapped = self.mapper.map_letter(stored)
        updates = self._as_shown(plan, mapped)
        return updates if letter.point else [*updates, *self.mapper.state.shown_without_event(plan)]

    def _as_shown(self, plan: AssetPlan, mapped: Sequence[Update]) -> list[Update]:
        """Return the state's own updates, which have the last good values, where they are the same.

        Readings that the state has not seen are applied first, as their point is newer than the event:
        otherwise they would have neither order nor age.
        """
        state = self.mapper.state
        unseen = [update for update in mapped if state.known.is_unseen(update, update.point)]
        if unseen:
            self.push_changes(state.apply_updates(plan, unseen, now_ms=self.now_ms()))
        shown = [(update, state.latest(update.point)) for update in mapped]
        return [
            latest
            if latest is not None
            and (latest.time_ms, latest.seq, latest.quality) == (update.time_ms, update.seq, update.quality)
            else update
            for update, latest in shown
        ]
