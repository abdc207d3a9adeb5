"""The event log and the state store on one SQLite file, with group commit.

The event loop never waits for the disk. One writer thread commits everything that waits with one fsync;
meanwhile the next batch gathers. Readers in other threads have a connection of their own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from gateway.errors import JournalError
from gateway.journal.database import DAMAGED_ADVICE, corrupt_files, corruption_marker, is_corrupt
from gateway.journal.gathering import GatheringPause
from gateway.journal.journal_file import (
    COMMIT_RETRY_AFTER_S,
    CommitBatch,
    CommitResult,
    open_journal_file,
    read_events,
)
from gateway.journal.state_tables import read_dead_letters, read_known_seconds
from gateway.logs import internal_error_text
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.journal.journal_file import JournalFile
    from gateway.model import Event, Record
    from gateway.records import DeadLetter, Gap, StoredDeadLetter, StoredState
    from gateway.status import JournalStatus

log = structlog.get_logger()

COMMIT_WITHIN_S = 8.0
"""Events are refused while a commit takes longer: the disk hangs."""

_CHANGES_WAIT_S = 0.1  # changes are committed with events; without events, they wait this long for others
_PRUNE_EVERY_S = 60.0
_MOST_NAMED = 10

_Row = TypeVar("_Row")


@dataclass(slots=True)
class _Batch(CommitBatch):
    """A batch, and the future that all its requests wait for."""

    done: asyncio.Future[None] = field(kw_only=True)
    awaited: bool = False  # somebody waits for it, even if it stays empty

    def answer(self, error: JournalError | None) -> None:
        """Let all requests go on, unless they did already."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
            self.done.exception()  # a batch without events has nobody waiting; the status shows its failure


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
        self._damaged: set[int] = set()  # numbers of events that could not be read
        self._listeners: list[Callable[[Sequence[Record]], None]] = []
        self._cursor_listeners: dict[str, Callable[[int], None]] = {}
        self._listener_failure: str | None = None
        self._reading = asyncio.Lock()
        self._pause = GatheringPause()
        self._is_writing = False  # or about to
        self._writing: _Batch | None = None  # handed over to the writer thread at `_handed_over_s`
        self._handed_over_s = 0.0
        self._timeout: asyncio.TimerHandle | None = None
        self._hanging: JournalError | None = None
        self._changes_timer: asyncio.TimerHandle | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._resources = ExitStack()
        opening = open_journal_file(
            self._path, sinks=self._sinks, max_bytes=self._max_bytes, now_ms=self._clock_ms()
        )
        self._file: JournalFile = await asyncio.to_thread(self._resources.enter_context, opening)
        self._head = self._file.next_seq - 1
        self._cursors = self._file.cursors
        self._status.corrupt_files = [str(file) for file in corrupt_files(self._path)]
        if self._file.damage:
            self._on_damage(self._file.damage)
        self._gathering = self._new_batch()
        self._thread = threading.Thread(target=self._run_jobs, name="journal", daemon=True)
        self._thread.start()
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
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
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
        if self._hanging is not None:
            refused = self._new_batch()
            refused.answer(self._hanging)
            return refused.done
        batch = self._gathering
        batch.events.append(event)
        if not self._is_writing:
            self._hand_over_soon(after=0)
        return batch.done

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
        self._cursors[sink] = self._gathering.cursors[sink] = through
        self._commit_soon()
        if (listener := self._cursor_listeners.get(sink)) is not None:
            listener(through)

    def follow_cursor(self, sink: str, listener: Callable[[int], None]) -> None:
        """Call `listener` each time that the cursor of `sink` moves."""
        self._cursor_listeners[sink] = listener

    # The state store.

    @property
    def at_start(self) -> StoredState:
        """What was stored when the file was opened."""
        return self._file.stored

    def save(self, changes: StateChanges) -> None:
        """Save changes with the next commit; without events one follows within a tenth of a second."""
        self._gathering.changes.add(changes)
        self._commit_soon()

    async def flush(self) -> None:
        """Return once everything saved or appended so far is durable, and listeners have the events."""
        if self._hanging is not None:
            raise self._hanging
        done = self._gathering.done
        self._commit_now()
        await asyncio.shield(done)

    async def dead_letters(self, numbers: Sequence[int]) -> list[StoredDeadLetter]:
        """Return the dead letters of these numbers that exist, oldest first."""
        return await self._read(read_dead_letters, numbers)

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the `known_s` of a gap."""
        return await self._read(read_known_seconds, gap)

    # Group commit.

    def _new_batch(self) -> _Batch:
        return _Batch(done=self._loop.create_future())

    def _commit_soon(self) -> None:
        """Commit the changes that were gathered, with events or with others that come soon."""
        if not self._is_writing and self._changes_timer is None:
            self._changes_timer = self._loop.call_later(_CHANGES_WAIT_S, self._commit_changes)

    def _commit_changes(self) -> None:
        self._changes_timer = None
        if self._loop.time() - self._handed_over_s < _CHANGES_WAIT_S:  # events come, with which they go
            self._commit_soon()
        elif self._gathering.has_changes:
            self._hand_over_unless_writing()

    def _commit_now(self) -> None:
        """Commit what is gathered, even if it is nothing: the status then shows whether there is room."""
        self._gathering.awaited = True
        self._hand_over_unless_writing()

    def _hand_over_unless_writing(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._hand_over()

    def _hand_over_soon(self, *, after: int) -> None:
        """Hand over after a pause, or at the end of this turn of the loop, so that all its requests join.

        `after`: how many events were written meanwhile.
        """
        self._is_writing = True
        pause_s = self._pause.next_s(after=after, now_s=self._loop.time())
        if pause_s:
            self._loop.call_later(pause_s, self._hand_over)
        else:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Pass the gathered batch to the writer thread and begin another one."""
        batch, self._gathering = self._gathering, self._new_batch()
        self._writing, self._handed_over_s = batch, self._loop.time()
        if batch.events:
            self._pause.record(len(batch.events), now_s=self._handed_over_s)
        if self._timeout is None:
            self._timeout = self._loop.call_later(COMMIT_WITHIN_S, self._check_timeout)
        self._jobs.put(partial(self._commit, batch, self._delivered_through()))

    def _run_jobs(self) -> None:
        """Run what is handed over to the writer thread, one job after the other."""
        while (job := self._jobs.get()) is not None:
            job()

    def _commit(self, batch: _Batch, delivered_through: int) -> None:
        """Commit on the writer thread, and report it to the loop."""
        began_s = time.perf_counter()
        try:
            result = self._file.commit(batch, delivered_through=delivered_through)
        except Exception as error:  # noqa: BLE001 - senders wait for an answer, and the thread must go on
            self._check_corrupt(error)
            reason = f"the journal can't commit: {error}"
            result = CommitResult(error=JournalError(reason, retry_after_s=COMMIT_RETRY_AFTER_S), failed=True)
        took_s = time.perf_counter() - began_s
        self._loop.call_soon_threadsafe(self._committed, batch, result, took_s)

    def _committed(self, batch: _Batch, result: CommitResult, took_s: float) -> None:
        self._status.commits.count_commit(took_s)
        self._hanging = self._writing = None
        self._is_writing = False
        if result.failed:
            batch.add_changes(self._gathering)
            self._gathering.replace_changes(batch)
        self._commit_next(after=len(batch.events))
        self._report(batch, result)
        batch.answer(result.error if batch.events or result.failed else None)
        if result.records:
            self._head = result.records[-1].seq
            # After the answers are on their way: senders wait, sinks can.
            self._loop.call_soon(self._publish, result.records)

    def _commit_next(self, *, after: int) -> None:
        """Go on with what was gathered while `after` events were written."""
        if self._gathering.awaited:
            self._hand_over_unless_writing()
        elif self._gathering.events:
            self._hand_over_soon(after=after)
        elif self._gathering.has_changes:
            self._commit_soon()

    def _check_timeout(self) -> None:
        """Refuse what waits if a commit takes too long; one timer serves the commits of several seconds."""
        self._timeout = None
        if self._writing is None:
            return
        left_s = self._handed_over_s + COMMIT_WITHIN_S - self._loop.time()
        if left_s > 0:
            self._timeout = self._loop.call_later(left_s, self._check_timeout)
        else:
            self._refuse_waiting(self._writing)

    def _refuse_waiting(self, batch: _Batch) -> None:
        """Refuse what waits for a disk that does not answer, before senders give up.

        What was handed over may become durable all the same; senders repeat it, and it is stored once.
        """
        waiting, self._gathering = self._gathering, self._new_batch()
        self._gathering.replace_changes(waiting)
        reason = f"the disk has not answered for {COMMIT_WITHIN_S:g} s"
        self._hanging = JournalError(reason, retry_after_s=COMMIT_RETRY_AFTER_S)
        self._show_state(self._hanging)
        batch.answer(self._hanging)
        waiting.answer(self._hanging)

    def _report(self, batch: _Batch, result: CommitResult) -> None:
        """Show in the status what a commit did."""
        self._show_state(result.error)
        status = self._status
        status.dead_letters = self._file.dead_letters
        status.bytes_used, status.bytes_room = self._file.used_bytes, self._file.room_bytes
        if result.error is None:
            status.accepted += len(result.records)
            status.duplicates += len(batch.events) - len(result.records)
        if result.records:
            status.last_event_ms = result.records[-1].event.received_ms

    def _show_state(self, error: JournalError | None) -> None:
        """Show whether events can be stored; log it once down and once up."""
        state = "ok" if error is None else str(error)
        if self._status.state == state:
            return
        self._status.state = state
        if error is not None:
            answers = "503 until this ends"
            log.error("journal.unavailable", reason=state, file=str(self._path), answers=answers)
        else:
            log.info("journal.available", file=str(self._path))

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

    # Pruning, reading, damage.

    def _delivered_through(self) -> int:
        return min((self._cursors[sink] for sink in self._sinks), default=self._head)

    async def _prune_regularly(self) -> None:
        while True:
            before_ms = self._clock_ms() - self._retention_ms
            self._jobs.put(partial(self._prune, before_ms, self._delivered_through()))
            self._commit_now()
            await asyncio.sleep(_PRUNE_EVERY_S)

    def _prune(self, before_ms: int, delivered_through: int) -> None:
        """Prune on the writer thread, step by step: other jobs come in between."""
        try:
            if self._file.prune(before_ms=before_ms, delivered_through=delivered_through):
                self._jobs.put(partial(self._prune, before_ms, delivered_through))
        except (sqlite3.Error, OSError) as error:  # the next commit reports a file that cannot be written
            self._check_corrupt(error)

    async def _read(self, query: Callable[..., _Row], *arguments: object) -> _Row:
        """Return what `query` reads, in a thread."""
        async with self._reading:
            try:
                return await asyncio.to_thread(query, self._file.reader, *arguments)
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
            next_start = "takes over the rest"
            log.critical("journal.corrupt", reason=reason, file=str(self._path), next_start=next_start)
            self._on_corrupt()

    def _dead_letter(self, damaged: Sequence[DeadLetter]) -> None:
        """Save dead letters for damaged events; several sinks may read one before that is committed."""
        new = [letter for letter in damaged if letter.seq not in self._damaged]
        if not new:
            return
        numbers = [letter.seq for letter in new]
        self._damaged.update(numbers)
        self._gathering.damaged += numbers
        self.save(StateChanges(dead_letters=new))
        self._status.damaged_events += len(new)
        named = ", ".join(map(str, sorted(self._damaged)[:_MOST_NAMED]))
        self._on_damage(
            f"{len(self._damaged)} of its events cannot be read and are dead letters now: number {named};"
            f" {self._file.damage or DAMAGED_ADVICE}"
        )
