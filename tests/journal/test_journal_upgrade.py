"""Journals of the first layout, from before events had an origin."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.journal_parts import START_MS, ids, make_event, read_all, sqlite_journal

from gateway.journal.database import corrupt_files
from gateway.journal.lookup import newest_events, read_dead_letter, read_event, search_asset_events
from gateway.model import Origin
from gateway.records import DeadLetter, StateChanges

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT_1 = """CREATE TABLE events(
  seq INTEGER PRIMARY KEY, id_hash BLOB NOT NULL UNIQUE, received_ms INTEGER NOT NULL, body BLOB) STRICT"""
RELAYED = replace(make_event(7), origin=Origin("intake-1", START_MS - 1))


async def old_journal(folder: Path) -> Path:
    """Write a journal of layout 1 with seven events and a dead letter."""
    letter = DeadLetter("bms", 1, "evt_0", "R/T", "refused", START_MS)
    async with sqlite_journal(folder) as journal:
        for number in range(7):
            journal.append(make_event(number))
        journal.save(StateChanges(dead_letters=[letter], values_through=3))
    path = folder / "journal.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript("ALTER TABLE events RENAME TO newer")
        database.execute(LAYOUT_1)
        database.executescript("""
            INSERT INTO events SELECT seq, id_hash, received_ms, body FROM newer; DROP TABLE newer;
            PRAGMA user_version=1; PRAGMA wal_checkpoint(TRUNCATE)""")
    return path


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_an_older_journal_is_upgraded_in_place(tmp_path: Path, *, is_damaged: bool) -> None:
    """All of its events stay, new ones get an origin, and a damaged one is taken over as ever."""
    path = await old_journal(tmp_path)
    if is_damaged:
        with path.open("r+b") as file:  # the last page is that of `dead_letters` or an index
            file.seek(-2048, 2)
            file.write(b"\xff" * 2048)
    for expected in (7, 8):
        async with sqlite_journal(tmp_path) as journal:
            assert ids(await read_all(journal)) == [f"evt_{number}" for number in range(expected)]
            await journal.append(RELAYED)
            assert (await read_all(journal))[-1].event == RELAYED
    assert len(corrupt_files(path)) == is_damaged


async def test_commands_read_an_older_journal_before_its_upgrade(tmp_path: Path) -> None:
    """After an update, commands work before the gateway has started, and change nothing."""
    path = await old_journal(tmp_path)
    before = path.read_bytes()
    found = read_event(path, "evt_3")
    assert found is not None
    assert found.event == make_event(3)
    assert len(list(newest_events(path, limit=10))) == 7
    assert list(search_asset_events(path, "ast-1")) == []
    letter = read_dead_letter(path, 1)
    assert letter is not None
    assert letter.body == make_event(0).body
    assert path.read_bytes() == before
