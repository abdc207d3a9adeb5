"""Little room: `max_size`, a full disk, and the retention."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.journal_parts import (
    HOUR_MS,
    LONG_AFTER_MS,
    START_MS,
    ids,
    make_event,
    read_all,
    sqlite_journal,
    until_pruned,
)

from gateway.errors import GatewayError, JournalError
from gateway.journal import journal_file
from gateway.journal.lookup import read_dead_letters
from gateway.records import DeadLetter, LastValue, StateChanges
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.journal.sqlite import SqliteJournal

MIB = 1 << 20


@dataclass
class SmallDisk:
    """A disk that contains the files of one folder and `others_bytes`."""

    total: int
    others_bytes: int = 0
    free: int = 0

    def mount(self, patch: pytest.MonkeyPatch) -> None:
        """Show this disk to the journal."""
        patch.setattr(journal_file, "disk_usage", self.usage)

    def usage(self, folder: Path) -> SmallDisk:
        """Return what is free now."""
        used_bytes = sum(file.stat().st_size for file in folder.iterdir()) + self.others_bytes
        return replace(self, free=max(0, self.total - used_bytes))


async def is_stored(journal: SqliteJournal, number: int, *, padding: int = 20_000) -> bool:
    """Append an event; return whether it was stored."""
    try:
        await journal.append(make_event(number, padding=padding))
    except JournalError:
        return False
    return True


async def append_until_refused(journal: SqliteJournal, *, first: int, padding: int = 20_000) -> int:
    """Append events one by one; return the number of the refused one."""
    for number in range(first, first + 1000):
        if not await is_stored(journal, number, padding=padding):
            return number
    raise AssertionError("the journal took 1000 events")


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """Fail all writes of this process beyond a file size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_freeing_bodies_writes_little(tmp_path: Path) -> None:
    """Freed bodies do not fill the log: a small disk's reserve is for cursors and values."""
    async with sqlite_journal(tmp_path, max_bytes=16 * MIB) as journal:
        refused = await append_until_refused(journal, first=0)
        journal.save(StateChanges(values_through=journal.head))
        journal.move_cursor("bms", journal.head)
        with closing(sqlite3.connect(tmp_path / "journal.db")) as reader:  # keeps the log
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM cursors").fetchone()
            assert await is_stored(journal, refused)
            assert (tmp_path / "journal.db-wal").stat().st_size < 8 * MIB


async def test_only_bodies_that_every_sink_has_are_freed(tmp_path: Path) -> None:
    """The oldest bodies are freed first, up to the slowest sink's cursor; their ids stay known."""
    async with sqlite_journal(tmp_path, sinks=("bms", "regs"), max_bytes=MIB) as journal:
        first_refused = await append_until_refused(journal, first=0)
        assert (tmp_path / "journal.db").stat().st_size < 2 * MIB
        journal.save(StateChanges(values_through=journal.head))
        journal.move_cursor("bms", journal.head)
        assert await append_until_refused(journal, first=first_refused) == first_refused
        journal.move_cursor("regs", 10)
        refused = await append_until_refused(journal, first=first_refused)
        assert refused >= first_refused + 5
        accepted = [f"evt_{number}" for number in range(refused)]
        assert ids(await read_all(journal)) == accepted[10:]
        journal.move_cursor("bms", journal.head)
        journal.move_cursor("regs", journal.head)
        received: list[str] = []
        journal.subscribe(lambda records: received.extend(ids(records)))
        for number in (0, 5, 11, refused):
            await journal.append(make_event(number))
        await journal.flush()
        assert received == [f"evt_{refused}"]


async def test_dead_letters_leave_room_for_events(tmp_path: Path) -> None:
    """Many dead letters of large events are stored, and no event is refused for them.

    A dead letter has its event's body while the journal has it; copies get a fourth of the journal, the
    newest first.
    """
    path, numbers = tmp_path / "journal.db", range(1, 1001)
    async with sqlite_journal(tmp_path, max_bytes=MIB) as journal:
        for seq in range(1, 11):
            await journal.append(make_event(seq, padding=20_000))
            letters = [DeadLetter("bms", seq, f"evt_{seq}", f"R/{n}", "no", START_MS) for n in range(100)]
            journal.save(StateChanges(dead_letters=letters))
            journal.move_cursor("bms", seq)
            await journal.flush()
        assert path.stat().st_size < 2 * MIB
        assert list(read_dead_letters(path)) == list(numbers)
        stored = [each for number in numbers for each in await journal.dead_letters([number])]
        assert all(f'"evt_{each.letter.seq}"'.encode() in (each.body or b"") for each in stored)
        for number in range(11, 100):
            await journal.append(make_event(number, padding=20_000))
            journal.save(StateChanges(values_through=number))
            journal.move_cursor("bms", number)
    async with sqlite_journal(tmp_path, max_bytes=MIB, clock_ms=lambda: LONG_AFTER_MS) as journal:
        await until_pruned(journal)
        has_body = [
            each.body is not None for number in numbers for each in await journal.dead_letters([number])
        ]
        assert has_body == sorted(has_body)
        assert 10 <= sum(has_body) <= 13


async def test_a_dead_letter_refused_again_keeps_its_body(tmp_path: Path) -> None:
    """It does so in a full journal, too, after its event was deleted."""
    refused = DeadLetter("bms", 9999, "evt_gone", "R/1", "no", START_MS, b"{}")
    async with sqlite_journal(tmp_path, max_bytes=MIB) as journal:
        journal.save(StateChanges(dead_letters=[refused]))
        await append_until_refused(journal, first=0)
        journal.save(StateChanges(dead_letters=[refused], removed_dead_letters=[1]))
        await journal.flush()
        assert [each.body for each in await journal.dead_letters([1, 2])] == [b"{}"]


async def test_delivered_events_never_fill_the_journal(tmp_path: Path) -> None:
    """Ten thousand events pass through a small journal, also after a restart, and none is refused."""
    for start in (0, 5000):
        async with sqlite_journal(tmp_path, max_bytes=2 * MIB) as journal:
            for first in range(start, start + 5000, 500):
                events = [make_event(number, padding=500) for number in range(first, first + 500)]
                await asyncio.gather(*{journal.append(event) for event in events})
                journal.save(StateChanges(values_through=journal.head))
                journal.move_cursor("bms", journal.head)
    async with sqlite_journal(tmp_path, max_bytes=2 * MIB) as journal:
        assert journal.head == 10_000
        for number in range(10_000, 10_100):
            await journal.append(make_event(number, padding=20_000))
            journal.save(StateChanges(values_through=journal.head))
            journal.move_cursor("bms", journal.head)


async def test_a_full_journal_is_logged_once(tmp_path: Path) -> None:
    """Cursors and values are still stored, and do not make it look available."""
    status = JournalStatus()
    async with sqlite_journal(tmp_path, max_bytes=MIB, status=status) as journal:
        with capture_logs() as logs:
            refused = await append_until_refused(journal, first=0)
            for _ in range(3):
                journal.save(StateChanges(values_through=journal.head))
                await journal.flush()
                assert status.state == "the journal is full"
                with pytest.raises(JournalError):
                    await journal.append(make_event(refused))
            journal.move_cursor("bms", journal.head)
            await journal.flush()
            assert status.state == "ok"
            await journal.append(make_event(refused))
    assert [line["event"] for line in logs] == ["journal.unavailable", "journal.available"]


async def test_a_full_disk_refuses_events_until_it_has_room(tmp_path: Path) -> None:
    """Events are refused, changes wait, and both lines are logged once."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(0))
        with capture_logs() as logs:
            with no_file_beyond((tmp_path / "journal.db-wal").stat().st_size + 100_000):
                refused = await append_until_refused(journal, first=1)
                journal.move_cursor("bms", 2)
                for number in range(refused, refused + 3):
                    with pytest.raises(JournalError) as error:
                        await journal.append(make_event(number, padding=200_000))
                    assert error.value.retry_after_s > 0
                    assert str(error.value).startswith("the journal can't commit: ")
            await journal.append(make_event(1000))
        assert ids(await read_all(journal)) == [*(f"evt_{number}" for number in range(refused)), "evt_1000"]
    assert [line["event"] for line in logs] == ["journal.unavailable", "journal.available"]
    async with sqlite_journal(tmp_path) as journal:
        assert journal.cursor("bms") == 2
        assert len(await read_all(journal)) == refused + 1


async def test_bodies_stay_until_the_last_values_include_them(tmp_path: Path) -> None:
    """After a kill, nothing else has the last readings."""
    async with sqlite_journal(tmp_path, max_bytes=MIB) as journal:
        journal.save(StateChanges(values_through=3))
        number = 0
        while number < 1000 and await is_stored(journal, number):
            number += 1
            journal.move_cursor("bms", journal.head)
        assert ids(await read_all(journal))[-number + 3 :] == [f"evt_{each}" for each in range(3, number)]
        journal.save(StateChanges(values_through=journal.head))
        assert await is_stored(journal, number)


async def test_values_and_cursors_have_room_of_their_own(tmp_path: Path) -> None:
    """A journal full of events stores the values of a large building, and still refuses events."""
    values = [LastValue(f"R{n}/T", f"ast-{n}", "t", n, n, 1, n, "evt_" + "x" * 190) for n in range(20_000)]
    async with sqlite_journal(tmp_path, max_bytes=MIB) as journal:
        refused = await append_until_refused(journal, first=0)
        journal.save(StateChanges(last_values={each.point: each for each in values}, values_through=2))
        journal.move_cursor("bms", 1)
        await journal.flush()
        assert not await is_stored(journal, refused)
    async with sqlite_journal(tmp_path, max_bytes=MIB) as journal:
        assert len(journal.at_start.last_values) == len(values)
        assert (journal.cursor("bms"), journal.at_start.values_through) == (1, 2)


async def test_ids_never_fill_the_journal(tmp_path: Path) -> None:
    """Delivered events make room: first their bodies are freed, then the oldest ids are deleted.

    At least three fourths are left for events that a sink has yet to get.
    """
    status = JournalStatus()
    async with sqlite_journal(tmp_path, max_bytes=MIB, status=status) as journal:
        for first in range(0, 40_000, 500):
            await asyncio.gather(
                *{journal.append(make_event(number)) for number in range(first, first + 500)}
            )
            journal.save(StateChanges(values_through=journal.head))
            journal.move_cursor("bms", journal.head)
            await journal.flush()
        delivered = journal.head
        for number in (39_999, 39_000, 38_000):
            await journal.append(make_event(number))
        assert status.duplicates == 3
        await append_until_refused(journal, first=40_000)
        assert sum(len(record.event.body) for record in await read_all(journal)) > MIB * 6 // 10
        journal.save(StateChanges(values_through=journal.head))
        journal.move_cursor("bms", journal.head)
        assert await is_stored(journal, 50_000)
    async with sqlite_journal(tmp_path, max_bytes=MIB) as journal:
        assert journal.head > delivered
        assert await is_stored(journal, 50_001)


async def test_a_disk_smaller_than_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are refused while there is still room for cursors and values.

    Delivery ends the refusals, again and again, also after a restart.
    """
    disk, number = SmallDisk(24 * MIB), 0
    disk.mount(monkeypatch)
    for _ in range(3):
        async with sqlite_journal(tmp_path) as journal:
            for _ in range(2):
                first, number = number, await append_until_refused(journal, first=number)
                assert number > first + 100
                assert disk.usage(tmp_path).free > 3 * MIB
                journal.save(StateChanges(values_through=journal.head))
                journal.move_cursor("bms", journal.head)
                await journal.flush()
                assert await is_stored(journal, number)
                number += 1
            number = await append_until_refused(journal, first=number)
        async with sqlite_journal(tmp_path) as journal:
            number = await append_until_refused(journal, first=number)
            journal.save(StateChanges(values_through=journal.head))
            journal.move_cursor("bms", journal.head)


async def test_a_disk_filled_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state names the disk, and is ok again once there is room, without an event."""
    disk, status = SmallDisk(256 * MIB), JournalStatus()
    disk.mount(monkeypatch)
    async with sqlite_journal(tmp_path, status=status) as journal:
        assert await is_stored(journal, 0)
        disk.others_bytes = 250 * MIB
        refused = await append_until_refused(journal, first=1)
        assert status.state == "the disk of the journal is full"
        disk.others_bytes = 0
        journal.move_cursor("bms", 1)
        await journal.flush()
        assert status.state == "ok"
        assert await is_stored(journal, refused)


async def test_the_status_of_a_full_journal_is_current(tmp_path: Path) -> None:
    """`bytes_used` is that of the last commit."""
    status = JournalStatus()
    async with sqlite_journal(tmp_path, max_bytes=MIB, status=status) as journal:
        await append_until_refused(journal, first=0)
        assert status.bytes_used > MIB - (64 << 10)


async def test_events_that_do_not_fit_together_are_all_refused(tmp_path: Path) -> None:
    """Nothing of the commit is stored, and the next small event is."""
    async with sqlite_journal(tmp_path, max_bytes=64 << 10) as journal:
        waiting = [journal.append(make_event(number, padding=MIB)) for number in range(4)]
        with pytest.raises(JournalError, match="full"):
            await waiting[0]
        assert await read_all(journal) == []
        await journal.append(make_event(4))
        assert ids(await read_all(journal)) == ["evt_4"]


async def test_a_refused_burst_does_not_leave_the_journal_unavailable(tmp_path: Path) -> None:
    """A load balancer sends no event to an unavailable gateway, so none could end that."""
    status = JournalStatus()
    async with sqlite_journal(tmp_path, max_bytes=4 * MIB, status=status) as journal:
        burst = {journal.append(make_event(number, padding=MIB)) for number in range(6)}
        assert all(
            isinstance(each, JournalError) for each in await asyncio.gather(*burst, return_exceptions=True)
        )
        assert status.state == "the journal is full"
        journal.move_cursor("bms", 0)
        await journal.flush()
        assert status.state == "ok"


async def test_a_start_on_a_full_disk_names_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own error does not."""
    (tmp_path / "journal.db").mkdir()
    SmallDisk(total=MIB, others_bytes=MIB).mount(monkeypatch)
    with pytest.raises(GatewayError, match=r"can't be opened: .*; its disk is full, make room there"):
        async with sqlite_journal(tmp_path):
            pass


async def test_the_retention_deletes_old_delivered_events(tmp_path: Path) -> None:
    """Old events that a sink has yet to get stay, and so do delivered ones that are young."""
    ages_h = {0: 60, 1: 50, 2: 47, 3: 60, 4: 1}
    async with sqlite_journal(tmp_path) as journal:
        for number, age_h in ages_h.items():
            await journal.append(make_event(number, received_ms=START_MS - age_h * HOUR_MS))
        journal.save(StateChanges(values_through=5))
        journal.move_cursor("bms", 3)
    async with sqlite_journal(tmp_path) as journal, asyncio.timeout(60):
        while ids(await journal.read(0, 1)) != ["evt_2"]:  # noqa: ASYNC110 - pruning has no event
            await asyncio.sleep(0.01)
        assert ids(await read_all(journal)) == ["evt_2", "evt_3", "evt_4"]
        for number in (0, 2):
            await journal.append(make_event(number))
        assert ids(await read_all(journal)) == ["evt_2", "evt_3", "evt_4", "evt_0"]


async def test_all_old_events_are_deleted_at_once(tmp_path: Path) -> None:
    """A busy building does not grow the file for ever."""
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        await asyncio.gather(*{journal.append(make_event(number)) for number in range(11_000)})
        journal.save(StateChanges(values_through=journal.head))
    status = JournalStatus()
    async with sqlite_journal(tmp_path, sinks=(), clock_ms=lambda: LONG_AFTER_MS, status=status) as journal:
        await until_pruned(journal)
        await journal.flush()
        assert status.bytes_used < 100_000


async def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    """Not even after every event was deleted and the gateway restarted twice."""
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        for number in range(3):
            await journal.append(make_event(number))
        head = journal.head
        journal.save(StateChanges(values_through=head))
    async with sqlite_journal(
        tmp_path, sinks=(), clock_ms=lambda: LONG_AFTER_MS
    ) as journal:  # held back by nobody
        await until_pruned(journal)
        assert journal.head == head
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        assert journal.head == head
        await journal.append(make_event(3))
        assert journal.head > head


async def test_a_full_journal_refuses_events_until_others_are_delivered(tmp_path: Path) -> None:
    """The error has a pause, no event is stored in part, and delivery ends the refusals."""
    async with sqlite_journal(tmp_path, max_bytes=1 << 20) as journal:
        accepted = 0
        with pytest.raises(JournalError) as full:  # noqa: PT012 - which append it is that fails is not known
            while accepted < 1000:
                await journal.append(make_event(accepted, padding=20_000))
                accepted += 1
        assert full.value.retry_after_s > 0
        with pytest.raises(JournalError):
            await journal.append(make_event(accepted))
        expected = [f"evt_{number}" for number in range(accepted)]
        assert ids(await read_all(journal)) == expected
        journal.save(StateChanges(values_through=journal.head))
        journal.move_cursor("bms", journal.head)
        await journal.append(make_event(accepted))
        assert ids(await read_all(journal))[-1] == f"evt_{accepted}"
