"""Newest values are sent before a backlog (latest first): nothing is lost, and memory is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from support.feed_parts import OTHER, POINT, Stream
from support.mqtt_parts import make_point, make_update

from gateway.delivery.stream import MappedEvent

if TYPE_CHECKING:
    from gateway.delivery.feed import Batch
    from gateway.model import Point

MOST_HELD = 10_000
POINTS = [make_point(f"R/P{number}") for number in range(4)]

points = st.lists(st.sampled_from(POINTS), max_size=3, unique=True)
sizes = st.sampled_from([0, 1, 400, 4_000, 11_000])
steps = st.one_of(
    st.tuples(st.just("push"), points),
    st.tuples(st.just("burst"), sizes),
    st.tuples(st.just("arriving"), sizes),
    st.tuples(st.just("change"), st.sampled_from(POINTS)),
    st.tuples(st.just("next_batch"), st.none()),
    st.tuples(st.just("written"), st.none()),
    st.tuples(st.just("swap"), st.none()),
    st.tuples(st.just("swap while reading"), st.none()),
    st.tuples(st.just("killed"), st.none()),
)


class Sink:
    """A sink's loop on a stream: gets a batch, writes it or not, and records what it got."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.cursor = 0
        self.in_flight: Batch | None = None
        self.written: set[tuple[str, int]] = set()
        self.waiting: deque[tuple[int, dict[str, int]]] = deque()  # pushed before which batch, newest number
        self.taken = 0  # batches of events
        self.through = 0  # of the last batch
        self.is_their_turn = False

    def push(self, *pushed: Point) -> None:
        """Push an event, and expect its values soon."""
        self.stream.push_points(*pushed)
        self.waiting.append((self.taken, {point.name: len(self.stream.events) for point in pushed}))

    def change(self, point: Point) -> None:
        """Change a point without an event; nobody expects its newest reading now."""
        self.stream.change(point, 1)
        for _, news in self.waiting:
            news.pop(point.name, None)

    async def next_batch(self) -> None:
        """Get the next batch, if there is one: newest values come after one batch of events at most."""
        if self.in_flight is not None or self.stream.feed.idle:
            return
        self.in_flight = batch = await self.stream.feed.next()
        self.taken += not batch.is_latest
        self.check_order(batch)
        for update in batch.updates:
            for _, news in self.waiting:
                if update.seq >= news.get(update.point.name, len(self.stream.events) + 1):
                    del news[update.point.name]
        while self.waiting and self.taken - self.waiting[0][0] >= 2:
            assert not self.waiting.popleft()[1], "a new value waits for more than one batch of events"

    def check_order(self, batch: Batch) -> None:
        """Assert that events come in order, up to the batch's number."""
        self.check_turns(batch)
        numbers = [update.seq for update in batch.updates]
        if not batch.is_latest:
            assert numbers == sorted(numbers)
            assert all(self.through < number <= batch.through for number in numbers)
        else:
            assert batch.through == self.through
        self.through = batch.through

    def check_turns(self, batch: Batch) -> None:
        """Assert that events have their turn after a batch of newest values."""
        assert not (batch.is_latest and self.is_their_turn)
        self.is_their_turn = batch.is_latest and batch.through < len(self.stream.events)

    def write(self) -> None:
        """Acknowledge the batch: all events up to the cursor must be written by then."""
        if self.in_flight is None:
            return
        self.written.update((update.point.name, update.seq) for update in self.in_flight.updates)
        self.cursor, self.in_flight = self.in_flight.through, None
        for event in self.stream.events[: self.cursor]:
            assert {(update.point.name, update.seq) for update in event.updates} <= self.written

    def swap(self) -> int:
        """Lose the batch by a swap of tables; return the cursor."""
        self.in_flight = None
        self.waiting.clear()
        self.is_their_turn = False
        self.through = self.cursor
        return self.cursor

    def check_memory(self) -> None:
        """Assert that at most the newest update of each point is kept beside a bounded queue."""
        feed, known = self.stream.feed, len(POINTS) + 1
        assert self.stream.recent._size <= MOST_HELD + 11_000  # the newest event is held in any case
        assert sum(len(event.updates) for event in feed._loaded) <= 33_000  # read from the journal at a time
        assert len(feed._latest) <= known
        assert len(feed._sent_first) <= MOST_HELD


async def act(sink: Sink, step: str, argument: object) -> Sink:
    """Do one step; return the sink that continues."""
    stream = sink.stream
    if step == "push" and isinstance(argument, list):
        sink.push(*argument)
    elif step == "burst" and isinstance(argument, int):
        stream.push(argument)
    elif step == "arriving" and isinstance(argument, int):
        stream.arriving.append(argument)
    elif step == "change":
        sink.change(POINTS[POINTS.index(argument)])  # type: ignore[arg-type]  # drawn from them
    elif step == "next_batch":
        await sink.next_batch()
    elif step == "written":
        sink.write()
    elif step == "swap":
        lost = sink.in_flight
        stream.swap(after=sink.swap(), lost=lost)
    elif step == "swap while reading":
        stream.swaps = [sink.swap]
    else:
        stream.swaps.clear()
        stream.restart(cursor=sink.cursor)
        again = Sink(stream)
        again.cursor = again.through = sink.cursor
        again.written = sink.written
        return again
    return sink


@given(steps=st.lists(steps, max_size=60))
def test_every_reading_is_written_whatever_happens_and_new_ones_soon(
    steps: list[tuple[str, object]],
) -> None:
    """Bursts, a sink that is away, swaps and kills: at least once each, a true cursor, bounded memory.

    A value that comes while the sink has a backlog waits for at most one batch of it.
    """

    async def run() -> Sink:
        sink = Sink(Stream())
        for step, argument in steps:
            sink = await act(sink, step, argument)
            sink.check_memory()
        sink.stream.swaps.clear()
        sink.write()
        while not sink.stream.feed.idle:
            await sink.next_batch()
            sink.write()
        return sink

    sink = asyncio.run(run())
    assert sink.cursor == len(sink.stream.events)
    expected = {(update.point.name, update.seq) for event in sink.stream.events for update in event.updates}
    assert expected <= sink.written


async def test_new_values_come_in_turns_with_the_backlog() -> None:
    """A new value waits for one batch at most while 100 batches wait; the backlog continues."""
    stream = Stream(before=[500] * 100, read_events=1)
    assert (await stream.feed.next()).through == 1
    stream.push_points(OTHER)
    batches = [await stream.feed.next() for _ in range(3)]
    assert [[update.seq for update in batch.updates][:1] for batch in batches] == [[101], [2], [3]]
    assert [batch.through for batch in batches] == [1, 2, 3]


async def test_a_value_sent_first_is_not_repeated() -> None:
    """A reading that was sent before the backlog is left out when its turn comes; older ones are not."""
    stream = Stream(before=[1, 1, 1, 1])
    await stream.feed.next()
    for number in range(3):
        stream.push_points(POINT, OTHER)
        if number == 1:
            ahead = await stream.feed.next()
    got = [(update.point.name, update.seq) for update in ahead.updates]
    assert got == [("R/T", 6), ("R/H", 6)]
    while not stream.feed.idle:
        got += [(update.point.name, update.seq) for update in (await stream.feed.next()).updates]
    assert len(got) == len(set(got))
    assert set(got) == {("R/T", 4), *((name, seq) for name in ("R/T", "R/H") for seq in (5, 6, 7))}


async def test_of_each_point_only_the_newest_value_goes_out_first() -> None:
    """One value of a point is sent first, however often it reported while the sink was away."""
    stream = Stream()
    for _ in range(20_000):
        stream.push_points(POINT)
    batch = await stream.feed.next()
    assert [update.seq for update in batch.updates] == [20_000]
    assert (batch.through, batch.is_latest) == (0, True)


async def test_a_sink_that_keeps_up_gets_all_in_order() -> None:
    """Up to one batch of waiting updates comes in order, as that takes no longer."""
    stream = Stream()
    for _ in range(500):
        stream.push_points(POINT)
    batch = await stream.feed.next()
    assert [update.seq for update in batch.updates] == list(range(1, 501))


async def test_a_quality_goes_out_before_a_backlog_too() -> None:
    """The present value of a point that the gateway computes is sent first, too."""
    stream = Stream()
    for _ in range(501):
        stream.push_points(POINT)
    quality = make_update(OTHER, 3, time_ms=1, seq=0)
    stream.shown[OTHER.name] = quality
    event = MappedEvent(502, 502, (make_update(POINT, 502, time_ms=502, seq=502), quality), 2)
    stream.recent.add(event)
    stream.feed.push(event)
    batches = [await stream.feed.next(), await stream.feed.next()]
    (latest,) = [batch for batch in batches if batch.is_latest]
    assert quality in latest.updates


async def test_events_have_their_turn_beside_changes_that_never_end() -> None:
    """Thousands of ages that change every second do not delay readings."""
    stream = Stream()
    ages = [make_point(f"R/AGE{number}") for number in range(2_000)]
    for age in ages:
        stream.change(age, 0)
    await stream.feed.next()
    stream.push(1)
    for age in ages:
        stream.change(age, 1)
    assert [update.seq for update in (await stream.feed.next()).updates] == [1]


async def test_a_sink_catches_up_although_events_come_during_every_read() -> None:
    """Events that arrive during a read come from memory: the event log is read once."""
    stream = Stream(before=[1, 1])
    stream.arriving = [1, 1, 1]
    got = []
    while not stream.feed.idle:
        got += [update.seq for update in (await stream.feed.next()).updates]
        stream.arriving.append(1)
    assert stream.reads == 1
    assert sorted(got) == [1, 2, 3, 4, 5]
