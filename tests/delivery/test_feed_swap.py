"""A sink's feed over a swap of point tables: nothing lost, changes sent anew, events not delayed."""

from __future__ import annotations

from support.feed_parts import Stream, all_batches
from support.mqtt_parts import make_point, make_update

from gateway.delivery.feed import Batch, Retry
from gateway.records import DeadLetter, StoredDeadLetter


async def test_what_waited_comes_again_by_the_new_table() -> None:
    """From the cursor on, the event log is read and mapped again."""
    stream = Stream()
    for _ in range(3):
        stream.push(1)
    first = await stream.feed.next()
    stream.swap(after=0)
    again = await stream.feed.next()
    assert [update.seq for update in again.updates] == [update.seq for update in first.updates] == [1, 2, 3]
    assert stream.reads == 1
    stream.push(1)
    assert (await stream.feed.next()).through == 4
    assert stream.reads == 1


async def test_a_sink_that_has_everything_repeats_nothing_after_a_swap() -> None:
    """With its cursor at the head, it gets only new events."""
    stream = Stream()
    stream.push(1)
    await stream.feed.next()
    stream.swap(after=1)
    assert stream.feed.idle
    stream.push(1)
    assert [update.seq for update in (await stream.feed.next()).updates] == [2]
    assert stream.reads == 0


async def test_changes_are_made_anew_by_the_new_table() -> None:
    """Waiting changes, those in flight and changed points show their present values; removed points none."""
    stream = Stream()
    stream.push(1)
    await stream.feed.next()
    waiting, in_flight, gone = (
        make_update(make_point(name), 99, seq=0) for name in ("R/WAITING", "R/FLIGHT", "R/GONE")
    )
    stream.feed.push_changes([waiting, gone])
    stream.swap(after=1, changed=["R/MENDED", "R/WAITING"], lost=Batch([in_flight], 1, is_latest=True))
    assert not stream.feed.idle
    batch = await stream.feed.next()
    assert sorted((update.point.name, update.value) for update in batch.updates) == [
        ("R/FLIGHT", 1),
        ("R/MENDED", 1),
        ("R/WAITING", 1),
    ]
    assert batch.is_latest
    assert stream.feed.idle


async def test_a_building_of_changes_comes_in_turns_with_events() -> None:
    """Thousands of changed points delay an event by one batch at most."""
    stream = Stream()
    stream.swap(after=0, changed=[f"R/P{number}" for number in range(1_000)])
    kinds = []
    while not stream.feed.idle:
        stream.push(1)
        batch = await stream.feed.next()
        kinds.append((batch.is_latest, len(batch.updates)))
        if len(kinds) == 8:
            break
    assert kinds[:4] == [(True, 500), (False, 2), (True, 500), (False, 2)]


async def test_another_swap_keeps_waiting_changes() -> None:
    """They are sent by the table in force when their turn comes."""
    stream = Stream()
    stream.swap(after=0, changed=[f"R/P{number}" for number in range(600)])
    first = await stream.feed.next()
    stream.swap(after=0, lost=first)
    batches = await all_batches(stream.feed)
    assert {update.point.name for batch in batches for update in batch.updates} == {
        f"R/P{number}" for number in range(600)
    }


async def test_dead_letters_in_flight_come_first() -> None:
    """Retried dead letters that may not be written yet are mapped anew, in their order."""
    stream = Stream()
    letters = [
        StoredDeadLetter(number, DeadLetter("bms", number, f"evt_{number}", "R/T", "", 1), b"")
        for number in range(60)
    ]
    for stored in letters:
        stream.feed.push_letter(Retry(stored, {"bms"}))
    first = await stream.feed.next()
    assert [retry.stored for retry in first.retries] == letters[:50]
    stream.swap(after=0, lost=first)
    assert not stream.feed.idle
    batches = await all_batches(stream.feed)
    assert [retry.stored for batch in batches for retry in batch.retries] == letters
    assert [update.value for batch in batches for update in batch.updates] == list(range(60))


async def test_dead_letters_come_in_turns() -> None:
    """Many retried dead letters delay neither changes nor events."""
    stream = Stream()
    for number in range(200):
        stored = StoredDeadLetter(number, DeadLetter("bms", number, f"evt_{number}", "R/T", "", 1), b"")
        stream.feed.push_letter(Retry(stored, {"bms"}))
    stream.push(1)
    stream.change(make_point("R/CHANGED"), 1)
    batches = [await stream.feed.next() for _ in range(4)]
    assert [len(batch.retries) for batch in batches] == [50, 0, 0, 50]
    assert [batch.is_latest for batch in batches] == [False, True, False, False]
    assert batches[2].through == 1
