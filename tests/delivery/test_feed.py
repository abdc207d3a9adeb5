"""A sink's feed: events in order, at least once, from memory or from the event log."""

from __future__ import annotations

import asyncio

import pytest
from support.feed_parts import OTHER, POINT, Stream, all_batches
from support.mqtt_parts import make_update

from gateway.delivery.feed import Batch


async def test_batches_are_bounded() -> None:
    """A thousand waiting events are two batches beside the newest value; each has its last number."""
    stream = Stream()
    for _ in range(1_000):
        stream.push(1)
    batches = await all_batches(stream.feed)
    found = [(len(batch.updates), batch.through) for batch in batches]
    assert found == [(1, 0), (500, 500), (499, 1_000)]
    assert [batch.since_ms for batch in batches] == [None, 1, 501]
    assert stream.reads == 0


async def test_a_sink_that_falls_behind_reads_the_event_log() -> None:
    """It reads the event log once; later events come from memory again."""
    stream = Stream(read_events=5_000)
    for _ in range(10_001):
        stream.push(1)
    stream.push(1)
    batches = await all_batches(stream.feed)
    assert [batch.through for batch in batches] == [0, *range(500, 10_001, 500), 10_002]
    assert stream.reads == 2
    stream.push(1)
    assert (await stream.feed.next()).through == 10_003
    assert stream.reads == 2


async def test_of_each_point_only_the_latest_change_is_handed_out() -> None:
    """Changes without an event do not pile up while a sink is away, and do not move the cursor."""
    stream = Stream()
    stream.push(1)
    await stream.feed.next()
    stream.push(1)
    for point, value in ((POINT, 7), (OTHER, 8), (POINT, 9)):
        stream.change(point, value)
    assert not stream.feed.idle
    batch = await stream.feed.next()
    assert [(update.point, update.value) for update in batch.updates] == [(POINT, 9), (OTHER, 8)]
    assert batch.through == 1
    assert (await stream.feed.next()).through == 2
    assert stream.feed.idle


async def test_changes_survive_falling_behind() -> None:
    """Changes are kept when memory is given up, as the event log does not have them."""
    stream = Stream()
    stream.feed.push_changes([make_update(OTHER, 1, seq=0)])
    stream.push(11_000)
    assert [update.point.name for update in (await stream.feed.next()).updates] == ["R/H", "R/T"]


@pytest.mark.parametrize("updates", [0, 3])
async def test_events_without_updates_only_move_the_cursor(updates: int) -> None:
    """They do not wake the sink; the next batch, or a nudge, moves the cursor past them."""
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
    """A sink that has everything turns once per nudge, so that a stuck one is noticed."""
    stream = Stream(before=[1], cursor=1)
    waiting = asyncio.create_task(stream.feed.next())
    await asyncio.sleep(0)
    stream.feed.nudge()
    stream.feed.nudge()
    assert await waiting == Batch([], 1)
    again = asyncio.create_task(stream.feed.next())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_cancelling_a_wait_loses_nothing() -> None:
    """A cancelled wait or read loses no event."""
    stream = Stream(before=[1, 1, 1, 1], cursor=0)
    reading = asyncio.create_task(stream.feed.next())
    await asyncio.sleep(0)
    reading.cancel()
    stream.push(1)
    batches = await all_batches(stream.feed)
    assert {update.seq for batch in batches for update in batch.updates} == {1, 2, 3, 4, 5}
