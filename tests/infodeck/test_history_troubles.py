"""Filling gaps despite odd answers, refusals, late retries and kills."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from support.asset_lists import answer, simulated_api
from support.backfill_parts import backfilling, item
from support.delivery_parts import Clock
from support.point_tables import load_good_tables
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.backfill_parts import BackfillRig

    from gateway.demo.simulated_api import SimulatedApi
    from gateway.mapping.plan import PointMap

HOUR_MS = 3_600_000
# The simulated API has the last days up to now, so that is when the stories of these tests end.
NOW = int(time.time()) // 3600 * HOUR_MS
NOON = NOW - 30 * HOUR_MS
ASSETS = "abcd"
TABLE = "schema: gateway.points/1\nsite: hq\npoints:\n" + "".join(
    f"  - {{tag: {asset}, point: T, asset: {asset}, from: t, refill: history}}\n" for asset in ASSETS
)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> PointMap:
    """Compile the table once; nothing changes it."""
    return load_good_tables(tmp_path_factory.mktemp("tables"), TABLE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "journal.db"


def api_of(assets: Iterable[str] = "a", *, time_name: str = "timestamp") -> SimulatedApi:
    """Return an API with an hourly reading of each asset, from noon on."""
    api = simulated_api(0)
    api.items = [{"id": asset} for asset in ASSETS]
    hourly = [{time_name: NOON + hour * HOUR_MS, "value": 100 + hour} for hour in range(31)]
    api.metrics = {(asset, "t"): hourly for asset in assets}
    return api


async def have_read_at_noon(file: Path, points: PointMap, clock: Clock, assets: str = "a") -> None:
    """Let assets report at noon, and stop; the next run begins 30 hours later."""
    async with backfilling(file, points, clock=clock) as run:
        for asset in assets:
            await run.webhook(asset, at_ms=NOON, asset=asset, t=1)
        await run.rig.delivered()
    clock.now_ms = NOON + 30 * HOUR_MS


def hours_published(run: BackfillRig, asset: str = "a") -> list[int]:
    """Return the hours after noon of an asset's values that reached the sink, without the last hour."""
    times = [update.time_ms for update in run.receiver.updates if update.point.name == f"{asset}/T"]
    return sorted((time_ms - NOON) // HOUR_MS for time_ms in times if time_ms < NOON + 30 * HOUR_MS)


async def test_an_unreadable_history_is_not_an_empty_one(file: Path, points: PointMap) -> None:
    """If fields have other names, the gap stays open, and the error names the settings."""
    clock = Clock(NOON)
    with capture_logs() as lines:
        async with api_of(time_name="createdAt") as api:
            await have_read_at_noon(file, points, clock)
            async with backfilling(file, points, api, clock=clock) as run:
                await run.webhook(2, at_ms=clock.now_ms, t=2)
                await until(lambda: run.status.history_error is not None)
                assert run.status.open_gaps == 1
                reason = str(run.status.history_error)
                assert "infodeck.refill.metric_time" in reason
                assert "createdAt, value" in reason
        async with api_of() as api, backfilling(file, points, api, clock=clock) as run:
            await run.reconcile()
            await run.until_filled()
            assert hours_published(run) == [*range(1, 30)]
    assert [line["event"] for line in lines if line["event"].startswith("history.")] == [
        "history.unavailable",
        "history.filled",
    ]


@pytest.mark.parametrize("status", [422, 500])
async def test_refused_histories_do_not_delay_others(file: Path, points: PointMap, status: int) -> None:
    """Gaps that failed most often are requested last."""
    clock = Clock(NOON)
    async with api_of(ASSETS) as api:
        await have_read_at_noon(file, points, clock, ASSETS)
        for asset in "abc":
            refusals = [answer({"message": "no"}, status=status)] * 1000
            api.path_faults[f"/assets/{asset}/metrics"] = deque(refusals)
        async with backfilling(file, points, api, clock=clock) as run:
            for asset in ASSETS:
                await run.webhook(f"{asset}2", at_ms=clock.now_ms, asset=asset, t=2)
            async with asyncio.timeout(60):
                while run.status.open_gaps > 3:
                    await run.reconcile()
            await run.rig.delivered()
            assert hours_published(run, "d") == [*range(1, 30)]


async def test_a_late_webhook_in_one_commit_with_the_gaps_end_comes_once(
    file: Path, points: PointMap
) -> None:
    """Known readings of a gap are on disk before it is filled."""
    clock = Clock(NOON)
    async with api_of() as api:
        await have_read_at_noon(file, points, clock)
        async with backfilling(file, points, api, clock=clock) as run:
            await run.reconcile(item("a", at_ms=NOON + 29 * HOUR_MS, t=129))
            for hour in (20, 30):
                at_ms = NOON + hour * HOUR_MS
                run.rig.offer(hour, {"assetId": "a", "timestamp": at_ms, "telemetry": {"t": 100 + hour}})
            await run.rig.journal.flush()
            await run.until_filled()
            assert hours_published(run) == [*range(1, 30)]


async def test_a_late_webhook_while_a_gap_waits_to_be_filled_comes_once(file: Path, points: PointMap) -> None:
    """A webhook that arrives while the API is away is not repeated by the history."""
    clock = Clock(NOON)
    async with api_of() as api:
        await have_read_at_noon(file, points, clock)
        api.path_faults["/metrics"] = deque([answer({}, status=503)])
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(2, at_ms=NOON + 30 * HOUR_MS, t=2)
            await until(lambda: run.status.history_error is not None)
            for hour in (7, 20):
                await run.webhook(f"late{hour}", at_ms=NOON + hour * HOUR_MS, t=100 + hour)
            await run.reconcile()
            await run.until_filled()
            assert hours_published(run) == [*range(1, 30)]


async def test_a_kill_right_after_a_backfill_repeats_nothing(
    file: Path, points: PointMap, tmp_path: Path
) -> None:
    """A backfilled reading whose gap was not saved is recognised in the next run."""
    clock = Clock(NOON)
    killed = tmp_path / "killed.db"

    def kill(_: Any) -> None:
        if not killed.exists():
            with closing(sqlite3.connect(file)) as alive, closing(sqlite3.connect(killed)) as copy:
                alive.backup(copy)

    async with api_of() as api:
        await have_read_at_noon(file, points, clock)
        async with backfilling(file, points, api, clock=clock) as run:
            run.rig.journal.subscribe(kill)
            await run.reconcile(item("a", at_ms=NOON + 29 * HOUR_MS, t=129))
            assert killed.exists()
        async with backfilling(killed, points, api, clock=clock) as run:
            await run.rig.delivered()
            await run.webhook(2, at_ms=clock.now_ms, t=2)
            await run.until_filled()
            assert hours_published(run) == [*range(1, 30)]


async def test_a_history_that_is_too_long_is_cut_short(
    file: Path, points: PointMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ends at the page that reaches the limit, with a warning."""
    monkeypatch.setattr("gateway.infodeck.history._MOST_READINGS", 10)
    clock = Clock(NOON)
    with capture_logs() as lines:
        async with api_of() as api:
            await have_read_at_noon(file, points, clock)
            async with backfilling(file, points, api, clock=clock) as run:
                await run.webhook(2, at_ms=clock.now_ms, t=2)
                await run.until_filled()
                assert len(hours_published(run)) == 29  # of the page that was read
    (warning,) = [line for line in lines if line["event"] == "history.cut_short"]
    assert (warning["asset"], warning["key"], warning["kept"]) == ("a", "t", 29)
