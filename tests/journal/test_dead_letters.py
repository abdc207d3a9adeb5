"""Dead letters in the journal's SQLite file: how many are kept and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.edited_tables import until
from support.journal_parts import START_MS, sqlite_journal

from gateway.journal.lookup import read_letters
from gateway.records import DeadLetter, StateChanges
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from pathlib import Path

LETTER = DeadLetter("bms", 0, "", "L03/ZN-T", "topic refused", START_MS)
MOST = 10_000


async def test_the_newest_ten_thousand_are_kept_however_many_were_settled(tmp_path: Path) -> None:
    """Numbers that are gone do not count: a letter is given up only when there are too many."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(dead_letters=[LETTER] * MOST))
        await journal.flush()
        journal.save(StateChanges(removed_dead_letters=list(range(101, 151))))
        await journal.flush()
        journal.save(StateChanges(dead_letters=[LETTER] * 100))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, status=status):
        await until(lambda: status.dead_letters == MOST)
    assert list(read_letters(tmp_path / "journal.db")) == [*range(51, 101), *range(151, MOST + 101)]


async def test_status_counts_the_letters_that_are_kept(tmp_path: Path) -> None:
    """From the start on, with each that is written or forgotten; an unknown number changes nothing."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(dead_letters=[LETTER] * 3))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, status=status) as journal:
        await journal.flush()
        assert status.dead_letters == 3
        journal.save(StateChanges(dead_letters=[LETTER], removed_dead_letters=[1, 2, 9]))
        await journal.flush()
        assert status.dead_letters == 2
