"""A sink's feed over a swap of point tables: nothing lost, changes made anew, events not kept waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from support.feed_parts import Stream, all_batches
from support.mqtt_parts import make_point, make_update

if TYPE_CHECKING:
    from gateway.delivery.feed import Batch

sizes = st.sampled_from([0, 1, 2, 400, 4_000, 11_000])  # updates of an event; 10,000 are held in memory


@given(
    before=st.lists(sizes, max_size=6),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("push"), sizes),
            st.tuples(st.just("next"), sizes),
            st.tuples(st.just("done"), sizes),
            st.tuples(st.just("swap"), sizes),
            st.tuples(st.just("swap while reading"), sizes),
        ),
        max_size=25,
    ),
)
def test_no_event_is_lost_over_swaps(before: list[int], steps: list[tuple[str, int]]) -> None:
    """Whatever was handed out and not done with comes again, in order, after the table was swapped."""
    stream = Stream(before=before)
    written: list[Batch] = []
    cursor = 0

    def present_cursor() -> int:
        return cursor

    async def run() -> None:
        nonlocal cursor
        in_flight: Batch | None = None
        for step, size in steps:
            if step == "push":
                stream.push(size)
            elif step == "swap":
                in_flight = None
                stream.swap(after=cursor)
            elif step == "swap while reading":
                stream.swaps = [present_cursor]
            elif in_flight is not None and step == "done":
                written.append(in_flight)
                cursor, in_flight = in_flight.through, None
            elif in_flight is None and step == "next" and not stream.feed.idle:
                in_flight = await stream.feed.next()
        if in_flight is not None:
            written.append(in_flight)
        stream.swaps.clear()
        written.extend(await all_batches(stream.feed))

    asyncio.run(run())
    got = [update.seq for batch in written for update in batch.updates]
    assert got == stream.through(len(stream.events))


async def test_what_waited_comes_again_by_the_new_table() -> None:
    """At a swap the memory is given up: from the cursor on, the journal is read and mapped again."""
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
    """Its cursor is at the head: what comes next comes from memory, and nothing came before."""
    stream = Stream()
    stream.push(1)
    await stream.feed.next()
    stream.swap(after=1)
    assert stream.feed.idle
    stream.push(1)
    assert [update.seq for update in (await stream.feed.next()).updates] == [2]
    assert stream.reads == 0


async def test_changes_are_made_anew_by_the_new_table() -> None:
    """Those that wait, those in flight and changed points show what they are now; those gone do not."""
    stream = Stream()
    stream.push(1)
    await stream.feed.next()
    waiting, in_flight, gone = (
        make_update(make_point(name), 99, seq=0) for name in ("R/WAITING", "R/FLIGHT", "R/GONE")
    )
    stream.feed.push_changes([waiting, gone])
    stream.swap(after=1, changed=["R/MENDED", "R/WAITING"], lost=[in_flight])
    assert not stream.feed.idle
    batch = await stream.feed.next()
    assert sorted((update.point.name, update.value) for update in batch.updates) == [
        ("R/FLIGHT", 1),
        ("R/MENDED", 1),
        ("R/WAITING", 1),
    ]
    assert batch.is_change
    assert stream.feed.idle


async def test_a_building_of_changes_comes_in_turns_with_events() -> None:
    """Thousands of points that a new table changed keep no event waiting for longer than a batch."""
    stream = Stream()
    stream.swap(after=0, changed=[f"R/P{number}" for number in range(1_800)])
    kinds = []
    while not stream.feed.idle:
        stream.push(1)
        batch = await stream.feed.next()
        kinds.append((batch.is_change, len(batch.updates)))
        if len(kinds) == 8:
            break
    expected = [(True, 500), (False, 2)] * 4
    expected[6] = (True, 300)
    assert kinds == expected


async def test_another_swap_before_all_changes_were_handed_out_forgets_none() -> None:
    """They are made anew once more, by the table that is in force when their turn comes."""
    stream = Stream()
    stream.swap(after=0, changed=[f"R/P{number}" for number in range(600)])
    first = await stream.feed.next()
    stream.swap(after=0, lost=first.updates)
    batches = await all_batches(stream.feed)
    assert {update.point.name for batch in batches for update in batch.updates} == {
        f"R/P{number}" for number in range(600)
    }
