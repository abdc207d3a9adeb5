"""What commands see of the journal, beside a gateway that runs, or without one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.journal_parts import START_MS, make_event, sqlite_journal

from gateway.errors import GatewayError
from gateway.journal.lookup import (
    newest_events,
    read_assets,
    read_cursors,
    read_dead_letter,
    read_dead_letters,
    read_error,
    read_event,
    read_unmapped_assets,
)
from gateway.records import DeadLetter, StateChanges, StoredDeadLetter, UnmappedAsset

if TYPE_CHECKING:
    from pathlib import Path

LETTER = DeadLetter("bms", 1, "evt_1", "L03/ZN-T", "topic refused", START_MS)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_events_cursors_and_dead_letters_are_seen_while_the_journal_is_in_use(tmp_path: Path) -> None:
    """Commands read what is committed, at once and without the journal's lock."""
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
        assert read_dead_letter(path, 1) == StoredDeadLetter(1, LETTER, make_event(1).body)
        assert read_dead_letter(path, 2) is None


async def test_reading_a_journal_at_rest_leaves_no_files_behind(tmp_path: Path) -> None:
    """After an orderly stop the same is seen, and the folder stays as the gateway's user left it."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1))
        journal.save(StateChanges(dead_letters=[LETTER]))
    before = _files(tmp_path)
    found = read_event(tmp_path / "journal.db", "evt_1")
    assert found is not None
    assert read_dead_letters(tmp_path / "journal.db") == {1: LETTER}
    assert _files(tmp_path) == before


async def test_assets_that_no_table_names_and_the_newest_events_are_seen(tmp_path: Path) -> None:
    """Both show what is reported; events without a body are left out."""
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


def test_a_journal_that_is_not_there_yet_has_seen_nothing(tmp_path: Path) -> None:
    """Before the gateway's first start there is nothing to show, and nothing is created."""
    path = tmp_path / "journal.db"
    assert (read_unmapped_assets(path), list(newest_events(path, limit=9))) == ([], [])
    assert _files(tmp_path) == []


async def test_an_event_whose_body_was_given_up_is_still_known(tmp_path: Path) -> None:
    """What a dead letter keeps is shown; without one, only number and time are left."""
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
def test_a_journal_that_is_not_there_yet_is_empty(tmp_path: Path, name: str) -> None:
    """Before the first start commands find nothing, and create nothing."""
    (tmp_path / "empty.db").touch()
    before = sorted(tmp_path.iterdir())
    path = tmp_path / name
    assert read_event(path, "evt_1") is None
    assert read_assets(path) is None
    assert read_cursors(path) == {}
    assert read_dead_letters(path) == {}
    assert read_dead_letter(path, 1) is None
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_of_a_newer_gateway_is_refused_in_words(tmp_path: Path) -> None:
    """The message says which layout it is and what to do."""
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(GatewayError, match=r"journal\.db: written by a newer gateway \(layout 99.*install"):
        read_cursors(path)


def test_why_a_journal_cannot_be_read_comes_with_what_to_do(tmp_path: Path) -> None:
    """Damaged, newer, a folder: each has its own remedy, and only a lack of rights asks for rights."""
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


async def test_a_journal_that_another_program_keeps_locked(tmp_path: Path) -> None:
    """The remedy is to end that program, not to get more rights."""
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


def test_what_is_no_journal_is_refused_in_words(tmp_path: Path) -> None:
    """A file or folder that SQLite can't read gives one line, no traceback."""
    no_database = tmp_path / "a#strange?%20name.db"
    no_database.write_text("no database, but long enough to look like a file with something in it" * 20)
    with pytest.raises(GatewayError, match=r"name\.db: the journal can't be read: file is not a database"):
        read_event(no_database, "evt_1")
    with pytest.raises(GatewayError, match="the journal can't be read"):
        read_assets(tmp_path)
