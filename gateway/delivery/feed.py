"""What one sink still has to write: from memory while it keeps up, from the journal when it is behind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from gateway.model import Point, Update

_MOST_QUEUED = 10_000  # updates kept in memory per sink; beyond, the journal is the queue
_BATCH_UPDATES = 500

Renew = Callable[[str], "Update | None"]
"""What the point of a name shows now; None where there is no such point, or nothing to show."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Updates to write together; once they are written, the sink is done with every event up to `through`.

    `is_change`: no event brings them again, for they are in no journal.
    """

    updates: Sequence[Update]
    through: int
    is_change: bool = False


class Feed:
    """One sink's side of the stream. `push…` never waits; `next` hands out what comes next, in order."""

    def __init__(self, *, cursor: int, head: int, read: Callable[[int], Awaitable[Batch]]) -> None:
        """Begin after event `cursor` of `head`; `read(after)` maps the next events from the journal."""
        self._taken = cursor
        self._head = head
        self._read = read
        self._in_memory = cursor >= head
        self._queue: deque[tuple[int, Sequence[Update]]] = deque()
        self._queued = 0
        self._changes: dict[Point, Update] = {}
        self._renewing: list[str] = []  # names of points to hand out anew, as they are when their turn comes
        self._renew: Renew = _nothing
        self._has_renewed = False  # the last time: then events have their turn
        self._restarts = 0
        self._wake = asyncio.Event()
        self._nudged = False

    @property
    def idle(self) -> bool:
        """Whether everything so far was handed out."""
        return not self._changes and not self._renewing and self._taken >= self._head

    @property
    def head(self) -> int:
        """The newest event that this feed knows of."""
        return self._head

    def push(self, seq: int, updates: Sequence[Update]) -> None:
        """Add what event `seq` means; without updates the sink is not even woken."""
        self._head = seq
        if not updates:
            return
        if self._in_memory:
            self._queued += len(updates)
            self._queue.append((seq, updates))
            if self._queued > _MOST_QUEUED:
                self._fall_behind()
        self._wake.set()

    def push_changes(self, updates: Iterable[Update]) -> None:
        """Add changes that no event caused; of each point only the latest is kept until it is handed out."""
        for update in updates:
            self._changes[update.point] = update
        if self._changes:
            self._wake.set()

    def restart(self, *, after: int, lost: Iterable[Update], changed: Iterable[str], renew: Renew) -> None:
        """Go on after event `after` with another point table, by which the journal is mapped again.

        Updates that wait here belong to the old table. Of those that are in no journal, of `lost` (handed
        out but perhaps not written) and of the points named in `changed`, `renew` tells what they show
        now: some at a time and in turns with events, for all of a building at once would take long.
        """
        self._restarts += 1
        self._taken = after
        self._fall_behind()
        self._in_memory = after >= self._head
        self._renew = renew
        names = [*self._renewing, *(update.point.name for update in (*self._changes.values(), *lost))]
        self._renewing = list(dict.fromkeys((*changed, *names)) if names else changed)
        self._changes.clear()
        self._wake.set()

    def nudge(self) -> None:
        """Have the sink turn once: its cursor passes events without updates, and it is seen to be alive."""
        self._nudged = True
        self._wake.set()

    async def next(self) -> Batch:
        """Wait for the next batch; it may be empty where only the cursor moves."""
        while True:
            self._wake.clear()
            if self._renewing and not (self._has_renewed and self._queue):
                return self._next_renewed()
            self._has_renewed = False
            if self._changes:
                return self._next_changes()
            if not self._in_memory:
                batch = await self._next_from_journal()
                if batch is None:
                    continue
                return batch
            if self._queue:
                return self._next_from_memory()
            if self._nudged or self._taken < self._head:
                self._nudged = False
                self._taken = self._head
                return Batch((), self._taken)
            await self._wake.wait()

    def _next_renewed(self) -> Batch:
        names = self._renewing[-_BATCH_UPDATES:]
        del self._renewing[-_BATCH_UPDATES:]
        self._has_renewed = True
        updates = [update for update in map(self._renew, names) if update is not None]
        return Batch(updates, self._taken, is_change=True)

    def _next_changes(self) -> Batch:
        points = list(islice(self._changes, _BATCH_UPDATES))
        return Batch([self._changes.pop(point) for point in points], self._taken, is_change=True)

    def _fall_behind(self) -> None:
        self._queue.clear()
        self._queued = 0
        self._in_memory = False

    def _next_from_memory(self) -> Batch:
        updates: list[Update] = []
        while self._queue and len(updates) < _BATCH_UPDATES:
            self._taken, more = self._queue.popleft()
            updates.extend(more)
        self._queued -= len(updates)
        if not self._queue:
            self._taken = self._head  # what came since has no updates
        return Batch(updates, self._taken)

    async def _next_from_journal(self) -> Batch | None:
        """Return what follows, or None where the point table was swapped while it was read."""
        restarts = self._restarts
        batch = await self._read(self._taken)
        if self._restarts != restarts:
            return None
        self._taken = batch.through
        # No await between this look and the switch: what is pushed from now on is newer than `taken`.
        self._in_memory = self._taken >= self._head
        return batch


def _nothing(_name: str) -> None:
    """Stand for `renew` before there is anything to renew."""
