"""A wall clock that is set while values age: only the time that has passed counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from support.room_state import FRESH_MS, NOON, Room, named

from gateway.model import Quality
from gateway.records import Override
from gateway.state.building_state import BuildingState
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.mapping.plan import PointMap

DAY_MS = 86_400_000
LEAD_MS = 300_000

passing = st.tuples(st.just("passes"), st.integers(0, 2 * FRESH_MS))
setting = st.tuples(st.just("set"), st.sampled_from([-DAY_MS, -3_600_000, -5_000, 0, 5_000, DAY_MS]))
reading = st.tuples(st.just("reads"), st.integers(-LEAD_MS, 2 * FRESH_MS))
reloading = st.tuples(st.just("reloads"), st.just(0))
steps = st.lists(st.one_of(passing, setting, reading, reloading), min_size=1, max_size=25)


@given(steps)
def test_a_reading_is_fresh_for_as_long_as_was_left_when_it_came(
    points: PointMap, steps: Sequence[tuple[str, int]]
) -> None:
    """Wherever the clock is set, and whatever is reloaded.

    A reading comes as old as its date says by the clock of that moment, and never younger than new; only a
    reload takes one that Infodeck dates ahead for as new as its date.
    """
    room = Room(points, BuildingState(points))
    state, now_ms, ahead_ms = room.state, NOON, 0
    newest, measured_ms, stale_at_ms = 0, 0, 0
    for what, by_ms in steps:
        if what == "passes":
            now_ms += by_ms
        elif what == "set":
            ahead_ms = by_ms
            state.clock_steps.follow(ahead_ms, after=room.seq)
        elif what == "reads":
            dated_ms = now_ms + ahead_ms - by_ms
            room.read(at_ms=dated_ms, now_ms=now_ms, sentinel=21)
            if dated_ms >= newest:
                newest, measured_ms = dated_ms, now_ms - by_ms
                stale_at_ms = min(now_ms, measured_ms) + FRESH_MS
        else:
            handover = Handover(state)
            handover.build(points, now_ms=now_ms)
            state = room.state = handover.finish(now_ms=now_ms)
            stale_at_ms = min(now_ms, measured_ms) + FRESH_MS
        state.tick(now_ms)
        if newest:
            expected = Quality.GOOD if now_ms <= stale_at_ms else Quality.STALE
            assert room.shown("R/SENTINEL")[2] is expected
            (age,) = named(state.refresh_ages(now_ms), "AGE")
            assert age.value == max(0, now_ms - measured_ms) // 1000
            assert age.time_ms == now_ms + ahead_ms


@given(
    off_ms=st.integers(0, DAY_MS),
    set_ms=st.lists(st.integers(-DAY_MS, DAY_MS), min_size=1, max_size=5),
    pass_ms=st.lists(st.integers(0, FRESH_MS), min_size=5, max_size=5),
)
def test_a_reading_of_an_earlier_run_is_fresh_only_where_both_clocks_say_so(
    points: PointMap, off_ms: int, set_ms: Sequence[int], pass_ms: Sequence[int]
) -> None:
    """Only the wall clock knows how long the gateway was off, and it may be wrong at first."""
    room = Room(points, BuildingState(points))
    room.read(at_ms=NOON, sentinel=21)
    saved, began_ms = list(room.state.pop_unsaved_values().values()), NOON + off_ms
    state = BuildingState(points)
    state.clock_steps.earlier_run_through = room.seq
    state.restore(saved, now_ms=began_ms)
    room = Room(points, state, room.seq)
    now_ms = began_ms
    for ahead_ms, passed_ms in zip([0, *set_ms], pass_ms, strict=False):
        state.clock_steps.follow(ahead_ms, after=room.seq)
        now_ms += passed_ms
        state.tick(now_ms)
        ahead_ms = state.clock_steps.ahead_ms  # noqa: PLW2901 - a second is no step
        by_date_ms = now_ms + ahead_ms - NOON
        is_fresh = now_ms - NOON <= FRESH_MS and -LEAD_MS <= by_date_ms <= FRESH_MS
        assert (room.shown("R/SENTINEL")[2] is Quality.GOOD) is is_fresh


@given(st.lists(st.tuples(st.integers(0, 2 * FRESH_MS), st.integers(-DAY_MS, DAY_MS)), max_size=8))
def test_an_override_lasts_for_its_duration(points: PointMap, steps: Sequence[tuple[int, int]]) -> None:
    """Its end date is for people; the time that passes counts."""
    room, now_ms = Room(points, BuildingState(points)), NOON
    point = points.by_name["R/HOLD"]
    room.read(at_ms=NOON, hold=21)
    room.state.force(point, 30, until_ms=NOON + 3 * FRESH_MS, now_ms=NOON)
    for passed_ms, ahead_ms in steps:
        now_ms += passed_ms
        room.state.clock_steps.follow(ahead_ms, after=room.seq)
        room.state.tick(now_ms)
        is_forced = room.shown("R/HOLD")[2] is Quality.FORCED
        assert is_forced is (now_ms < NOON + 3 * FRESH_MS)


def test_an_override_of_an_earlier_run_ends_where_the_clock_is_behind_its_begin(room: Room) -> None:
    """Its duration is unknown then, and showing the measured value is safe."""
    forced = Override("R/HOLD", 30, NOON, NOON + 3 * FRESH_MS)
    room.read(at_ms=NOON, hold=21)
    saved = list(room.state.pop_unsaved_values().values())
    assert room.restarted(saved, now_ms=NOON + 1, forced=[forced]).shown("R/HOLD")[2] is Quality.FORCED
    behind = room.restarted(saved, now_ms=NOON - DAY_MS, forced=[forced])
    assert behind.shown("R/HOLD")[2] is not Quality.FORCED
