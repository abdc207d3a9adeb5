"""A feed on a list of events that stands for the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.delivery.feed import Batch, Feed
from support.mqtt_parts import make_point, make_update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model import Update

POINT, OTHER = make_point("R/T"), make_point("R/H")
Event = tuple[int, "Sequence[Update]"]


class Stream:
    """A list of events as the journal would hold it, and a feed on it that begins after `cursor`."""

    def __init__(self, *, before: Sequence[int] = (), cursor: int = 0, read_events: int = 3) -> None:
        """Hold one event of each size in `before` from the start; read `read_events` at a time."""
        self.events: list[Event] = []
        self.arriving: list[int] = []  # sizes of events that come in the middle of the next read
        self.reads = 0
        self.swaps: list[Callable[[], int]] = []  # give the cursor for swaps in the middle of the next read
        self._read_events = read_events
        for size in before:
            self._append(size)
        self.feed = Feed(cursor=cursor, head=len(self.events), read=self._read)

    def push(self, size: int) -> None:
        """Have one more event happen."""
        seq, updates = self._append(size)
        self.feed.push(seq, updates)

    def _append(self, size: int) -> Event:
        seq = len(self.events) + 1
        self.events.append((seq, (make_update(POINT, seq, time_ms=seq, seq=seq),) * size))
        return self.events[-1]

    async def _read(self, after: int) -> Batch:
        self.reads += 1
        found = self.events[after : after + self._read_events]
        await asyncio.sleep(0)
        while self.arriving:
            self.push(self.arriving.pop())
        while self.swaps:
            self.swap(after=self.swaps.pop()())
        return Batch([update for _, updates in found for update in updates], found[-1][0])

    def swap(self, *, after: int, changed: Sequence[str] = (), lost: Sequence[Update] = ()) -> None:
        """Have another point table take over; each point shows the number of events so far."""
        number = len(self.events)
        self.feed.restart(
            after=after,
            lost=lost,
            changed=changed,
            renew=lambda name: None if name == "R/GONE" else make_update(make_point(name), number, seq=0),
        )

    def through(self, seq: int) -> list[int]:
        """Return what a sink must have got of the events up to `seq`."""
        return [update.seq for _, updates in self.events[:seq] for update in updates]


async def all_batches(feed: Feed) -> list[Batch]:
    """Take everything that is there."""
    batches = []
    while not feed.idle:
        batches.append(await feed.next())
    return batches
