"""Gaps in histories: opened by a failure, closed by a webhook, filled from the API once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs
from support.asset_lists import answer, simulated_api
from support.backfill_parts import DAY_MS, MINUTE_MS, backfilling, item
from support.delivery_parts import Clock
from support.point_tables import load_good_tables
from support.waiting import until

from gateway.demo.simulated_answers import Answer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from support.backfill_parts import BackfillRig

    from gateway.demo.simulated_api import SimulatedApi
    from gateway.mapping.plan import PointMap

HOUR_MS = 3_600_000
# The simulated API has the last days up to now, so that is when the stories of these tests end.
NOW = int(time.time()) // 3600 * HOUR_MS
TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t, refill: history}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: S, point: T, asset: b, from: t, refill: history}
"""


def api_with(metrics: dict[tuple[str, str], list[Any]]) -> SimulatedApi:
    """Return an API with these histories of assets `a` and `b`."""
    api = simulated_api(0)
    api.items = [{"id": "a"}, {"id": "b"}]
    api.metrics = metrics
    return api


def series(*times_ms: int, start: int = 100) -> list[dict[str, Any]]:
    """Return a history in which every value is different."""
    return [{"timestamp": time_ms, "value": start + number} for number, time_ms in enumerate(times_ms)]


def history(run: BackfillRig, point: str = "R/T") -> list[tuple[Any, int]]:
    """Return values and times that reached the sink and were not the newest, in order."""
    newest = run.newest(point)
    assert newest is not None
    return [
        (update.value, update.time_ms)
        for update in run.receiver.updates
        if update.point.name == point and update.time_ms < newest.time_ms
    ]


def hours(noon: int) -> list[dict[str, Any]]:
    """Return an hourly history from two hours before `noon`; its value at noon is 102."""
    return series(*(noon + hour * HOUR_MS for hour in range(-2, 60)))


async def test_a_long_gap_is_filled_once_a_webhook_ends_it(file: Path, points: PointMap) -> None:
    """Each reading in the gap is published once, as history; later restarts add nothing."""
    noon = NOW - 50 * HOUR_MS
    clock = Clock(noon)
    async with api_with({("a", "t"): hours(noon)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=1)
            await run.rig.delivered()
        clock.now_ms = noon + 50 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            await run.reconcile(item("a", at_ms=noon + 49 * HOUR_MS, t=149))
            assert run.status.open_gaps == 1
            await run.webhook(2, at_ms=noon + 50 * HOUR_MS, t=2)
            await run.until_filled()
            assert run.status.history_readings == 48
            expected = [*range(1, 49)]  # neither the ends nor what was refilled
            seen = history(run)
            assert seen[0] == (149, noon + 49 * HOUR_MS)  # was the newest when it came
            assert seen[1:] == [(102 + hour, noon + hour * HOUR_MS) for hour in expected]
            assert run.shown("R/T") == (2, noon + 50 * HOUR_MS)
            assert [query for query in api.asked if "metrics" in query] == [
                query for query in api.asked if "metricName=t" in query and "days=3" in query
            ]
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(3, at_ms=noon + 51 * HOUR_MS, t=3)
            await run.reconcile(item("a", at_ms=noon + 51 * HOUR_MS, t=3))
            await run.rig.delivered()
            assert [update.value for update in run.receiver.updates] == [3]
        assert len([query for query in api.asked if "metrics" in query]) == 1


async def test_a_history_is_in_the_unit_that_webhooks_state(file: Path, tmp_path: Path) -> None:
    """Values of the API's history have the unit of the newest webhook."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    points = load_good_tables(tmp_path, TABLE.replace("from: t, refill", "from: t, unit: degC, refill"))
    fahrenheit = {"value": 50, "unit": "°F"}
    metrics = series(noon + HOUR_MS, start=212)
    async with api_with({("a", "t"): metrics}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=fahrenheit)
            await run.rig.delivered()
        clock.now_ms = noon + 30 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            await run.reconcile(item("a", at_ms=noon + 29 * HOUR_MS, t=fahrenheit))
            await run.webhook(2, at_ms=noon + 30 * HOUR_MS, t=fahrenheit)
            await run.until_filled()
            assert history(run) == [(10, noon + 29 * HOUR_MS), (100, noon + HOUR_MS)]


async def test_a_short_gap_is_left_to_infodecks_retries(file: Path, points: PointMap) -> None:
    """A gap shorter than `history_after` requests nothing and is not stored."""
    noon = NOW - 23 * HOUR_MS
    clock = Clock(noon)
    async with api_with({("a", "t"): hours(noon)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=1)
        clock.now_ms = noon + 23 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            await run.reconcile(item("a", at_ms=noon + 22 * HOUR_MS, t=5))
            assert run.status.open_gaps == 1
            await run.webhook(2, at_ms=noon + 23 * HOUR_MS, t=2)
            await run.reconcile(item("a", at_ms=noon + 23 * HOUR_MS, t=2))
            assert (run.status.open_gaps, run.status.history_readings) == (0, 0)
            await run.rig.journal.flush()
            assert run.rig.rows("SELECT * FROM gaps") == []
        assert api.asked == []


async def test_a_gap_without_a_restart_is_filled_too(file: Path, points: PointMap) -> None:
    """Two days without webhooks while the gateway runs are filled, despite restarts."""
    noon = NOW - 49 * HOUR_MS
    clock = Clock(noon)
    async with api_with({("a", "t"): hours(noon)}) as api:
        for hour in range(0, 48, 12):
            async with backfilling(file, points, api, clock=clock) as run:
                if hour == 0:
                    await run.webhook(1, at_ms=noon, t=1)
                for later in range(3, 13, 3):
                    clock.now_ms = noon + (hour + later) * HOUR_MS
                    await run.reconcile(item("a", at_ms=clock.now_ms, t=102 + hour + later))
                assert run.status.events == 4
                await run.rig.delivered()
        async with backfilling(file, points, api, clock=clock) as run:
            clock.now_ms = noon + 49 * HOUR_MS
            await run.webhook(2, at_ms=clock.now_ms, t=2)
            await run.until_filled()
            seen = history(run)
            assert seen == [(102 + hour, noon + hour * HOUR_MS) for hour in range(1, 49) if hour % 3]
            assert run.rig.rows("SELECT * FROM gaps") == []


async def test_a_late_webhook_neither_ends_a_gap_nor_comes_twice(file: Path, points: PointMap) -> None:
    """A gap ends with a webhook that is newer than the API's reading."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    async with api_with({("a", "t"): hours(noon)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=1)
        clock.now_ms = noon + 30 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            await run.reconcile(item("a", at_ms=noon + 29 * HOUR_MS, t=131))
            await run.webhook(2, at_ms=noon + 10 * HOUR_MS, t=112)
            assert run.status.open_gaps == 1
            await run.webhook(3, at_ms=noon + 30 * HOUR_MS, t=132)
            await run.until_filled()
            seen = sorted(time_ms for _, time_ms in history(run))
            assert seen == [noon + hour * HOUR_MS for hour in range(1, 30)]


async def test_a_failing_api_is_requested_again_after_the_next_list(file: Path, points: PointMap) -> None:
    """The gap stays, also over a restart; failure and recovery are logged once."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    with capture_logs() as lines:
        async with api_with({("a", "t"): hours(noon)}) as api:
            async with backfilling(file, points, api, clock=clock) as run:
                await run.webhook(1, at_ms=noon, t=1)
            clock.now_ms = noon + 30 * HOUR_MS
            async with backfilling(file, points, api, clock=clock) as run:
                api.faults.extend([Answer(status=503), answer({"message": "Invalid API key"}, status=401)])
                await run.webhook(2, at_ms=noon + 30 * HOUR_MS, t=2)
                await until(lambda: run.status.history_error is not None)
                assert run.status.open_gaps == 1
                await run.reconcile()
                await until(lambda: "401" in str(run.status.history_error) or not api.faults)
            async with backfilling(file, points, api, clock=clock) as run:
                assert run.status.open_gaps == 1
                await run.reconcile()
                await run.until_filled()
                assert run.status.history_readings == 29
    logged = [line["event"] for line in lines if line["event"].startswith("history.")]
    assert logged == ["history.unavailable", "history.filled"]


async def test_an_asset_that_the_api_does_not_know_keeps_no_gap_open(file: Path, points: PointMap) -> None:
    """A 404 closes the gap, with a warning; others are filled."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    with capture_logs() as lines:
        async with api_with({("b", "t"): hours(noon)}) as api:
            api.items = [{"id": "b"}]
            async with backfilling(file, points, api, clock=clock) as run:
                await run.webhook(1, at_ms=noon, t=1)
                await run.webhook(2, at_ms=noon, t=1, asset="b")
            clock.now_ms = noon + 30 * HOUR_MS
            async with backfilling(file, points, api, clock=clock) as run:
                await run.webhook(3, at_ms=clock.now_ms, t=2)
                await run.webhook(4, at_ms=clock.now_ms, t=2, asset="b")
                await run.until_filled()
                assert run.status.history_readings == 29
    (warning,) = [line for line in lines if line["event"] == "history.not_there"]
    assert warning["such_as"] == ["a t"]


async def test_a_gap_of_more_than_32_days_has_the_last_32(file: Path, points: PointMap) -> None:
    """The API has no more than 32 days."""
    noon = NOW
    clock = Clock(noon)
    clock.now_ms -= 60 * DAY_MS
    async with api_with({("a", "t"): series(noon - 50 * DAY_MS, noon - 20 * DAY_MS)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=clock.now_ms, t=1)
        clock.now_ms = noon
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(2, at_ms=clock.now_ms, t=2)
            await run.until_filled()
            assert history(run) == [(101, noon - 20 * DAY_MS)]
        assert "days=32" in api.asked[0]


async def test_odd_histories_are_read(file: Path, points: PointMap) -> None:
    """Unordered, duplicate, null, mistyped and outside readings are handled, over several pages."""
    noon = NOW - 30 * HOUR_MS
    inside = [noon + minute * MINUTE_MS for minute in range(1, 251)]
    items: list[Any] = [
        *reversed(series(*inside)),
        *series(*inside),
        *series(noon - 1, noon, noon + 400, noon + 30 * HOUR_MS, noon + 31 * HOUR_MS),
        {"timestamp": None, "value": 1},
        {"timestamp": "soon", "value": 1},
        {"value": 1},
        {"timestamp": noon + 5000, "value": None},
        {"timestamp": noon + 5000, "value": {"x": 1}},
        {"timestamp": noon + 5000},
        {"timestamp": (noon + 300 * MINUTE_MS) // 1000, "value": "eco"},
        {"timestamp": datetime.fromtimestamp(noon / 1000 + 21_600, tz=UTC).isoformat(), "value": True},
        None,
        7,
        [],
    ]
    pages = [items[start : start + 100] for start in range(0, len(items), 100)]
    answers = [
        answer({"data": page, "nextToken": f"n{number}" if number < len(pages) else None})
        for number, page in enumerate(pages, start=1)
    ]
    clock = Clock(noon)
    async with api_with({}) as api:
        api.path_faults["/metrics"] = deque(answers)
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=1)
        clock.now_ms = noon + 30 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(2, at_ms=clock.now_ms, t=2)
            await run.until_filled()
            seen = history(run)
            assert [time_ms for _, time_ms in seen[:250]] == inside
            assert [value for value, _ in seen[250:]] == ["eco", True]


async def test_only_points_with_the_setting_get_histories(file: Path, points: PointMap) -> None:
    """Points without `refill: history` get the newest value only."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    async with api_with({("a", "h"): hours(noon)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, h=1)
        clock.now_ms = noon + 30 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            await run.reconcile(item("a", at_ms=noon + 29 * HOUR_MS, h=5))
            await run.webhook(2, at_ms=clock.now_ms, h=2)
            await run.reconcile()
            assert run.status.open_gaps == 0
            assert run.shown("R/H") == (2, clock.now_ms)
        assert api.asked == []


async def test_a_gap_without_the_setting_is_dropped(file: Path, points: PointMap, tmp_path: Path) -> None:
    """After `refill: history` is removed, a restart drops the gap and keeps the others."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    (tmp_path / "without").mkdir()
    without = load_good_tables(tmp_path / "without", TABLE.replace("from: t, refill: history", "from: t", 1))
    async with api_with({}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            for number, asset in enumerate("ab"):
                await run.webhook(number, at_ms=noon, t=1, asset=asset)
            clock.now_ms = noon + HOUR_MS
            await run.reconcile(*(item(asset, at_ms=clock.now_ms, t=2) for asset in "ab"))
            assert run.status.open_gaps == 2
        async with backfilling(file, without, api, clock=clock) as run:
            assert run.status.open_gaps == 1
            await run.rig.journal.flush()
            assert run.rig.rows("SELECT asset FROM gaps") == [("b",)]


async def test_a_kill_between_event_and_gap_loses_nothing(file: Path, points: PointMap) -> None:
    """Events after the stored values are replayed, so the gap is found again."""
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    async with api_with({("a", "t"): hours(noon)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=1)
            await run.rig.delivered()
            clock.now_ms = noon + 30 * HOUR_MS
            # As a gateway that was started again, and killed right after its first event.
            await run.rig.journal.append(run.rig.event(2, {"assetId": "a", "telemetry": {"t": 2}}))
        async with backfilling(file, points, api, clock=clock) as run:
            assert run.status.open_gaps == 1
            await run.reconcile()
            await run.until_filled()
            assert run.status.history_readings == 29


async def test_history_waits_for_sinks_that_are_behind(
    file: Path, points: PointMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long history waits while a sink is away, so that it does not fill the journal."""
    monkeypatch.setattr("gateway.infodeck.history._MOST_BACKLOG", 3)
    monkeypatch.setattr("gateway.infodeck.history._LOOK_AGAIN_S", 0.01)
    noon = NOW - 30 * HOUR_MS
    clock = Clock(noon)
    times = [noon + minute * MINUTE_MS for minute in range(1, 1700)]
    async with api_with({("a", "t"): series(*times)}) as api:
        async with backfilling(file, points, api, clock=clock) as run:
            await run.webhook(1, at_ms=noon, t=1)
        clock.now_ms = noon + 30 * HOUR_MS
        async with backfilling(file, points, api, clock=clock) as run:
            run.receiver.open.clear()
            await run.webhook(2, at_ms=clock.now_ms, t=2)
            await until(lambda: run.rig.journal.backlog > 3)
            await asyncio.sleep(0.1)  # nothing may come: there is nothing to wait for
            assert run.status.open_gaps == 1
            assert len(await run.backfills()) <= 10
            run.receiver.open.set()
            while run.status.open_gaps:
                await run.rig.delivered()
            assert run.status.history_readings == len(times)
