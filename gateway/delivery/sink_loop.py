"""One sink's loop: get a batch, write it, move the cursor; retry, dead-letter, or restart the sink."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError, RefusedError, TransientError
from gateway.logs import internal_error_text
from gateway.memory import freeze_objects
from gateway.records import DeadLetter, StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.delivery.feed import Batch, Feed, Retry
    from gateway.model import Point, Refusal, Update
    from gateway.ports import Adopt, EventLog, LatestValues, PointSource, Sink, StateStore
    from gateway.status import SinkStatus

log = structlog.get_logger()

_CHECK_EVERY_S = 0.2  # whether a receiver that is away is back


class PreparedSink(NamedTuple):
    """A sink prepared for another point table. None: it is to be restarted, by the table then in force."""

    sink: Sink | None
    adopt: Adopt | None


@dataclass(eq=False, kw_only=True)
class SinkLoop:
    """Runs for as long as the gateway does. A sink that fails delays nobody but itself.

    `make_sink` makes a sink for the point table in force, at the start and at each restart. `clock_ms` is the
    wall clock, `steady_ms` the clock of the feed's times.
    """

    name: str
    make_sink: Callable[[], Sink]
    feed: Feed
    event_log: EventLog
    state_store: StateStore
    status: SinkStatus
    clock_ms: Callable[[], int]
    steady_ms: Callable[[], int]
    backoff: Backoff = field(default_factory=Backoff)
    turned_s: float = field(default_factory=time.monotonic, init=False)
    _sink: Sink | None = field(default=None, init=False)  # None while it waits to be restarted
    _batch: Batch | None = field(default=None, init=False)  # got from the feed and not yet written
    _failure: str | None = field(default=None, init=False)  # the logged reason, until a write succeeds
    _refused: set[Point] = field(default_factory=set, init=False)  # points whose refusal is logged
    _is_frozen: bool = field(default=False, init=False)

    @property
    def idle(self) -> bool:
        """Whether everything so far is written."""
        return self._batch is None and self.feed.idle

    async def run(self) -> None:
        """Keep the sink running until cancelled."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            try:
                self._sink = self.make_sink()
                async with self._sink as sink:
                    if not self._is_frozen:  # the structures of a restarted sink may go again
                        freeze_objects()
                    self._is_frozen = True
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
        self.feed.restart(after=self.event_log.cursor(self.name), lost=lost, changed=changed)

    def refresh(self) -> None:
        """Update the sink's lag in the status."""
        status, batch = self.status, self._batch
        since_ms = (batch.since_ms if batch is not None else None) or self.feed.since_ms
        status.lag = max(0, self.feed.due - status.cursor)
        age_ms = self.steady_ms() - since_ms if status.lag and since_ms is not None else 0
        status.lag_s = max(0, age_ms) / 1000

    async def _write_batches(self, sink: Sink) -> None:
        while True:
            self.turned_s = time.monotonic()
            if self._batch is None:
                self._batch = await self.feed.next()
            batch = self._batch
            if batch.updates and not await self._write(sink, batch):
                await self._back_off()
                continue
            if self._batch is batch:  # otherwise the point table was swapped meanwhile
                self._complete(batch)
                self._batch = None
            if not self.feed.idle:
                await asyncio.sleep(0)  # a sink that never waits must not stop the others

    async def _write(self, sink: Sink, batch: Batch) -> bool:
        """Return whether the batch is written; refused updates become dead letters."""
        written = len(batch.updates)
        try:
            await sink.write(batch.updates)
        except TransientError as error:
            self.status.retries += 1
            self._mark_away(error)
            return False
        except RefusedError as error:
            written -= len(error.refusals)
            if self._batch is batch:
                self._dead_letter(error.refusals, retries=batch.retries)
        self._mark_up(written)
        return True

    def _complete(self, batch: Batch) -> None:
        if batch.through != self.status.cursor:
            self.status.cursor = batch.through
            self.event_log.move_cursor(self.name, batch.through)
        for retry in batch.retries:
            if self.name in retry.waiting:
                retry.waiting.remove(self.name)
                if not retry.waiting:  # every sink has written it now
                    self.state_store.save(StateChanges(removed_dead_letters=[retry.stored.number]))

    def _mark_up(self, written: int) -> None:
        self.backoff.reset()
        # A restarted sink is "up" as soon as it listens; only a write ends a failure.
        was = self.status.state if self._failure is None else "failed"
        if was != "up":
            log.info("sink.up", sink=self.name, was=was)
            self.status.state, self._failure = "up", None
        self.status.written += written
        self.status.last_success_ms = self.clock_ms()

    def _mark_away(self, error: TransientError) -> None:
        self.status.record_error(str(error), at_ms=self.clock_ms())
        if self.status.state != "away":
            log.warning("sink.away", sink=self.name, reason=str(error), events="kept in the journal")
            self.status.state = "away"

    def _mark_failed(self, error: BaseException) -> None:
        reason = str(error) if isinstance(error, GatewayError) else internal_error_text(error)
        if self._failure != reason:
            self._failure = reason
            log.error("sink.failed", sink=self.name, reason=reason, restarts="with back-off")
        self.status.state = "failed"
        self.status.record_error(reason, at_ms=self.clock_ms())

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
            self._letter(refusal, bodies.get(refusal.update.seq))
            for refusal in refusals
            if refusal.update.event_id is not None or new.get(refusal.update.point) is refusal
        ]
        self.status.dead_letters += len(letters)
        self.state_store.save(StateChanges(dead_letters=letters))
        for point, refusal in new.items():
            log.warning("sink.refused", sink=self.name, point=point.name, reason=refusal.reason)

    def _letter(self, refusal: Refusal, body: bytes | None) -> DeadLetter:
        update = refusal.update
        name, event_id = update.point.name, update.event_id or ""
        return DeadLetter(self.name, update.seq, event_id, name, refusal.reason, self.clock_ms(), body)

    async def _back_off(self) -> None:
        """Wait before the next attempt, or until the sink reports that its receiver is back."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self.backoff.next_s()
        while self.status.state != "up" and (left_s := ends_s - loop.time()) > 0:  # noqa: ASYNC110 - plain state
            await asyncio.sleep(min(left_s, _CHECK_EVERY_S))
        self.turned_s = time.monotonic()


class RetainedTopics(dict[str, bool]):
    """By topic, whether a value is retained there: stored, so that it can be cleared after a restart, too."""

    def __init__(self, state_store: StateStore, *, sink: str) -> None:
        """Begin with the topics of the last run."""
        super().__init__(state_store.at_start.retained.get(sink, {}))
        self._state_store = state_store
        self._sink = sink

    def __setitem__(self, topic: str, has_value: bool) -> None:
        super().__setitem__(topic, has_value)
        self._state_store.save(StateChanges(retained={(self._sink, topic): has_value}))

    def __delitem__(self, topic: str) -> None:
        super().__delitem__(topic)
        self._state_store.save(StateChanges(retained={(self._sink, topic): None}))
