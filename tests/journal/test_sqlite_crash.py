"""A gateway killed while it writes: everything it confirmed is stored."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import support
from support.journal_parts import ids, make_event, read_all, sqlite_journal

TESTS = Path(support.__file__).parents[1]
APPENDING = """
import asyncio, itertools, os, sys
from pathlib import Path
from support.journal_parts import make_event, sqlite_journal

async def send(journal, numbers):
    for number in numbers:
        await journal.append(make_event(number, padding=number % 3000))
        os.write(1, b"evt_%d\\n" % number)

async def main():
    async with sqlite_journal(Path(sys.argv[1])) as journal, asyncio.TaskGroup() as tasks:
        numbers = itertools.count(int(sys.argv[2]))
        for _ in range(20):
            tasks.create_task(send(journal, numbers))

asyncio.run(main())
"""
SAVING = """
import asyncio, os, sys
from pathlib import Path
from gateway.records import LastValue, StateChanges
from support.journal_parts import sqlite_journal

async def main():
    async with sqlite_journal(Path(sys.argv[1])) as journal:
        for number in range(int(sys.argv[2]), 1_000_000):
            kept = {
                name: LastValue(name, "a", "t", number, number, 0, number, None) for name in "abcdefgh"
            }
            journal.save(StateChanges(last_values=kept, values_through=number))
            journal.move_cursor("bms", number)
            await journal.flush()
            os.write(1, b"%d\\n" % number)

asyncio.run(main())
"""


async def run_and_kill(program: str, folder: Path, *, first: int, lines: int) -> list[str]:
    """Run a program, kill it once it has printed some lines, and return all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, folder, str(first),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        printed = [await process.stdout.readline() for _ in range(lines)]
    finally:
        process.kill()
    printed += [line async for line in process.stdout]
    await process.wait()
    return [line.decode().strip() for line in printed]


async def test_every_confirmed_event_survives_a_kill(tmp_path: Path) -> None:
    """After three kills of twenty appending tasks, each confirmed event is stored once, even if repeated."""
    confirmed: list[str] = []
    for round_number in range(3):
        first = 1_000_000 * round_number
        confirmed += await run_and_kill(APPENDING, tmp_path, first=first, lines=300 + 50 * round_number)
    async with sqlite_journal(tmp_path) as journal:
        found = ids(await read_all(journal))
        for event_id in found:
            number = int(event_id.removeprefix("evt_"))
            journal.append(make_event(number, padding=number % 3000))
        await journal.flush()
        assert ids(await read_all(journal)) == found
    assert set(confirmed) <= set(found)
    assert len(found) == len(set(found))
    assert len(found) - len(confirmed) <= 3 * 20  # at most what was under way


async def test_changes_survive_a_kill_whole(tmp_path: Path) -> None:
    """Cursor, values and `values_through` are those of one commit, at least of the last flushed one."""
    first = 1
    for _ in range(3):
        flushed = await run_and_kill(SAVING, tmp_path, first=first, lines=50)
        async with sqlite_journal(tmp_path) as journal:
            values, through = journal.at_start.last_values, journal.at_start.values_through
            assert {kept.raw for kept in values} == {through}
            assert len(values) == 8
            assert journal.cursor("bms") == through
            assert int(flushed[-1]) <= through <= int(flushed[-1]) + 1
        first = through + 1
