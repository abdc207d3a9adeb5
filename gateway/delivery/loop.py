"""One sink's loop: take a batch, write it, move the cursor; retry, dead-letter, or restart the sink."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.backoff import Backoff
from gateway.errors import GatewayError, RefusedError, TransientError
from gateway.model import DeadLetter, Notes

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.delivery.feed import Batch, Feed
    from gateway.ports import Journal, Sink
    from gateway.status import SinkStatus

log = structlog.get_logger()


class SinkLoop:
    """Runs for as long as the gateway does. A sink that fails delays nobody but itself."""

    def __init__(
        self,
        *,
        name: str,
        make_sink: Callable[[], Sink],
        feed: Feed,
        journal: Journal,
        status: SinkStatus,
        clock_ms: Callable[[], int],
    ) -> None:
        """`make_sink` is called again whenever the sink must be restarted."""
        self.name = name
        self._make_sink = make_sink
        self._feed = feed
        self._journal = journal
        self._status = status
        self._clock_ms = clock_ms
        self._batch: Batch | None = None  # taken from the feed and not yet written
        self._backoff = Backoff()
        self.turned_ms = clock_ms()

    @property
    def idle(self) -> bool:
        """Whether everything so far is written."""
        return self._batch is None and self._feed.idle

    async def run(self) -> None:
        """Keep the sink running until cancelled."""
        while True:
            try:
                async with self._make_sink() as sink:
                    await self._serve(sink)
            except Exception as error:  # noqa: BLE001 - whatever a sink raises must not stop the others
                self._fail(error)
            await self._pause()

    async def _serve(self, sink: Sink) -> None:
        while True:
            self.turned_ms = self._clock_ms()
            if self._batch is None:
                self._batch = await self._feed.next()
            if self._batch.updates and not await self._write(sink, self._batch):
                await self._pause()
                continue
            self._done(self._batch)
            self._batch = None

    async def _write(self, sink: Sink, batch: Batch) -> bool:
        """Return whether the batch is written; what was refused for good becomes dead letters."""
        try:
            await sink.write(batch.updates)
        except TransientError as error:
            self._status.retries += 1
            self._go_away(error)
            return False
        except RefusedError as error:
            self._bury(error)
        self._come_up(len(batch.updates))
        return True

    def _done(self, batch: Batch) -> None:
        self._status.lag = self._feed.head - batch.through
        if batch.through != self._status.cursor:
            self._status.cursor = batch.through
            self._journal.note(Notes(cursors={self.name: batch.through}))

    def _come_up(self, written: int) -> None:
        self._backoff.reset()
        if self._status.state != "up":
            log.info("sink.up", sink=self.name, was=self._status.state)
            self._status.state = "up"
        self._status.written += written
        self._status.last_success_ms = self._clock_ms()

    def _go_away(self, error: TransientError) -> None:
        self._status.last_error = str(error)
        self._status.lag = self._feed.head - self._status.cursor
        if self._status.state != "away":
            log.warning("sink.away", sink=self.name, reason=str(error), events="kept in the journal")
            self._status.state = "away"

    def _fail(self, error: Exception) -> None:
        """Mark the sink failed. Only an error that nobody foresaw is logged with its traceback."""
        reason = str(error) if isinstance(error, GatewayError) else f"{type(error).__name__}: {error}"
        if self._status.last_error != reason or self._status.state != "failed":
            log.error(
                "sink.failed",
                sink=self.name,
                reason=reason,
                restarts="with back-off",
                exc_info=None if isinstance(error, GatewayError) else error,
            )
        self._status.state, self._status.last_error = "failed", reason

    def _bury(self, error: RefusedError) -> None:
        self._status.dead_letters += len(error.refusals)
        letters = [
            DeadLetter(
                sink=self.name,
                seq=refusal.update.seq,
                event_id=refusal.update.event_id or "",
                point=refusal.update.point.name,
                reason=refusal.reason,
                at_ms=self._clock_ms(),
            )
            for refusal in error.refusals
        ]
        self._journal.note(Notes(dead_letters=letters))
        log.warning(
            "sink.refused",
            sink=self.name,
            updates=len(letters),
            first=letters[0].reason,
            point=letters[0].point,
        )

    async def _pause(self) -> None:
        await asyncio.sleep(self._backoff.next_s())
        self.turned_ms = self._clock_ms()
