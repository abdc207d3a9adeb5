"""Dead letters in the journal's SQLite file: their bodies, their limit and their count."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from support.edited_tables import until
from support.journal_parts import LONG_AFTER_MS, START_MS, make_event, sqlite_journal, until_pruned

from gateway.journal.journal_file import CommitBatch, open_journal_file
from gateway.journal.lookup import read_dead_letters
from gateway.records import DeadLetter, StateChanges, StoredDeadLetter
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from pathlib import Path

LETTER = DeadLetter("bms", 0, "", "L03/ZN-T", "topic refused", START_MS)
MOST = 10_000


def dead_letter(point: str, *, seq: int = 0, sink: str = "bms") -> DeadLetter:
    """Make a dead letter of the event that `make_event` makes as number `seq`, 0 for none."""
    return DeadLetter(sink, seq, f"evt_{seq}" if seq else "", point, "no such register", START_MS + seq)


async def test_the_newest_ten_thousand_dead_letters_are_kept(tmp_path: Path) -> None:
    """Removed numbers do not count towards the limit."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(dead_letters=[LETTER] * MOST))
        await journal.flush()
        journal.save(StateChanges(removed_dead_letters=list(range(101, 151))))
        await journal.flush()
        journal.save(StateChanges(dead_letters=[LETTER] * 100))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, status=status):
        await until(lambda: status.dead_letters == MOST)
    assert list(read_dead_letters(tmp_path / "journal.db")) == [*range(51, 101), *range(151, MOST + 101)]


async def test_a_commit_with_a_dead_letter_reads_no_others(tmp_path: Path) -> None:
    """However many are stored, a further one is written with a few hundred steps of SQLite."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(dead_letters=[LETTER] * MOST))
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with open_journal_file(
        tmp_path / "journal.db", sinks=["bms"], max_bytes=1 << 30, now_ms=START_MS
    ) as file:
        file._database.set_progress_handler(count, 1)
        file.commit(CommitBatch(changes=StateChanges(dead_letters=[LETTER])), delivered_through=0)
    assert steps < 1_000


async def test_status_counts_the_stored_dead_letters(tmp_path: Path) -> None:
    """The count is right after the start and after each change."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(dead_letters=[LETTER] * 3))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, status=status) as journal:
        await journal.flush()
        assert status.dead_letters == 3
        journal.save(StateChanges(dead_letters=[LETTER], removed_dead_letters=[1, 2, 9]))
        await journal.flush()
        assert status.dead_letters == 2


async def test_dead_letters_are_read_with_their_bodies(tmp_path: Path) -> None:
    """They come in the order of writing, also after a restart; without an event there is no body."""
    events = [make_event(number) for number in (1, 2)]
    saved = [dead_letter("B", seq=2), dead_letter("$heartbeat"), dead_letter("", seq=1, sink="")]
    bodies = [events[1].body, None, events[0].body]
    async with sqlite_journal(tmp_path) as journal:
        assert await journal.dead_letters([1, 2, 3]) == []
        for event in events:
            await journal.append(event)
        journal.save(StateChanges(dead_letters=saved[:2]))
        journal.save(StateChanges(dead_letters=saved[2:]))
        await journal.flush()
        found = await journal.dead_letters(range(1, 100))
        assert [(each.letter, each.body) for each in found] == list(zip(saved, bodies, strict=True))
        numbers = [each.number for each in found]
        assert numbers == sorted(set(numbers))
        assert await journal.dead_letters(numbers[:0:-1]) == found[1:]  # asked for in any order
        assert await journal.dead_letters([]) == []
    async with sqlite_journal(tmp_path) as journal:
        assert await journal.dead_letters(numbers) == found


async def test_large_dead_letters_are_read_in_parts(tmp_path: Path) -> None:
    """Each read returns at least one dead letter, and repeated reads return them all."""
    async with sqlite_journal(tmp_path) as journal:
        for number in range(1, 5):
            await journal.append(make_event(number, padding=3 << 20))
        journal.save(StateChanges(dead_letters=[dead_letter("A", seq=number) for number in range(1, 5)]))
        await journal.flush()
        found: list[StoredDeadLetter] = []
        while more := await journal.dead_letters(range(found[-1].number + 1 if found else 1, 100)):
            assert len(more) <= 2
            found += more
        assert [each.body for each in found] == [make_event(n, padding=3 << 20).body for n in range(1, 5)]


async def test_a_dead_letter_written_again_keeps_its_body(tmp_path: Path) -> None:
    """It brings the body along after its event was deleted."""
    event, letter = make_event(1), dead_letter("A", seq=1)
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        await journal.append(event)
        journal.save(StateChanges(dead_letters=[letter], values_through=1))
    async with sqlite_journal(tmp_path, sinks=(), clock_ms=lambda: LONG_AFTER_MS) as journal:
        await until_pruned(journal)
        (before,) = await journal.dead_letters(range(1, 100))
        journal.save(
            StateChanges(
                dead_letters=[replace(letter, body=before.body)], removed_dead_letters=[before.number]
            )
        )
        await journal.flush()
        (after,) = await journal.dead_letters(range(1, 100))
        assert (after.letter, after.body) == (letter, event.body)
        assert after.number > before.number
