"""`gateway backup` while the gateway writes."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support.dead_letter_parts import write_settings
from support.journal_parts import ids, make_event, read_all, sqlite_journal
from support.processes import run_gateway

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(file.name for file in folder.iterdir())


async def test_a_copy_taken_while_events_come_in_is_a_journal(tmp_path: Path) -> None:
    """It has all events of before the copy, in order, is private, and replaces the former copy."""
    config, target = write_settings(tmp_path), tmp_path / "backup.db"
    target.write_text("the copy of yesterday")
    async with sqlite_journal(tmp_path) as journal:
        for number in range(100):
            await journal.append(make_event(number, padding=1000))
        copying = asyncio.create_task(asyncio.to_thread(run_gateway, "backup", "-c", config, target))
        number = 100
        while not copying.done():
            await journal.append(make_event(number, padding=1000))
            number += 1
        done = await copying
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{target}: a copy of {tmp_path}/journal.db, ")
    assert target.stat().st_mode & 0o777 == 0o600
    assert [name for name in names(tmp_path) if name.startswith("backup")] == ["backup.db"]
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(target, restored / "journal.db")
    async with sqlite_journal(restored) as journal:
        found = ids(await read_all(journal))
        assert found == [f"evt_{each}" for each in range(len(found))]
        assert 100 <= len(found) <= number
        await journal.append(make_event(number))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("journal.db", "it belongs to the journal itself; name another file"),
        ("journal.db-wal", "it belongs to the journal itself; name another file"),
        ("journal.db.lock", "it belongs to the journal itself; name another file"),
        ("none/backup.db", "No such file or directory; name a file in a folder"),
        (".", "Is a directory; name a file in a folder"),
    ],
)
async def test_a_target_that_cannot_be_written_stays(tmp_path: Path, target: str, said: str) -> None:
    """One line has the reason, and the journal is unchanged."""
    config = write_settings(tmp_path)
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1))
    before = names(tmp_path)
    done = run_gateway("backup", "-c", config, tmp_path / target)
    assert done.returncode == 1
    assert said in done.stderr
    assert names(tmp_path) == before
    async with sqlite_journal(tmp_path) as journal:
        assert ids(await read_all(journal)) == ["evt_1"]


@pytest.mark.parametrize("is_linked", [False, True], ids=["itself", "by a link"])
async def test_a_pipe_or_device_is_not_replaced(tmp_path: Path, *, is_linked: bool) -> None:
    """Also if root names /dev/stdout or /dev/null."""
    config, pipe = write_settings(tmp_path), tmp_path / "pipe"
    os.mkfifo(pipe)
    target = tmp_path / "stdout" if is_linked else pipe
    if is_linked:
        target.symlink_to(pipe)
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1))
    before = names(tmp_path)
    done = run_gateway("backup", "-c", config, target)
    assert done.returncode == 1
    assert done.stderr == f"gateway: {target}: it is not a file, and stays as it is; name a file\n"
    assert pipe.is_fifo()
    assert target.is_symlink() is is_linked
    assert names(tmp_path) == before


async def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it leads to is replaced."""
    config, file, link = write_settings(tmp_path), tmp_path / "backup.db", tmp_path / "link"
    file.write_text("the copy of yesterday")
    link.symlink_to(file)
    async with sqlite_journal(tmp_path) as journal:
        await journal.append(make_event(1))
    assert run_gateway("backup", "-c", config, link).returncode == 0
    assert link.is_symlink()
    assert file.read_bytes().startswith(b"SQLite format 3")


def test_before_the_first_start_there_is_nothing_to_copy(tmp_path: Path) -> None:
    """A former copy stays."""
    config, target = write_settings(tmp_path), tmp_path / "backup.db"
    target.write_text("the copy of yesterday")
    done = run_gateway("backup", "-c", config, target)
    assert done.returncode == 1
    assert "there is no journal yet" in done.stderr
    assert target.read_text() == "the copy of yesterday"
