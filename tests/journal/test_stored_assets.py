"""The stored asset snapshot."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.journal_parts import START_MS, ids, make_event, read_all, sqlite_journal

from gateway.journal.lookup import read_assets
from gateway.records import (
    AssetLocation,
    AssetProperty,
    AssetSnapshot,
    AssetType,
    AutoTag,
    KnownAsset,
    StateChanges,
)

if TYPE_CHECKING:
    from pathlib import Path

ROOM = KnownAsset(
    id="ast-1",
    name="Room 1",
    asset_type="at-iaq",
    location="Level 3",
    location_id="loc-3",
    location_path=("HQ", "Level 3"),
    online=False,
)
SNAPSHOT = AssetSnapshot(
    START_MS,
    {"ast-1": ROOM, "ast-0": KnownAsset(id="ast-0")},
    {"at-iaq": AssetType("at-iaq", "IAQ", (AssetProperty("co2", "CO2", "integer", "ppm"),))},
    {"loc-3": AssetLocation("loc-3", "Level 3", "loc-0"), "loc-0": AssetLocation("loc-0", "HQ")},
    {"ast-1": AutoTag("{name}", "Room 1")},
)


async def test_the_last_snapshot_is_restored(tmp_path: Path) -> None:
    """Each snapshot replaces the earlier one whole."""
    async with sqlite_journal(tmp_path) as journal:
        assert journal.at_start.assets is None
        journal.save(StateChanges(assets=AssetSnapshot(1, {"ast-9": KnownAsset(id="ast-9")})))
        await journal.flush()
        journal.save(StateChanges(assets=SNAPSHOT))
        journal.move_cursor("bms", 0)
    async with sqlite_journal(tmp_path) as journal:
        assert journal.at_start.assets == SNAPSHOT
    assert read_assets(tmp_path / "journal.db") == SNAPSHOT


async def test_a_snapshot_without_room_harms_nothing_else(tmp_path: Path) -> None:
    """The rest of the commit and the earlier snapshot are stored, and the log names the cause."""
    huge = {f"ast-{number}": KnownAsset(id=f"ast-{number}", name="x" * 200) for number in range(6000)}
    async with sqlite_journal(tmp_path, max_bytes=1 << 20) as journal:
        journal.save(StateChanges(assets=SNAPSHOT))
        await journal.flush()
        with capture_logs() as lines:
            journal.save(StateChanges(assets=AssetSnapshot(2, huge)))
            journal.move_cursor("bms", 1)
            await journal.append(make_event(1))
            await journal.flush()
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("journal.assets_not_kept", "the journal is full")
    ]
    async with sqlite_journal(tmp_path, max_bytes=1 << 20) as journal:
        assert journal.at_start.assets == SNAPSHOT
        assert journal.cursor("bms") == 1
        assert ids(await read_all(journal)) == ["evt_1"]


@pytest.mark.parametrize(
    "known",
    [
        *("", "[", "7", "[1]", '[{"name": "no id"}]', '[{"id": ["ast-1"]}]'),
        *(
            "{}",
            '{"assets": 7}',
            '{"assets": [], "locations": [7]}',
        ),
    ],
)
async def test_a_snapshot_edited_by_hand_does_not_stop_the_start(tmp_path: Path, known: str) -> None:
    """An unreadable snapshot counts as none; the API supplies it again."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(assets=SNAPSHOT))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE assets SET snapshot = ?", (known,))
    async with sqlite_journal(tmp_path) as journal:
        assert journal.at_start.assets is None


@pytest.mark.parametrize(
    "known",
    [
        '{"assets": [{"id": "ast-1", "colour": "red"}]}',
        '{"assets": [{"id": "ast-1"}], "types": [], "locations": [], "floors": [7]}',
    ],
)
async def test_unknown_fields_of_a_snapshot_are_ignored(tmp_path: Path, known: str) -> None:
    """A later gateway may store more of an asset under the same layout."""
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(assets=SNAPSHOT))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE assets SET snapshot = ?", (known,))
    found = read_assets(tmp_path / "journal.db")
    assert found == AssetSnapshot(START_MS, {"ast-1": KnownAsset(id="ast-1")})


async def test_assets_are_stored_in_the_order_of_their_ids(tmp_path: Path) -> None:
    """Unchanged assets stay at their place in the file."""
    many = {f"ast-{number}": KnownAsset(id=f"ast-{number}") for number in range(1234)}
    async with sqlite_journal(tmp_path) as journal:
        journal.save(StateChanges(assets=AssetSnapshot(1, many)))
    found = read_assets(tmp_path / "journal.db")
    assert found == AssetSnapshot(1, many)
    assert list(found.assets) == sorted(many)
