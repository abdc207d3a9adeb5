"""One sink's loop: get a batch, write it, move the cursor; retry, dead-letter, or restart the sink."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError, RefusedError, TransientError
from gateway.logs import internal_error_text
from gateway.memory import freeze_objects
from gateway.records import DeadLetter, StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.delivery.feed import Batch, Feed, Retry
    from gateway.model import Point, Refusal, Update
    from gateway.ports import Adopt, EventLog, LatestValues, PointSource, Sink, StateStore
    from gateway.status import SinkStatus

log = structlog.get_logger()

_CHECK_EVERY_S = 0.2  # whether a receiver that is away is back


@dataclass(frozen=True, slots=True)
class PreparedSink:
    """A sink prepared for another point table. None: it is to be restarted, by the table then in force."""

    sink: Sink | None
    adopt: Adopt | None


class SinkLoop:
    """Runs for as long as the gateway does. A sink that fails delays nobody but itself."""

    def __init__(
        self,
        *,
        name: str,
        make_sink: Callable[[], Sink],
        feed: Feed,
        event_log: EventLog,
        state_store: StateStore,
        status: SinkStatus,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        backoff: Backoff | None = None,
    ) -> None:
        """`make_sink` makes a sink for the point table in force, at the start and at each restart.

        `clock_ms` is the wall clock, `steady_ms` the clock of the feed's times.
        """
        self.name = name
        self._make_sink = make_sink
        self._feed = feed
        self._event_log = event_log
        self._state_store = state_store
        self._status = status
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._sink: Sink | None = None  # None while it waits to be restarted
        self._batch: Batch | None = None  # got from the feed and not yet written
        self._backoff = backoff or Backoff()
        self._failure: str | None = None  # the logged reason, until a write succeeds
        self._refused: set[Point] = set()  # points whose refusal is logged
        self._is_frozen = False
        self.turned_s = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether everything so far is written."""
        return self._batch is None and self._feed.idle

    async def run(self) -> None:
        """Keep the sink running until cancelled."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            try:
                self._sink = self._make_sink()
                async with self._sink as sink:
                    self._freeze_once()
                    await self._write_batches(sink)
            except asyncio.CancelledError as error:
                if task.cancelling():
                    raise
                self._mark_failed(error)  # something inside the sink was cancelled, not the loop
            except Exception as error:  # whatever a sink raises must not stop the others
                self._mark_failed(error)
                if task.cancelling():
                    raise asyncio.CancelledError from error
            finally:
                self._sink = None
            await self._back_off()

    def _freeze_once(self) -> None:
        """Spare the sink's structures the garbage collector; those of a restarted sink may go again."""
        if not self._is_frozen:
            self._is_frozen = True
            freeze_objects()

    async def prepare(self, points: PointSource, latest: LatestValues) -> PreparedSink:
        """Let the sink build what it needs for another point table, while it goes on with the present one."""
        sink = self._sink
        if sink is None:
            return PreparedSink(None, None)
        return PreparedSink(sink, await asyncio.to_thread(sink.prepare, points, latest))

    def is_prepared(self, prepared: PreparedSink) -> bool:
        """Return whether the sink is still the one that was prepared: it may have been restarted."""
        return prepared.sink is self._sink

    def swap(self, prepared: PreparedSink, *, news: Iterable[Update], changed: Iterable[str]) -> None:
        """Go on with another point table; `news` came after the sink was prepared. No await, and quick.

        The batch in flight belongs to the old table: whether it is written or fails does not count, and its
        events come again by the new table.
        """
        if prepared.adopt is not None:
            prepared.adopt(news)
        self._refused.clear()  # points of the old table
        lost, self._batch = self._batch, None
        self._feed.restart(after=self._event_log.cursor(self.name), lost=lost, changed=changed)

    def refresh(self) -> None:
        """Update the sink's lag in the status."""
        status, batch = self._status, self._batch
        since_ms = (batch.since_ms if batch is not None else None) or self._feed.since_ms
        status.lag = max(0, self._feed.due - status.cursor)
        age_ms = self._steady_ms() - since_ms if status.lag and since_ms is not None else 0
        status.lag_s = max(0, age_ms) / 1000

    async def _write_batches(self, sink: Sink) -> None:
        while True:
            self.turned_s = time.monotonic()
            if self._batch is None:
                self._batch = await self._feed.next()
            batch = self._batch
            if batch.updates and not await self._write(sink, batch):
                await self._back_off()
                continue
            if self._batch is batch:  # otherwise the point table was swapped meanwhile
                self._complete(batch)
                self._batch = None
            if not self._feed.idle:
                await asyncio.sleep(0)  # a sink that never waits must not stop the others

    async def _write(self, sink: Sink, batch: Batch) -> bool:
        """Return whether the batch is written; refused updates become dead letters."""
        written = len(batch.updates)
        try:
            await sink.write(batch.updates)
        except TransientError as error:
            self._status.retries += 1
            self._mark_away(error)
            return False
        except RefusedError as error:
            written -= len(error.refusals)
            if self._batch is batch:
                self._dead_letter(error.refusals, retries=batch.retries)
        self._mark_up(written)
        return True

    def _complete(self, batch: Batch) -> None:
        if batch.through != self._status.cursor:
            self._status.cursor = batch.through
            self._event_log.move_cursor(self.name, batch.through)
        if batch.retries:
            self._state_store.save(StateChanges(removed_dead_letters=[*self._finished(batch.retries)]))

    def _finished(self, retries: Iterable[Retry]) -> Iterator[int]:
        """Yield the numbers of the dead letters that every sink has written now."""
        for retry in retries:
            if self.name in retry.waiting:
                retry.waiting.remove(self.name)
                if not retry.waiting:
                    yield retry.stored.number

    def _mark_up(self, written: int) -> None:
        self._backoff.reset()
        # A restarted sink is "up" as soon as it listens; only a write ends a failure.
        was = self._status.state if self._failure is None else "failed"
        if was != "up":
            log.info("sink.up", sink=self.name, was=was)
            self._status.state, self._failure = "up", None
        self._status.written += written
        self._status.last_success_ms = self._clock_ms()

    def _mark_away(self, error: TransientError) -> None:
        self._status.record_error(str(error), at_ms=self._clock_ms())
        if self._status.state != "away":
            log.warning("sink.away", sink=self.name, reason=str(error), events="kept in the journal")
            self._status.state = "away"

    def _mark_failed(self, error: BaseException) -> None:
        reason = str(error) if isinstance(error, GatewayError) else internal_error_text(error)
        if self._failure != reason:
            self._failure = reason
            log.error("sink.failed", sink=self.name, reason=reason, restarts="with back-off")
        self._status.state = "failed"
        self._status.record_error(reason, at_ms=self._clock_ms())

    def _dead_letter(self, refusals: Sequence[Refusal], *, retries: Sequence[Retry]) -> None:
        """Make dead letters, and log each point once.

        A refused update that no event caused, such as a heartbeat, becomes one dead letter only, as it would
        come every second. In a batch of `retries`, each refusal becomes a new dead letter.
        """
        logged = self._refused if not retries else ()
        new = {refusal.update.point: refusal for refusal in refusals if refusal.update.point not in logged}
        bodies = {retry.stored.letter.seq: retry.stored.body for retry in retries}
        self._refused.update(new)
        letters = [
            self._letter(refusal, body=bodies.get(refusal.update.seq))
            for refusal in refusals
            if refusal.update.event_id is not None or new.get(refusal.update.point) is refusal
        ]
        self._status.dead_letters += len(letters)
        self._state_store.save(StateChanges(dead_letters=letters))
        for point, refusal in new.items():
            log.warning("sink.refused", sink=self.name, point=point.name, reason=refusal.reason)

    def _letter(self, refusal: Refusal, *, body: bytes | None) -> DeadLetter:
        update = refusal.update
        return DeadLetter(
            sink=self.name,
            seq=update.seq,
            event_id=update.event_id or "",
            point=update.point.name,
            reason=refusal.reason,
            at_ms=self._clock_ms(),
            body=body,
        )

    async def _back_off(self) -> None:
        """Wait before the next attempt, or until the sink reports that its receiver is back."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._backoff.next_s()
        while self._status.state != "up" and (left_s := ends_s - loop.time()) > 0:  # noqa: ASYNC110 - plain state
            await asyncio.sleep(min(left_s, _CHECK_EVERY_S))
        self.turned_s = time.monotonic()
