"""The newest mapped events in memory: bounded, and complete from `start` on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.mqtt_parts import make_point, make_update

from gateway.delivery.stream import MappedEvent, RecentEvents

UPDATE = make_update(make_point("R/T"), 1, seq=1)
MOST_UPDATES = 10_000


def event(seq: int, size: int) -> MappedEvent:
    """Return an event with this many updates."""
    return MappedEvent(seq, seq, (UPDATE,) * size, size)


@given(
    sizes=st.lists(st.sampled_from([0, 0, 1, 3, 400, 4_000, 11_000]), max_size=40),
    taken=st.integers(0, 40),
    after=st.integers(0, 40),
)
def test_every_event_after_the_start_is_there(sizes: list[int], taken: int, after: int) -> None:
    """None after `start` is missing, whatever the sinks have got, and memory is bounded."""
    recent = RecentEvents(0)
    for seq, size in enumerate(sizes, 1):
        recent.add(event(seq, size))
        recent.drop_through(min(taken, seq))
    assert recent.head == len(sizes)
    after = max(after, recent.start)
    expected = [seq for seq, size in enumerate(sizes, 1) if size and seq > after]
    assert [each.seq for each in recent.after(after, at_least=10**6)] == expected
    assert recent.updates_after(after) == sum(sizes[seq - 1] for seq in expected)
    assert recent.updates_after(recent.start) <= MOST_UPDATES + 11_000


def test_events_are_not_divided() -> None:
    """Whole events are returned, until they have enough updates."""
    recent = RecentEvents(0)
    for seq in range(1, 6):
        recent.add(event(seq, 300))
    assert [each.seq for each in recent.after(1, at_least=500)] == [2, 3]
    assert [each.seq for each in recent.after(4, at_least=500)] == [5]


def test_after_a_reload_nothing_of_the_old_table_is_left() -> None:
    """After `clear`, only new events are in memory."""
    recent = RecentEvents(0)
    recent.add(event(1, 1))
    recent.clear()
    assert (recent.start, recent.head, recent.after(0, at_least=1)) == (1, 1, [])
    recent.add(event(2, 1))
    assert [each.seq for each in recent.after(1, at_least=1)] == [2]
