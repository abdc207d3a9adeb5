"""Readings that were backfilled for old tables are available to points of new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.backfill_parts import backfilling, item
from support.delivery_parts import NOON
from support.point_tables import load_good_tables

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "schema: gateway.points/1\nsite: hq\npoints:\n"
BEFORE = "  - {tag: R, point: T, asset: a, from: t}\n"


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (BEFORE + "  - {tag: R, point: T2, asset: a, from: t}\n", "R/T2"),
        ("  - {tag: ROOM-1, point: T, asset: a, from: t}\n", "ROOM-1/T"),
        ("  - {tag: R, point: T, asset: a, from: t, unit: degC}\n", "R/T"),
    ],
)
async def test_a_point_of_an_edited_table_gets_what_was_backfilled_before(
    tmp_path: Path, after: str, name: str
) -> None:
    """An added, renamed or converted point gets its value, although the journal has the event."""
    shown = item("a", at_ms=NOON, t=21.5)
    for number, rows in enumerate((BEFORE, after)):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with backfilling(tmp_path / "journal.db", load_good_tables(folder, HEAD + rows)) as run:
            for _ in range(2):
                await run.reconcile(shown)
            await run.rig.delivered()
            events = len(await run.backfills())
    assert run.shown(name) == (21.5, NOON)
    assert events in (1, 2)  # a point of a known key may show the reading that another point had


async def test_a_point_that_came_back_gets_its_value_again(tmp_path: Path) -> None:
    """A point that is moved to another asset and back gets each asset's value."""
    shown = [item(asset, at_ms=NOON, t=value) for asset, value in (("a", 1), ("b", 2))]
    for number, asset in enumerate("aba"):
        folder = tmp_path / str(number)
        folder.mkdir()
        points = load_good_tables(folder, HEAD + BEFORE.replace("asset: a", f"asset: {asset}"))
        async with backfilling(tmp_path / "journal.db", points) as run:
            await run.reconcile(*shown)
            await run.rig.delivered()
            assert run.shown("R/T") == (1 if asset == "a" else 2, NOON)
