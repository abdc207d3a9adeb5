"""What the building state saves, and what it shows after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_state import FRESH_MS, NOON, Room

from gateway.model import Quality
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar
    from gateway.records import LastValue


def test_only_changes_are_saved(room: Room) -> None:
    """Each change of a point is saved once, with its last good value; ageing is no change."""
    room.read(at_ms=NOON, hold=21, sentinel=5)
    room.read(at_ms=NOON + 1, hold=99)
    saved = room.state.pop_unsaved_values()
    assert sorted(saved) == ["R/HOLD", "R/SENTINEL"]
    hold = saved["R/HOLD"]
    assert (hold.asset, hold.source, hold.raw, hold.last_good) == ("a", "hold", 99, 21)
    assert (hold.time_ms, hold.seq, hold.event_id) == (NOON + 1, 2, "evt_2")
    room.state.tick(NOON + FRESH_MS + 2)
    room.read(at_ms=NOON - 1, now_ms=NOON, hold=1)
    assert room.state.pop_unsaved_values() == {}


@given(
    readings=st.lists(
        st.tuples(
            st.sampled_from(["hold", "sentinel", "value"]),
            st.sampled_from([21, 22.5, 99, None, "text"]),
            st.integers(0, 3 * FRESH_MS),
        ),
        min_size=1,
        max_size=12,
    ),
    later_ms=st.integers(0, 3 * FRESH_MS),
)
def test_a_restart_shows_the_same(
    points: PointMap, readings: list[tuple[str, Scalar, int]], later_ms: int
) -> None:
    """Saved readings bring back every value, also aged ones, and never an older one."""
    room = Room(points, BuildingState(points))
    saved: dict[str, LastValue] = {}
    now_ms = NOON + 3 * FRESH_MS
    for key, value, after_ms in readings:
        room.read(at_ms=NOON + after_ms, now_ms=now_ms, **{key: value})
        saved.update(room.state.pop_unsaved_values())
    room.state.tick(now_ms + later_ms)
    again = room.restarted(list(saved.values()), now_ms=now_ms + later_ms)
    for name in saved:
        assert again.shown(name) == room.shown(name)
    assert again.shown("R/QUAL") == room.shown("R/QUAL")
    assert again.state.pop_unsaved_values() == {}
    room.state.tick(now_ms + 5 * FRESH_MS)
    again.state.tick(now_ms + 5 * FRESH_MS)
    assert [again.shown(name) for name in saved] == [room.shown(name) for name in saved]


EDITED = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s}
points:
  - {tag: R, point: SCALED, asset: a, from: t, gain: 0.1, range: [0, 50], on_stale: hold}
  - {tag: R, point: MOVED, asset: b, from: t}
  - {tag: R, point: RENAMED, asset: a, from: other}
  - {tag: R, point: MADE, asset: a, from: $quality}
"""
BEFORE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s}
points:
  - {tag: R, point: SCALED, asset: a, from: t, range: [0, 50], on_stale: hold}
  - {tag: R, point: MOVED, asset: a, from: t}
  - {tag: R, point: RENAMED, asset: a, from: t}
  - {tag: R, point: MADE, asset: a, from: t}
  - {tag: R, point: GONE, asset: a, from: t}
"""


def edited(tmp_path: Path, *readings: Scalar) -> Room:
    """Return the room after these readings of `t` and a restart with the edited table."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = load_good_tables(tmp_path / "before", BEFORE)
    room = Room(before, BuildingState(before))
    for number, value in enumerate(readings):
        room.read(at_ms=NOON + number, t=value)
    room.points = load_good_tables(tmp_path / "after", EDITED)
    return room.restarted(list(room.state.pop_unsaved_values().values()), now_ms=NOON + len(readings))


@pytest.mark.parametrize(
    ("readings", "shown"),
    [
        ([235], (23.5, 23.5, Quality.GOOD)),  # it was bad by the old rule
        ([30], (3.0, 3.0, Quality.GOOD)),
        (["nonsense"], (None, None, Quality.BAD)),
        ([40, 9000], (900.0, 4.0, Quality.BAD)),
    ],
    ids=["mended gain", "another gain", "no number", "last good value"],
)
def test_a_restart_converts_readings_by_the_table_in_force(
    tmp_path: Path, readings: list[Scalar], shown: tuple[Scalar, Scalar, Quality]
) -> None:
    """After a changed gain, the last and the last good reading are converted anew."""
    assert edited(tmp_path, *readings).shown("R/SCALED") == shown


def test_values_of_points_that_are_another_now_are_left_out(tmp_path: Path) -> None:
    """A reading is restored only for points of its asset and source."""
    state = edited(tmp_path, 21).state
    assert sorted(update.point.name for update in state.all_latest()) == ["R/MADE", "R/SCALED"]
    made = state.latest(state.points.by_name["R/MADE"])
    assert made is not None
    assert made.value == Quality.GOOD
