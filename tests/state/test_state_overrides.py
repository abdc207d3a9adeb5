"""Commissioning overrides: what is shown while they last, and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.bacnet_lock import load_objects
from support.point_tables import load_good_tables
from support.room_state import FRESH_MS, NOON, Room, named

from gateway.errors import GatewayError
from gateway.model import Quality
from gateway.records import Override
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar, Update

UNTIL = NOON + 600_000
REGISTERS = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: WORD, asset: a, from: w, modbus: {to: regs, table: input, register: 3, type: uint16}}
"""


def without_age(updates: list[Update]) -> list[Update]:
    """Leave out `$age`, which comes with each change of its asset."""
    return [update for update in updates if update.point.source != "$age"]


def force(room: Room, name: str, value: Scalar, *, now_ms: int = NOON, until_ms: int = UNTIL) -> list[Update]:
    """Force a point of tag R."""
    point = room.points.by_name[f"R/{name}"]
    return without_age(room.state.force(point, value, until_ms=until_ms, now_ms=now_ms))


def release(room: Room, name: str, *, now_ms: int = NOON) -> list[Update]:
    """Release a point of tag R."""
    return without_age(room.state.release(room.points.by_name[f"R/{name}"], now_ms=now_ms))


def brief(updates: list[Update]) -> list[tuple[str, Scalar, Scalar, Quality]]:
    """Return point, values and quality of updates."""
    return [(update.point.point, update.value, update.safe_value, update.quality) for update in updates]


def test_a_forced_value_is_shown_whatever_is_measured(room: Room) -> None:
    """Readings meanwhile are not the newest and change neither value nor quality."""
    room.read(at_ms=NOON, hold=21)
    (forced, quality) = force(room, "HOLD", 30)
    assert brief([forced, quality]) == [
        ("HOLD", 30, 30, Quality.FORCED),
        ("QUAL", 4, 4, Quality.GOOD),
    ]
    out = room.read(at_ms=NOON + 60_000, hold=22)
    assert brief(named(out, "HOLD")) == [("HOLD", 22, 22, Quality.GOOD)]
    assert [room.state.is_newest(update) for update in (out[0], forced)] == [False, True]
    assert named(out, "QUAL") == []
    assert room.shown("R/HOLD") == (30, 30, Quality.FORCED)
    assert room.state.pop_unsaved_values()["R/HOLD"].raw == 22


def test_a_forced_value_does_not_age(room: Room) -> None:
    """After the release the point shows its aged reading, as the newest."""
    room.read(at_ms=NOON, hold=21)
    force(room, "HOLD", 30)
    assert room.state.tick(NOON + FRESH_MS + 1) == []
    assert room.shown("R/HOLD") == (30, 30, Quality.FORCED)
    (held, quality) = release(room, "HOLD", now_ms=NOON + FRESH_MS + 2)
    assert brief([held, quality]) == [("HOLD", 21, 21, Quality.HELD), ("QUAL", 1, 1, Quality.GOOD)]
    assert room.state.is_newest(held)
    assert release(room, "HOLD") == []


def test_a_released_point_shows_its_fresh_reading_which_ages_in_its_time(room: Room) -> None:
    """The reading that came meanwhile is the newest and keeps its deadline."""
    force(room, "SENTINEL", 5)
    (late, *_) = room.read(at_ms=NOON + 1, sentinel=21)
    assert not room.state.is_newest(late)
    (measured, _) = release(room, "SENTINEL", now_ms=NOON + 2)
    assert measured is late
    assert room.state.is_newest(measured)
    (stale, _) = without_age(room.state.tick(NOON + FRESH_MS + 2))
    assert brief([stale]) == [("SENTINEL", None, None, Quality.STALE)]


def test_an_override_ends_by_itself(room: Room) -> None:
    """At its end the measured value is shown again."""
    room.read(at_ms=UNTIL, hold=21)
    force(room, "HOLD", 30)
    assert room.state.tick(UNTIL - 1) == []
    assert room.state.overrides() == [Override("R/HOLD", 30, NOON, UNTIL)]
    assert brief(without_age(room.state.tick(UNTIL))) == [
        ("HOLD", 21, 21, Quality.GOOD),
        ("QUAL", 0, 0, Quality.GOOD),
    ]
    assert room.state.overrides() == []


def test_forcing_again_replaces_value_and_time(room: Room) -> None:
    """The later override counts, also if it ends earlier."""
    (first, _) = force(room, "HOLD", 30)
    (second,) = force(room, "HOLD", 31, now_ms=NOON + 1, until_ms=NOON + 5)
    assert [room.state.is_newest(update) for update in (first, second)] == [False, True]
    assert room.state.overrides() == [Override("R/HOLD", 31, NOON + 1, NOON + 5)]
    assert brief(named(room.state.tick(NOON + 5), "HOLD")) == [("HOLD", None, None, Quality.BAD)]


@pytest.mark.parametrize("name", ["HOLD", "SENTINEL", "VALUE"])
def test_a_point_without_a_reading_shows_no_value_once_it_is_released(room: Room, name: str) -> None:
    """It shows no value and bad quality until its first reading."""
    force(room, name, 5)
    nothing, quality = release(room, name, now_ms=NOON + 9)
    assert brief([nothing, quality]) == [(name, None, None, Quality.BAD), ("QUAL", None, None, Quality.BAD)]
    assert room.state.is_newest(nothing)
    (measured, *_) = room.read(at_ms=NOON, **{name.lower(): 21})
    assert room.state.is_newest(measured)
    assert room.shown(f"R/{name}") == (21, 21, Quality.GOOD)
    assert room.shown("R/QUAL")[0] == Quality.GOOD


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("R/AGE", 1, "R/AGE: shows $age, which the gateway makes itself; it cannot be forced"),
        ("R/QUAL", 1, "R/QUAL: shows $quality, which the gateway makes itself; it cannot be forced"),
        ("$gateway/heartbeat", 1, "$gateway/heartbeat: shows $heartbeat, which the gateway makes itself"),
        ("R/HOLD", float("nan"), "R/HOLD: cannot be forced to nan, which is no value"),
    ],
)
def test_what_cannot_be_forced_is_refused(room: Room, name: str, value: Scalar, message: str) -> None:
    """The gateway's own points, and values that are not finite, are refused."""
    with pytest.raises(GatewayError) as refused:
        room.state.force(room.points.by_name[name], value, until_ms=UNTIL, now_ms=NOON)
    assert message in str(refused.value)
    assert room.state.all_latest() == []
    assert room.state.overrides() == []


@pytest.mark.parametrize("value", [-1, 65536, "text"])
def test_a_value_that_a_register_cannot_hold_is_refused(
    tmp_path_factory: pytest.TempPathFactory, value: Scalar
) -> None:
    """The error names the register."""
    points = load_good_tables(tmp_path_factory.mktemp("tables"), REGISTERS)
    room = Room(points, BuildingState(points))
    with pytest.raises(GatewayError, match=r"R/WORD: cannot be forced to .*regs, unit 1, input 3: .*uint16"):
        force(room, "WORD", value)
    force(room, "WORD", None)
    assert room.shown("R/WORD") == (None, None, Quality.FORCED)


def test_a_value_that_its_bacnet_object_cannot_hold_is_refused(tmp_path: Path) -> None:
    """The error names the sink, the object type and what to write."""
    table = REGISTERS.replace(
        "modbus: {to: regs, table: input, register: 3, type: uint16}", "bacnet: {instance: 3}"
    )
    points = load_objects(tmp_path, table).point_map
    assert points is not None
    room = Room(points, BuildingState(points))
    reason = (
        r"R/WORD: cannot be forced to 'low': bac: analog-input holds numbers, .*: write a `map`, or `bacnet:"
    )
    with pytest.raises(GatewayError, match=reason):
        force(room, "WORD", "low")
    force(room, "WORD", 21.5)
    assert room.shown("R/WORD") == (21.5, 21.5, Quality.FORCED)


def test_a_past_end_and_an_unknown_point_are_refused(room: Room, points: PointMap) -> None:
    """Neither would ever be shown."""
    with pytest.raises(GatewayError, match="R/HOLD: cannot be forced until a time that has passed"):
        force(room, "HOLD", 1, until_ms=NOON)
    other = BuildingState(load_other_points(points))
    with pytest.raises(GatewayError, match="R/HOLD: is no point of the tables in force"):
        other.force(points.by_name["R/HOLD"], 1, until_ms=UNTIL, now_ms=NOON)


def load_other_points(points: PointMap) -> PointMap:
    """Return a point map of other points."""
    return type(points)((), {})


def test_overrides_outlive_a_restart(room: Room) -> None:
    """They have the same value and end; one that ended without a reading shows no value."""
    room.read(at_ms=NOON, hold=21)
    force(room, "HOLD", 30)
    force(room, "SENTINEL", 31, until_ms=NOON + 5)
    force(room, "VALUE", 32)
    saved, forced = list(room.state.pop_unsaved_values().values()), room.state.pop_unsaved_overrides()
    assert room.state.pop_unsaved_overrides() == {}
    again = room.restarted(saved, now_ms=NOON + 5, forced=[each for each in forced.values() if each])
    assert again.shown("R/HOLD") == (30, 30, Quality.FORCED)
    assert again.shown("R/SENTINEL") == (None, None, Quality.BAD)
    assert again.shown("R/QUAL")[0] == Quality.FORCED
    assert {each.point for each in again.state.overrides()} == {"R/HOLD", "R/VALUE"}
    assert again.state.pop_unsaved_overrides() == {}
    again.state.tick(UNTIL)
    assert again.shown("R/HOLD") == (21, 21, Quality.HELD)
    assert again.shown("R/VALUE") == (None, None, Quality.BAD)
    ended = again.state.pop_unsaved_overrides()
    assert ended["R/HOLD"] is None
    assert ended["R/VALUE"] == Override("R/VALUE", 32, NOON, UNTIL)
