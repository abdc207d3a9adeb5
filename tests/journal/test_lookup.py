"""What commands read from the journal, with the gateway running or stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.journal_parts import START_MS, make_event, sqlite_journal

from gateway.errors import GatewayError
from gateway.events import parse_event
from gateway.journal.lookup import (
    newest_events,
    read_assets,
    read_cursors,
    read_dead_letter,
    read_dead_letters,
    read_error,
    read_event,
    read_unmapped_assets,
    search_asset_events,
)
from gateway.records import DeadLetter, StateChanges, StoredDeadLetter, UnmappedAsset

if TYPE_CHECKING:
    from pathlib import Path

LETTER = DeadLetter("bms", 1, "evt_1", "L03/ZN-T", "topic refused", START_MS)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_commands_read_a_journal_in_use(tmp_path: Path) -> None:
    """Committed events, cursors and dead letters are read without the journal's lock."""
    path = tmp_path / "journal.db"
    async with sqlite_journal(tmp_path, sinks=("bms", "regs")) as journal:
        await journal.append(make_event(1))
        journal.save(StateChanges(values_through=1, dead_letters=[LETTER]))
        journal.move_cursor("bms", 1)
        await journal.flush()
        found = read_event(path, "evt_1")
        assert found is not None
        assert (found.seq, found.event) == (1, make_event(1))
        assert read_event(path, "evt_2") is None
        assert read_cursors(path) == {"bms": 1, "regs": 0}
        assert read_dead_letters(path) == read_dead_letters(path, event_id="evt_1") == {1: LETTER}
        assert read_dead_letters(path, event_id="evt_2") == {}
        assert read_dead_letter(path, 1) == StoredDeadLetter(1, LETTER, make_event(1).body, START_MS)
        assert read_dead_letter(path, 2) is None


async def test_reading_a_closed_journal_creates_no_files(tmp_path: Path) -> None:
    """The same is read, and the folder stays as the gateway's user left it."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1))
        journal.save(StateChanges(dead_letters=[LETTER]))
    before = _files(tmp_path)
    found = read_event(tmp_path / "journal.db", "evt_1")
    assert found is not None
    assert read_dead_letters(tmp_path / "journal.db") == {1: LETTER}
    assert _files(tmp_path) == before


async def test_unmapped_assets_and_the_newest_events_are_read(tmp_path: Path) -> None:
    """Events without a body are left out."""
    path = tmp_path / "journal.db"
    unmapped = [
        UnmappedAsset("ast-a", 3, START_MS, START_MS + 5, ("t", "ö/h")),
        UnmappedAsset("ast-b", 1, START_MS, START_MS, ()),
    ]
    async with sqlite_journal(tmp_path) as journal:
        for number in (1, 2, 3, 4):
            await journal.append(make_event(number))
        journal.save(StateChanges(unmapped_assets={one.asset: one for one in reversed(unmapped)}))
        await journal.flush()
        assert read_unmapped_assets(path) == unmapped
        assert list(newest_events(path, limit=2)) == [make_event(4), make_event(3)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE events SET body = NULL WHERE seq > 2")
    assert list(newest_events(path, limit=9)) == [make_event(2), make_event(1)]


async def test_an_event_without_its_body_is_still_found(tmp_path: Path) -> None:
    """A dead letter's copy of the body is used; without one, number and time are left."""
    path = tmp_path / "journal.db"
    async with sqlite_journal(tmp_path) as journal:
        for number in (1, 2):
            await journal.append(make_event(number))
        journal.save(StateChanges(dead_letters=[LETTER]))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE events SET body = NULL")
    with_letter, without = read_event(path, "evt_1"), read_event(path, "evt_2")
    assert with_letter is not None
    assert with_letter.event == make_event(1)
    assert without is not None
    assert (without.seq, without.event.received_ms, without.event.body) == (2, START_MS, b"")


@pytest.mark.parametrize("name", ["none.db", "no/folder.db", "empty.db"])
def test_a_missing_journal_is_empty(tmp_path: Path, name: str) -> None:
    """Before the first start commands find nothing and create nothing."""
    (tmp_path / "empty.db").touch()
    before = sorted(tmp_path.iterdir())
    path = tmp_path / name
    assert read_event(path, "evt_1") is None
    assert read_assets(path) is None
    assert read_cursors(path) == {}
    assert read_dead_letters(path) == {}
    assert read_dead_letter(path, 1) is None
    assert (read_unmapped_assets(path), list(newest_events(path, limit=9))) == ([], [])
    assert sorted(tmp_path.iterdir()) == before


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    """The message has the layout's number and what to do."""
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(GatewayError, match=r"journal\.db: written by a newer gateway \(layout 99.*install"):
        read_cursors(path)


def test_each_read_error_has_a_remedy(tmp_path: Path) -> None:
    """A damaged file, a newer layout and a folder are three cases."""
    path = tmp_path / "journal.db"
    assert read_error(path) is None
    folder = read_error(tmp_path)
    assert folder is not None
    assert folder[1].startswith("name a file in journal.url")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version=99")
        newer = read_error(path)
        assert newer is not None
        assert newer[0].startswith(f"{path}: written by a newer gateway (layout 99")
        assert newer[1] == "install that version again"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    damaged = read_error(path)
    assert damaged is not None
    assert damaged[0] == f"{path}: the journal can't be read: file is not a database"
    assert damaged[1].startswith(
        "start the gateway, which moves the file aside and takes over what can be read"
    )


async def test_a_locked_journal(tmp_path: Path) -> None:
    """The remedy is to end the program that holds the lock."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1))
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("CREATE TABLE another(a)")
        locked = await asyncio.to_thread(read_error, tmp_path / "journal.db")
    assert locked is not None
    assert locked[0].endswith("the journal can't be read: database is locked")
    assert locked[1].startswith("end the program that keeps it locked")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The error is one line without a traceback."""
    no_database = tmp_path / "a#strange?%20name.db"
    no_database.write_text("no database, but long enough to look like a file with something in it" * 20)
    with pytest.raises(GatewayError, match=r"name\.db: the journal can't be read: file is not a database"):
        read_event(no_database, "evt_1")
    with pytest.raises(GatewayError, match="the journal can't be read"):
        read_assets(tmp_path)


async def test_the_events_of_one_asset_are_found_without_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first, over several steps, also where its id is written with escapes in the body."""
    monkeypatch.setattr("gateway.journal.lookup._SEARCHED_AT_ONCE", 3)
    bodies = [
        b'{"id": "e%d", "type": "asset.telemetry.updated", "data": {"object": {"id": %b}}}' % (number, name)
        for number, name in enumerate([b'"h\\u00e4/1"', b'"h/1"', '"hä\\/1"'.encode(), b'"x"', b'"/1"'] * 2)
    ]
    async with sqlite_journal(tmp_path) as journal:
        for number, body in enumerate(bodies):
            await journal.append(parse_event(body, received_ms=START_MS + number))
        found = list(search_asset_events(tmp_path / "journal.db", "hä/1"))
    events = [(at_ms - START_MS, record.event.event_id) for at_ms, record in found if record is not None]
    assert events == [(7, "e7"), (5, "e5"), (2, "e2"), (0, "e0")]
    assert [at_ms - START_MS for at_ms, record in found if record is None] == [6, 3, 0]
    assert list(search_asset_events(tmp_path / "none.db", "hä/1")) == []
