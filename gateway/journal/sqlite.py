"""The event log and the state store on one SQLite file.

The event loop never waits for the disk: the writer thread (`group_commit.py`) has one connection, readers in
other threads have another.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from shutil import disk_usage
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from gateway.errors import GatewayError, JournalError
from gateway.journal.database import (
    DAMAGED_ADVICE,
    MAPPED_AGAIN,
    SINK_CURSORS,
    connect,
    corrupt_files,
    corruption_marker,
    is_corrupt,
    lock_journal,
    open_database,
)
from gateway.journal.group_commit import GroupCommit
from gateway.journal.journal_file import COMMIT_RETRY_AFTER_S, JournalFile, read_events
from gateway.journal.state_tables import read_dead_letters, read_known_seconds, read_state
from gateway.logs import internal_error_text
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.model import Event, Record
    from gateway.records import DeadLetter, Gap, StoredDeadLetter, StoredState
    from gateway.status import JournalStatus

log = structlog.get_logger()

_PRUNE_EVERY_S = 60.0
_MOST_NAMED = 10
_FULL_BYTES = 64 << 10  # less is not enough to open the file

_Row = TypeVar("_Row")


class SqliteJournal:
    """Implements `EventLog` and `StateStore` of `gateway.ports` on one SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        sinks: Iterable[str],
        retention_s: float,
        max_bytes: int,
        clock_ms: Callable[[], int],
        status: JournalStatus,
        on_damage: Callable[[str], None] = lambda _: None,
        on_corrupt: Callable[[], None] = lambda: None,
    ) -> None:
        """Open nothing yet; events are stored until the cursors of all `sinks` have passed them.

        `on_damage` is called with what is damaged, in words for the user; `on_corrupt` when the journal must
        be opened again to take over what can be read. Both are called on the event loop.
        """
        self._path = path
        self._sinks = tuple(sinks)
        self._retention_ms = int(retention_s * 1000)
        self._max_bytes = max_bytes
        self._clock_ms = clock_ms
        self._on_damage, self._on_corrupt = on_damage, on_corrupt
        self._status = status
        status.bytes_limit = max_bytes
        self.corrupt: str | None = None
        """Why the file is corrupt, if that was found while it was open."""
        self._damage: str | None = None  # found when the file was opened
        self._damaged: set[int] = set()  # numbers of events that could not be read
        self._listeners: list[Callable[[Sequence[Record]], None]] = []
        self._listener_failure: str | None = None
        self._reading = asyncio.Lock()
        self._cursors: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._resources = ExitStack()
        try:
            await asyncio.to_thread(self._open)
        except BaseException:
            self._resources.close()
            raise
        if self._damage:
            self._on_damage(self._damage)
        self._commits = GroupCommit(
            self._file,
            status=self._status,
            delivered_through=self._delivered_through,
            on_records=self._accept_records,
            on_failure=self._check_corrupt,
        )
        self._pruner = asyncio.create_task(self._prune_regularly(), name="journal-prune")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self._pruner.cancel()
        with suppress(asyncio.CancelledError):
            await self._pruner
        with suppress(JournalError):
            await self.flush()
        await self._commits.close()
        self._resources.close()

    # The event log.

    @property
    def head(self) -> int:
        """The number of the newest durable event."""
        return self._head

    @property
    def backlog(self) -> int:
        """How many events the slowest sink has yet to get, at most."""
        return self._head - self._delivered_through()

    def subscribe(self, listener: Callable[[Sequence[Record]], None]) -> None:
        """Call `listener` on the event loop with each batch of new events."""
        self._listeners.append(listener)

    def append(self, event: Event) -> asyncio.Future[None]:
        """Return a future that is done once `event` is durable; its whole batch shares it."""
        return self._commits.append(event)

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return the next events after `after`, oldest first."""
        records, damaged = await self._read(read_events, after, limit)
        if damaged:
            self._dead_letter(damaged)
        return records

    def cursor(self, sink: str) -> int:
        """Return the number of the last event that `sink` has completed."""
        return self._cursors[sink]

    def move_cursor(self, sink: str, through: int) -> None:
        """Move the cursor of `sink`, durably with the next commit."""
        self._cursors[sink] = self._commits.gathering.cursors[sink] = through
        self._commits.commit_soon()

    # The state store.

    @property
    def at_start(self) -> StoredState:
        """What was stored when the file was opened."""
        return self._at_start

    def save(self, changes: StateChanges) -> None:
        """Save changes with the next commit; without events one follows within a tenth of a second."""
        self._commits.gathering.changes.add(changes)
        self._commits.commit_soon()

    async def flush(self) -> None:
        """Return once everything saved or appended so far is durable, and listeners have the events."""
        await self._commits.flush()

    async def dead_letters(self, numbers: Sequence[int]) -> list[StoredDeadLetter]:
        """Return the dead letters of these numbers that exist, oldest first."""
        return await self._read(read_dead_letters, numbers)

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the `known_s` of a gap."""
        return await self._read(read_known_seconds, gap)

    # Listeners, pruning, reading, damage.

    def _accept_records(self, records: Sequence[Record]) -> None:
        self._head = records[-1].seq
        # After the answers are on their way: senders wait, sinks can.
        self._loop.call_soon(self._publish, records)

    def _publish(self, records: Sequence[Record]) -> None:
        """Call every listener; one that fails, for a fault of ours, does not stop the others."""
        for listener in self._listeners:
            try:
                listener(records)
            except Exception as error:  # noqa: BLE001 - see above
                reason = internal_error_text(error)
                if reason != self._listener_failure:  # not the same at each event
                    self._listener_failure = reason
                    log.error("journal.listener_failed", reason=reason)  # noqa: TRY400 - no traceback

    def _delivered_through(self) -> int:
        return min((self._cursors[sink] for sink in self._sinks), default=self._head)

    async def _prune_regularly(self) -> None:
        while True:
            before_ms = self._clock_ms() - self._retention_ms
            self._commits.run_job(partial(self._prune, before_ms, self._delivered_through()))
            self._commits.commit_now()
            await asyncio.sleep(_PRUNE_EVERY_S)

    def _prune(self, before_ms: int, delivered_through: int) -> None:
        """Prune on the writer thread, step by step: other jobs come in between."""
        try:
            if self._file.prune(before_ms=before_ms, delivered_through=delivered_through):
                self._commits.run_job(partial(self._prune, before_ms, delivered_through))
        except (sqlite3.Error, OSError) as error:  # the next commit reports a file that cannot be written
            self._check_corrupt(error)

    async def _read(self, query: Callable[..., _Row], *arguments: object) -> _Row:
        """Return what `query` reads, in a thread."""
        async with self._reading:
            try:
                return await asyncio.to_thread(query, self._reader, *arguments)
            except sqlite3.Error as error:
                self._check_corrupt(error)
                reason = f"the journal can't be read: {error}"
                raise JournalError(reason, retry_after_s=COMMIT_RETRY_AFTER_S) from error

    def _check_corrupt(self, error: Exception) -> None:
        """If the file is corrupt, mark it so that the next start replaces it; on any thread."""
        if is_corrupt(error):
            with suppress(OSError):
                corruption_marker(self._path).write_text(str(error))
            self._loop.call_soon_threadsafe(self._found_corrupt, str(error))

    def _found_corrupt(self, reason: str) -> None:
        if self.corrupt is None:
            self.corrupt = reason
            log.critical(
                "journal.corrupt", reason=reason, file=str(self._path), next_start="takes over the rest"
            )
            self._on_corrupt()

    def _dead_letter(self, damaged: Sequence[DeadLetter]) -> None:
        """Save dead letters for damaged events; several sinks may read one before that is committed."""
        new = [letter for letter in damaged if letter.seq not in self._damaged]
        if not new:
            return
        numbers = [letter.seq for letter in new]
        self._damaged.update(numbers)
        self._commits.gathering.damaged += numbers
        self.save(StateChanges(dead_letters=new))
        self._status.damaged_events += len(new)
        named = ", ".join(map(str, sorted(self._damaged)[:_MOST_NAMED]))
        self._on_damage(
            f"{len(self._damaged)} of its events cannot be read and are dead letters now: number {named};"
            f" {self._damage or DAMAGED_ADVICE}"
        )

    # Opening; in a thread.

    def _open(self) -> None:
        """Open the file twice, to write and to read at the same time, and read the stored state."""
        enter = self._resources.enter_context
        enter(lock_journal(self._path))
        try:
            opened = open_database(self._path, sinks=self._sinks, now_ms=self._clock_ms())
            database, self._damage = enter(opened)
            self._reader = enter(closing(connect(self._path)))
            self._status.corrupt_files = [str(file) for file in corrupt_files(self._path)]
            self._file = JournalFile(self._path, database, max_bytes=self._max_bytes)
            self._head = self._file.next_seq - 1
            self._cursors = self._starting_cursors(dict(database.execute(SINK_CURSORS)))
            self._at_start, lost = read_state(database)
        except sqlite3.Error as error:
            is_full = disk_usage(self._path.parent).free < _FULL_BYTES
            advice = "; its disk is full, make room there" if is_full else ""
            raise GatewayError(f"{self._path}: the journal can't be opened: {error}{advice}") from error
        if lost:
            self._at_start = replace(
                self._at_start, values_through=max(0, self._at_start.values_through - MAPPED_AGAIN)
            )
            self._damage = self._damage or (
                f"{lost} of its last values cannot be read; the newest events were read again instead."
                f" {DAMAGED_ADVICE}"
            )

    def _starting_cursors(self, known: dict[str, int]) -> dict[str, int]:
        """Return each sink's cursor, durable from now on: a new sink gets everything that comes after it."""
        for gone in known.keys() - set(self._sinks):
            log.info(
                "journal.sink_forgotten", sink=gone, cursor=known[gone], reason="it is no longer configured"
            )
        cursors = {sink: known.get(sink, self._head) for sink in self._sinks}
        if cursors != known:
            self._file.replace_cursors(cursors)
        return cursors
