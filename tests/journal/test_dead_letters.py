"""Dead letters in the journal's SQLite file: those of an older gateway, how many are kept and counted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.edited_tables import until
from support.journal_parts import START_MS, make_event, sqlite_journal

from gateway.journal.lookup import read_letters
from gateway.model import DeadLetter, Notes, StoredLetter
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from pathlib import Path

LETTER = DeadLetter("bms", 0, "", "L03/ZN-T", "topic refused", START_MS)
MOST = 10_000
# As gateways wrote it up to layout 4; never to be changed.
OLDER_TABLE = """
DROP TABLE dead_letters;
CREATE TABLE dead_letters(
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, sink TEXT NOT NULL, seq INTEGER NOT NULL,
  event_id TEXT NOT NULL, point TEXT NOT NULL, reason TEXT NOT NULL, body BLOB) STRICT;
"""


@pytest.mark.parametrize("layout", [3, 4])
async def test_letters_of_an_older_layout_are_taken_over(tmp_path: Path, layout: int) -> None:
    """They keep numbers and bodies, and are seen before and after; from then on no number comes twice."""
    event, path = make_event(1), tmp_path / "journal.db"
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(event)
    row = (7, START_MS, "bms", 1, "evt_1", "L03/ZN-T", "topic refused", event.body)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(OLDER_TABLE + ("DROP TABLE retained;" if layout == 3 else ""))
        with database:
            database.execute("INSERT INTO dead_letters VALUES (?,?,?,?,?,?,?,?)", row)
        database.execute(f"PRAGMA user_version={layout}")
    letter = DeadLetter("bms", 1, "evt_1", "L03/ZN-T", "topic refused", START_MS)
    assert read_letters(path) == {7: letter}
    async with sqlite_journal(tmp_path) as journal:
        assert await journal.letters(range(100)) == [StoredLetter(7, letter, event.body)]
        journal.note(Notes(settled=[7]))
        await journal.flush()
        journal.note(Notes(dead_letters=[LETTER]))
        await journal.flush()
        assert [each.number for each in await journal.letters(range(100))] == [8]


async def test_the_newest_ten_thousand_are_kept_however_many_were_settled(tmp_path: Path) -> None:
    """Numbers that are gone do not count: a letter is given up only when there are too many."""
    async with sqlite_journal(tmp_path) as journal:
        journal.note(Notes(dead_letters=[LETTER] * MOST))
        await journal.flush()
        journal.note(Notes(settled=list(range(101, 151))))
        await journal.flush()
        journal.note(Notes(dead_letters=[LETTER] * 100))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, status=status):
        await until(lambda: status.dead_letters == MOST)
    assert list(read_letters(tmp_path / "journal.db")) == [*range(51, 101), *range(151, MOST + 101)]


async def test_status_counts_the_letters_that_are_kept(tmp_path: Path) -> None:
    """From the start on, with each that is written or forgotten; an unknown number changes nothing."""
    async with sqlite_journal(tmp_path) as journal:
        journal.note(Notes(dead_letters=[LETTER] * 3))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, status=status) as journal:
        await journal.flush()
        assert status.dead_letters == 3
        journal.note(Notes(dead_letters=[LETTER], settled=[1, 2, 9]))
        await journal.flush()
        assert status.dead_letters == 2
