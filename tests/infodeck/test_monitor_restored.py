"""What a gateway knows at its start of webhooks that came before: silence does not begin anew."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from structlog.testing import capture_logs
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
TIMES = MonitorTimes(tick_ms=2, jump_ms=HOUR_MS)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


async def bring(rig: Rig, *events: tuple[str, str, int]) -> None:
    """Have these events in the journal, each by id, asset and time, and their readings mapped."""
    for event_id, asset, at_ms in events:
        thing = {"assetId": asset, "timestamp": at_ms, "telemetry": {"t": at_ms % 1000}}
        document: dict[str, Any] = {"id": event_id, "type": TELEMETRY, "data": {"object": thing}}
        rig.journal.append(Event(event_id, TELEMETRY, orjson.dumps(document), document, at_ms))
    await rig.journal.flush()
    await rig.delivered()


@asynccontextmanager
async def started(rig: Rig) -> AsyncIterator[Alarms]:
    """Watch from now on, as after a start."""
    alarms = Alarms(clock_ms=rig.clock)
    monitor = DeliveryMonitor(
        alarms=alarms,
        status=Status(name="box", started_ms=rig.clock.now_ms),
        reports=AssetReports(
            state=lambda: rig.head.state,
            snapshot=lambda: None,
            clock_ms=rig.clock,
            item_time=None,
            keep_alive_unit=None,
        ),
        times=TIMES,
        clock_ms=rig.clock,
        ask_api=lambda: None,
    )
    monitor.start(rig.journal)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(monitor.run())
        yield alarms
        running.cancel()


async def reason_soon(rig: Rig, alarms: Alarms) -> str:
    """Let a few minutes pass; return why there is an alarm then."""
    rig.clock.now_ms += 6 * MINUTE_MS
    await until(lambda: bool(alarms.current()))
    return alarms.current()[0].reason


@pytest.mark.parametrize("refills", [0, 3, 2000])
async def test_silence_goes_on_over_a_restart(tmp_path: Path, points: PointMap, refills: int) -> None:
    """However much the API had to supply since: the last webhook is found behind that."""
    clock = Clock(NOON)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}, clock=clock) as rig:
        await bring(rig, ("evt_1", "ours", NOON))
        await bring(
            rig, *((f"{BACKFILL_ID_PREFIX}{each}", "ours", NOON + 1000 + each) for each in range(refills))
        )
        clock.now_ms += 3 * HOUR_MS
        async with started(rig) as alarms:
            assert "has come by webhook since 2026-09-21T" in await reason_soon(rig, alarms)


async def test_values_that_are_kept_tell_where_the_journal_does_not(tmp_path: Path, points: PointMap) -> None:
    """What it has is of the API alone, for longer than is looked back; one point still has a webhook's."""
    clock = Clock(NOON)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}, clock=clock) as rig:
        await bring(rig, ("evt_1", "other", NOON))
        await bring(
            rig, *((f"{BACKFILL_ID_PREFIX}{each}", "ours", NOON + 1000 + each) for each in range(10_100))
        )
        clock.now_ms += 3 * HOUR_MS
        async with started(rig) as alarms:
            assert "has come by webhook since 2026-09-21T" in await reason_soon(rig, alarms)


async def test_a_journal_that_cannot_be_read_stops_nothing(tmp_path: Path, points: PointMap) -> None:
    """Watching begins without what was before, and says so once."""
    clock = Clock(NOON)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}, clock=clock) as rig:
        await bring(rig, ("evt_1", "ours", NOON))
        await asyncio.to_thread(spoil, tmp_path / "journal.db")
        clock.now_ms += 3 * HOUR_MS
        with capture_logs() as logs:
            async with started(rig):
                await until(lambda: any(line["event"] == "watch.forgot" for line in logs))


def spoil(file: Path) -> None:
    """Take away what holds the events, as a disk that fails does."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("ALTER TABLE events RENAME TO lost")
