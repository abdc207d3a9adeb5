"""Overrides and connections: values without a reading, on their way to sinks and disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.delivery_parts import NOON, Clock, Rig, delivering, rows
from support.point_tables import load_good_tables
from support.recording_sink import Receiver

from gateway.errors import GatewayError
from gateway.events import STATUS_CHANGED, parse_event
from gateway.model import Quality

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar

HOUR_MS = 3_600_000


def shown(rig: Rig, name: str) -> tuple[Scalar, Quality] | None:
    """Return what a point shows."""
    update = rig.state.latest(rig.state.points.by_name[name])
    return None if update is None else (update.value, update.quality)


def received(receiver: Receiver, name: str) -> list[tuple[Scalar, Quality]]:
    """Return what a sink got of a point."""
    return [(update.value, update.quality) for update in receiver.updates if update.point.name == name]


async def test_forcing_and_releasing_reach_every_sink(file: Path, points: PointMap) -> None:
    """They get the value with the asset's quality, then the reading that came meanwhile as the newest."""
    first, second = Receiver(), Receiver()
    async with delivering(file, points, {"bms": first, "regs": second}) as rig:
        await rig.send(1, t=21)
        await rig.delivered()
        rig.pipeline.force(points.by_name["R/T"], 30, until_ms=NOON + HOUR_MS)
        await rig.until(lambda: (30, Quality.FORCED) in received(first, "R/T"))
        await rig.send(2, t=22)
        await rig.delivered()
        assert shown(rig, "R/T") == (30, Quality.FORCED)
        assert rig.pipeline.release(points.by_name["R/T"])
        assert not rig.pipeline.release(points.by_name["R/T"])
        await rig.delivered()
    for receiver in (first, second):
        assert received(receiver, "R/T") == [
            (21, Quality.GOOD),
            (30, Quality.FORCED),
            (22, Quality.GOOD),
            (22, Quality.GOOD),
        ]
        assert receiver.values("R/QUAL") == [0, Quality.FORCED, 0]


async def test_an_override_outlives_a_crash_and_ends_in_its_time(file: Path, points: PointMap) -> None:
    """It is on disk after a flush, and the time of the outage counts."""
    clock = Clock()
    async with delivering(file, points, {"bms": Receiver()}, clock=clock) as rig:
        rig.pipeline.force(points.by_name["R/T"], 30, until_ms=NOON + HOUR_MS)
        rig.pipeline.force(points.by_name["R/H"], 40, until_ms=NOON + 2 * HOUR_MS)
        await rig.journal.flush()
        assert rig.rows("SELECT point, value FROM overrides ORDER BY point") == [("R/H", "40"), ("R/T", "30")]
    clock.now_ms += HOUR_MS
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        assert shown(rig, "R/T") == (None, Quality.BAD)
        assert shown(rig, "R/H") == (40, Quality.FORCED)
        assert shown(rig, "R/QUAL") == (Quality.FORCED, Quality.GOOD)
        clock.now_ms += HOUR_MS
        await rig.delivered()
        assert received(receiver, "R/H") == [(None, Quality.BAD)]
        assert rig.state.overrides() == []


async def test_a_released_point_stays_released_after_a_restart(file: Path, points: PointMap) -> None:
    """It shows what was measured meanwhile, or no value without a reading."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=21)
        for name in ("R/T", "R/H"):
            rig.pipeline.force(points.by_name[name], 30, until_ms=NOON + HOUR_MS)
        await rig.journal.flush()
        for name in ("R/T", "R/H"):
            rig.pipeline.release(points.by_name[name])
        await rig.journal.flush()
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        assert shown(rig, "R/T") == (21, Quality.GOOD)
        assert shown(rig, "R/H") == (None, Quality.BAD)
        assert rig.state.overrides() == []


TABLE_ONLINE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s}
points:
  - {tag: R, point: T, asset: a, from: t, on_stale: hold}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: R, point: QUAL, asset: a, from: $quality}
  - {tag: R, point: AGE, asset: a, from: $age, modbus: {to: regs, table: input, register: 0, type: uint32}}
  - {tag: R, point: ONLINE, asset: a, from: $online, modbus: {to: regs, table: discrete, register: 0}}
"""


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Return a compiled table with all pseudo points."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE_ONLINE)


async def report_connection(rig: Rig, number: int, **thing: Any) -> None:
    """Have Infodeck report the connection of asset `a`."""
    body = {
        "id": f"evt_{number}",
        "type": STATUS_CHANGED,
        "created": rig.clock.now_ms // 1000,
        "data": {"object": {"id": "a", **thing}, "previousAttributes": {"status": "Unknown"}},
    }
    await rig.journal.append(parse_event(orjson.dumps(body), received_ms=rig.clock.now_ms))
    await asyncio.sleep(0)


async def test_an_offline_device_reaches_every_sink(file: Path, connected: PointMap) -> None:
    """All its values get stand-ins at once; its first newer reading ends them all."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, connected, {"bms": receiver}, clock=clock) as rig:
        await rig.send(1, t=21, h=40)
        clock.now_ms += 1_000
        await report_connection(rig, 2, status="Offline")
        await rig.delivered()
        assert rig.journal.head == 2
        clock.now_ms += 1_000
        await rig.send(3, t=22)
        await rig.delivered()
        assert (rig.mapping.connections, rig.mapping.connections_unclear) == (1, 0)
        assert (rig.mapping.mapped, rig.mapping.unmapped, rig.mapping.unreadable) == (2, 0, 0)
    assert received(receiver, "R/T") == [(21, Quality.GOOD), (21, Quality.OFFLINE), (22, Quality.GOOD)]
    assert received(receiver, "R/H") == [(40, Quality.GOOD), (None, Quality.OFFLINE), (40, Quality.GOOD)]
    assert receiver.values("R/QUAL") == [0, Quality.OFFLINE, 0]
    assert receiver.values("R/ONLINE") == [0, 1]
    assert rows(file, "SELECT seq FROM cursors WHERE sink = 'bms'") == [(3,)]


async def test_an_offline_device_stays_offline_over_a_restart(file: Path, connected: PointMap) -> None:
    """Saved or only in the event log, the state is restored, and a sink that was away gets it."""
    clock = Clock()
    async with delivering(file, connected, {"bms": Receiver(away=1_000_000)}, clock=clock) as rig:
        await rig.send(1, t=21)
        await report_connection(rig, 2, connectionStatus=False)
    for _ in range(2):
        receiver = Receiver(away=0)
        async with delivering(file, connected, {"bms": receiver}, clock=clock) as rig:
            assert shown(rig, "R/T") == (21, Quality.OFFLINE)
            assert shown(rig, "R/ONLINE") == (0, Quality.GOOD)
            assert shown(rig, "R/QUAL") == (Quality.OFFLINE, Quality.GOOD)
            await rig.delivered()
    assert rows(file, "SELECT * FROM online") == [("a", 0, NOON)]


async def test_a_sink_behind_gets_all_values_that_are_back(file: Path, connected: PointMap) -> None:
    """The reading comes from the event log, the values that return with it are of older events."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, connected, {"bms": receiver}, clock=clock) as rig:
        await rig.send(1, t=21, h=40)
        await report_connection(rig, 2, status="offline")
        await rig.delivered()
        receiver.open.clear()
        receiver.asked.clear()
        rig.pipeline.force(connected.by_name["R/T"], 30, until_ms=NOON + HOUR_MS)
        await receiver.asked.wait()
        clock.now_ms += 1_000
        await rig.send(3, t=22)
        await rig.journal.flush()
        rig.pipeline._recent.clear()  # as if 10,000 updates had come meanwhile
        receiver.open.set()
        await rig.until(lambda: received(receiver, "R/H")[-1] == (40, Quality.GOOD))


@pytest.mark.parametrize("thing", [{}, {"status": "Maintenance"}, {"status": 1}, {"connectionStatus": "no"}])
async def test_an_unclear_status_changes_nothing(
    file: Path, connected: PointMap, thing: dict[str, Any]
) -> None:
    """It is accepted, counted, and no dead letter."""
    async with delivering(file, connected, {"bms": Receiver()}) as rig:
        await report_connection(rig, 1, telemetry={"t": 1}, **thing)
        await rig.delivered()
        assert (rig.mapping.connections, rig.mapping.connections_unclear) == (0, 1)
        assert rig.state.all_latest() == []
    assert rows(file, "SELECT * FROM dead_letters") == rows(file, "SELECT * FROM unmapped_assets") == []


async def test_pseudo_readings_move_by_themselves_and_after_a_restart(
    file: Path, connected: PointMap
) -> None:
    """Without events, age counts up, quality follows ageing, and the connection is restored."""
    clock = Clock()
    async with delivering(file, connected, {"regs": Receiver()}, clock=clock) as rig:
        await rig.send(1, t=21)
        await report_connection(rig, 2, status="ONLINE")
        await rig.delivered()
    receiver = Receiver()
    async with delivering(file, connected, {"regs": receiver}, clock=clock) as rig:
        assert [shown(rig, f"R/{name}") for name in ("AGE", "QUAL", "ONLINE")] == [
            (0, Quality.GOOD),
            (Quality.GOOD, Quality.GOOD),
            (1, Quality.GOOD),
        ]
        for _ in range(2):
            clock.now_ms += 6_000
            await rig.delivered()
    assert receiver.values("R/AGE")[-1] == 12
    assert receiver.values("R/QUAL") == [Quality.HELD]
    async with delivering(file, connected, {"regs": Receiver()}, clock=clock) as rig:
        assert shown(rig, "R/AGE") == (12, Quality.GOOD)
        assert shown(rig, "R/QUAL") == (Quality.HELD, Quality.GOOD)


async def test_what_cannot_be_forced_changes_nothing(file: Path, points: PointMap) -> None:
    """The caller gets the reason; sinks and disk get nothing."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        with pytest.raises(GatewayError, match="which the gateway makes itself"):
            rig.pipeline.force(points.by_name["R/QUAL"], 1, until_ms=NOON + HOUR_MS)
        await rig.delivered()
    assert receiver.updates == []
    assert rows(file, "SELECT * FROM overrides") == []
