"""What one sink still has to write: events in their order and, in turns with them, newest values first."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from gateway.errors import GatewayError
from gateway.model import Update
from gateway.state.point_state import NO_EVENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.delivery.stream import MappedEvent, RecentEvents, Replay
    from gateway.records import StoredDeadLetter

log = structlog.get_logger()

_BATCH_UPDATES = 500
_LETTERS_AT_ONCE = 50
_MOST_LETTERS = 1_000


@dataclass(slots=True, eq=False)
class Retry:
    """A dead letter on its way again. `waiting`: the sinks that have not written it yet."""

    stored: StoredDeadLetter
    waiting: set[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Updates to write together; once they are written, the sink is done with every event up to `through`.

    `since_ms` is the time of receipt of the oldest event in it, None if no event moves the cursor.
    `is_latest`: newest values instead of events in their order. `retries`: the dead letters in it.
    """

    updates: Sequence[Update]
    through: int
    since_ms: int | None = None
    is_latest: bool = False
    retries: Sequence[Retry] = ()


class Feed:
    """One sink's side of the stream. The methods `push…` never wait; `next` returns the next batch.

    A feed holds a position in the stream of events. From there on, events come from memory, or from the
    event log if the sink is far behind. While more than a batch waits, the points with news are listed, and
    what they show goes out first (latest first, conflation): a controller needs the present value, not
    yesterday's. The events follow in their order, for historians; delivery is at least once.
    """

    def __init__(
        self,
        *,
        cursor: int,
        recent: RecentEvents,
        replay: Replay,
        since_ms: int | None,
        kind: type[Update] = Update,
    ) -> None:
        """Start after event `cursor`; the next one was received at `since_ms`. The sink gets `kind` alone."""
        self._kind = kind
        self._recent = recent
        self._replay = replay
        self.taken = cursor  # all events up to here are handed out
        self._position = cursor  # all events up to here are handed out, or in `_loaded`
        self._loaded: deque[MappedEvent] = deque()  # read from the event log
        self._waiting = 0  # updates in memory that are not handed out
        self._since_ms = since_ms
        # The points whose present value goes out, by name. True: an event brings it, too.
        self._latest: dict[str, bool] = {}
        self._sent_first: dict[int, Update] = {}  # by identity: left out when their event's turn comes
        self._letters: deque[Retry] = deque()
        self._turn = 0
        self._restarts = 0
        self._wake = asyncio.Event()
        self._nudged = False
        self.due = recent.head  # the newest event that may bring the sink something

    @property
    def idle(self) -> bool:
        """Whether everything so far is handed out."""
        return not (self._latest or self._letters or self._has_events)

    @property
    def since_ms(self) -> int | None:
        """When the oldest event was received that is not handed out (about, if far behind), or None."""
        if not self._has_events:
            return None
        if self._is_behind or self._loaded:
            return self._loaded[0].received_ms if self._loaded else self._since_ms
        return next((event.received_ms for event in self._recent.after(self._position, at_least=1)), None)

    @property
    def _has_events(self) -> bool:
        return self.taken < self._recent.head

    @property
    def _is_behind(self) -> bool:
        """Whether the next events are in the event log alone."""
        return self._position < self._recent.start

    def push(self, event: MappedEvent) -> None:
        """Queue the newest event; without updates, the sink is not woken."""
        if not event.updates:
            return
        self.due = event.seq
        if self._waiting == 0 and not (self._loaded or self._is_behind):
            self._since_ms = event.received_ms
        self._waiting += event.size
        if self._waiting > _BATCH_UPDATES or self._loaded or self._is_behind:
            for update in event.updates:
                self._latest.setdefault(update.point.name, True)
        self._wake.set()

    def push_changes(self, updates: Iterable[Update]) -> None:
        """Send the present value of these updates' points, as no event brings the change."""
        for update in updates:
            self._latest[update.point.name] = False
        if self._latest:
            self._wake.set()

    def push_letter(self, retry: Retry) -> None:
        """Add a dead letter, to be mapped by the tables that are in force when its turn comes."""
        self._letters.append(retry)
        self._wake.set()

    def check_room(self) -> None:
        """Raise `GatewayError` if too many dead letters wait already."""
        if len(self._letters) >= _MOST_LETTERS:
            raise GatewayError(
                f"{_MOST_LETTERS} letters wait for its sink already; retry it when these are done"
            )

    def restart(self, *, after: int, lost: Batch | None, changed: Iterable[str]) -> None:
        """Go on after event `after` with another point table, by which the event log is mapped again.

        `lost` is the batch that was handed out but perhaps not written. Newest values in it, and the points
        named in `changed`, are sent anew.
        """
        self._restarts += 1
        if lost is not None:
            self._since_ms = lost.since_ms or self._since_ms
            self._letters.extendleft(reversed(lost.retries))
            if lost.is_latest:
                self.push_changes(lost.updates)
        self._latest.update(dict.fromkeys(changed, False))
        self._sent_first.clear()
        self._loaded.clear()
        self.taken = self._position = after
        self._waiting = 0
        self._wake.set()

    def nudge(self) -> None:
        """Wake the loop once: its cursor passes events without updates, and the watchdog sees it turn."""
        self._nudged = True
        self._wake.set()

    async def next(self) -> Batch:
        """Wait for the next batch; it is empty if only the cursor moves."""
        kinds = self._next_letters, self._next_latest, self._next_events
        while True:
            self._wake.clear()
            if self._is_behind and not self._loaded and not await self._load():
                continue
            for _ in kinds:
                kind = kinds[self._turn]
                self._turn = (self._turn + 1) % len(kinds)
                if (batch := kind()) is not None:
                    return batch
            await self._wake.wait()

    async def _load(self) -> bool:
        """Read the next events from the event log; return False if `restart` came in between."""
        restarts = self._restarts
        events, through = await self._replay.read(self._position)
        if self._restarts != restarts:
            return False
        self._loaded.extend(event for event in events if event.updates)
        self._position = through
        self._waiting = self._recent.updates_after(through)
        return True

    def _next_letters(self) -> Batch | None:
        """Return some dead letters, oldest first; one that has no meaning any more stays a dead letter."""
        if not self._letters:
            return None
        updates: list[Update] = []
        retries: list[Retry] = []
        for _ in range(min(len(self._letters), _LETTERS_AT_ONCE)):
            retry = self._letters.popleft()
            try:
                updates += self._replay.map_letter(retry.stored)
            except GatewayError as error:
                retry.waiting.clear()
                log.warning("letter.kept", number=retry.stored.number, reason=str(error))
            else:
                retries.append(retry)
        return Batch(updates, self.taken, retries=retries)

    def _next_latest(self) -> Batch | None:
        """Return what the points show that wait longest."""
        if not self._latest:
            return None
        updates: list[Update] = []
        for name in list(islice(self._latest, _BATCH_UPDATES)):
            is_in_event, update = self._latest.pop(name), self._replay.show(name)
            if not isinstance(update, self._kind) or (is_in_event and NO_EVENT < update.seq <= self.taken):
                continue  # nothing to show, or its event has gone out meanwhile
            updates.append(update)
            if update.seq > self.taken and not self._is_behind:
                self._sent_first[id(update)] = update
        return Batch(updates, self.taken, is_latest=True)

    def _next_events(self) -> Batch | None:
        """Return the next events in their order."""
        if not (self._has_events or self._nudged):
            return None
        self._nudged = False
        events = self._take_loaded() if self._loaded else self._take_recent()
        self.taken = self._loaded[0].seq - 1 if self._loaded else self._position
        kind = self._kind
        updates = [update for event in events for update in event.updates if isinstance(update, kind)]
        if self._sent_first:
            updates = [update for update in updates if self._sent_first.pop(id(update), None) is None]
        if not self._has_events:
            self._sent_first.clear()
        if not events:
            return Batch(updates, self.taken)
        self._since_ms = events[-1].received_ms
        return Batch(updates, self.taken, since_ms=events[0].received_ms)

    def _take_loaded(self) -> Sequence[MappedEvent]:
        events: list[MappedEvent] = []
        size = 0
        while self._loaded and size < _BATCH_UPDATES:
            events.append(self._loaded.popleft())
            size += events[-1].size
        return events

    def _take_recent(self) -> Sequence[MappedEvent]:
        if self._is_behind:  # all that was read from the event log brings nothing
            return ()
        events = self._recent.after(self._position, at_least=_BATCH_UPDATES)
        self._waiting -= sum(event.size for event in events)
        self._position = events[-1].seq if self._waiting > 0 and events else self._recent.head
        return events
