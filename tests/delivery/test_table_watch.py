"""The watch over point tables: every way in which tables change on disk, and other files."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.waiting import until

from gateway.delivery.reload import watch_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass
class Calls:
    """Counts calls."""

    count: int = 0

    def __call__(self) -> None:
        """Count."""
        self.count += 1

    async def until(self, count: int) -> None:
        """Wait for so many calls in all."""
        await until(lambda: self.count >= count)


@asynccontextmanager
async def watching(folder: Path, *, since_ns: int = 0) -> AsyncIterator[Calls]:
    """Watch; by default all files count as changed, which shows that watching has begun."""
    calls = Calls()
    task = asyncio.create_task(watch_tables(folder, calls, since_ns=since_ns))
    try:
        if not since_ns:
            await calls.until(1)
        yield calls
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one table."""
    made = tmp_path / "mappings"
    made.mkdir()
    (made / "a.yaml").write_text("one")
    return made


def in_place(folder: Path) -> None:
    """Write over a table."""
    (folder / "a.yaml").write_text("two")


def by_rename(folder: Path) -> None:
    """Write a temporary file and put it in a table's place, as editors do."""
    aside = folder / ".a.yaml.swp"
    aside.write_text("two")
    aside.rename(folder / "a.yaml")


def anew(folder: Path) -> None:
    """Delete a table and write it again, as git does."""
    (folder / "a.yaml").unlink()
    (folder / "a.yaml").write_text("two")


def removal(folder: Path) -> None:
    """Delete a table."""
    (folder / "a.yaml").unlink()


def one_more(folder: Path) -> None:
    """Write another table."""
    (folder / "b.yaml").write_text("two")


def registers(folder: Path) -> None:
    """Write `registers.lock`."""
    (folder / "registers.lock").write_text("two")


def instances(folder: Path) -> None:
    """Write `bacnet.lock`."""
    (folder / "bacnet.lock").write_text("two")


def mounted(folder: Path) -> None:
    """Swap the links of a mounted folder, as Kubernetes does."""
    (folder / "..data").symlink_to("elsewhere")


def to_itself(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path.name)


def replaced(folder: Path, by: Callable[[Path], None]) -> None:
    """Replace the folder with something else."""
    folder.rename(folder.with_name("aside"))
    by(folder)


def restored(folder: Path) -> None:
    """Put the folder back."""
    folder.unlink()
    folder.with_name("aside").rename(folder)


async def test_a_change_of_a_table_is_noticed(folder: Path) -> None:
    """Each kind of change is reported once."""
    async with watching(folder) as calls:
        for change in (in_place, by_rename, anew, removal, one_more, registers, instances, mounted):
            before = calls.count
            change(folder)
            await calls.until(before + 1)
            assert calls.count == before + 1, change.__doc__


async def test_a_checkout_of_many_tables_is_one_change(folder: Path) -> None:
    """Fifty files written in a row cause one reload, or two on a slow disk."""
    async with watching(folder) as calls:
        for number in range(50):
            (folder / f"{number}.yaml").write_text("two")
            await asyncio.sleep(0)
        await calls.until(2)
        in_place(folder)
        await calls.until(3)
        assert calls.count <= 4


async def test_a_file_that_is_being_written_is_not_read_yet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A growing file is reported once, when nothing is added any more."""
    monkeypatch.setattr("gateway.delivery.reload._LOOK_EVERY_S", 1.5)  # a machine may stand still for one
    async with watching(folder) as calls:
        with (folder / "a.yaml").open("w") as file:
            for _ in range(40):
                file.write("one more line\n")
                file.flush()
                await asyncio.sleep(0.1)
                assert calls.count == 1
        await calls.until(2)
    assert calls.count == 2


async def test_what_a_link_leads_to_is_watched(folder: Path) -> None:
    """A linked table that is edited, and a folder that is swapped by its link, are reported."""
    (folder / "a.yaml").rename(folder.parent / "elsewhere")
    (folder / "a.yaml").symlink_to(folder.parent / "elsewhere")
    link = folder.with_name("link")
    link.symlink_to(folder.name)
    async with watching(link) as calls:
        (folder.parent / "elsewhere").write_text("two")
        await calls.until(2)
        shutil.copytree(folder, folder.with_name("next"), symlinks=True)
        swapped = folder.with_name("swapped")
        swapped.symlink_to("next")
        swapped.rename(link)
        await calls.until(3)


async def test_a_folder_that_is_none_for_a_moment_is_watched_again(folder: Path) -> None:
    """A file or a link to itself in its place does not end the watch."""
    async with watching(folder) as calls:
        for wrong in (Path.touch, to_itself):
            before = calls.count
            replaced(folder, wrong)
            await calls.until(before + 1)
            restored(folder)
            await calls.until(before + 2)
        in_place(folder)
        await calls.until(before + 3)


async def test_other_files_are_ignored(folder: Path) -> None:
    """Editors' backup files and notes are no change."""
    async with watching(folder) as calls:
        for name in (".hidden.yaml", "a.yaml~", ".a.yaml.swp", "4913", "notes.txt", "a.yaml.bak"):
            (folder / name).write_text("two")
        await asyncio.sleep(1.0)  # longer than the watch waits for whoever is still writing
        assert calls.count == 1
        in_place(folder)
        await calls.until(2)
        assert calls.count == 2


async def test_another_folder_in_its_place_is_noticed_and_watched(folder: Path) -> None:
    """A folder that is moved away and back, or replaced, is watched as before."""
    async with watching(folder) as calls:
        shutil.move(folder, folder.with_name("aside"))
        await calls.until(2)
        before = calls.count
        shutil.move(folder.with_name("aside"), folder)
        await calls.until(before + 1)  # it is watched again
        before = calls.count
        in_place(folder)
        await calls.until(before + 1)


async def test_a_change_before_the_watch_began_is_noticed(folder: Path) -> None:
    """A table that is written after it was read and before the watch began is reported."""
    async with watching(folder, since_ns=time.time_ns()) as calls:
        await calls.until(1)
    long_after_ns = time.time_ns() + 3_000_000_000
    async with watching(folder, since_ns=long_after_ns) as calls:
        await asyncio.sleep(1.2)  # longer than until its first look
        assert calls.count == 0
        in_place(folder)
        await calls.until(1)
