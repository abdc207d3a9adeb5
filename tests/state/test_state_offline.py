"""Devices that Infodeck reports as not connected: what their points show, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_state import FRESH_MS, NOON, TABLE, Room, named

from gateway.model import Quality
from gateway.records import OnlineState
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar, Update

ONLINE = """\
  - {tag: R, point: ONLINE, asset: a, from: $online, modbus: {register: 7, table: discrete}}
"""


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return the compiled table; nothing changes it."""
    table = TABLE.replace("system:", ONLINE + "system:")
    return load_good_tables(tmp_path_factory.mktemp("tables"), table)


def report_connection(
    room: Room, *, online: bool, at_ms: int = NOON, now_ms: int | None = None
) -> list[Update]:
    """Have Infodeck report the connection of asset `a`."""
    return room.state.set_online("a", online, at_ms=at_ms, now_ms=at_ms if now_ms is None else now_ms)


def online(room: Room) -> Scalar:
    """Return what `$online` shows."""
    return room.shown("R/ONLINE")[0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("HOLD", (21, 21, Quality.OFFLINE)),
        ("SENTINEL", (None, None, Quality.OFFLINE)),
        ("VALUE", (7, 7, Quality.OFFLINE)),
    ],
)
def test_an_offline_device_shows_stand_ins(
    room: Room, name: str, shown: tuple[Scalar, Scalar, Quality]
) -> None:
    """They have the values of stale ones and a quality of their own; the reading is not the newest."""
    (measured, *_) = room.read(at_ms=NOON, **{name.lower(): 21})
    (change,) = named(report_connection(room, online=False), name)
    assert room.shown(f"R/{name}") == shown == (change.value, change.safe_value, change.quality)
    assert (change.time_ms, change.seq, change.event_id) == (NOON, 1, "evt_1")
    assert [room.state.is_newest(update) for update in (measured, change)] == [False, True]
    assert room.shown("R/QUAL")[0] == Quality.OFFLINE
    assert online(room) == 0
    assert named(report_connection(room, online=False, at_ms=NOON + 1), name) == []


@pytest.mark.parametrize("was", [True, False])
def test_a_report_from_a_fast_clock_does_not_last(room: Room, *, was: bool) -> None:
    """After the clock is set back, the next report counts: an offline device must not look connected."""
    hours_ms = 5 * 3_600_000
    room.read(at_ms=NOON, hold=21)
    report_connection(room, online=was, at_ms=NOON + hours_ms)
    report_connection(room, online=not was, at_ms=NOON + 1000)
    assert room.state.known.is_online("a") is (not was)
    assert online(room) == int(not was)


def test_a_clock_a_little_ahead_of_ours_keeps_its_order(room: Room) -> None:
    """Infodeck's newest report counts, also if it arrives before an older one."""
    room.read(at_ms=NOON, hold=21)
    report_connection(room, online=False, at_ms=NOON + 60_000, now_ms=NOON)
    report_connection(room, online=True, at_ms=NOON + 30_000, now_ms=NOON)
    assert room.state.known.is_online("a") is False


def test_online_again_shows_the_reading_again_and_lets_it_age(room: Room) -> None:
    """A reading that is still fresh is shown as measured, and ages in its time."""
    room.read(at_ms=NOON, hold=21)
    report_connection(room, online=False)
    assert room.state.tick(NOON + FRESH_MS) == []
    back = report_connection(room, online=True, at_ms=NOON + FRESH_MS)
    assert [(update.point.point, update.value) for update in back if update.point.point != "AGE"] == [
        ("HOLD", 21),
        ("QUAL", 0),
        ("ONLINE", 1),
    ]
    assert room.shown("R/HOLD") == (21, 21, Quality.GOOD)
    assert room.state.is_newest(named(back, "HOLD")[0])
    room.state.tick(NOON + FRESH_MS + 1)
    assert room.shown("R/HOLD") == (21, 21, Quality.HELD)


def test_what_aged_while_offline_is_stale_once_it_is_online(room: Room) -> None:
    """Offline comes before stale, and hides it only while it lasts."""
    room.read(at_ms=NOON, sentinel=21)
    report_connection(room, online=False)
    assert named(room.state.tick(NOON + FRESH_MS + 1), "SENTINEL") == []
    assert room.shown("R/SENTINEL") == (None, None, Quality.OFFLINE)
    report_connection(room, online=True, at_ms=NOON + FRESH_MS + 2)
    assert room.shown("R/SENTINEL") == (None, None, Quality.STALE)
    assert online(room) == 1


def test_a_newer_reading_brings_the_whole_device_back(room: Room) -> None:
    """All its points show their readings again; an older reading proves nothing."""
    room.read(at_ms=NOON, hold=21, sentinel=5)
    report_connection(room, online=False, at_ms=NOON + 10)
    out = room.read(at_ms=NOON + 10, now_ms=NOON + 11, hold=22)
    assert [(update.value, update.quality) for update in named(out, "HOLD")] == [
        (22, Quality.GOOD),
        (22, Quality.OFFLINE),
    ]
    out = room.read(at_ms=NOON + 11, hold=23)
    assert [(update.value, update.quality) for update in named(out, "HOLD")] == [(23, Quality.GOOD)]
    assert [(update.value, update.quality) for update in named(out, "SENTINEL")] == [(5, Quality.GOOD)]
    assert (room.shown("R/QUAL")[0], online(room)) == (0, 1)


def test_older_reports_change_nothing(room: Room) -> None:
    """Neither a newer reading nor a newer report is undone by an older report."""
    room.read(at_ms=NOON, hold=21)
    assert named(report_connection(room, online=False, at_ms=NOON - 1, now_ms=NOON), "HOLD") == []
    assert (room.shown("R/HOLD")[2], online(room)) == (Quality.GOOD, 1)
    report_connection(room, online=False, at_ms=NOON + 5)
    assert report_connection(room, online=True, at_ms=NOON + 4) == []
    assert (room.shown("R/HOLD")[2], online(room)) == (Quality.OFFLINE, 0)


def test_connection_is_unknown_before_a_report(room: Room) -> None:
    """A reading alone does not show it; an offline device without a report has that quality."""
    room.read(at_ms=NOON, hold=21)
    assert room.state.latest(room.points.by_name["R/ONLINE"]) is None
    assert room.state.known.is_online("a") is None
    fresh = Room(room.points, BuildingState(room.points))
    report_connection(fresh, online=False)
    assert (fresh.shown("R/QUAL")[0], online(fresh)) == (Quality.OFFLINE, 0)
    assert fresh.state.latest(room.points.by_name["R/HOLD"]) is None


def test_a_forced_value_stays_while_the_device_is_offline(room: Room) -> None:
    """The override is shown; the asset's quality is the worst one."""
    point = room.points.by_name["R/HOLD"]
    room.read(at_ms=NOON, hold=21)
    room.state.force(point, 30, until_ms=NOON + 60_000, now_ms=NOON)
    assert named(report_connection(room, online=False, at_ms=NOON + 1), "HOLD") == []
    assert room.shown("R/HOLD") == (30, 30, Quality.FORCED)
    assert room.shown("R/QUAL")[0] == Quality.OFFLINE
    room.state.release(point, now_ms=NOON + 2)
    assert room.shown("R/HOLD") == (21, 21, Quality.OFFLINE)


def test_an_asset_of_no_table_is_remembered(room: Room) -> None:
    """Its points may come with the next table."""
    assert room.state.set_online("x", False, at_ms=NOON, now_ms=NOON) == []  # noqa: FBT003 - the state itself
    assert room.state.pop_unsaved_connections() == {"x": OnlineState("x", online=False, at_ms=NOON)}
    assert room.state.pop_unsaved_connections() == {}


@given(
    happenings=st.lists(
        st.tuples(st.sampled_from(["read", "online", "offline"]), st.integers(0, 5)), max_size=10
    )
)
def test_the_state_depends_on_what_is_newest_only_and_outlives_a_restart(
    points: PointMap, happenings: list[tuple[str, int]]
) -> None:
    """In any order: a device is offline if its newest report says so and it has sent nothing since."""
    room = Room(points, BuildingState(points))
    newest_word: tuple[int, int, str] | None = None
    newest_reading = -1
    for number, (what, second) in enumerate(happenings):
        if what == "read":
            room.read(at_ms=NOON + second, now_ms=NOON + 5, hold=number)
            newest_reading = max(newest_reading, second)
        else:
            report_connection(room, online=what == "online", at_ms=NOON + second, now_ms=NOON + 5)
            newest_word = max(newest_word or (-1, -1, ""), (second, number, what))
    is_offline = newest_word is not None and newest_word[2] == "offline" and newest_reading <= newest_word[0]
    saved, connections = list(room.state.pop_unsaved_values().values()), room.state.pop_unsaved_connections()
    again = room.restarted(saved, now_ms=NOON + 5, online=connections.values())
    for each in (room, again):
        assert each.state.known.is_online("a") is (None if newest_word is None else not is_offline)
        if newest_reading >= 0:
            assert (each.shown("R/HOLD")[2] is Quality.OFFLINE) == is_offline
            assert each.shown("R/HOLD") == room.shown("R/HOLD")
        assert each.state.latest(points.by_name["R/ONLINE"]) is None or online(each) == int(not is_offline)
    assert again.state.pop_unsaved_connections() == {}


def test_a_stand_in_that_is_over_is_not_the_newest(room: Room) -> None:
    """On its way when the device is back, it does not replace the reading."""
    report_connection(room, online=False)
    measured, stand_in, *_ = room.read(at_ms=NOON, hold=21)
    assert [room.state.is_newest(update) for update in (measured, stand_in)] == [False, True]
    (again,) = named(report_connection(room, online=True, at_ms=NOON + 1), "HOLD")
    assert again is measured
    assert [room.state.is_newest(update) for update in (measured, stand_in)] == [True, False]
