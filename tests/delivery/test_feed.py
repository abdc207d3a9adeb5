"""A sink's feed: in order, each event once, from memory or from the journal."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.feed_parts import OTHER, POINT, Stream, all_batches
from support.mqtt_parts import make_update

from gateway.delivery.feed import Batch

sizes = st.sampled_from([0, 1, 2, 400, 4_000, 11_000])  # updates of an event; 10,000 are held in memory


@given(
    before=st.lists(sizes, max_size=8),
    cursor=st.integers(0, 8),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("push"), sizes),
            st.tuples(st.just("changes"), sizes),
            st.tuples(st.just("next"), st.lists(sizes, max_size=2)),
        ),
        max_size=25,
    ),
)
def test_each_event_comes_once_and_in_order(
    before: list[int], cursor: int, steps: list[tuple[str, int | list[int]]]
) -> None:
    """However pushes, batches and reads interleave, and however far behind: no loss, no repetition."""
    cursor = min(cursor, len(before))
    stream = Stream(before=before, cursor=cursor)
    got: list[int] = []
    through = [cursor]

    async def take() -> None:
        batch = await stream.feed.next()
        got.extend(update.seq for update in batch.updates if update.seq)
        through.append(batch.through)
        assert got == stream.through(batch.through)[len(stream.through(cursor)) :]

    async def run() -> None:
        for step, argument in steps:
            if isinstance(argument, list):
                stream.arriving = argument
                if not stream.feed.idle:
                    await take()
            elif step == "push":
                stream.push(argument)
            else:
                stream.feed.push_changes([make_update(OTHER, argument, time_ms=1, seq=0)])
        while not stream.feed.idle:
            await take()

    asyncio.run(run())
    assert through == sorted(through)
    assert through[-1] == stream.feed.head == len(stream.events)


async def test_a_batch_is_bounded_and_says_how_far_it_goes() -> None:
    """A thousand waiting events come as two batches, the first one with the number it reaches."""
    stream = Stream()
    for _ in range(1_000):
        stream.push(1)
    batches = await all_batches(stream.feed)
    assert [(len(batch.updates), batch.through) for batch in batches] == [(500, 500), (500, 1_000)]
    assert stream.reads == 0


async def test_a_sink_that_falls_behind_reads_the_journal_until_it_has_caught_up() -> None:
    """Memory is given up for the journal, once; what comes after that is served from memory again."""
    stream = Stream(read_events=5_000)
    for _ in range(10_001):
        stream.push(1)
    stream.push(1)
    batches = await all_batches(stream.feed)
    assert [batch.through for batch in batches] == [5_000, 10_000, 10_002]
    assert stream.reads == 3
    stream.push(1)
    assert (await stream.feed.next()).through == 10_003
    assert stream.reads == 3


async def test_of_each_point_only_the_latest_change_is_handed_out() -> None:
    """Changes that no event caused do not pile up while a sink is away, and do not move the cursor."""
    stream = Stream()
    stream.push(1)
    await stream.feed.next()
    stream.push(1)
    first, second, other = (make_update(point, 1, seq=0) for point in (POINT, POINT, OTHER))
    stream.feed.push_changes([first, other])
    stream.feed.push_changes([second])
    assert not stream.feed.idle
    batch = await stream.feed.next()
    assert list(batch.updates) == [second, other]
    assert batch.updates[0] is second
    assert batch.through == 1
    assert (await stream.feed.next()).through == 2
    assert stream.feed.idle


async def test_changes_survive_falling_behind() -> None:
    """They are in no journal: giving up memory keeps them."""
    stream = Stream()
    stream.feed.push_changes([make_update(OTHER, 1, seq=0)])
    stream.push(11_000)
    batches = await all_batches(stream.feed)
    assert [len(batch.updates) for batch in batches] == [1, 11_000]


@pytest.mark.parametrize("updates", [0, 3])
async def test_events_without_updates_only_move_the_cursor(updates: int) -> None:
    """They wake nobody; the next batch, or a nudge, takes the cursor past them."""
    stream = Stream()
    waiting = asyncio.create_task(stream.feed.next())
    await asyncio.sleep(0)
    stream.push(0)
    stream.push(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    if updates:
        stream.push(updates)
    else:
        stream.feed.nudge()
    batch = await waiting
    assert (len(batch.updates), batch.through) == (updates, len(stream.events))
    assert stream.feed.idle


async def test_a_nudge_without_news_brings_an_empty_batch() -> None:
    """A sink that has everything turns once a nudge, so that its standing still can be seen."""
    stream = Stream(before=[1], cursor=1)
    waiting = asyncio.create_task(stream.feed.next())
    await asyncio.sleep(0)
    stream.feed.nudge()
    stream.feed.nudge()
    assert await waiting == Batch((), 1)
    again = asyncio.create_task(stream.feed.next())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_cancelling_a_wait_loses_nothing() -> None:
    """Neither a wait for news nor a read in progress takes anything away when it is cut short."""
    stream = Stream(before=[1, 1, 1, 1], cursor=0)
    reading = asyncio.create_task(stream.feed.next())
    await asyncio.sleep(0)
    reading.cancel()
    stream.push(1)
    batches = await all_batches(stream.feed)
    assert [update.seq for batch in batches for update in batch.updates] == [1, 2, 3, 4, 5]
