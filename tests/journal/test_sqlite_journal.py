"""The journal's SQLite file: opening, moving a corrupt file aside, sharing a commit."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.delivery_parts import rows
from support.journal_parts import LONG_AFTER_MS, START_MS, ids, make_event, read_all, sqlite_journal
from support.waiting import until

from gateway.errors import GatewayError
from gateway.journal.database import LAYOUT
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.model import Record

PAGE_BYTES = 2048
SYNCHRONOUS_FULL = 2


async def fill(folder: Path, count: int = 100) -> None:
    """Write a journal and leave it as a killed gateway does, with a log that is not folded in."""
    async with sqlite_journal(folder) as journal:
        for number in range(count):
            await journal.append(make_event(number, padding=1000))
    async with sqlite_journal(folder) as journal:
        await journal.append(make_event(count))
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(folder / f"journal.db{suffix}", folder / f"killed{suffix}")
    for suffix in ("", "-wal", "-shm"):
        (folder / f"killed{suffix}").rename(folder / f"journal.db{suffix}")


def overwrite_pages(file: Path) -> None:
    """Damage every page but the first two."""
    content = bytearray(file.read_bytes())
    for start in range(2 * PAGE_BYTES, len(content), PAGE_BYTES):
        content[start : start + 100] = b"\xa5" * 100
    file.write_bytes(content)


def cut_in_half(file: Path) -> None:
    """Truncate the file to its first half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def write_text(file: Path) -> None:
    """Replace the database by text."""
    file.write_text("this is no database\n" * 1000)


def set_aside(folder: Path) -> list[bytes]:
    """Return the contents of all files that were moved aside."""
    return [file.read_bytes() for file in folder.glob("journal.db.corrupt-*")]


def commits(folder: Path) -> int:
    """Count the transactions in the write-ahead log; a frame that ends one has the file's size."""
    log = (folder / "journal.db-wal").read_bytes()
    salt = log[16:24]
    frames = [log[start : start + 24] for start in range(32, len(log), 24 + PAGE_BYTES)]
    return sum(frame[8:16] == salt and struct.unpack(">I", frame[4:8])[0] > 0 for frame in frames)


async def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    """The file is in WAL mode, and the writing connection has `synchronous=FULL`."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(0))
        with closing(sqlite3.connect(tmp_path / "journal.db")) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        # A setting of the connection alone: it cannot be seen from outside.
        assert journal._file._number("PRAGMA synchronous") == SYNCHRONOUS_FULL


async def test_events_are_committed_before_anybody_gets_them(tmp_path: Path) -> None:
    """When a listener or the sender gets an event, another connection can read it."""
    with closing(sqlite3.connect(tmp_path / "journal.db")) as other:

        def visible() -> int:
            return int(other.execute("SELECT count(*) FROM events").fetchone()[0])

        def listen(records: Sequence[Record]) -> None:
            assert visible() == records[-1].seq
            received.extend(ids(records))

        received: list[str] = []
        async with sqlite_journal(tmp_path) as journal:
            journal.subscribe(listen)
            for number in range(50):
                await journal.append(make_event(number))
                assert visible() == number + 1
            await journal.flush()
        assert received == [f"evt_{number}" for number in range(50)]


async def test_events_that_come_together_share_one_commit(tmp_path: Path) -> None:
    """Events of one turn of the loop are one commit; those that come meanwhile are the next one."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(0))
        before = commits(tmp_path)
        first = {journal.append(make_event(number)) for number in range(1, 200)}
        await asyncio.sleep(0)  # handed over to the writer
        second = {journal.append(make_event(number)) for number in range(200, 400)}
        await asyncio.gather(*first, *second)
        assert commits(tmp_path) - before == 2
        assert len(await read_all(journal)) == 400


async def test_a_log_left_by_a_kill_is_recovered(tmp_path: Path) -> None:
    """SQLite recovers all events, and no file is moved aside."""
    await fill(tmp_path)
    with capture_logs() as logs:
        async with sqlite_journal(tmp_path) as journal:
            assert ids(await read_all(journal)) == [f"evt_{number}" for number in range(101)]
    assert logs == []


@pytest.mark.parametrize("damage", [overwrite_pages, cut_in_half, write_text])
async def test_a_corrupt_file_is_moved_aside_as_it_is(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """File, log and index keep their content under a new name, and a new journal works.

    test_damage.py shows what it contains.
    """
    await fill(tmp_path)
    file = tmp_path / "journal.db"
    damage(file)
    damaged, log_file = file.read_bytes(), (tmp_path / "journal.db-wal").read_bytes()
    with capture_logs() as logs:
        async with sqlite_journal(tmp_path) as journal:
            await journal.append(make_event(1007))
            assert ids(await read_all(journal))[-1] == "evt_1007"
    aside = tmp_path / f"journal.db.corrupt-{START_MS}"
    assert aside.read_bytes() == damaged
    assert aside.with_name(aside.name + "-wal").read_bytes() == log_file
    assert aside.with_name(aside.name + "-shm").exists()
    assert [(line["log_level"], line["event"]) for line in logs] == [("critical", "journal.corrupt")]
    assert (logs[0]["file"], logs[0]["moved_to"]) == (str(file), str(aside))
    async with sqlite_journal(tmp_path) as journal:
        assert ids(await read_all(journal))[-1] == "evt_1007"


async def test_corrupt_files_get_different_names(tmp_path: Path) -> None:
    """Both files stay, also if the clock shows the same time at each start."""
    for content in (b"first" * 1000, b"second" * 1000):
        (tmp_path / "journal.db").write_bytes(content)
        async with sqlite_journal(tmp_path):
            pass
    assert sorted(content[:6] for content in set_aside(tmp_path)) == [b"firstf", b"second"]


async def test_a_second_gateway_on_the_same_journal_is_refused(tmp_path: Path) -> None:
    """The first gateway goes on, and another one may start after it."""
    async with sqlite_journal(tmp_path) as journal:
        with pytest.raises(GatewayError) as refused:
            async with sqlite_journal(tmp_path):
                pass
        assert str(refused.value) == f"{tmp_path}/journal.db: another gateway is running on this journal"
        await journal.append(make_event(0))
    async with sqlite_journal(tmp_path) as journal:
        assert ids(await read_all(journal)) == ["evt_0"]


async def test_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    """After a downgrade nothing is written, moved or lost."""
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(0))
    file = tmp_path / "journal.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version={LAYOUT + 1}")
    with pytest.raises(GatewayError, match=rf"^{file}: written by a newer .* \(layout {LAYOUT + 1}, ."):
        async with sqlite_journal(tmp_path):
            pass
    assert set_aside(tmp_path) == []
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (1,)


@pytest.mark.parametrize("folder", ["file", "file/deeper", "file/deeper/still"])
async def test_a_path_through_a_file_is_refused(tmp_path: Path, folder: str) -> None:
    """The error names the path and the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(GatewayError) as refused:
        async with sqlite_journal(tmp_path / folder):
            pass
    assert str(refused.value).startswith(f"{tmp_path / folder}/journal.db.lock: ")
    assert "journal.url must name a file in a folder" in str(refused.value)


async def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """The error names the path, and the folder does not count as a corrupt journal."""
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(GatewayError, match=r"journal\.db: the journal can't be opened: unable to open"):
        async with sqlite_journal(tmp_path):
            pass
    assert (tmp_path / "journal.db").is_dir()


async def test_events_missing_in_the_last_values_outlive_the_retention(tmp_path: Path) -> None:
    """After days without power, the last readings are in these events alone."""
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        for number in range(3):
            await journal.append(make_event(number))
        journal.save(StateChanges(values_through=2))
    async with sqlite_journal(tmp_path, sinks=(), clock_ms=lambda: LONG_AFTER_MS) as journal:
        await until(lambda: rows(tmp_path / "journal.db", "SELECT count(*) FROM events") == [(1,)])
        assert ids(await read_all(journal)) == ["evt_2"]


async def test_flush_waits_for_a_commit_that_is_under_way(tmp_path: Path) -> None:
    """So do several flushes at once, also if nothing was saved meanwhile."""
    async with sqlite_journal(tmp_path) as journal, asyncio.timeout(60):
        await journal.flush()
        waiting = journal.append(make_event(0))
        await asyncio.sleep(0)  # now its commit is under way
        await asyncio.gather(journal.flush(), journal.flush())
        assert waiting.done()
        journal.move_cursor("bms", 1)
        await journal.flush()


async def test_flush_returns_once_listeners_have_every_event(tmp_path: Path) -> None:
    """What a listener saves for an event appended before is in the next commit."""
    async with sqlite_journal(tmp_path) as journal, asyncio.timeout(60):
        received: list[str] = []
        journal.subscribe(lambda records: received.extend(ids(records)))
        for number in range(20):
            journal.append(make_event(number))
            await journal.flush()
            assert len(received) == number + 1
