"""Points that read a path are backfilled from that path of the shadows only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.backfill_parts import MINUTE_MS, backfilling, item
from support.delivery_parts import NOON
from support.point_tables import load_good_tables

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap

TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t}
  - {tag: R, point: FIRST, asset: a, from: "$.data.object.readings[0].value"}
  - {tag: R, point: STAMP, asset: a, from: $.created}
  - {tag: R, point: L0, asset: a, from: "$.data.object.shadows.Up.state.reported.list[0]"}
"""
WITH_L2 = (
    TABLE
    + """\
  - {tag: R, point: L2, asset: a, from: "$.data.object.shadows.Up.state.reported.list[2]"}
"""
)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "journal.db"


def listed(*values: Any, at_ms: int) -> dict[str, Any]:
    """Return an asset whose shadow has a list."""
    return {"id": "a", "shadows": {"Up": {"state": {"reported": {"list": [*values], "timestamp": at_ms}}}}}


async def test_no_path_finds_another_points_reading(file: Path, points: PointMap) -> None:
    """Paths into Infodeck's events find nothing in the gateway's own events."""
    async with backfilling(file, points) as run:
        await run.rig.send_thing(2, {"id": "a", "timestamp": NOON, "readings": [{"key": "x", "value": 640}]})
        assert run.shown("R/FIRST") == (640, NOON)
        run.rig.clock.now_ms = NOON + 10 * MINUTE_MS
        await run.reconcile(item("a", at_ms=NOON + 5 * MINUTE_MS, t=21.5))
        assert run.shown("R/T") == (21.5, NOON + 5 * MINUTE_MS)
        assert run.shown("R/FIRST") == (640, NOON)
        assert run.newest("R/STAMP") is None


async def test_a_new_point_of_a_list_leaves_its_neighbour_alone(
    file: Path, points: PointMap, tmp_path: Path
) -> None:
    """A new point gets its list element; the point of the neighbouring element keeps its value."""
    shown = listed(7, 8, 9, at_ms=NOON)
    async with backfilling(file, points) as run:
        await run.reconcile(shown)
        assert run.shown("R/L0") == (7, NOON)
        await run.rig.delivered()
    (tmp_path / "more").mkdir()
    async with backfilling(file, load_good_tables(tmp_path / "more", WITH_L2)) as run:
        await run.reconcile(shown)
        assert run.shown("R/L2") == (9, NOON)
        assert run.shown("R/L0") == (7, NOON)
        newest = run.newest("R/L0")
        assert newest is not None
        assert newest.quality.name == "GOOD"
