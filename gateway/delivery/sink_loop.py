"""One sink's loop: take a batch, write it, move the cursor; retry, dead-letter, or restart the sink."""

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

    from gateway.delivery.batch import Batch, Retry
    from gateway.delivery.feed import Feed
    from gateway.model import Point, Refusal, Update
    from gateway.ports import Adopt, EventLog, LatestValues, PointSource, Sink, StateStore
    from gateway.status import SinkStatus

log = structlog.get_logger()

_LOOK_EVERY_S = 0.2  # whether a receiver that is away is back


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one sink needs for another point table. No sink: it is restarted, by the table in force then."""

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
        """`make_sink` is called again whenever the sink must be restarted, for the point table in force.

        `clock_ms` dates; `steady_ms` is what the feed's times are by.
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
        self._batch: Batch | None = None  # taken from the feed and not yet written
        self._backoff = backoff or Backoff()
        self._failure: str | None = None  # the reason that was told, until a write succeeds
        self._refused: set[Point] = set()  # points that were told of
        self._is_settled = False
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
                    self._settle()
                    await self._serve(sink)
            except asyncio.CancelledError as error:
                if task.cancelling():
                    raise
                self._fail(error)  # something inside the sink was cancelled, not the loop
            except Exception as error:  # whatever a sink raises must not stop the others
                self._fail(error)
                if task.cancelling():
                    raise asyncio.CancelledError from error
            finally:
                self._sink = None
            await self._pause()

    def _settle(self) -> None:
        """Spare what the sink is built of the search for garbage; once, for a restarted one may go again."""
        if not self._is_settled:
            self._is_settled = True
            freeze_objects()

    async def prepare(self, points: PointSource, latest: LatestValues) -> Prepared:
        """Have the sink build aside what it needs for another point table, while it goes on."""
        sink = self._sink
        if sink is None:
            return Prepared(None, None)
        return Prepared(sink, await asyncio.to_thread(sink.prepare, points, latest))

    def is_prepared(self, prepared: Prepared) -> bool:
        """Say whether the sink is still the one that was prepared: it may have been restarted meanwhile."""
        return prepared.sink is self._sink

    def swap(self, prepared: Prepared, *, news: Iterable[Update], changed: Iterable[str]) -> None:
        """Go on with another point table; `news` came after the sink was prepared. No await, and quick.

        Whatever was taken from the feed belongs to the old table. What is being written counts no more,
        neither its success nor its failure: it comes again by the new table.
        """
        if prepared.adopt is not None:
            prepared.adopt(news)
        self._refused.clear()  # points of the old table
        lost, self._batch = self._batch, None
        self._feed.restart(after=self._event_log.cursor(self.name), lost=lost, changed=changed)

    def refresh(self) -> None:
        """Bring up to date what the status says of how far the sink is behind."""
        status, batch = self._status, self._batch
        since_ms = (batch.since_ms if batch is not None else None) or self._feed.since_ms
        status.lag = max(0, self._feed.due - status.cursor)
        age_ms = self._steady_ms() - since_ms if status.lag and since_ms is not None else 0
        status.lag_s = max(0, age_ms) / 1000

    async def _serve(self, sink: Sink) -> None:
        while True:
            self.turned_s = time.monotonic()
            if self._batch is None:
                self._batch = await self._feed.next()
            batch = self._batch
            if batch.updates and not await self._write(sink, batch):
                await self._pause()
                continue
            if self._batch is batch:  # otherwise it is of a point table that was swapped meanwhile
                self._done(batch)
                self._batch = None
            if not self._feed.idle:
                await asyncio.sleep(0)  # a sink that never waits must not keep all others waiting

    async def _write(self, sink: Sink, batch: Batch) -> bool:
        """Return whether the batch is written; what was refused for good becomes dead letters."""
        written = len(batch.updates)
        try:
            await sink.write(batch.updates)
        except TransientError as error:
            self._status.retries += 1
            self._go_away(error)
            return False
        except RefusedError as error:
            written -= len(error.refusals)
            if self._batch is batch:
                self._bury(error.refusals, retries=batch.retries)
        self._come_up(written)
        return True

    def _done(self, batch: Batch) -> None:
        if batch.through != self._status.cursor:
            self._status.cursor = batch.through
            self._event_log.move_cursor(self.name, batch.through)
        if batch.retries:
            self._state_store.save(StateChanges(removed_dead_letters=[*self._settled(batch.retries)]))

    def _settled(self, retries: Iterable[Retry]) -> Iterator[int]:
        """Yield the numbers of dead letters that no other sink still has to write."""
        for retry in retries:
            if self.name in retry.waiting:
                retry.waiting.remove(self.name)
                if not retry.waiting:
                    yield retry.stored.number

    def _come_up(self, written: int) -> None:
        self._backoff.reset()
        # A sink that was restarted says "up" of itself as soon as it listens; only a write ends a failure.
        was = self._status.state if self._failure is None else "failed"
        if was != "up":
            log.info("sink.up", sink=self.name, was=was)
            self._status.state, self._failure = "up", None
        self._status.written += written
        self._status.last_success_ms = self._clock_ms()

    def _go_away(self, error: TransientError) -> None:
        self._status.record_error(str(error), at_ms=self._clock_ms())
        if self._status.state != "away":
            log.warning("sink.away", sink=self.name, reason=str(error), events="kept in the journal")
            self._status.state = "away"

    def _fail(self, error: BaseException) -> None:
        """Mark the sink failed."""
        reason = str(error) if isinstance(error, GatewayError) else internal_error_text(error)
        if self._failure != reason:
            self._failure = reason
            log.error("sink.failed", sink=self.name, reason=reason, restarts="with back-off")
        self._status.state = "failed"
        self._status.record_error(reason, at_ms=self._clock_ms())

    def _bury(self, refusals: Sequence[Refusal], *, retries: Sequence[Retry]) -> None:
        """Make dead letters, and tell of each point once a run.

        What no event caused, such as a heartbeat, is lettered only then: it would come every second.
        Where these are `retries` of dead letters, there is a new one for each and in any case.
        """
        told = self._refused if not retries else ()
        new = {refusal.update.point: refusal for refusal in refusals if refusal.update.point not in told}
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

    async def _pause(self) -> None:
        """Wait before the next attempt, but no longer than until the sink says that its receiver is back."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._backoff.next_s()
        while self._status.state != "up" and (left_s := ends_s - loop.time()) > 0:  # noqa: ASYNC110 - plain state
            await asyncio.sleep(min(left_s, _LOOK_EVERY_S))
        self.turned_s = time.monotonic()
