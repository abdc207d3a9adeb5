"""Silence from before a start counts after it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.arrival_parts import HOUR_MS, MINUTE_MS
from support.delivery_parts import NOON, Clock, delivering
from support.point_tables import load_good_tables
from support.recording_sink import Receiver
from support.waiting import until

from gateway.alarms import Alarms
from gateway.events import TELEMETRY
from gateway.infodeck.delivery_monitor import AssetReports, DeliveryMonitor, MonitorTimes
from gateway.model import BACKFILL_ID_PREFIX, Event
from gateway.status import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.delivery_parts import Rig

    from gateway.mapping.plan import PointMap

TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: ours, from: t}
  - {tag: S, point: T, asset: other, from: t}
"""
TIMES = MonitorTimes(tick_ms=2)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


async def bring(rig: Rig, *events: tuple[str, str, int]) -> None:
    """Store and map these events, given by id, asset and time."""
    for event_id, asset, at_ms in events:
        thing = {"assetId": asset, "timestamp": at_ms, "telemetry": {"t": at_ms % 1000}}
        document: dict[str, Any] = {"id": event_id, "type": TELEMETRY, "data": {"object": thing}}
        rig.journal.append(Event(event_id, TELEMETRY, orjson.dumps(document), document, at_ms))
    await rig.journal.flush()
    await rig.delivered()


@asynccontextmanager
async def started(rig: Rig) -> AsyncIterator[Alarms]:
    """Run the monitor, as after a start."""
    alarms = Alarms(clock_ms=rig.clock)
    monitor = DeliveryMonitor(
        alarms=alarms,
        status=Status(name="box", started_ms=rig.clock.now_ms),
        reports=AssetReports(lambda: rig.pipeline.state),
        times=TIMES,
        clock_ms=rig.clock,
        ask_api=lambda: None,
    )
    rig.journal.subscribe(monitor.arrivals.accept_records)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(monitor.run())
        yield alarms
        running.cancel()


async def reason_soon(rig: Rig, alarms: Alarms) -> str:
    """Let some minutes pass; return the alarm's reason."""
    for _ in range(6):
        await asyncio.sleep(0.01)
        rig.clock.now_ms += MINUTE_MS
    await until(lambda: bool(alarms.current()))
    return alarms.current()[0].reason


async def test_silence_goes_on_over_a_restart(tmp_path: Path, points: PointMap) -> None:
    """The points' values have the time of the last webhook."""
    clock = Clock(NOON)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}, clock=clock) as rig:
        await bring(rig, ("evt_1", "ours", NOON))
        clock.now_ms += 3 * HOUR_MS
        async with started(rig) as alarms:
            assert "has come by webhook since 2026-09-21T" in await reason_soon(rig, alarms)


async def test_one_value_of_a_webhook_is_enough(tmp_path: Path, points: PointMap) -> None:
    """A newer value of the API does not hide the last webhook."""
    clock = Clock(NOON)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}, clock=clock) as rig:
        await bring(rig, ("evt_1", "other", NOON))
        await bring(rig, *((f"{BACKFILL_ID_PREFIX}{each}", "ours", NOON + 1000 + each) for each in range(3)))
        clock.now_ms += 3 * HOUR_MS
        async with started(rig) as alarms:
            assert "has come by webhook since 2026-09-21T" in await reason_soon(rig, alarms)


async def test_without_webhooks_the_newest_value_of_the_api_counts(tmp_path: Path, points: PointMap) -> None:
    """If the API supplied all values, the newest of them counts."""
    clock = Clock(NOON)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}, clock=clock) as rig:
        await bring(rig, (f"{BACKFILL_ID_PREFIX}1", "ours", NOON))
        clock.now_ms += 3 * HOUR_MS
        async with started(rig) as alarms:
            assert "has come by webhook since 2026-09-21T" in await reason_soon(rig, alarms)
