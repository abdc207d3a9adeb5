"""The journal on SQLite: group commit by one writer thread, so that one fsync serves many requests.

Everything that waits is committed together, and while that happens the next group gathers. The
event loop is never blocked: the writer thread owns one connection, readers another.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

import structlog

from gateway.errors import GatewayError, JournalError
from gateway.journal.opening import DAMAGED_ADVICE, corrupt_files, marker, open_store, take_lock
from gateway.journal.rows import is_corrupt
from gateway.journal.store import COMMIT_RETRY_AFTER_S, Batch, DiskUsage, Outcome, Store
from gateway.logs import unforeseen
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.model import Event, Record
    from gateway.records import DeadLetter, Gap, StoredDeadLetter, StoredState
    from gateway.status import JournalStatus

log = structlog.get_logger()

_NOTES_WAIT_S = 0.1  # notes ride along with events; where none come, they wait this long for company
_GATHER_S = 0.0005  # under load, a pause this short makes commits half as many and twice as large
_COMPANY = 4  # events in one commit that mean load; a lone sender never waits
_PRUNE_EVERY_S = 60.0
_MOST_NAMED = 10
_FULL_BYTES = 64 << 10  # less is not enough to open the file
_NEXT_START = "takes over what can be read"


@dataclass(slots=True)
class _Gathering(Batch):
    """A batch that is being gathered, and the future that all its requests wait for."""

    done: asyncio.Future[None] = field(kw_only=True)
    wanted: bool = False  # somebody waits for it, even if it stays empty

    def add(self, later: Batch) -> None:
        """Add the changes and cursors of a later batch."""
        self.changes.add(later.changes)
        self.cursors.update(later.cursors)
        self.damaged.extend(later.damaged)


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
        disk_usage: Callable[[Path], DiskUsage] = shutil.disk_usage,
        commit_within_s: float = 8.0,
    ) -> None:
        """Name the sinks whose cursors hold events back; nothing is opened before entering.

        Events are refused while a commit takes longer than `commit_within_s`: the disk hangs.
        `on_damage` is called on the event loop with what is damaged, in words for the user; `on_corrupt`
        where the journal must be opened anew, which takes over what can be read.
        """
        self._path = path
        self._sinks = tuple(sinks)
        self._retention_ms = int(retention_s * 1000)
        self._max_bytes = max_bytes
        self._clock_ms = clock_ms
        self._on_damage, self._on_corrupt = on_damage, on_corrupt
        self.corrupt: str | None = None  # how that was found while it was open
        self._damage: str | None = None  # that was found when the file was opened
        self._damaged: set[int] = set()  # numbers of events that could not be read
        self._disk_usage = disk_usage
        self._status = status
        status.bytes_limit = max_bytes
        self._listeners: list[Callable[[Sequence[Record]], None]] = []
        self._listener_failure: str | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._writing = False
        self._commit_within_s = commit_within_s
        self._watch: asyncio.TimerHandle | None = None  # over the commit that is under way
        self._hanging: JournalError | None = None  # that commit takes too long
        self._timer: asyncio.TimerHandle | None = None
        self._reading = asyncio.Lock()
        self._cursors: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._files = ExitStack()
        try:
            self._files.enter_context(take_lock(self._path))
            await asyncio.to_thread(self._open)
        except BaseException:
            self._files.close()
            raise
        if self._damage:
            self._on_damage(self._damage)
        self._gathering = self._new_batch()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
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
        self._files.close()

    @property
    def head(self) -> int:
        """The number of the newest durable event."""
        return self._head

    def subscribe(self, listener: Callable[[Sequence[Record]], None]) -> None:
        """Have `listener` called on the event loop with each batch of new events."""
        self._listeners.append(listener)

    def append(self, event: Event) -> asyncio.Future[None]:
        """Return what to await until `event` is durable; shared by its whole batch."""
        if self._hanging is not None:
            return self._refused(self._hanging)
        batch = self._gathering
        batch.events.append(event)
        if not self._writing:
            # Handed over at the end of this turn of the loop, so that all requests of the turn join.
            self._writing = True
            self._loop.call_soon(self._hand_over)
        return batch.done

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return the next events after `after`, oldest first, read in a thread."""
        async with self._reading:
            with self._readable():
                records, damaged = await asyncio.to_thread(self._reader.read, after, limit)
        if damaged:
            self._dead_letter(damaged)
        return records

    async def dead_letters(self, numbers: Sequence[int]) -> list[StoredDeadLetter]:
        """Return the dead letters of these numbers that there are, oldest first, read in a thread."""
        async with self._reading:
            with self._readable():
                return await asyncio.to_thread(self._reader.letters, numbers)

    @property
    def backlog(self) -> int:
        """How many events some sink still has to get, at most."""
        return self._head - self._delivered_through()

    def cursor(self, sink: str) -> int:
        """Return the last event that `sink` is done with."""
        return self._cursors[sink]

    @property
    def at_start(self) -> StoredState:
        """What was stored when the file was opened."""
        return self._at_start

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the Unix seconds in which a reading inside a gap is known already, read in a thread."""
        async with self._reading:
            with self._readable():
                return await asyncio.to_thread(self._reader.known_seconds, gap)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._judge(error)
            raise JournalError(
                f"the journal can't be read: {error}", retry_after_s=COMMIT_RETRY_AFTER_S
            ) from error

    def _judge(self, error: Exception) -> None:
        """Where the file is corrupt, have the next start begin a new one; on any thread."""
        if is_corrupt(error):
            with suppress(OSError):
                marker(self._path).write_text(str(error))
            self._loop.call_soon_threadsafe(self._found_corrupt, str(error))

    def _found_corrupt(self, reason: str) -> None:
        if self.corrupt is None:
            self.corrupt = reason
            log.critical(
                "journal.corrupt", reason=reason, file=str(self._path), next_start="takes over the rest"
            )
            self._on_corrupt()

    def _dead_letter(self, damaged: Sequence[DeadLetter]) -> None:
        """Turn damaged events into dead letters; several sinks may read one until that is committed."""
        new = [letter for letter in damaged if letter.seq not in self._damaged]
        if not new:
            return
        self._damaged.update(letter.seq for letter in new)
        self._gathering.damaged += [letter.seq for letter in new]
        self.save(StateChanges(dead_letters=new))
        self._status.damaged_events += len(new)
        numbers = ", ".join(str(number) for number in sorted(self._damaged)[:_MOST_NAMED])
        self._on_damage(
            f"{len(self._damaged)} of its events cannot be read and are dead letters now: number {numbers}"
            + (f"; {self._damage}" if self._damage else f". {DAMAGED_ADVICE}")
        )

    def move_cursor(self, sink: str, through: int) -> None:
        """Move the cursor of `sink`, durably with the next commit."""
        self._cursors[sink] = self._gathering.cursors[sink] = through
        self._commit_soon()

    def save(self, changes: StateChanges) -> None:
        """Save changes with the next commit; without events one comes within a tenth of a second."""
        self._gathering.changes.add(changes)
        self._commit_soon()

    def _commit_soon(self) -> None:
        if not self._writing and self._timer is None:
            self._timer = self._loop.call_later(_NOTES_WAIT_S, self._begin)

    def _new_batch(self) -> _Gathering:
        return _Gathering(done=self._loop.create_future())

    async def flush(self) -> None:
        """Return once all that was noted or appended so far is durable; raise JournalError if it isn't."""
        if self._hanging is not None:
            raise self._hanging
        batch = self._gathering
        batch.wanted = True
        self._begin()
        await asyncio.shield(batch.done)

    def _begin(self) -> None:
        if not self._writing:
            self._writing = True
            self._hand_over()

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = self._gathering
        self._gathering = self._new_batch()
        self._watch = self._loop.call_later(self._commit_within_s, self._note_hanging, batch)
        self._jobs.put(partial(self._commit, batch, self._delivered_through()))

    def _commit(self, batch: _Gathering, delivered_through: int) -> None:
        """Run on the writer thread: commit, and tell the loop."""
        began_s = time.perf_counter()
        try:
            outcome = self._store.commit(batch, delivered_through=delivered_through)
            written = True
        except Exception as error:  # noqa: BLE001 - senders wait for an answer, and the thread must go on
            self._judge(error)
            outcome = Outcome(
                (), JournalError(f"the journal can't commit: {error}", retry_after_s=COMMIT_RETRY_AFTER_S)
            )
            written = False
        took_s = time.perf_counter() - began_s
        self._loop.call_soon_threadsafe(self._committed, batch, outcome, written, took_s)

    def _committed(self, batch: _Gathering, outcome: Outcome, written: bool, took_s: float) -> None:  # noqa: FBT001 - called by the loop
        self._status.commits.note(took_s)
        if self._watch is not None:
            self._watch.cancel()
        self._hanging = None
        if not written:
            batch.add(self._gathering)
            self._gathering.changes, self._gathering.cursors = batch.changes, batch.cursors
            self._gathering.damaged = batch.damaged
        self._writing = False
        if self._gathering.events or self._gathering.wanted:
            self._writing = True
            if len(batch.events) >= _COMPANY:
                self._loop.call_later(_GATHER_S, self._hand_over)
            else:
                self._hand_over()
        elif self._gathering.has_changes and self._timer is None:
            self._timer = self._loop.call_later(_NOTES_WAIT_S, self._begin)
        self._report(outcome.error)
        self._status.dead_letters = self._store.dead_letters
        self._status.bytes_used, self._status.bytes_room = self._store.used_bytes, self._store.room_bytes
        if outcome.error is None:
            self._status.accepted += len(outcome.records)
            self._status.duplicates += len(batch.events) - len(outcome.records)
        self._answer(batch, outcome.error if batch.events or not written else None)
        if outcome.records:
            self._head = outcome.records[-1].seq
            self._status.last_event_ms = outcome.records[-1].event.received_ms
            # After the answers are on their way: senders wait, sinks can.
            self._loop.call_soon(self._tell, outcome.records)

    def _note_hanging(self, batch: _Gathering) -> None:
        """Refuse what waits for a disk that does not answer, in time for senders to hear of it.

        What was handed over may become durable all the same; senders repeat it, and each event counts once.
        """
        waiting, self._gathering = self._gathering, self._new_batch()
        self._gathering.add(waiting)
        self._hanging = JournalError(
            f"the disk has not answered for {self._commit_within_s:g} s", retry_after_s=COMMIT_RETRY_AFTER_S
        )
        self._report(self._hanging)
        self._answer(batch, self._hanging)
        self._answer(waiting, self._hanging)

    def _refused(self, error: JournalError) -> asyncio.Future[None]:
        refused: asyncio.Future[None] = self._loop.create_future()
        refused.set_exception(error)
        refused.exception()  # nobody may wait for it
        return refused

    def _answer(self, batch: _Gathering, error: JournalError | None) -> None:
        if batch.done.done():
            return
        if error is None:
            batch.done.set_result(None)
            return
        batch.done.set_exception(error)
        batch.done.exception()  # a batch of notes has nobody waiting; its failure is reported above

    def _tell(self, records: Sequence[Record]) -> None:
        """Tell every listener; one that fails, for a fault of ours, must not keep the others from hearing."""
        for listener in self._listeners:
            try:
                listener(records)
            except Exception as error:  # noqa: BLE001 - see above
                self._tell_failure(unforeseen(error))

    def _tell_failure(self, reason: str) -> None:
        """Log what went wrong with a listener, but not the same at each event."""
        if reason != self._listener_failure:
            self._listener_failure = reason
            log.error("journal.listener_failed", reason=reason)

    def _report(self, error: JournalError | None) -> None:
        """Log a change of state, once down and once up, and show it in the status."""
        state = "ok" if error is None else str(error)
        if self._status.state == state:
            return
        self._status.state = state
        if error is not None:
            log.error(
                "journal.unavailable", reason=str(error), file=str(self._path), answers="503 until this ends"
            )
        else:
            log.info("journal.available", file=str(self._path))

    def _delivered_through(self) -> int:
        return min((self._cursors[sink] for sink in self._sinks), default=self._head)

    def _starting_cursors(self) -> dict[str, int]:
        """Return each sink's cursor, on disk from now on: a new sink is owed all that comes after it."""
        known = self._store.cursors()
        for gone in known.keys() - set(self._sinks):
            log.info(
                "journal.sink_forgotten", sink=gone, cursor=known[gone], reason="it is no longer configured"
            )
        cursors = {sink: known.get(sink, self._head) for sink in self._sinks}
        if cursors != known:
            self._store.replace_cursors(cursors)
        return cursors

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def _prune_regularly(self) -> None:
        while True:
            before_ms = self._clock_ms() - self._retention_ms
            delivered_through = self._delivered_through()
            self._jobs.put(partial(self._prune, before_ms=before_ms, delivered_through=delivered_through))
            self._gathering.wanted = True  # so that it is reported whether there is room again
            self._begin()
            await asyncio.sleep(_PRUNE_EVERY_S)

    def _prune(self, *, before_ms: int, delivered_through: int) -> None:
        try:
            if self._store.prune(before_ms=before_ms, delivered_through=delivered_through):
                again = partial(self._prune, before_ms=before_ms, delivered_through=delivered_through)
                self._jobs.put(again)  # behind the commit that waits meanwhile
        except (
            sqlite3.Error,
            OSError,
        ) as error:  # a file that can't be written is reported by the next commit
            self._judge(error)

    def _open(self) -> None:
        """Open the file twice, to write and to read at the same time, and take over what it holds."""
        try:
            self._store, self._damage = open_store(
                self._path, make_store=self._make_store, sinks=self._sinks, now_ms=self._clock_ms()
            )
            self._status.corrupt_files = [str(file) for file in corrupt_files(self._path)]
            # The file was checked a line above; on a large one a second check would double the start.
            self._reader = self._make_store(self._path)
            self._head = self._store.next_seq - 1
            self._cursors = self._starting_cursors()
            self._at_start = self._store.stored_state()
            if (lost := self._store.damaged_values) and not self._damage:
                self._damage = (
                    f"{lost} of its last values cannot be read; the newest events were read again instead."
                    f" {DAMAGED_ADVICE}"
                )
        except sqlite3.Error as error:
            is_full = self._disk_usage(self._path.parent).free < _FULL_BYTES
            advice = "; its disk is full, make room there" if is_full else ""
            raise GatewayError(f"{self._path}: the journal can't be opened: {error}{advice}") from error

    def _make_store(self, path: Path) -> Store:
        store = Store(path, max_bytes=self._max_bytes, disk_usage=self._disk_usage)
        self._files.callback(store.close)
        return store
