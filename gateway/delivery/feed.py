"""What one sink still has to write: events in their order, and in turns with them what must not wait."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING

import structlog

from gateway.delivery.batch import Batch, Mapped
from gateway.delivery.overtaking import Overtaking
from gateway.delivery.stream import Stream
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.delivery.batch import Retry, Source
    from gateway.model import Point, Update
    from gateway.records import StoredDeadLetter

log = structlog.get_logger()

_BATCH_UPDATES = 500
_ASIDE_UPDATES = 250  # of each kind
_LETTERS_AT_ONCE = 50
_MOST_LETTERS = 1_000


class Feed:
    """One sink's side of the stream. `push…` never waits; `next` hands out what comes next.

    Events come in their order, each once. While many of them wait, newest values overtake them, some at a
    time and in turns, and so do changes that no event caused.
    """

    def __init__(self, *, cursor: int, head: int, source: Source, since_ms: int | None = None) -> None:
        """Begin after event `cursor` of `head`; the first one after it was received at `since_ms`."""
        self._source = source
        self._stream = Stream(cursor=cursor, head=head, since_ms=since_ms, read=source.read)
        self._overtaking = Overtaking(source.show)
        self._changes: dict[Point, Update] = {}
        self._renewing: list[str] = []  # names of points to hand out anew, as they are when their turn comes
        self._restarted_after = cursor  # what came later was mapped by the present point table
        self._had_aside = False  # the last time: then events have their turn
        self._letters: deque[Retry] = deque()
        self._had_letters = False
        self._wake = asyncio.Event()
        self._nudged = False

    @property
    def idle(self) -> bool:
        """Whether everything so far was handed out."""
        return not (self._changes or self._renewing or self._letters or self._stream.has_more)

    @property
    def due(self) -> int:
        """The newest event that may mean something for a sink."""
        return self._stream.due

    @property
    def since_ms(self) -> int | None:
        """When the oldest event was received that was not handed out, None where there is none."""
        return self._stream.since_ms

    def push(self, seq: int, updates: Sequence[Update], *, received_ms: int) -> None:
        """Add what event `seq` means; without updates the sink is not even woken."""
        given_up = self._stream.push(Mapped(seq, received_ms, updates))
        if updates:
            if self._stream.waits_beyond(_BATCH_UPDATES):
                for event in given_up:
                    self._overtaking.note(event.updates)
                self._overtaking.note(updates)
            self._wake.set()

    def push_changes(self, updates: Iterable[Update]) -> None:
        """Add changes that no event caused; of each point only the latest is kept until it is handed out."""
        for update in updates:
            self._changes[update.point] = update
        if self._changes:
            self._wake.set()

    def check_room(self) -> None:
        """Raise `GatewayError` where too many dead letters wait already."""
        if len(self._letters) >= _MOST_LETTERS:
            raise GatewayError(
                f"{_MOST_LETTERS} letters wait for its sink already; retry it when these are done"
            )

    def check_letter(self, stored: StoredDeadLetter) -> None:
        """Raise `GatewayError` where a dead letter means nothing by the tables in force."""
        self._source.again(stored)

    def push_letter(self, retry: Retry) -> None:
        """Add a dead letter, to be handed out once more by the tables that are in force then."""
        self._letters.append(retry)
        self._wake.set()

    def restart(self, *, after: int, lost: Batch | None, changed: Iterable[str]) -> None:
        """Go on after event `after` with another point table, by which the journal is mapped again.

        Updates that wait here belong to the old table, and so does `lost`, handed out but perhaps not
        written. Of what no event brings again soon, and of the points named in `changed`, is told what
        they show now: some at a time and in turns with events, for all of a building at once would take long.
        """
        since_ms = (lost.since_ms if lost is not None else None) or self._stream.since_ms
        for event in self._stream.restart(after=after, since_ms=since_ms):
            self._overtaking.note(event.updates)
        if lost is not None:
            self._letters.extendleft(reversed(lost.retries))
        aside = lost.updates if lost is not None and lost.is_aside else ()
        names = [update.point.name for update in chain(self._changes.values(), aside)]
        self._renewing = list(dict.fromkeys((*changed, *self._renewing, *names, *self._overtaking.names)))
        self._changes.clear()
        self._overtaking.clear()
        self._restarted_after = after
        self._wake.set()

    def nudge(self) -> None:
        """Have the sink turn once: its cursor passes events without updates, and it is seen to be alive."""
        self._nudged = True
        self._wake.set()

    async def next(self) -> Batch:
        """Wait for the next batch; it may be empty where only the cursor moves."""
        while True:
            self._wake.clear()
            if not await self._stream.load():
                continue
            if self._letters and not self._had_letters:
                return self._next_letters()
            self._had_letters = False
            if self._has_aside and not (self._had_aside and self._stream.has_more):
                return self._next_aside()
            self._had_aside = False
            if self._stream.has_more or self._nudged:
                return self._next_events()
            if not self._letters:
                await self._wake.wait()

    @property
    def _has_aside(self) -> bool:
        return bool(self._changes or self._renewing or self._overtaking)

    def _next_aside(self) -> Batch:
        """Hand out some of each kind."""
        self._had_aside = True
        changed = [self._changes.pop(point) for point in list(islice(self._changes, _ASIDE_UPDATES))]
        names = self._renewing[-_ASIDE_UPDATES:]
        del self._renewing[-_ASIDE_UPDATES:]
        taken = self._stream.taken
        shown = map(self._source.show, names)
        renewed = [
            each for each in shown if each is not None and not self._restarted_after < each.seq <= taken
        ]
        newest = self._overtaking.take(_ASIDE_UPDATES, taken=taken)
        updates = list({id(update): update for update in (*renewed, *changed, *newest)}.values())
        self._overtaking.remember(updates, taken=taken)
        return Batch(updates, taken, is_aside=True)

    def _next_letters(self) -> Batch:
        """Hand out some dead letters again, oldest first; one that means nothing any more stays one."""
        self._had_letters = True
        updates: list[Update] = []
        retries: list[Retry] = []
        for _ in range(min(len(self._letters), _LETTERS_AT_ONCE)):
            retry = self._letters.popleft()
            try:
                updates += self._source.again(retry.stored)
            except GatewayError as error:
                retry.waiting.clear()
                log.warning("letter.kept", number=retry.stored.number, reason=str(error))
            else:
                retries.append(retry)
        return Batch(updates, self._stream.taken, retries=retries)

    def _next_events(self) -> Batch:
        self._nudged = False
        events = self._stream.take(_BATCH_UPDATES)
        without_repetitions = self._overtaking.without_repetitions
        updates = [update for event in events for update in without_repetitions(event.updates)]
        taken = self._stream.taken
        if self._stream.has_more:
            self._overtaking.forget_through(taken)
        else:
            self._overtaking.clear()
        return Batch(updates, taken, since_ms=events[0].received_ms if events else None)
