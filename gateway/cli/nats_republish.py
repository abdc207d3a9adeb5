"""`gateway nats republish`: events of the journal once more to the stream, in their order, with progress."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from gateway.backoff import Backoff
from gateway.cli.loading import load
from gateway.clock import now_ms
from gateway.config.value_types import parse_duration, rounded_size_text
from gateway.delivery.event_copies import EventCopies, subject_of
from gateway.errors import CommandError, TransientError
from gateway.events import parse_time
from gateway.jetstream.connection import open_connection
from gateway.journal.lookup import count_events_since, events_since, read_assets
from gateway.sinks.nats.config import NatsSinkConfig
from gateway.sinks.nats.publisher import StreamPublisher
from gateway.text import count_text, second_text, unknown_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.model import EventCopy, Record, Refusal
    from gateway.settings import Settings

_AT_ONCE = 1_000  # events, between two looks at Ctrl-C
_PROGRESS_EVERY_S = 5.0
_PATIENCE_S = 60.0  # with a stream that accepted some and then no more: elections, a server that restarts
_MOST_REFUSALS = 20


def republish(arguments: argparse.Namespace) -> int:
    """Publish, and print how many; return 1 if some could not be published."""
    settings, point_map = load(arguments.config)
    name, config = _sink(settings, arguments)
    journal, since_ms = settings.journal.path, _since_ms(arguments.since)
    found = count_events_since(journal, since_ms)
    events, size = count_text(found.events, "event", grouped=True), rounded_size_text(found.size_bytes)
    print(f"{journal}: {events} since {second_text(since_ms)}, {size}")
    if found.without_body:
        print(f"{found.without_body} more are lost here: a full journal freed their bodies", file=sys.stderr)
    if not arguments.dry_run and found.events:
        batches = events_since(journal, since_ms, through=found.last_seq, at_once=_AT_ONCE)
        work = Republishing(
            settings=settings, sink=name, config=config, points=point_map, batches=batches, total=found.events
        )
        return asyncio.run(work.run())
    return 0


def _sink(settings: Settings, arguments: argparse.Namespace) -> tuple[str, NatsSinkConfig]:
    """Return the sink whose stream is filled."""
    sinks = {name: sink for name, sink in settings.sinks.items() if isinstance(sink, NatsSinkConfig)}
    if not sinks:
        raise CommandError(f"{arguments.config}: these settings have no sink of type nats: see docs/fleet.md")
    name = arguments.sink or next(iter(sinks))
    if name not in sinks:
        raise CommandError(f"--sink {name}: {unknown_name('sink of type nats', name, sinks)}")
    if arguments.sink is None and len(sinks) > 1:
        raise CommandError(f"name one of the sinks of type nats with --sink: {', '.join(sinks)}")
    return name, sinks[name]


def _since_ms(text: str) -> int:
    """Return the Unix ms of a duration before now, or of a time."""
    try:
        return now_ms() - round(parse_duration(text) * 1000)
    except ValueError:
        since_ms = parse_time(text)
    if since_ms is None:
        raise CommandError(
            f"--since {text}: a duration such as 36h, or a time such as 2026-11-24T08:00:00Z, is expected"
        )
    return since_ms


@dataclass(eq=False, kw_only=True)
class Republishing:
    """Publishes batches until there are no more, or until Ctrl-C: then the one under way is finished."""

    settings: Settings
    sink: str
    config: NatsSinkConfig
    points: PointMap
    batches: Iterator[Sequence[Record]]
    total: int
    published: int = field(default=0, init=False)
    repeats: int = field(default=0, init=False)  # of these, what the stream did not store
    refusals: list[Refusal] = field(default_factory=list, init=False)
    is_stopping: bool = field(default=False, init=False)
    _batch: Sequence[EventCopy] = field(default=(), init=False)
    _done: set[int] = field(default_factory=set, init=False)  # of the batch, by number
    _reached_ms: int = field(default=0, init=False)  # when the newest event of finished batches was received

    def __post_init__(self) -> None:
        snapshot = read_assets(self.settings.journal.path)
        organization = self.settings.infodeck.organization
        self._copies = EventCopies(
            {},
            subject_of=partial(subject_of, organization=organization, points=self.points, inventory=snapshot),
        )
        self._began_s = self._shown_s = self._progress_s = time.monotonic()

    async def run(self) -> int:
        """Publish all, over several connections if need be; return the exit code.

        Raise CommandError, with where to go on, if the stream accepts nothing, or nothing any more.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        backoff = Backoff()
        while True:
            try:
                await self._publish_on_one_connection()
            except TransientError as error:
                is_hopeless = time.monotonic() - self._progress_s > _PATIENCE_S
                if not self.published or is_hopeless or self.is_stopping:
                    raise CommandError(f"{error}; {self._summary()}") from error
                await asyncio.sleep(backoff.next_s())
            else:
                print(self._summary())
                return 1 if self.refusals or self.is_stopping else 0

    def _stop(self) -> None:
        self.is_stopping = True

    async def _publish_on_one_connection(self) -> None:
        async with open_connection(
            self.config, setting=f"sinks.{self.sink}", name=self.settings.name
        ) as connection:
            publisher = StreamPublisher(connection, stream=self.config.stream, gateway=self.settings.name)
            await publisher.start()
            try:
                while not self.is_stopping and (self._batch or self._begin_batch()):
                    self._finish_batch(await publisher.publish(self._batch, done=self._done))
            finally:
                self.repeats += publisher.repeats

    def _begin_batch(self) -> bool:
        """Map the next events; return False if there are none."""
        records = next(self.batches, ())
        self._batch = [self._copies.copy(record.event, seq=record.seq) for record in records]
        if records:
            self._reached_ms = records[-1].event.received_ms
        return bool(records)

    def _finish_batch(self, refusals: Sequence[Refusal]) -> None:
        self.published += len(self._batch) - len(refusals)
        self.refusals += refusals
        self._batch, self._done = (), set()
        self._progress_s = time.monotonic()
        if self._progress_s - self._shown_s >= _PROGRESS_EVERY_S:
            self._shown_s = self._progress_s
            rate = self.published / max(0.001, time.monotonic() - self._began_s)
            print(f"{self.published:,} of {self.total:,}, {rate:,.0f}/s", file=sys.stderr)

    def _summary(self) -> str:
        lines = [f"{count_text(self.published, 'event', grouped=True)} published to {self.config.stream}"]
        for refusal in self.refusals[:_MOST_REFUSALS]:
            print(f"{refusal.update.event_id}: {refusal.reason}", file=sys.stderr)
        if self.repeats:
            lines.append(
                f"{self.repeats:,} of them it had got in the last two minutes, and did not store again: if"
                " they were deleted since, repeat this in two minutes"
            )
        if self.refusals:
            lines.append(f"{len(self.refusals)} refused")
        if self.published + len(self.refusals) < self.total and self._reached_ms:
            lines.append(f"go on with --since {second_text(self._reached_ms)}")
        return "; ".join(lines)
