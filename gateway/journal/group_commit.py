"""Group commit: one writer thread, one fsync for everything that waits; meanwhile the next batch gathers."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import structlog

from gateway.errors import JournalError
from gateway.journal.journal_file import COMMIT_RETRY_AFTER_S, CommitBatch, CommitResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.journal.journal_file import JournalFile
    from gateway.model import Event, Record
    from gateway.status import JournalStatus

log = structlog.get_logger()

COMMIT_WITHIN_S = 8.0
"""Events are refused while a commit takes longer: the disk hangs."""

_CHANGES_WAIT_S = 0.1  # changes are committed with events; without events, they wait this long for others
_GATHER_S = 0.0005  # under load, a pause this short makes commits half as many and twice as large
_LOAD_EVENTS = 4  # in one commit mean load; a single sender never waits


@dataclass(slots=True)
class _Batch(CommitBatch):
    """A batch, and the future that all its requests wait for."""

    done: asyncio.Future[None] = field(kw_only=True)
    awaited: bool = False  # somebody waits for it, even if it stays empty


class GroupCommit:
    """Gathers batches on the event loop and commits them on the writer thread."""

    def __init__(
        self,
        file: JournalFile,
        *,
        status: JournalStatus,
        delivered_through: Callable[[], int],
        on_records: Callable[[Sequence[Record]], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Start the thread; `on_records` is called on the event loop, `on_failure` on the writer thread."""
        self._file = file
        self._status = status
        self._delivered_through = delivered_through
        self._on_records = on_records
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self.gathering = self._new_batch()
        """What the next commit writes; whoever adds changes calls `commit_soon`."""
        self._is_writing = False
        self._timeout: asyncio.TimerHandle | None = None
        self._hanging: JournalError | None = None
        self._changes_timer: asyncio.TimerHandle | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.run_job = self._jobs.put
        """Runs a job on the writer thread, between commits; may be called on any thread."""
        self._thread = threading.Thread(target=self._run_jobs, name="journal", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """End the thread once it has done everything that was handed over."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def append(self, event: Event) -> asyncio.Future[None]:
        """Return a future that is done once `event` is durable; its whole batch shares it."""
        if self._hanging is not None:
            refused = self._loop.create_future()
            _answer(refused, self._hanging)
            return refused
        batch = self.gathering
        batch.events.append(event)
        if not self._is_writing:
            # Handed over at the end of this turn of the loop, so that all requests of the turn join.
            self._is_writing = True
            self._loop.call_soon(self._hand_over)
        return batch.done

    def commit_soon(self) -> None:
        """Commit the changes that were gathered, with others that come soon."""
        if not self._is_writing and self._changes_timer is None:
            self._changes_timer = self._loop.call_later(_CHANGES_WAIT_S, self._hand_over_unless_writing)

    def commit_now(self) -> None:
        """Commit what is gathered, even if it is nothing: the status then shows whether there is room."""
        self.gathering.awaited = True
        self._hand_over_unless_writing()

    async def flush(self) -> None:
        """Return once everything so far is durable; raise JournalError if it cannot be."""
        if self._hanging is not None:
            raise self._hanging
        done = self.gathering.done
        self.commit_now()
        await asyncio.shield(done)

    def _run_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _new_batch(self) -> _Batch:
        return _Batch(done=self._loop.create_future())

    def _hand_over_unless_writing(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._hand_over()

    def _hand_over(self) -> None:
        """Pass the gathered batch to the writer thread and begin another one."""
        if self._changes_timer is not None:
            self._changes_timer.cancel()
            self._changes_timer = None
        batch, self.gathering = self.gathering, self._new_batch()
        self._timeout = self._loop.call_later(COMMIT_WITHIN_S, self._refuse_waiting, batch)
        self._jobs.put(partial(self._commit, batch, self._delivered_through()))

    def _commit(self, batch: _Batch, delivered_through: int) -> None:
        """Commit on the writer thread, and report it to the loop."""
        began_s = time.perf_counter()
        try:
            result = self._file.commit(batch, delivered_through=delivered_through)
        except Exception as error:  # noqa: BLE001 - senders wait for an answer, and the thread must go on
            self._on_failure(error)
            reason = f"the journal can't commit: {error}"
            result = CommitResult(error=JournalError(reason, retry_after_s=COMMIT_RETRY_AFTER_S), failed=True)
        took_s = time.perf_counter() - began_s
        self._loop.call_soon_threadsafe(self._committed, batch, result, took_s)

    def _committed(self, batch: _Batch, result: CommitResult, took_s: float) -> None:
        self._status.commits.count_commit(took_s)
        if self._timeout is not None:
            self._timeout.cancel()
        self._hanging = None
        self._is_writing = False
        if result.failed:
            batch.add_changes(self.gathering)
            self.gathering.replace_changes(batch)
        self._commit_next(is_load=len(batch.events) >= _LOAD_EVENTS)
        self._report(batch, result)
        _answer(batch.done, result.error if batch.events or result.failed else None)
        if result.records:
            self._on_records(result.records)

    def _commit_next(self, *, is_load: bool) -> None:
        if self.gathering.events or self.gathering.awaited:
            self._is_writing = True
            if is_load:
                self._loop.call_later(_GATHER_S, self._hand_over)
            else:
                self._hand_over()
        elif self.gathering.has_changes:
            self.commit_soon()

    def _refuse_waiting(self, batch: _Batch) -> None:
        """Refuse what waits for a disk that does not answer, before senders give up.

        What was handed over may become durable all the same; senders repeat it, and it is stored once.
        """
        waiting, self.gathering = self.gathering, self._new_batch()
        self.gathering.replace_changes(waiting)
        reason = f"the disk has not answered for {COMMIT_WITHIN_S:g} s"
        self._hanging = JournalError(reason, retry_after_s=COMMIT_RETRY_AFTER_S)
        self._show_state(self._hanging)
        _answer(batch.done, self._hanging)
        _answer(waiting.done, self._hanging)

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
        file = str(self._file.path)
        if error is not None:
            log.error("journal.unavailable", reason=state, file=file, answers="503 until this ends")
        else:
            log.info("journal.available", file=file)


def _answer(done: asyncio.Future[None], error: JournalError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
        done.exception()  # a batch without events has nobody waiting; the status shows its failure
