"""Stored gaps: a full journal, and the limit of known seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs
from support.journal_parts import START_MS, ids, make_event, read_all, sqlite_journal

from gateway.records import Gap, OnlineState, StateChanges
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from pathlib import Path

GAP = Gap("ast-1", "co2", START_MS)


async def test_gaps_without_room_harm_nothing_else(tmp_path: Path) -> None:
    """Events and cursors of the same commit are stored, gaps are deleted, and the log names the cause."""
    many = [Gap("ast-1", f"{number}{'x' * 200}", START_MS) for number in range(6000)]
    async with sqlite_journal(tmp_path, max_bytes=1 << 20) as journal:
        journal.save(StateChanges(gaps={GAP.id: GAP}))
        await journal.flush()
        with capture_logs() as lines:
            journal.save(StateChanges(gaps={GAP.id: None} | {gap.id: gap for gap in many}))
            journal.move_cursor("bms", 1)
            await journal.append(make_event(1))
            await journal.flush()
    assert [(line["event"], line["gaps"]) for line in lines] == [("journal.gaps_not_kept", 6000)]
    async with sqlite_journal(tmp_path, max_bytes=1 << 20) as journal:
        assert journal.at_start.gaps == []
        assert journal.cursor("bms") == 1
        assert ids(await read_all(journal)) == ["evt_1"]


async def test_a_full_journal_without_gaps_logs_nothing(tmp_path: Path) -> None:
    """A write without gaps gives no line on a full disk."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1, padding=20_000))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, max_bytes=1000, status=status) as journal:
        with capture_logs() as lines:
            journal.save(StateChanges(online={"a": OnlineState("a", online=True, at_ms=1)}))
            await journal.flush()
    assert status.bytes_room < 0
    assert lines == []


async def test_known_seconds_of_a_gap_are_bounded(tmp_path: Path) -> None:
    """The last few thousand are kept."""
    async with sqlite_journal(tmp_path) as journal:
        for first in range(0, 10_000, 1000):
            known_s = tuple(range(first, first + 1000))
            journal.save(StateChanges(gaps={GAP.id: Gap("ast-1", "co2", START_MS, None, known_s)}))
            await journal.flush()
        assert await journal.known_seconds(GAP) == set(range(10_000 - 4096, 10_000))
