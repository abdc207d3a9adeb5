"""The building state: which value is the newest, which is stale, and what is shown instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import HEAD, load_good_tables
from support.room_state import FRESH_MS, NOON, Room, make_event, named

from gateway.model import Quality, Reading, Telemetry
from gateway.state.building_state import BuildingState
from gateway.state.readings import bad_reason, map_telemetry

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar


@given(times=st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_an_older_reading_never_overwrites_a_newer_one(points: PointMap, times: list[int]) -> None:
    """In any order of arrival, the newest time is shown; of equal times, the last one."""
    room = Room(points, BuildingState(points))
    best = (0, 0)
    late = 0
    for seq, second in enumerate(times, 1):
        (measured,) = named(room.read(at_ms=NOON + second, now_ms=NOON + 5, hold=seq), "HOLD")
        late += second < best[0]
        best = max(best, (second, seq))
        assert room.shown("R/HOLD") == (best[1], best[1], Quality.GOOD)
        assert room.state.is_newest(measured) == (best[1] == seq)
        assert measured.value == seq
    assert room.state.late == late


@given(order=st.permutations(range(8)), seconds=st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_the_order_of_arrival_does_not_matter(points: PointMap, order: list[int], seconds: list[int]) -> None:
    """Events in any order leave the reading with the greatest (time, seq)."""
    state = BuildingState(points)
    plan = points.by_asset["a"]
    for seq in order:
        reading = Reading("hold", seq, NOON + seconds[seq])
        updates = map_telemetry(plan, Telemetry("a", NOON, (reading,)), event=make_event(seq, {}), seq=seq)
        state.apply_updates(plan, updates, now_ms=NOON + 3)
    latest = state.latest(points.by_name["R/HOLD"])
    assert latest is not None
    assert (latest.time_ms, latest.seq) == max((NOON + seconds[seq], seq) for seq in order)


def test_within_one_event_the_last_of_equal_times_wins(room: Room) -> None:
    """Two readings of a key in one event are both returned; the second one stays."""
    plan = room.points.by_asset["a"]
    readings = Reading("hold", 1, NOON), Reading("hold", 2, NOON)
    updates = map_telemetry(plan, Telemetry("a", NOON, readings), event=make_event(1, {}), seq=1)
    out = named(room.state.apply_updates(plan, updates, now_ms=NOON), "HOLD")
    assert [update.value for update in out] == [1, 2]
    assert all(room.state.is_newest(update) for update in out)
    assert room.shown("R/HOLD")[0] == 2


def test_an_explicit_path_is_read_with_the_events_time(room: Room) -> None:
    """A missing path is no update, an object has no value."""
    plan = room.points.by_asset["a"]

    def mapped(thing: dict[str, Any]) -> list[tuple[Scalar, Quality, int]]:
        updates = map_telemetry(plan, Telemetry("a", NOON), event=make_event(1, thing), seq=1)
        return [(update.value, update.quality, update.time_ms) for update in updates]

    assert mapped({"deep": {"value": 3}}) == [(3, Quality.GOOD, NOON)]
    assert mapped({"deep": {"value": {}}}) == [(None, Quality.BAD, NOON)]
    assert mapped({"deep": {}}) == []


@pytest.mark.parametrize(
    ("name", "aged"),
    [
        ("HOLD", (21, 21, Quality.HELD)),
        ("SENTINEL", (None, None, Quality.STALE)),
        ("VALUE", (7, 7, Quality.STALE)),
    ],
)
def test_a_value_ages_right_after_its_deadline(
    room: Room, name: str, aged: tuple[Scalar, Scalar, Quality]
) -> None:
    """At `stale_after` a value is fresh, a millisecond later `on_stale` is shown, once."""
    (measured,) = named(room.read(at_ms=NOON, **{name.lower(): 21}), name)
    assert named(room.state.tick(NOON + FRESH_MS), name) == []
    assert room.shown(f"R/{name}") == (21, 21, Quality.GOOD)
    (change,) = named(room.state.tick(NOON + FRESH_MS + 1), name)
    assert room.shown(f"R/{name}") == aged == (change.value, change.safe_value, change.quality)
    assert (change.time_ms, change.seq, change.event_id) == (NOON, 1, "evt_1")
    assert room.state.is_newest(change)
    assert not room.state.is_newest(measured)
    assert room.state.tick(NOON + 10 * FRESH_MS) == []


def test_a_repeated_reading_starts_the_time_again(room: Room) -> None:
    """The newest reading sets the deadline, also with an older one in between."""
    room.read(at_ms=NOON, hold=1)
    room.read(at_ms=NOON + 5_000, hold=2)
    room.read(at_ms=NOON + 1_000, now_ms=NOON + 5_000, hold=3)
    assert named(room.state.tick(NOON + FRESH_MS + 5_000), "HOLD") == []
    assert len(named(room.state.tick(NOON + FRESH_MS + 5_001), "HOLD")) == 1


def test_a_new_reading_ends_staleness(room: Room) -> None:
    """The next fresh reading is shown, and ages again."""
    room.read(at_ms=NOON, sentinel=1)
    room.state.tick(NOON + FRESH_MS + 1)
    again_ms = NOON + 2 * FRESH_MS
    room.read(at_ms=again_ms, sentinel=2)
    assert room.shown("R/SENTINEL") == (2, 2, Quality.GOOD)
    room.state.tick(again_ms + FRESH_MS + 1)
    assert room.shown("R/SENTINEL") == (None, None, Quality.STALE)


def test_a_late_reading_is_never_shown_as_fresh(room: Room) -> None:
    """It is returned as measured, for historians, followed by its stand-in."""
    out = named(room.read(at_ms=NOON, now_ms=NOON + FRESH_MS + 1, sentinel=21), "SENTINEL")
    assert [(update.value, update.quality) for update in out] == [(21, Quality.GOOD), (None, Quality.STALE)]
    assert [room.state.is_newest(update) for update in out] == [False, True]
    assert room.shown("R/SENTINEL") == (None, None, Quality.STALE)
    assert room.shown("R/QUAL")[0] == Quality.STALE
    assert named(room.state.tick(NOON + 2 * FRESH_MS), "SENTINEL") == []


@pytest.mark.parametrize(
    ("name", "plain"), [("HOLD", 21), ("SENTINEL", None), ("VALUE", 7)], ids=["hold", "sentinel", "value"]
)
def test_a_bad_value_is_shown_as_measured_and_its_policy_in_registers(
    room: Room, name: str, plain: Scalar
) -> None:
    """Out of range, `value` is what was measured, `safe_value` what `on_stale` says."""
    room.read(at_ms=NOON, **{name.lower(): 21})
    room.read(at_ms=NOON + 1, **{name.lower(): 99})
    assert room.shown(f"R/{name}") == (99, plain, Quality.BAD)


def test_bad_under_hold_without_any_good_value_shows_nothing(room: Room) -> None:
    """Before the first good value, `hold` shows the sentinel."""
    room.read(at_ms=NOON, hold=99)
    assert room.shown("R/HOLD") == (99, None, Quality.BAD)
    room.state.tick(NOON + FRESH_MS + 1)
    assert room.shown("R/HOLD") == (None, None, Quality.STALE)


def test_a_bad_value_that_ages_under_hold_gives_way_to_the_last_good_one(room: Room) -> None:
    """When it is stale, the last good value is held."""
    room.read(at_ms=NOON, hold=21)
    room.read(at_ms=NOON + 1, hold=99)
    room.state.tick(NOON + FRESH_MS + 2)
    assert room.shown("R/HOLD") == (21, 21, Quality.HELD)


def test_quality_is_the_worst_of_the_asset(room: Room) -> None:
    """`$quality` follows each change, and is sent only when it changes."""
    (first,) = named(room.read(at_ms=NOON, hold=21, sentinel=21), "QUAL")
    assert (first.value, first.quality) == (0, Quality.GOOD)
    assert named(room.read(at_ms=NOON + 1, hold=21), "QUAL") == []
    (worse,) = named(room.read(at_ms=NOON + 2, hold=99), "QUAL")
    assert worse.value == Quality.BAD
    (better,) = named(room.read(at_ms=NOON + FRESH_MS, hold=21), "QUAL")
    assert better.value == Quality.GOOD
    (aged,) = named(room.state.tick(NOON + FRESH_MS + 1), "QUAL")
    assert aged.value == Quality.STALE
    room.read(at_ms=NOON + FRESH_MS + 2, hold=99)
    point, until_ms = room.points.by_name["R/SENTINEL"], NOON + 10 * FRESH_MS
    (forced,) = named(room.state.force(point, 5, until_ms=until_ms, now_ms=NOON + FRESH_MS + 3), "QUAL")
    assert forced.value == Quality.FORCED
    (bad,) = named(room.state.release(point, now_ms=NOON + FRESH_MS + 4), "QUAL")
    assert bad.value == Quality.BAD


def test_a_pseudo_point_is_newest_only_while_shown(room: Room) -> None:
    """An older `$quality` on its way never replaces the present one, whatever the clock did."""
    (first,) = named(room.read(at_ms=NOON, now_ms=NOON, hold=21), "QUAL")
    (second,) = named(room.read(at_ms=NOON + 1, now_ms=NOON - 60_000, hold=99), "QUAL")
    assert not room.state.is_newest(first)
    assert room.state.is_newest(second)
    (third,) = named(room.read(at_ms=NOON + 2, now_ms=NOON - 60_000, hold=21), "QUAL")
    assert [room.state.is_newest(update) for update in (second, third)] == [False, True]


def test_age_counts_from_the_newest_reading(room: Room) -> None:
    """`$age` is in whole seconds, never negative, and absent before the first report."""
    assert named(room.state.refresh_ages(NOON), "AGE") == []
    room.read(at_ms=NOON, hold=21)
    room.read(at_ms=NOON - 9_000, now_ms=NOON, sentinel=21)
    assert [named(room.state.refresh_ages(NOON + ms), "AGE")[0].value for ms in (-5, 999, 1_000, 90_500)] == [
        0,
        0,
        1,
        90,
    ]


def test_the_heartbeat_moves_once_a_period_and_wraps(room: Room) -> None:
    """Its number changes every ten seconds and fits any register type."""

    def beat(now_ms: int) -> Any:
        (update,) = [each for each in room.state.refresh_ages(now_ms) if each.point.source == "$heartbeat"]
        return update.value

    assert beat(NOON) == beat(NOON + 9_999)
    assert beat(NOON + 10_000) == beat(NOON) + 1
    assert [beat(32_767 * 10_000), beat(32_768 * 10_000)] == [32_767, 0]


def test_shown_without_event(room: Room) -> None:
    """A sink that reads the event log again also needs stand-ins and pseudo points."""
    plan = room.points.by_asset["a"]
    assert room.state.shown_without_event(plan) == []
    room.read(at_ms=NOON, hold=21)
    assert [update.point.name for update in room.state.shown_without_event(plan)] == ["R/QUAL", "R/AGE"]
    room.state.tick(NOON + FRESH_MS + 1)
    beside = room.state.shown_without_event(plan)
    assert [(update.point.name, update.value) for update in beside] == [
        ("R/HOLD", 21),
        ("R/QUAL", Quality.HELD),
        ("R/AGE", 10),
    ]
    assert all(room.state.is_newest(update) for update in beside)


def test_one_deadline_per_point(room: Room) -> None:
    """Memory does not grow with traffic."""
    for second in range(1_000):
        room.read(at_ms=NOON + second, hold=second, sentinel=second)
        room.state.tick(NOON + second)
    assert len(room.state._deadlines) == 2


def test_bits_that_are_in_no_map_are_named(tmp_path: Path) -> None:
    """The reason has the number that the map was asked for, and the reading that it came from."""
    point = "  - {tag: R, point: MODE, asset: a, from: status, bits: [0, 1], map: {0: idle}}\n"
    points = load_good_tables(tmp_path, f"{HEAD}points:\n{point}")
    (update,) = Room(points, BuildingState(points)).read(at_ms=NOON, status=251)
    assert bad_reason(update) == "3, from the bits of 251, is not in its map"
