"""Points that read the first of several telemetry keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, load_good_tables
from support.room_state import NOON, Room

from gateway.model import Quality
from gateway.state.building_state import BuildingState
from gateway.tools.run_cases import run_cases

if TYPE_CHECKING:
    from pathlib import Path

GOOD, BAD = Quality.GOOD, Quality.BAD
TABLE = f"""{HEAD}points:
  - {{tag: R, point: BOTH, asset: a, from: [new, old]}}
  - {{tag: R, point: OLD, asset: a, from: old}}
"""


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Return an empty state."""
    points = load_good_tables(tmp_path, TABLE)
    return Room(points, BuildingState(points))


def test_of_several_keys_in_an_event_the_first_one_counts(room: Room) -> None:
    """The other one is not even history; a point of its own has it all the same."""
    for updates in (room.read(at_ms=NOON, new=1, old=2), room.read(at_ms=NOON, old=2, new=1)):
        assert {(update.point.point, update.value) for update in updates} == {("BOTH", 1), ("OLD", 2)}
        assert len(updates) == 2


def test_keys_in_different_events_each_count(room: Room) -> None:
    """The newest reading is shown, by whichever key it came."""
    room.read(at_ms=NOON, new=1)
    room.read(at_ms=NOON + 2, old=2)
    assert room.shown("R/BOTH") == (2, 2, GOOD)
    room.read(at_ms=NOON + 1, new=3)
    assert room.shown("R/BOTH") == (2, 2, GOOD)


def test_a_key_without_a_value_is_there(room: Room) -> None:
    """Its point is bad: nothing older or less preferred stands in for it."""
    room.read(at_ms=NOON, new=None, old=2)
    assert room.shown("R/BOTH") == (None, None, BAD)


def test_a_restart_shows_the_same(room: Room) -> None:
    """The reading of one key is never shown by a point of another one, whichever was newer."""
    room.read(at_ms=NOON, old=2)
    room.read(at_ms=NOON + 1, new=1)
    saved = list(room.state.pop_unsaved_values().values())
    for values in (saved, saved[::-1]):
        again = room.restarted(values, now_ms=NOON + 2)
        assert again.shown("R/BOTH") == (1, 1, GOOD)
        assert again.shown("R/OLD") == (2, 2, GOOD)


def test_a_point_that_gets_a_second_key_keeps_its_reading(room: Room, tmp_path: Path) -> None:
    """As any reading of a source that a point had before."""
    room.read(at_ms=NOON, old=2)
    saved = [value for value in room.state.pop_unsaved_values().values() if value.point == "R/OLD"]
    table = TABLE.replace("asset: a, from: old", "asset: a, from: [x, old]")
    edited = Room(load_good_tables(tmp_path, table), room.state)
    assert edited.restarted(saved, now_ms=NOON).shown("R/OLD") == (2, 2, GOOD)


def test_cases_read_the_first_key(tmp_path: Path) -> None:
    """A case with both keys expects what the gateway shows."""
    case = "cases: [{given: {asset: a, telemetry: {old: 2, new: 1}}, expect: {R/BOTH: 1, R/OLD: 2}}]\n"
    assert run_cases(load_good_tables(tmp_path, TABLE + case)) == []
