"""The state of a reloaded point table: built aside while the old one is in use, then swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_state import FRESH_MS, NOON, Room

from gateway.model import Quality
from gateway.records import LastValue
from gateway.state.building_state import BuildingState
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar

OLD = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s, modbus: {to: regs, table: input}}
points:
  - {tag: R, point: HOLD, asset: a, from: hold, range: [0, 50], on_stale: hold}
  - {tag: R, point: SENTINEL, asset: a, from: sentinel, range: [0, 50]}
  - {tag: R, point: VALUE, asset: b, from: value, on_stale: {value: 7}}
  - {tag: R, point: MOVED, asset: b, from: sentinel}
  - {tag: R, point: GONE, asset: b, from: gone}
  - {tag: R, point: AGE-A, asset: a, from: $age}
  - {tag: R, point: MADE, asset: a, from: sentinel}
system: {heartbeat: {every: 10s, modbus: {to: regs, register: 0, type: uint16}}}
"""
NEW = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 5s, modbus: {to: regs, table: input}}
points:
  - {tag: R, point: HOLD, asset: a, from: hold, gain: 2, range: [0, 100], on_stale: hold}
  - {tag: R, point: SENTINEL, asset: a, from: sentinel, stale_after: 20s, range: [0, 50]}
  - {tag: R, point: VALUE, asset: b, from: value, on_stale: hold}
  - {tag: R, point: MOVED, asset: a, from: moved}
  - {tag: R, point: QUAL-A, asset: a, from: $quality}
  - {tag: R, point: AGE-A, asset: a, from: $age}
  - {tag: R, point: MADE, asset: b, from: $quality}
  - {tag: R, point: AGE-B, asset: b, from: $age}
"""
SHOWN = ("R/HOLD", "R/SENTINEL", "R/VALUE", "R/QUAL-A", "R/AGE-A", "R/MADE", "R/AGE-B")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table that is in force first."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), OLD)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table of the reload."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), NEW)


@dataclass(frozen=True)
class Step:
    """Something that happens to a state: a reading, an override, or a connection."""

    what: str
    key: str
    value: Scalar
    after_ms: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["read", "read", "read", "force", "release", "online", "offline"]),
        st.sampled_from(["hold", "sentinel", "value"]),
        st.sampled_from([21, 40.5, 99, None, True]),
        st.integers(0, 3 * FRESH_MS),
    ),
    max_size=12,
)
ASSETS = {"hold": "a", "sentinel": "a", "value": "b"}


def apply_steps(rooms: Iterable[Room], steps: list[Step], *, now_ms: int) -> None:
    """Apply steps to several states."""
    for step in steps:
        for room in rooms:
            apply_step(room, step, now_ms=now_ms)


def apply_step(room: Room, step: Step, *, now_ms: int) -> None:
    """Apply one step to a state."""
    what, asset = step.what, ASSETS[step.key]
    point = room.points.by_name[f"R/{step.key.upper()}"]
    if what == "read":
        room.read(asset, at_ms=NOON + step.after_ms, now_ms=now_ms, **{step.key: step.value})
    elif what == "force":
        value = 21 if step.value in {99, None} else step.value  # what both tables allow
        room.state.force(point, value, until_ms=now_ms + 1 + step.after_ms, now_ms=now_ms)
    elif what == "release":
        room.state.release(point, now_ms=now_ms)
    else:
        room.state.set_online(asset, what == "online", at_ms=NOON + step.after_ms, now_ms=now_ms)


@given(
    phases=st.tuples(STEPS, STEPS, STEPS),
    wait_ms=st.tuples(st.integers(0, FRESH_MS), st.integers(0, 2 * FRESH_MS)),
)
def test_the_successor_equals_a_state_of_the_new_table(
    old: PointMap, new: PointMap, phases: tuple[list[Step], ...], wait_ms: tuple[int, int]
) -> None:
    """Readings, overrides and connections count as if they had been applied to the new table."""
    rooms = Room(old, BuildingState(old)), Room(new, BuildingState(new))
    before, during, late = phases
    began_ms = NOON + 3 * FRESH_MS
    ended_ms = began_ms + wait_ms[0]
    apply_steps(rooms, before, now_ms=began_ms)
    handover = Handover(rooms[0].state)
    apply_steps(rooms, during, now_ms=ended_ms)
    handover.build(new, now_ms=began_ms)
    for room in rooms:
        room.state.tick(ended_ms)
    handover.catch_up(now_ms=ended_ms)()
    apply_steps(rooms, late, now_ms=ended_ms)
    successor = Room(new, handover.finish(now_ms=ended_ms))
    assert successor.state.points is new
    for now_ms in (ended_ms, ended_ms + wait_ms[1]):
        for room in (rooms[1], successor):
            room.state.tick(now_ms)
            room.state.refresh_ages(now_ms)
        for name in SHOWN:
            ours, theirs = (room.state.latest(new.by_name[name]) for room in (successor, rooms[1]))
            assert (ours and (ours.value, ours.safe_value, ours.quality)) == (
                theirs and (theirs.value, theirs.safe_value, theirs.quality)
            ), name
    assert set(successor.state.overrides()) == set(rooms[1].state.overrides())
    assert successor.state.latest(new.by_name["R/MOVED"]) is None
    assert successor.state.pop_unsaved_connections() == rooms[1].state.pop_unsaved_connections()


def test_the_successor_saves_unsaved_changes(old: PointMap, new: PointMap) -> None:
    """Changes before, during and after the handover are saved once."""
    room = Room(old, BuildingState(old))
    room.read(at_ms=NOON, hold=1, sentinel=1)
    room.state.pop_unsaved_values()
    room.read(at_ms=NOON, sentinel=2)
    room.read(at_ms=NOON - 1, sentinel=2)
    handover = Handover(room.state)
    handover.build(new, now_ms=NOON)
    room.read("b", at_ms=NOON, value=3, gone=3)
    room.state.force(old.by_name["R/HOLD"], 5, until_ms=NOON + 9, now_ms=NOON)
    successor = handover.finish(now_ms=NOON)
    assert {name: saved.raw for name, saved in successor.pop_unsaved_values().items()} == {
        "R/SENTINEL": 2,
        "R/VALUE": 3,
    }
    assert list(successor.pop_unsaved_overrides()) == ["R/HOLD"]
    assert (successor.late, successor.pop_unsaved_values(), successor.pop_unsaved_overrides()) == (2, {}, {})


def test_a_dropped_handover_changes_nothing(old: PointMap, new: PointMap) -> None:
    """The state stays as it is, and the next handover misses nothing."""
    room = Room(old, BuildingState(old))
    room.read(at_ms=NOON, hold=1)
    Handover(room.state)
    room.read(at_ms=NOON + 1, hold=2)
    handover = Handover(room.state)
    handover.build(new, now_ms=NOON + 1)
    assert room.shown("R/HOLD") == (2, 2, Quality.GOOD)
    room.read(at_ms=NOON + 2, hold=3)
    assert Room(new, handover.finish(now_ms=NOON + 2)).shown("R/HOLD") == (6, 6, Quality.GOOD)


def test_updates_of_old_points_are_not_the_newest(old: PointMap, new: PointMap) -> None:
    """An update of a point of the old table is never the newest after the swap."""
    room = Room(old, BuildingState(old))
    (update, *_) = room.read(at_ms=NOON, hold=1)
    handover = Handover(room.state)
    handover.build(new, now_ms=NOON)
    assert room.state.is_newest(update)
    assert not handover.finish(now_ms=NOON).is_newest(update)


def test_a_point_that_comes_back_shows_its_last_reading(old: PointMap, new: PointMap) -> None:
    """A point that was removed, or had another source, does not go back in time."""
    room = Room(old, BuildingState(old))
    room.read("b", at_ms=NOON, gone=21, value=3, sentinel=4)
    room = Room(old, successor_of(successor_of(room.state, new), old))
    assert [room.shown(f"R/{name}")[0] for name in ("GONE", "VALUE", "MOVED")] == [21, 3, 4]
    (early, *_) = room.read("b", at_ms=NOON - 1, gone=20)
    assert not room.state.is_newest(early)


RENAMED = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s}
points:
  - {tag: NEW, point: HOLD, asset: a, from: hold, range: [0, 50], on_stale: hold}
  - {tag: NEW, point: SECOND, asset: a, from: hold, gain: 2}
  - {tag: NEW, point: OTHER, asset: b, from: hold}
  - {tag: R, point: SENTINEL, asset: b, from: value, range: [0, 50]}
  - {tag: R, point: VALUE, asset: a, from: sentinel}
  - {tag: R, point: QUAL, asset: a, from: $quality}
"""


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table with the readings of `old` under other names, two of them exchanged."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), RENAMED)


def test_a_renamed_point_keeps_its_reading(old: PointMap, renamed: PointMap) -> None:
    """Asset and source count: by the new conversion, with the last good value, also over a restart."""
    room = Room(old, BuildingState(old))
    room.read(at_ms=NOON - 1, hold=21)
    room.read(at_ms=NOON, hold=99, sentinel=3)
    room.read("b", at_ms=NOON, value=4)
    room.state.pop_unsaved_values()
    handover = Handover(room.state)
    handover.build(renamed, now_ms=NOON)
    room.read("b", at_ms=NOON + 1, value=5)
    state = handover.finish(now_ms=NOON + 1)
    saved = [*room.state.pop_unsaved_values().values(), *state.pop_unsaved_values().values()]
    restarted = BuildingState(renamed)
    restarted.restore(saved, now_ms=NOON + 1)
    for after in (Room(renamed, state), Room(renamed, restarted)):
        assert after.shown("NEW/HOLD") == (99, 21, Quality.BAD)
        assert after.shown("NEW/SECOND") == (198, 198, Quality.GOOD)
        assert after.shown("R/SENTINEL") == (5, 5, Quality.GOOD)
        assert after.shown("R/VALUE") == (3, 3, Quality.GOOD)
        assert after.shown("R/QUAL") == (3, 3, Quality.GOOD)
        assert after.state.latest(renamed.by_name["NEW/OTHER"]) is None
        (early, *_) = after.read(at_ms=NOON - 1, hold=20)
        assert not after.state.is_newest(early)


def test_repeated_renames_keep_the_newest_reading(old: PointMap, renamed: PointMap) -> None:
    """The newest reading of the source is shown, whatever the point was called."""
    room = Room(old, BuildingState(old))
    room.read(at_ms=NOON, hold=1)
    room = Room(renamed, successor_of(room.state, renamed), 1)
    room.read(at_ms=NOON + 1, hold=2)
    room = Room(old, successor_of(room.state, old), 2)
    assert room.shown("R/HOLD") == (2, 2, Quality.GOOD)
    room.read(at_ms=NOON + 2, hold=3)
    assert Room(renamed, successor_of(room.state, renamed)).shown("NEW/HOLD") == (3, 3, Quality.GOOD)


def test_a_reading_without_a_point_ends_offline(old: PointMap, new: PointMap) -> None:
    """A reading that no point shows is still a report, also after a restart."""
    room = Room(old, BuildingState(old))
    room.read("b", at_ms=NOON, value=3)
    connected = False
    room.state.set_online("b", connected, at_ms=NOON + 1, now_ms=NOON + 1)
    handover = Handover(room.state)
    handover.build(new, now_ms=NOON + 1)
    room.read("b", at_ms=NOON + 2, gone=21)
    assert room.shown("R/VALUE") == (3, 3, Quality.GOOD)
    assert Room(new, handover.finish(now_ms=NOON + 1)).shown("R/VALUE") == (3, 3, Quality.GOOD)
    assert Room(new, successor_of(room.state, new)).shown("R/VALUE") == (3, 3, Quality.GOOD)
    restarted = Room(new, BuildingState(new))
    restarted.state.restore(
        room.state.pop_unsaved_values().values(),
        now_ms=NOON + 2,
        connections=room.state.pop_unsaved_connections().values(),
    )
    assert restarted.shown("R/VALUE") == (3, 3, Quality.GOOD)


def test_the_newest_reading_of_removed_points_is_remembered(old: PointMap, new: PointMap) -> None:
    """Of points of one source that were removed one after the other, whatever the order of their names."""
    state = BuildingState(new)
    saved = [
        LastValue(name, "b", "gone", value, None, NOON + value, value, None)
        for name, value in (("R/B", 2), ("R/C", 1))
    ]
    state.restore(saved, now_ms=NOON + 2)
    assert Room(old, successor_of(state, old)).shown("R/GONE") == (2, 2, Quality.GOOD)


def test_removed_readings_are_bounded(old: PointMap, new: PointMap) -> None:
    """The newest ten thousand readings without a point are remembered."""
    state = BuildingState(old)
    saved = [
        LastValue(f"R/P{number}", "a", f"x{number}", number, None, NOON, number, None)
        for number in range(20_000)
    ]
    state.restore(saved, now_ms=NOON)
    assert [value.seq for value in state.removed.values()] == list(range(10_000, 20_000))
    assert successor_of(state, new).removed == state.removed


def successor_of(state: BuildingState, points: PointMap) -> BuildingState:
    """Return the state of another table, as a reload makes it."""
    handover = Handover(state)
    handover.build(points, now_ms=NOON)
    return handover.finish(now_ms=NOON)
