"""A feed on a list of events that replaces the event log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from gateway.delivery.feed import Feed
from gateway.delivery.stream import MappedEvent, RecentEvents
from support.mqtt_parts import make_point, make_update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.delivery.feed import Batch
    from gateway.delivery.stream import Replay
    from gateway.model import Point, Update
    from gateway.records import StoredDeadLetter

POINT, OTHER = make_point("R/T"), make_point("R/H")


class Stream:
    """A list of events as the journal would hold it, and a feed on it that begins after `cursor`.

    Event n is received at n ms.
    """

    def __init__(self, *, before: Sequence[int] = (), cursor: int = 0, read_events: int = 3) -> None:
        """Hold one event of each size in `before` from the start; read `read_events` at a time."""
        self.events: list[MappedEvent] = []
        self.shown: dict[str, Update] = {}  # the newest update of each point
        self.arriving: list[int] = []  # sizes of events that come in the middle of the next read
        self.reads = 0
        self.swaps: list[Callable[[], int]] = []  # give the cursor for swaps in the middle of the next read
        self._read_events = read_events
        for size in before:
            self._append((POINT,) * size)
        self.restart(cursor=cursor)

    def restart(self, *, cursor: int) -> None:
        """Begin after `cursor` with another feed, as after a kill."""
        since_ms = cursor + 1 if cursor < len(self.events) else None
        self.recent = RecentEvents(len(self.events))
        self.feed = Feed(
            cursor=cursor,
            recent=self.recent,
            replay=cast("Replay", self),
            since_ms=since_ms,
        )

    def push(self, size: int) -> None:
        """Push one more event with `size` updates of the same point."""
        self.push_points(*(POINT,) * size)

    def push_points(self, *points: Point) -> None:
        """Push one more event with an update of each of these points."""
        event = self._append(points)
        self.recent.add(event)
        self.feed.push(event)

    def change(self, point: Point, value: int) -> None:
        """Change what a point shows, without an event."""
        update = self.shown[point.name] = make_update(point, value, time_ms=1, seq=0)
        self.feed.push_changes([update])

    def _append(self, points: Sequence[Point]) -> MappedEvent:
        seq = len(self.events) + 1
        made = {point: make_update(point, seq, time_ms=seq, seq=seq) for point in points}
        self.shown.update({point.name: update for point, update in made.items()})
        event = MappedEvent(seq, seq, tuple(made[point] for point in points), len(points))
        self.events.append(event)
        return event

    async def read(self, after: int) -> tuple[Sequence[MappedEvent], int]:
        """Return the next events; events may come, and tables may be swapped, during a read."""
        self.reads += 1
        found = self.events[after : after + self._read_events]
        await asyncio.sleep(0)
        while self.arriving:
            self.push(self.arriving.pop())
        while self.swaps:
            self.swap(after=self.swaps.pop()())
        return found, found[-1].seq if found else after

    def show(self, name: str) -> Update | None:
        """Return the newest update; a point without one shows the number of events so far."""
        if name == "R/GONE":
            return None
        return self.shown.get(name) or make_update(make_point(name), len(self.events), seq=0)

    def map_letter(self, stored: StoredDeadLetter) -> Sequence[Update]:
        """Return an update for the dead letter, with its number as the value."""
        return [make_update(make_point(stored.letter.point), stored.number, time_ms=1, seq=stored.letter.seq)]

    def swap(self, *, after: int, changed: Sequence[str] = (), lost: Batch | None = None) -> None:
        """Put another point table in force."""
        self.recent.clear()
        self.feed.restart(after=after, lost=lost, changed=changed)

    def through(self, seq: int) -> list[int]:
        """Return what a sink must have got of the events up to `seq`."""
        return [update.seq for event in self.events[:seq] for update in event.updates]


async def all_batches(feed: Feed) -> list[Batch]:
    """Return all batches until the feed is idle."""
    batches = []
    while not feed.idle:
        batches.append(await feed.next())
    return batches
