"""What comes from no reading, on its way to the sinks and to the disk: overrides, and lost devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.delivery_parts import NOON, TABLE, Clock, Rig, delivering, rows
from support.point_tables import load_good_tables
from support.recording_sink import Receiver

from gateway.errors import GatewayError
from gateway.model import Quality

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "journal.db"


def shown(rig: Rig, name: str) -> tuple[Scalar, Quality] | None:
    """Return what a point shows."""
    update = rig.image.latest(rig.image.points.by_name[name])
    return None if update is None else (update.value, update.quality)


def told(receiver: Receiver, name: str) -> list[tuple[Scalar, Quality]]:
    """Return what a sink was told of a point."""
    return [(update.value, update.quality) for update in receiver.updates if update.point.name == name]


async def test_forcing_and_releasing_reach_every_sink(file: Path, points: PointMap) -> None:
    """The value at once, with the asset's quality; then the reading that came beneath it, as the newest."""
    first, second = Receiver(), Receiver()
    async with delivering(file, points, {"bms": first, "regs": second}) as rig:
        await rig.send(1, t=21)
        await rig.delivered()
        rig.head.force(points.by_name["R/T"], 30, until_ms=NOON + HOUR_MS)
        await rig.until(lambda: (30, Quality.FORCED) in told(first, "R/T"))
        await rig.send(2, t=22)
        await rig.delivered()
        assert shown(rig, "R/T") == (30, Quality.FORCED)
        assert rig.head.release(points.by_name["R/T"])
        assert not rig.head.release(points.by_name["R/T"])
        await rig.delivered()
    for receiver in (first, second):
        assert told(receiver, "R/T") == [
            (21, Quality.GOOD),
            (30, Quality.FORCED),
            (22, Quality.GOOD),
            (22, Quality.GOOD),
        ]
        assert receiver.values("R/QUAL") == [0, Quality.FORCED, 0]


async def test_an_override_outlives_a_crash_and_ends_in_its_time(file: Path, points: PointMap) -> None:
    """It is on disk once the journal is flushed; the time that the gateway is down counts."""
    clock = Clock()
    async with delivering(file, points, {"bms": Receiver()}, clock=clock) as rig:
        rig.head.force(points.by_name["R/T"], 30, until_ms=NOON + HOUR_MS)
        rig.head.force(points.by_name["R/H"], 40, until_ms=NOON + 2 * HOUR_MS)
        await rig.journal.flush()
        assert rig.rows("SELECT point, value FROM forced ORDER BY point") == [("R/H", "40"), ("R/T", "30")]
    clock.now_ms += HOUR_MS
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        assert shown(rig, "R/T") == (None, Quality.BAD)
        assert shown(rig, "R/H") == (40, Quality.FORCED)
        assert shown(rig, "R/QUAL") == (Quality.FORCED, Quality.GOOD)
        clock.now_ms += HOUR_MS
        await rig.delivered()
        assert told(receiver, "R/H") == [(None, Quality.BAD)]
        assert rig.image.forced() == []


async def test_a_released_point_stays_released_after_a_restart(file: Path, points: PointMap) -> None:
    """What was measured meanwhile is shown; a point without a reading shows no value."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=21)
        for name in ("R/T", "R/H"):
            rig.head.force(points.by_name[name], 30, until_ms=NOON + HOUR_MS)
        await rig.journal.flush()
        for name in ("R/T", "R/H"):
            rig.head.release(points.by_name[name])
        await rig.journal.flush()
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        assert shown(rig, "R/T") == (21, Quality.GOOD)
        assert shown(rig, "R/H") == (None, Quality.BAD)
        assert rig.image.forced() == []


async def test_what_cannot_be_forced_changes_nothing(file: Path, points: PointMap) -> None:
    """The caller is told why, and neither sinks nor disk hear of it."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        with pytest.raises(GatewayError, match="which the gateway makes itself"):
            rig.head.force(points.by_name["R/QUAL"], 1, until_ms=NOON + HOUR_MS)
        await rig.delivered()
    assert receiver.updates == []
    assert rows(file, "SELECT * FROM forced") == []
