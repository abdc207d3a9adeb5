"""What the middle of the house relies on: an event log, a state store, sinks; and what a sink may read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import TracebackType

    from gateway.model import Event, Point, Record, Scalar, Update
    from gateway.records import Gap, StateChanges, StoredDeadLetter, StoredState


class PointSource(Protocol):
    """The point table in force. It may be swapped for another one between batches."""

    @property
    def points(self) -> tuple[Point, ...]:
        """All points."""


class LatestValues(Protocol):
    """The newest update of every point, in event time. Used on the event loop; quick."""

    def latest(self, point: Point) -> Update | None:
        """Return the point's newest update, None before its first reading."""

    def all_latest(self) -> Iterable[Update]:
        """Return the newest update of every point that has one."""

    def last_good(self, point: Point) -> Scalar:
        """Return the point's last value of good quality, however old; None if it never had one."""

    def is_newest(self, update: Update) -> bool:
        """Return whether the point has no newer update; an equal time counts as new."""

    def age_ms(self, update: Update) -> int:
        """Return the age of a point's newest update, however the clock was set meanwhile."""


class EventLog(Protocol):
    """The durable log of events, in the order of acceptance, with one cursor per sink.

    Used from the event loop only, which it never blocks. Numbers (`seq`) grow with every event and are never
    reused; 0 is before the first event.
    """

    @property
    def head(self) -> int:
        """The number of the newest durable event."""

    @property
    def backlog(self) -> int:
        """How many events the slowest sink has yet to get, at most."""

    def subscribe(self, listener: Callable[[Sequence[Record]], None]) -> None:
        """Call `listener` with every batch of new events once it is durable, in order."""

    def append(self, event: Event) -> asyncio.Future[None]:
        """Return a future that is done once `event` is durable; a duplicate counts as durable.

        Events that are committed together share the future: do not cancel it. It raises `JournalError` if the
        log is full or cannot commit; then none of these events is accepted.
        """

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return at most `limit` events with larger numbers than `after`, oldest first.

        May return fewer than there are, but at least one if there is one.
        """

    def cursor(self, sink: str) -> int:
        """Return the number of the last event that `sink` has completed; a new sink starts at the head."""

    def move_cursor(self, sink: str, through: int) -> None:
        """Move the cursor of `sink`, durably soon; after a crash the sink may get the last events again."""

    def follow_cursor(self, sink: str, listener: Callable[[int], None]) -> None:
        """Call `listener` with each new number of the cursor of `sink`; a sink has one listener."""


class StateStore(Protocol):
    """The durable state beside the events: last values, overrides, retained topics, assets, dead letters, ….

    Used from the event loop only, which it never blocks. What is saved here becomes durable no later than an
    event that is appended, or a cursor that is moved, after it: a log in another place awaits `flush` first.
    """

    @property
    def at_start(self) -> StoredState:
        """What was stored when the store was opened; later changes are not in it."""

    def save(self, changes: StateChanges) -> None:
        """Save changes soon, all of them or none; after a crash, the last ones may be missing."""

    async def flush(self) -> None:
        """Return once everything saved so far is durable; raise `JournalError` if it cannot be saved.

        If the event log is in the same place, so are events, and its subscribers have received them.
        """

    async def dead_letters(self, numbers: Sequence[int]) -> list[StoredDeadLetter]:
        """Return the dead letters of these numbers that exist, oldest first.

        May return fewer than there are, but at least one if there is one. Each comes with the body it was
        saved with or, while the log has it, that of its event. Raise `JournalError` if they cannot be read.
        """

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the last few thousand `known_s` of a gap; raise `JournalError` if they cannot be read."""


Adopt = Callable[[Iterable["Update"]], None]
"""Puts in force what a sink has prepared; see `Sink.prepare`."""


class Sink(Protocol):
    """A way out of the gateway: MQTT, Modbus and others. An async context manager.

    Entering starts listening or connecting and restores values from `LatestValues`; it succeeds even if the
    receiver is away. Leaving closes everything within a few seconds.
    """

    async def __aenter__(self) -> Self:
        """Start; raise `GatewayError` only if waiting cannot help, such as a port that is in use."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Stop, and let receivers know that the gateway is going offline."""

    async def write(self, updates: Sequence[Update]) -> None:
        """Return once the receiver has every update, acknowledged if the protocol can.

        Updates of one point come in the order of the log and may come again after an error or a restart. With
        a backlog, the newest one may come before older ones. An update that is not its point's newest
        (`LatestValues.is_newest`) must not replace the newer one. Raise `TransientError` to get the same
        batch again later. Raise `RefusedError`, after all others were delivered, to dead-letter some.

        Ignore an update of a point that is not in the sink's point table (points are compared by identity):
        it was made for another table, and comes again for this one.
        """

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Build what another point table needs, in another thread, while the sink goes on.

        `latest` are the values for that table, which nobody changes meanwhile. The returned function puts
        everything in force: on the event loop, quickly, without await, and only once. It gets the updates of
        the new table that came after `latest` was made. It keeps a reference to what it replaced, so that the
        old structures are freed in the thread that drops it.
        """
