"""The dashboard's points without a daemon: the messages of each page, and the numbers that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.point_tables import load_good_tables
from support.room_state import NOON, TABLE, Room

from gateway.admin.dashboard_points import LivePoints
from gateway.errors import TransientError
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Return one room without values."""
    points = load_good_tables(tmp_path, TABLE)
    return Room(points, BuildingState(points))


def make_live_points(room: Room) -> LivePoints:
    """Return the points of the room, for pages."""
    return LivePoints(lambda: room.state, status=lambda: {"name": "gw"})


def sent(queue: Any) -> list[tuple[str, Any]]:
    """Return the messages in a queue."""
    found = []
    while not queue.empty():
        message = queue.get_nowait()
        found.append(("end", None) if message is None else (message[0], orjson.loads(message[1])))
    return found


def values(messages: list[tuple[str, Any]]) -> list[Any]:
    """Return the values in messages."""
    return [row[1] for name, rows in messages if name == "values" for row in rows]


async def test_a_page_that_opens_takes_no_change_from_another(room: Room) -> None:
    """Changes found for a new page are sent to the others, and only once."""
    live = make_live_points(room)
    with live.watch() as first:
        list(live.everything())
        room.read(at_ms=NOON, value=21)
        with live.watch() as second:
            everything = [(name, orjson.loads(document)) for name, document in live.everything()]
        assert 21 in values(everything)
        assert 21 in values(sent(first))
        live.tick()
        assert values(sent(first)) == []
    assert [name for name, _ in everything] == ["tables", "status", "values"]
    assert sent(second) == []


async def test_the_last_numbers_are_kept_without_a_page(room: Room) -> None:
    """At most 48, oldest first, without late readings and substitute values."""
    live = make_live_points(room)
    for number in range(60):
        room.read(at_ms=NOON + 1000 * number, value=number % 50)
        live.tick()
    room.read(at_ms=NOON, value=3)
    room.state.tick(NOON + 1_000_000)
    live.tick()
    recent = live.recent(["R/VALUE", "R/HOLD", "R/QUAL"])
    assert recent.keys() == {"R/VALUE"}
    assert recent["R/VALUE"][::2] == [NOON / 1000 + number for number in range(12, 60)]
    assert recent["R/VALUE"][1::2] == [number % 50 for number in range(12, 60)]


async def test_the_stream_of_a_page_that_sleeps_ends(room: Room) -> None:
    """A page that reads nothing gets the end of its stream."""
    live = make_live_points(room)
    with live.watch() as asleep, live.watch() as awake:
        for _ in range(40):
            live.tick()
            sent(awake)
        assert sent(asleep) == [("end", None)]
        live.tick()
        assert sent(asleep) == []
        assert [name for name, _ in sent(awake)] == ["status"]


async def test_at_most_20_pages_are_open(room: Room) -> None:
    """The next one is refused until one is closed."""
    live = make_live_points(room)
    opened = [live.watch() for _ in range(20)]
    for each in opened:
        each.__enter__()
    with pytest.raises(TransientError, match="20 pages are open already"), live.watch():
        pass
    opened[0].__exit__(None, None, None)
    with live.watch():
        pass
    for each in opened[1:]:
        each.__exit__(None, None, None)


async def test_other_tables_begin_anew(room: Room, tmp_path: Path) -> None:
    """Open pages get a new generation; the last numbers of a name stay."""
    live = make_live_points(room)
    with live.watch() as queue:
        list(live.everything())
        room.read(at_ms=NOON, value=21)
        live.tick()
        sent(queue)
        folder = tmp_path / "other"
        folder.mkdir()
        other = load_good_tables(folder, TABLE.replace("R, point: HOLD", "R, point: KEPT"))
        room.state = BuildingState(other)
        live.tick()
        generation, points = live.tables()
        assert points is other
        assert ("tables", generation) in sent(queue)
    assert live.recent(["R/VALUE"])["R/VALUE"][1::2] == [21]


async def test_points_have_the_numbers_that_were_sent_last(room: Room, tmp_path: Path) -> None:
    """Tables not sent yet do not change the points' numbers."""
    live = make_live_points(room)
    before = live.tables()
    (tmp_path / "other").mkdir()
    room.state = BuildingState(load_good_tables(tmp_path / "other", TABLE))
    assert live.tables() == before
    live.tick()
    assert live.tables() == (before[0] + 1, room.state.points)


async def test_other_tables_end_what_is_being_sent(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of new tables are never sent under numbers of old ones."""
    monkeypatch.setattr("gateway.admin.dashboard_points._POINTS_PER_MESSAGE", 1)
    live = make_live_points(room)
    room.read(at_ms=NOON, value=21)
    with live.watch() as queue:
        everything = live.everything()
        assert [next(everything)[0] for _ in range(3)] == ["tables", "status", "values"]
        (tmp_path / "other").mkdir()
        room.state = BuildingState(load_good_tables(tmp_path / "other", TABLE))
        live.tick()
        assert list(everything) == []
        assert [name for name, _ in sent(queue)] == ["tables", "status"]
