"""The board without a daemon: who is told what, and how much is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.point_tables import load_good_tables
from support.room_state import NOON, TABLE, Room

from gateway.admin.dashboard.board import Board
from gateway.errors import TransientError
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Begin with an empty image of one room."""
    points = load_good_tables(tmp_path, TABLE)
    return Room(points, BuildingState(points))


def make_board(room: Room) -> Board:
    """Return a board of the room."""
    return Board(lambda: room.state, status=lambda: {"name": "gw"})


def told(queue: Any) -> list[tuple[str, Any]]:
    """Return what waits in a queue."""
    found = []
    while not queue.empty():
        message = queue.get_nowait()
        found.append(("end", None) if message is None else (message[0], orjson.loads(message[1])))
    return found


def values(messages: list[tuple[str, Any]]) -> list[Any]:
    """Return the values that messages tell."""
    return [row[1] for name, rows in messages if name == "values" for row in rows]


async def test_who_opens_the_page_takes_nothing_from_who_watches(room: Room) -> None:
    """What is found out for the one is told to the other, and nothing twice as a change."""
    board = make_board(room)
    with board.watch() as first:
        list(board.everything())
        room.read(at_ms=NOON, value=21)
        with board.watch() as second:
            everything = [(name, orjson.loads(document)) for name, document in board.everything()]
        assert 21 in values(everything)
        assert 21 in values(told(first))
        board.tick()
        assert values(told(first)) == []
    assert [name for name, _ in everything] == ["tables", "status", "values"]
    assert told(second) == []


async def test_the_last_numbers_are_remembered_without_anybody_watching(room: Room) -> None:
    """Oldest first, at most 48; a late reading is not among them, nor is what stands in for one."""
    board = make_board(room)
    for number in range(60):
        room.read(at_ms=NOON + 1000 * number, value=number % 50)
        board.tick()
    room.read(at_ms=NOON, value=3)
    room.state.tick(NOON + 1_000_000)
    board.tick()
    recent = board.recent(["R/VALUE", "R/HOLD", "R/QUAL"])
    assert recent.keys() == {"R/VALUE"}
    assert recent["R/VALUE"][::2] == [NOON / 1000 + number for number in range(12, 60)]
    assert recent["R/VALUE"][1::2] == [number % 50 for number in range(12, 60)]


async def test_a_page_that_sleeps_is_let_go(room: Room) -> None:
    """It is told that its stream has ended, and asks for everything again when it wakes up."""
    board = make_board(room)
    with board.watch() as asleep, board.watch() as awake:
        for _ in range(40):
            board.tick()
            told(awake)
        assert told(asleep) == [("end", None)]
        board.tick()
        assert told(asleep) == []
        assert [name for name, _ in told(awake)] == ["status"]


async def test_there_is_room_for_so_many_pages(room: Room) -> None:
    """The next one is told so; a page that is closed makes room."""
    board = make_board(room)
    opened = [board.watch() for _ in range(20)]
    for each in opened:
        each.__enter__()
    with pytest.raises(TransientError, match="20 pages are open already"), board.watch():
        pass
    opened[0].__exit__(None, None, None)
    with board.watch():
        pass
    for each in opened[1:]:
        each.__exit__(None, None, None)


async def test_other_tables_begin_anew(room: Room, tmp_path: Path) -> None:
    """Who watches is told that numbers mean other points; what is remembered of a name stays."""
    board = make_board(room)
    with board.watch() as queue:
        list(board.everything())
        room.read(at_ms=NOON, value=21)
        board.tick()
        told(queue)
        folder = tmp_path / "other"
        folder.mkdir()
        other = load_good_tables(folder, TABLE.replace("R, point: HOLD", "R, point: KEPT"))
        room.state = BuildingState(other)
        board.tick()
        generation, points = board.tables()
        assert points is other
        assert ("tables", generation) in told(queue)
    assert board.recent(["R/VALUE"])["R/VALUE"][1::2] == [21]


async def test_points_have_the_numbers_that_were_told_last(room: Room, tmp_path: Path) -> None:
    """Tables that are in force and not told yet would put values to other points' names."""
    board = make_board(room)
    before = board.tables()
    (tmp_path / "other").mkdir()
    room.state = BuildingState(load_good_tables(tmp_path / "other", TABLE))
    assert board.tables() == before
    board.tick()
    assert board.tables() == (before[0] + 1, room.state.points)


async def test_other_tables_end_what_is_being_told(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of the new tables are never told under numbers of the old ones."""
    monkeypatch.setattr("gateway.admin.dashboard.board._TOLD_AT_ONCE", 1)
    board = make_board(room)
    room.read(at_ms=NOON, value=21)
    with board.watch() as queue:
        everything = board.everything()
        assert [next(everything)[0] for _ in range(3)] == ["tables", "status", "values"]
        (tmp_path / "other").mkdir()
        room.state = BuildingState(load_good_tables(tmp_path / "other", TABLE))
        board.tick()
        assert list(everything) == []
        assert [name for name, _ in told(queue)] == ["tables", "status"]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 30])
def test_every_point_has_its_turn(room: Room, count: int) -> None:
    """However few are compared at once, each is after some turns, and none twice within one."""
    board = make_board(room)
    board.tick()
    all_points = len(room.points.points)
    seen: list[int] = []
    for _ in range(all_points):
        turn = list(board._turn(min(count, all_points)))
        assert len(set(turn)) == len(turn) == min(count, all_points)
        seen += turn
    assert set(seen) == (set(range(all_points)) if count else set())
