"""What the point image keeps on disk, and what it shows after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_image import FRESH_MS, NOON, TABLE, Room

from gateway.mapping.image import PointImage
from gateway.model import Quality

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import KeptValue, Scalar


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def room(points: PointMap) -> Room:
    """Begin with an empty image."""
    return Room(points, PointImage(points))


def test_only_what_changed_is_kept(room: Room) -> None:
    """Each point is written to disk once per change, with its last good value; ageing is no change."""
    room.read(at_ms=NOON, hold=21, sentinel=5)
    room.read(at_ms=NOON + 1, hold=99)
    kept = room.image.keep()
    assert sorted(kept) == ["R/HOLD", "R/SENTINEL"]
    hold = kept["R/HOLD"]
    assert (hold.value, hold.last_good, hold.quality) == (99, 21, Quality.BAD)
    assert (hold.time_ms, hold.seq, hold.event_id) == (NOON + 1, 2, "evt_2")
    room.image.tick(NOON + FRESH_MS + 2)
    room.read(at_ms=NOON - 1, now_ms=NOON, hold=1)
    assert room.image.keep() == {}


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
    """What is kept brings back every value, also those that aged meanwhile, and never an older one."""
    room = Room(points, PointImage(points))
    kept: dict[str, KeptValue] = {}
    now_ms = NOON + 3 * FRESH_MS
    for key, value, after_ms in readings:
        room.read(at_ms=NOON + after_ms, now_ms=now_ms, **{key: value})
        kept.update(room.image.keep())
    room.image.tick(now_ms + later_ms)
    again = room.restarted(list(kept.values()), now_ms=now_ms + later_ms)
    for name in kept:
        assert again.shown(name) == room.shown(name)
    assert again.shown("R/QUAL") == room.shown("R/QUAL")
    assert again.image.keep() == {}
    room.image.tick(now_ms + 5 * FRESH_MS)
    again.image.tick(now_ms + 5 * FRESH_MS)
    assert [again.shown(name) for name in kept] == [room.shown(name) for name in kept]


def test_values_of_points_that_are_gone_or_changed_their_source_are_left_out(
    room: Room, tmp_path: Path
) -> None:
    """A table edited between two runs starts: a point that is now a pseudo-reading takes no old value."""
    room.read(at_ms=NOON, hold=21, sentinel=5)
    kept = list(room.image.keep().values())
    edited = load_good_tables(
        tmp_path,
        "schema: gateway.points/1\nsite: hq\npoints:\n"
        "  - {tag: R, point: HOLD, asset: a, from: $quality}\n  - {tag: R, point: NEW, asset: a, from: t}\n",
    )
    image = PointImage(edited)
    image.restore(kept, now_ms=NOON)
    assert image.all_latest() == []
