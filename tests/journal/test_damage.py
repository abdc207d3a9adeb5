"""A damaged journal: the gateway copies what it can read, reports the rest and starts."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import struct
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.journal_parts import (
    LONG_AFTER_MS,
    START_MS,
    ids,
    make_event,
    read_all,
    sqlite_journal,
)

from gateway.errors import JournalError
from gateway.journal.database import corrupt_files
from gateway.journal.lookup import read_dead_letters, read_unmapped_assets
from gateway.records import DeadLetter, LastValue, OnlineState, Override, StateChanges, UnmappedAsset
from gateway.status import JournalStatus

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.journal.sqlite import SqliteJournal

KEPT = [LastValue(f"R/{name}", "a", name, "on", 1.5, START_MS, 1, "evt_1") for name in "abc"]
FORCED = [Override(f"R/{name}", 1, START_MS, START_MS + 1) for name in "ab"]
UNMAPPED = [UnmappedAsset(f"ast-{name}", 1, 1, 1, ("t",)) for name in "ab"]
LETTER = DeadLetter("bms", 2, "evt_1", "R/a", "refused", START_MS)
EVENTS = 200
PAGE_BYTES = 2048
INTERIOR = {2, 5}  # kinds of pages
CHANGES = StateChanges(
    last_values={value.point: value for value in KEPT},
    values_through=60,
    overrides={forced.point: forced for forced in FORCED},
    unmapped_assets={each.asset: each for each in UNMAPPED},
    online={"a": OnlineState("a", online=True, at_ms=1)},
    retained={("bms", "gw/v1/hq/R/a"): True},
    dead_letters=[LETTER],
)


async def fill(folder: Path, *, events: int = EVENTS) -> None:
    """Write a journal with a row in every table."""
    async with sqlite_journal(folder) as journal:
        for number in range(events):
            journal.append(make_event(number, padding=number % 7 * 100))
        await journal.flush()
        journal.save(CHANGES)
        journal.move_cursor("bms", 50)


def damage(folder: Path, statement: str, *values: bytes) -> None:
    """Change rows from outside."""
    with closing(sqlite3.connect(folder / "journal.db")) as database, database:
        database.execute(statement, values)


@pytest.mark.parametrize(
    "body", [b"", b"\0\xff", b"[]", b"{}", b'{"id": 7, "type": 8}', b'{"id": "evt_1', b"[" * 5000]
)
async def test_a_damaged_event_becomes_a_dead_letter(tmp_path: Path, body: bytes) -> None:
    """It has the number and the rest of the body, and is made once; all other events are read."""
    await fill(tmp_path)
    damage(tmp_path, "UPDATE events SET body = ? WHERE seq IN (70, 71, 72)", body)
    reports: list[str] = []
    status = JournalStatus()
    async with sqlite_journal(tmp_path, on_damage=reports.append, status=status) as journal:
        for _ in range(2):
            assert ids(await read_all(journal, limit=1)) == [
                f"evt_{number}" for number in range(EVENTS) if number not in (69, 70, 71)
            ]
        await journal.flush()
        assert ids(await journal.read(69, 1)) == ["evt_72"]
        assert (len(reports), status.damaged_events, status.dead_letters) == (1, 3, 4)
        assert "3 of its events cannot be read and are dead letters now: number 70, 71, 72;" in reports[0]
    async with sqlite_journal(tmp_path, on_damage=reports.append) as journal:
        assert len(await read_all(journal)) == EVENTS - 3
        found = read_dead_letters(tmp_path / "journal.db")
        assert [letter.seq for letter in found.values()] == [2, 70, 71, 72]
        assert found[2].reason.startswith("damaged in the journal: ")
        assert (await journal.dead_letters([2]))[0].body is not None
    assert len(reports) == 1


async def test_the_id_of_a_damaged_event_is_found(tmp_path: Path) -> None:
    """The dead letter has the id if the body still contains it, so that Infodeck can look it up."""
    await fill(tmp_path)
    damage(
        tmp_path, "UPDATE events SET body = CAST(substr(body, 1, length(body) - 1) AS BLOB) WHERE seq = 70"
    )
    damage(
        tmp_path, "UPDATE events SET body = CAST(replace(body, 'evt_70', 'evt_80') AS BLOB) WHERE seq = 71"
    )
    async with sqlite_journal(tmp_path) as journal:
        await read_all(journal)
        await journal.flush()
        found = read_dead_letters(tmp_path / "journal.db")
    assert [(letter.seq, letter.event_id) for letter in found.values()][1:] == [(70, "evt_69"), (71, "")]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE last_values SET raw = '{' WHERE point = 'R/a'",
        "UPDATE last_values SET raw = '[1]' WHERE point = 'R/a'",
        "UPDATE last_values SET last_good = CAST(x'ff' AS TEXT) WHERE point = 'R/a'",
        "UPDATE last_values SET asset = CAST(x'ff' AS TEXT) WHERE point = 'R/a'",
        "UPDATE overrides SET value = 'tru' WHERE point = 'R/a'",
    ],
)
async def test_a_damaged_value_spoils_no_other(tmp_path: Path, change: str) -> None:
    """The gateway starts with all other values and reports the loss once."""
    await fill(tmp_path)
    damage(tmp_path, change)
    reports: list[str] = []
    for _ in range(2):
        async with sqlite_journal(tmp_path, on_damage=reports.append) as journal:
            kept = {value.point for value in journal.at_start.last_values}
            forced = {each.point for each in journal.at_start.overrides}
            assert {"R/b", "R/c"} <= kept
            assert "R/b" in forced
            assert len(kept) + len(forced) == 4
    assert len(reports) == 1
    assert reports[0].startswith("1 of its last values cannot be read")


async def test_the_newest_events_are_mapped_again_if_a_value_is_lost(tmp_path: Path) -> None:
    """The newest events contain the lost value."""
    await fill(tmp_path)
    damage(tmp_path, "UPDATE last_values SET raw = '{' WHERE point = 'R/a'")
    async with sqlite_journal(tmp_path) as journal:
        assert journal.at_start.values_through == 0


async def test_a_damaged_unmapped_asset_is_left_out(tmp_path: Path) -> None:
    """`gateway discover` shows the others."""
    await fill(tmp_path)
    damage(tmp_path, "UPDATE unmapped_assets SET keys = '[7' WHERE asset = 'ast-a'")
    assert read_unmapped_assets(tmp_path / "journal.db") == UNMAPPED[1:]


def spoil(file: Path, first_page: int, last_page: int) -> None:
    """Overwrite pages, counted from 0."""
    content = bytearray(file.read_bytes())
    assert len(content) >= last_page * PAGE_BYTES
    for start in range(first_page * PAGE_BYTES, last_page * PAGE_BYTES, PAGE_BYTES):
        content[start : start + PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    file.write_bytes(content)


def pages_of(file: Path, table: str) -> list[int]:
    """Return the leaf pages of a table, counted from 0."""
    with closing(sqlite3.connect(file)) as database:
        root = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    content = file.read_bytes()
    page = content[(root - 1) * PAGE_BYTES : root * PAGE_BYTES]
    if page[0] not in INTERIOR:
        return [root - 1]
    cells = struct.unpack_from(f">{struct.unpack_from('>H', page, 3)[0]}H", page, 12)
    children = [struct.unpack_from(">I", page, cell)[0] for cell in cells]
    return [child - 1 for child in (*children, struct.unpack_from(">I", page, 8)[0])]


async def test_a_corrupt_journal_loses_only_its_broken_page(tmp_path: Path) -> None:
    """Events behind the page, last values, dead letters and all other rows keep their numbers."""
    await fill(tmp_path)
    file = tmp_path / "journal.db"
    leaves = pages_of(file, "events")
    spoil(file, leaves[len(leaves) // 2], leaves[len(leaves) // 2] + 1)
    reports: list[str] = []
    async with sqlite_journal(tmp_path, on_damage=reports.append) as journal:
        found = ids(await journal.read(50, 1000))
        assert EVENTS - 50 > len(found) > EVENTS - 50 - 40
        assert (found[0], found[-1]) == ("evt_50", f"evt_{EVENTS - 1}")
        assert journal.head == EVENTS
        assert journal.cursor("bms") == 50
        assert sorted(journal.at_start.last_values, key=lambda value: value.point) == KEPT
        assert journal.at_start.overrides == FORCED
        assert journal.at_start.online == [OnlineState("a", online=True, at_ms=1)]
        assert journal.at_start.retained.get("bms", {}) == {"gw/v1/hq/R/a": True}
        assert [stored.letter for stored in await journal.dead_letters([1])] == [LETTER]
        await journal.append(make_event(EVENTS - 1))
        await journal.flush()
        assert journal.head == EVENTS
        await journal.append(make_event(EVENTS))
        assert journal.head > EVENTS
    (aside,) = corrupt_files(file)
    assert reports[0].startswith("its file was corrupt (")
    assert (
        f") and is now {aside}; taken over into a new one: {len(found)} events that a sink may not have got,"
        " last values of 3 points, 1 dead letters. "
    ) in reports[0]


async def test_pages_that_changed_places_do_not_stop_the_gateway(tmp_path: Path) -> None:
    """A misplaced page has lower numbers again; the rows behind it are read all the same."""
    await fill(tmp_path)
    file = tmp_path / "journal.db"
    leaves = pages_of(file, "events")
    earlier, later, broken = leaves[2], leaves[len(leaves) // 2], leaves[len(leaves) // 2 + 1]
    content = bytearray(file.read_bytes())
    moved = content[earlier * PAGE_BYTES : (earlier + 1) * PAGE_BYTES]
    content[later * PAGE_BYTES : (later + 1) * PAGE_BYTES] = moved
    file.write_bytes(content)
    spoil(file, broken, broken + 1)
    async with sqlite_journal(tmp_path) as journal:
        found = ids(await read_all(journal))
    assert EVENTS > len(found) > EVENTS - 80
    assert (found[0], found[-1]) == ("evt_0", f"evt_{EVENTS - 1}")
    assert corrupt_files(file)


async def test_damage_found_at_the_start_and_later_is_one_report(tmp_path: Path) -> None:
    """An alarm has one reason, which names both the corrupt file and the damaged events."""
    await fill(tmp_path)
    damage(tmp_path, "UPDATE events SET body = x'00' WHERE seq = 70")
    (tmp_path / "journal.db.corrupt").write_text("found while it was open")
    reports: list[str] = []
    async with sqlite_journal(tmp_path, on_damage=reports.append) as journal:
        await read_all(journal)
        (moved,) = corrupt_files(tmp_path / "journal.db")
    at_start, later = reports
    assert str(moved) in at_start
    assert "are dead letters now: number 70;" in later
    assert later.endswith(at_start)


async def test_a_sink_whose_cursor_is_lost_gets_every_event(tmp_path: Path) -> None:
    """Every event is delivered at least once."""
    await fill(tmp_path)
    file = tmp_path / "journal.db"
    (page,) = pages_of(file, "cursors")
    spoil(file, page, page + 1)
    async with sqlite_journal(tmp_path) as journal:
        assert journal.cursor("bms") == 0
        assert len(await read_all(journal)) == EVENTS
        assert journal.at_start.values_through == 0


def cut(file: Path, share: float) -> None:
    """Keep this share of a file."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


async def test_a_truncated_journal(tmp_path: Path) -> None:
    """The gateway copies the part that is left."""
    await fill(tmp_path, events=2000)
    file = tmp_path / "journal.db"
    cut(file, 0.8)
    reports: list[str] = []
    async with sqlite_journal(tmp_path, on_damage=reports.append) as journal:
        assert len(journal.at_start.last_values) == 3
        assert len(await journal.read(50, 2000)) > 500
        await journal.append(make_event(5000))
    assert len(reports) == 1


async def test_a_killed_replacement_is_repeated(tmp_path: Path) -> None:
    """The next start copies again, whatever files a killed start has left."""
    await fill(tmp_path)
    file, new = tmp_path / "journal.db", tmp_path / "journal.db.new"
    (page,) = pages_of(file, "cursors")
    spoil(file, page, page + 1)
    new.write_bytes(b"half of it")
    new.with_name("journal.db.new-wal").write_bytes(b"half of it")
    async with sqlite_journal(tmp_path) as journal:
        assert len(await read_all(journal)) == EVENTS
    assert not new.exists()
    file.rename(new)  # killed before the last step
    async with sqlite_journal(tmp_path) as journal:
        assert len(await read_all(journal)) == EVENTS


async def test_a_corrupt_journal_without_a_cursor_is_copied(tmp_path: Path) -> None:
    """A gateway without sinks starts, too."""
    async with sqlite_journal(tmp_path, sinks=()):
        pass
    (tmp_path / "journal.db.corrupt").write_text("as its use has shown")
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        assert journal.head == 0


@pytest.mark.parametrize("seed", range(20))
async def test_random_damage_never_stops_the_gateway(tmp_path: Path, seed: int) -> None:
    """Most events are read, new ones are stored, delivered ones are deleted.

    If only use shows that the file is corrupt, one more start copies it.
    """
    await fill(tmp_path)
    chance = random.Random(seed)
    flip_bits(tmp_path / "journal.db", chance, number=chance.choice([1, 1, 3, 20]))
    restarts: list[None] = []
    while True:
        try:
            async with sqlite_journal(tmp_path, on_corrupt=partial(restarts.append, None)) as journal:
                left = await read_all(journal)
                await journal.append(make_event(1000 + len(restarts)))
                journal.save(StateChanges(values_through=journal.head))
                journal.move_cursor("bms", journal.head)
                await journal.flush()
            async with sqlite_journal(
                tmp_path, clock_ms=lambda: LONG_AFTER_MS, on_corrupt=partial(restarts.append, None)
            ) as journal:
                await until_pruned_or_corrupt(journal)
                await journal.append(make_event(2000))
        except (JournalError, TimeoutError):
            assert journal.corrupt is not None
        if journal.corrupt is None:
            break
    assert len(restarts) <= 1
    assert len(left) > EVENTS // 2


async def until_pruned_or_corrupt(journal: SqliteJournal) -> None:
    """Wait until every event is deleted or the file is known to be corrupt."""
    async with asyncio.timeout(60):
        while journal.corrupt is None and await journal.read(0, 1):  # noqa: ASYNC110 - pruning has no event
            await asyncio.sleep(0.01)


def flip_bits(file: Path, chance: random.Random, *, number: int) -> None:
    """Change bits behind the file's header."""
    content = bytearray(file.read_bytes())
    for _ in range(number):
        content[chance.randrange(100, len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
