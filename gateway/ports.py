"""The two promises the middle of the house relies on: Journal and Sink; and what a sink may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import TracebackType

    from gateway.model import (
        Alarm,
        AssetSnapshot,
        Event,
        Forced,
        Gap,
        KeptValue,
        Notes,
        OnlineState,
        Point,
        Record,
        StoredLetter,
        Update,
    )


class PointSource(Protocol):
    """The point table in force. It may be swapped for another one between batches."""

    @property
    def points(self) -> tuple[Point, ...]:
        """Return every point."""


class LatestValues(Protocol):
    """The newest update of every point, in event time. Belongs to the event loop; plain look-ups."""

    def latest(self, point: Point) -> Update | None:
        """Return the point's newest update, or None before its first reading."""

    def all_latest(self) -> Iterable[Update]:
        """Return the newest update of every point that has one."""

    def is_newest(self, update: Update) -> bool:
        """Say whether nothing newer than `update` is known for its point (equal counts as new)."""

    def age_ms(self, update: Update) -> int:
        """Return how old `update`, its point's newest, is, wherever the clock was set meanwhile."""


class Journal(Protocol):
    """The durable log: events in order of acceptance, one cursor per sink, the newest values.

    An async context manager; used from the event loop only, which it never blocks. Numbers (`seq`)
    grow with every event and are never reused; 0 is before the first.
    """

    @property
    def head(self) -> int:
        """The number of the newest durable event."""

    def subscribe(self, listener: Callable[[Sequence[Record]], None]) -> None:
        """Have `listener` called with every batch of new events once it is durable, in order."""

    def append(self, event: Event) -> asyncio.Future[None]:
        """Return what to await until `event` is durable; a duplicate counts as durable.

        The future is shared by all events committed together: do not cancel it. It raises
        `JournalError` where the journal is full or can't commit; then nothing was accepted.
        """

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return at most `limit` events with larger numbers than `after`, oldest first.

        May return fewer than there are, but at least one where there is one.
        """

    @property
    def backlog(self) -> int:
        """How many events at most some sink still has to get."""

    def cursor(self, sink: str) -> int:
        """Return the last event that `sink` is done with; a new sink begins at the head."""

    async def letters(self, numbers: Sequence[int]) -> list[StoredLetter]:
        """Return the dead letters of these numbers that there are, oldest first.

        May return fewer than there are, but at least one where there is one. Raise `JournalError` where
        they can't be read. `Notes.dead_letters` adds letters, `Notes.settled` forgets them; a number is
        never used again. A letter has its event's body, or the one that it brought where the event is gone.
        """

    def kept(self) -> tuple[list[KeptValue], int]:
        """Return the values kept at the last stop and the event number they include."""

    def forced(self) -> list[Forced]:
        """Return the forced values known at start, also those whose time is over by now."""

    def online(self) -> list[OnlineState]:
        """Return what was known at start of the devices' connections."""

    def retained(self, sink: str) -> dict[str, bool]:
        """Return the topics that `sink` had left with its receiver at start, see `Notes.retained`."""

    def snapshot(self) -> AssetSnapshot | None:
        """Return the assets that Infodeck's API told of before the last stop, None if it never did."""

    def alarms(self) -> list[Alarm]:
        """Return the alarms known at start: those that held, and the last 500 of those that were over."""

    def gaps(self) -> list[Gap]:
        """Return the gaps in histories known at start, without `known_s`; `Notes.gaps` adds and forgets."""

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return what is known of a gap (`Gap.known_s`), of the last few thousand times.

        Raise `JournalError` where it can't be read.
        """

    def note(self, notes: Notes) -> None:
        """Keep `notes` soon, all of them or none; after a crash, they may be missing."""

    async def flush(self) -> None:
        """Return once all that was noted so far is durable."""


Adopt = Callable[[Iterable["Update"]], None]
"""Puts in place what a sink has prepared; see `Sink.prepare`."""


class Sink(Protocol):
    """One way out of the gateway. An async context manager: inside it, the sink can be written to.

    Entering starts listening or connecting and restores state from `LatestValues`; a receiver that
    is away does not make entering fail. Leaving closes everything within a few seconds.
    """

    async def __aenter__(self) -> Self:
        """Start; raise `GatewayError` only where waiting cannot help (a port taken, say)."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Stop, telling receivers that the gateway leaves."""

    async def write(self, updates: Sequence[Update]) -> None:
        """Return once every update is with the receiver (acknowledged, where the protocol can).

        Updates of one point come in journal order and may come again after an error or a restart;
        while there is a backlog, the newest one may come ahead of those that led to it. An update that
        is not its point's newest (`LatestValues.is_newest`) must not replace the newer one. Raise
        `TransientError` to get the same batch again later, `RefusedError` after all others were
        delivered, to have some dead-lettered.

        An update of a point that is not in the sink's point table (points are compared by identity)
        is passed over: it was made for another table, by whose successor it comes again.
        """

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Build what another point table needs, aside and in another thread, while the sink goes on.

        `latest` is the image for that table, which nobody changes meanwhile. The returned function
        puts everything in place: on the event loop, quick, without await, and only once. It is given
        the updates (of the new table) that came after `latest` was made. It keeps what it replaced:
        whoever lets go of it in a thread frees the old structures there.
        """
