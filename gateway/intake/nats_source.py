"""The source of type `nats`: events that other gateways' intakes verified, by way of a JetStream stream.

Each batch is journalled first and acknowledged then. What is not acknowledged comes again, and the journal
recognises it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from nats.errors import Error as NatsError

from gateway.backoff import Backoff
from gateway.errors import EventError, GatewayError, JournalError, TransientError
from gateway.events import CLOCK_LEAD_MS, keep_apart, parse_event
from gateway.intake.pull_consumer import PullConsumer
from gateway.jetstream.connection import open_connection
from gateway.jetstream.subjects import RECEIVED, VERIFIED_BY
from gateway.logs import internal_error_text
from gateway.model import Origin
from gateway.text import sanitise_line, span_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.msg import Msg

    from gateway.intake.event_filter import EventFilter
    from gateway.intake.pull_consumer import ConsumerState, Delivery
    from gateway.intake.source_config import NatsSourceConfig
    from gateway.model import Event
    from gateway.ports import EventLog
    from gateway.status import SourceStatus

log = structlog.get_logger()

_LONGEST_NAME = 100
_MOST_DIGITS = 15
_MOST_GATEWAYS = 100
_STOP_WITHIN_S = 3.0
_LONGEST_PAUSE_S = 30.0
_NO_ORIGIN = f"not published by a gateway's intake: no {VERIFIED_BY} and {RECEIVED}"


class NatsSource:
    """Fetches, journals and acknowledges events, in order, until stopped. Whatever fails is tried again."""

    def __init__(
        self,
        *,
        config: NatsSourceConfig,
        gateway: str,
        event_filter: EventFilter,
        event_log: EventLog,
        status: SourceStatus,
        clock_ms: Callable[[], int],
    ) -> None:
        self.turned_s = time.monotonic()
        """When it made progress last: received something, or knew that it must wait."""
        self._config = config
        self._gateway = gateway
        self._filter = event_filter
        self._event_log = event_log
        self._status = status
        self._clock_ms = clock_ms
        self._arrived = asyncio.Event()  # something, or the end
        self._stopping = asyncio.Event()
        self._has_ended = asyncio.Event()
        self._log = log.bind(stream=config.stream, consumer=config.consumer)

    async def run(self) -> None:
        """Run until stopped."""
        backoff = Backoff()
        while not self._stopping.is_set():
            self.turned_s = time.monotonic()
            try:
                await self._connect_and_consume(backoff)
            except (GatewayError, NatsError, OSError, TimeoutError) as error:
                self._mark_away("away", str(error) or type(error).__name__)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the way in
                self._mark_away("failed", internal_error_text(error))
            await self._pause(backoff.next_s())
        self._has_ended.set()

    async def stop(self) -> None:
        """Fetch no more; return once what was fetched is journalled and acknowledged, or given up."""
        self._stopping.set()
        self._arrived.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._has_ended.wait()

    async def _connect_and_consume(self, backoff: Backoff) -> None:
        config = self._config
        async with open_connection(config, setting="source", name=self._gateway) as connection:
            consumer = PullConsumer(
                connection, stream=config.stream, consumer=config.consumer, arrived=self._arrived
            )
            await self._consume(consumer, backoff)
            await connection.flush(timeout=1)

    async def _consume(self, consumer: PullConsumer, backoff: Backoff) -> None:
        state = await consumer.start()
        self._check_clock(state.time_ms)
        self._mark_up(state)
        while not self._stopping.is_set():
            deliveries = await consumer.next_messages()
            self.turned_s = time.monotonic()
            if not deliveries:
                self._status.pending = 0  # otherwise the server would send something
                continue
            self._check_clock(deliveries[-1].stored_ms)
            if await self._journal(deliveries):
                await consumer.acknowledge(deliveries)
                self._status.pending = deliveries[-1].pending
                backoff.reset()

    def _check_clock(self, server_ms: int) -> None:
        """Raise TransientError if the server's time is in the future: old readings would look fresh."""
        behind_ms = server_ms - self._clock_ms()
        if behind_ms > CLOCK_LEAD_MS:
            raise TransientError(
                f"the clock of this machine is {span_text(behind_ms / 1000)} behind that of the nats-server:"
                " no event is accepted until one of them is set right (NTP)"
            )

    async def _journal(self, deliveries: Sequence[Delivery]) -> bool:
        """Return True once all events are durable, False if the gateway stops before.

        A journal that is full or hangs is tried again with the same events: none must overtake them.
        """
        events = [event for each in deliveries if (event := self._read(each)) is not None]
        while not self._stopping.is_set():
            try:
                for done in {self._event_log.append(event) for event in events}:
                    await asyncio.shield(done)  # others wait for it, too
            except JournalError as error:
                self._status.waits_for_journal = str(error)
                await self._pause(min(error.retry_after_s, _LONGEST_PAUSE_S))
            else:
                self._status.waits_for_journal = None
                self._count(deliveries, events)
                return True
        return False

    def _count(self, deliveries: Sequence[Delivery], events: Sequence[Event]) -> None:
        status = self._status
        status.messages += len(deliveries)
        for event in events:
            if event.origin is not None:
                name = event.origin.gateway
                known = name in status.verified_by or len(status.verified_by) < _MOST_GATEWAYS
                status.verified_by[name if known else "others"] += 1
                status.last_origin_ms = event.origin.received_ms
        status.last_message_ms = self._clock_ms()

    def _read(self, delivery: Delivery) -> Event | None:
        """Return the event to journal; None for one that concerns nobody here, or that is none."""
        try:
            event = self._parse(delivery.message)
        except EventError as error:
            self._report_unusable(str(error), delivery)
            return None
        return event if self._filter.admits(event) else None

    def _parse(self, message: Msg) -> Event:
        """Return the event of a message; raise EventError if it is none, or none for this organization."""
        headers = message.headers or {}
        gateway = sanitise_line(headers.get(VERIFIED_BY, ""), longest=_LONGEST_NAME)
        received = headers.get(RECEIVED, "")
        if not gateway or not received.isascii() or not received.isdigit() or len(received) > _MOST_DIGITS:
            raise EventError(_NO_ORIGIN)
        origin = Origin(gateway, int(received))
        event = parse_event(message.data, received_ms=self._clock_ms(), origin=origin)
        if headers.get("Nats-Msg-Id") != event.event_id:
            keep_apart(event)  # the intake did the same
        if self._filter.is_foreign(event):
            raise EventError("of another organization")
        return event

    def _report_unusable(self, reason: str, delivery: Delivery) -> None:
        """Count a message that is acknowledged and dropped; log the first one for each reason."""
        self._status.unusable[reason] += 1
        if self._status.unusable[reason] == 1:
            subject = sanitise_line(delivery.message.subject, longest=_LONGEST_NAME)
            self._log.warning("source.unusable", reason=reason, subject=subject, number=delivery.seq)

    # What the status and the log say.

    def _mark_up(self, state: ConsumerState) -> None:
        status = self._status
        status.pending, status.connections = state.pending, status.connections + 1
        if status.state != "up":
            self._log.info("source.up", was=status.state, pending=state.pending)
        status.state = "up"
        if set(state.subjects) != set(self._config.subjects):
            found = ", ".join(state.subjects) or "all"
            reason = (
                f"the consumer has the subjects {found}, not those of source.subjects: `gateway nats setup`"
            )
            self._log.warning("source.subjects_differ", reason=reason)
            status.record_error(reason, at_ms=self._clock_ms())

    def _mark_away(self, state: str, reason: str) -> None:
        status = self._status
        if status.state != state:
            self._log.warning(f"source.{state}", reason=reason)
        status.state = state
        status.record_error(reason, at_ms=self._clock_ms())

    async def _pause(self, seconds: float) -> None:
        """Wait, but not if the gateway stops."""
        self.turned_s = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
