"""Backfill from the API's list: each reading once, with its own time, never over a newer one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.backfill_parts import MINUTE_MS, backfilling, item
from support.delivery_parts import NOON, Clock
from support.point_tables import load_good_tables
from support.waiting import until

from gateway.infodeck.shadows import read_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.mapping.plan import PointMap


TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: S, point: T, asset: b, from: t}
"""


async def test_missed_readings_reach_every_sink_with_their_own_times(file: Path, points: PointMap) -> None:
    """One event per asset has its missed readings only; assets without points get none."""
    async with backfilling(file, points) as run:
        await run.webhook(1, at_ms=NOON - 3000, t=1, h=40)
        shadow = {"t": {"value": 2, "timestamp": NOON - 1000}, "h": {"value": 40, "timestamp": NOON - 3000}}
        await run.reconcile({"id": "a", "shadows": {"Up": shadow}})
        assert await run.backfills() == []  # its webhook may be on its way
        run.rig.clock.now_ms += 2 * MINUTE_MS
        await run.reconcile({"id": "a", "shadows": {"Up": shadow}}, item("zz", at_ms=NOON, t=9))
        await run.rig.delivered()
        assert run.shown("R/T") == (2, NOON - 1000)
        assert run.shown("R/H") == (40, NOON - 3000)
        assert run.receiver.values("R/T") == [1, 2]
        assert run.receiver.values("R/H") == [40]
        assert (run.status.events, run.status.readings, run.status.last_ms) == (1, 1, run.rig.clock.now_ms)


@pytest.mark.parametrize("has_state", [True, False])
async def test_the_time_of_an_answer_keeps_nothing_fresh(
    *, file: Path, points: PointMap, has_state: bool
) -> None:
    """A shadow's own `timestamp` is the time of the answer, so it is not used."""
    readings = {"t": 1, "h": 40}
    async with backfilling(file, points) as run:
        await run.webhook(1, at_ms=NOON - 3000, t=1)
        for _ in range(4):
            run.rig.clock.now_ms += 30 * MINUTE_MS
            shadow = {"state": {"reported": readings}} if has_state else readings
            moved = {**shadow, "timestamp": run.rig.clock.now_ms}
            await run.reconcile({"id": "a", "shadows": {"Up": moved}})
            assert run.shown("R/T") == (1, NOON - 3000)
            assert run.newest("R/H") is None
            assert run.status.without_time == 2
        assert await run.backfills() == []
        listed = read_page(
            [{"id": "a", "shadows": {"Up": moved}}],
            run.rig.state.points.by_asset,
            now_ms=NOON,
            item_time=None,
        )
        assert listed["a"].readings == {}


async def test_a_point_without_a_reading_gets_that_of_the_api(file: Path, points: PointMap) -> None:
    """After the first start, a point shows the API's reading at once."""
    async with backfilling(file, points) as run:
        await run.reconcile(item("a", at_ms=NOON - 1000, t=1), item("b", at_ms=NOON - 10**10, t=2))
        assert run.shown("R/T") == (1, NOON - 1000)
        assert run.shown("S/T")[1] == NOON - 10**10
        assert run.newest("R/H") is None


async def test_nothing_is_backfilled_twice(file: Path, points: PointMap) -> None:
    """The same list again adds nothing, even after a restart that lost the stored values."""
    items = item("a", at_ms=NOON - 1000, t=1), item("b", at_ms=NOON - 1000, t=2)
    async with backfilling(file, points) as run:
        for _ in range(3):
            await run.reconcile(*items)
        assert (run.status.events, len(await run.backfills())) == (2, 2)
        await run.rig.delivered()
    async with backfilling(file, points) as run:
        await run.reconcile(*items)
        assert (run.status.events, len(await run.backfills())) == (0, 2)
        await run.rig.delivered()
        assert run.receiver.updates == []


async def test_an_event_that_is_there_already_is_a_duplicate(file: Path, points: PointMap) -> None:
    """An event that the state does not know is recognised by its id."""
    items = item("a", at_ms=NOON - 1000, t=1)
    async with backfilling(file, points) as run:
        await run.reconcile(items)
        (event,) = await run.backfills()
        await run.rig.journal.append(event)
        await run.rig.journal.flush()
        assert len(await run.backfills()) == 1


async def test_a_webhook_of_a_backfilled_reading_is_no_history(file: Path, points: PointMap) -> None:
    """It is published as the newest value again, even if both had to wait."""
    async with backfilling(file, points) as run:
        await run.reconcile(item("a", at_ms=NOON - 1000, t=1))
        await run.rig.delivered()
        await run.webhook(1, at_ms=NOON - 1000, t=1)
        await run.rig.delivered()
        first, second = run.receiver.updates
        assert run.rig.state.is_newest(second)
        assert (first.time_ms, first.value) == (second.time_ms, second.value)
        assert second.event_id == "evt_1"
        assert run.rig.state.late == 0


READINGS = st.lists(
    st.tuples(
        st.booleans(),  # from the API
        st.integers(0, 6),  # minutes after noon: measured
        st.integers(0, 3),  # what
        st.integers(0, 2),  # minutes that pass before the next one
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40)
@given(readings=READINGS)
def test_in_any_order_the_newest_is_shown(
    points: PointMap, readings: list[tuple[bool, int, int, int]]
) -> None:
    """In any order of webhooks and backfill, no point goes back in time."""

    async def play(folder: Path) -> None:
        clock = Clock(NOON)
        async with backfilling(folder / "journal.db", points, clock=clock) as run:
            appended: list[int] = []
            for number, (from_api, minute, value, pause) in enumerate(readings):
                at_ms = NOON + minute * MINUTE_MS
                clock.now_ms = max(clock.now_ms, at_ms)
                before = run.newest("R/T")
                if from_api:
                    await run.reconcile(item("a", at_ms=at_ms, t=value))
                else:
                    await run.webhook(number, at_ms=at_ms, t=value)
                    appended.append(at_ms)
                after = run.newest("R/T")
                assert before is None or (after is not None and after.time_ms >= before.time_ms)
                assert after is None or after.time_ms >= max(appended, default=0)
                clock.now_ms += pause * MINUTE_MS
            clock.now_ms += 10 * MINUTE_MS
            newest = max(at for _, at, *_ in readings)
            await run.reconcile(item("a", at_ms=NOON + newest * MINUTE_MS, t=99))
            last = run.newest("R/T")
            assert last is not None
            assert last.time_ms == NOON + newest * MINUTE_MS

    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


async def test_values_without_a_time_are_not_used_and_logged_once(file: Path, points: PointMap) -> None:
    """Status and log name the setting, once, until it helps."""
    untimed = item("a", at_ms=None, t=1) | {"updatedAt": NOON // 1000}
    with capture_logs() as lines:
        async with backfilling(file, points) as run:
            for _ in range(3):
                await run.reconcile(untimed)
            assert run.newest("R/T") is None
            assert run.status.without_time == 1
            assert "infodeck.refill.time, such as $.updatedAt" in str(run.status.last_error)
            await run.reconcile(item("a", at_ms=NOON, t=1))
            assert (run.status.without_time, run.status.last_error) == (0, None)
    logged = [line["event"] for line in lines if line["event"].startswith("refill.")]
    assert logged == ["refill.incomplete", "refill.done", "refill.available"]
    async with backfilling(file, points, time="$.updatedAt") as run:
        await run.reconcile(untimed | {"id": "b"})
        assert run.shown("S/T") == (1, NOON)


async def test_a_list_that_breaks_off_counts_nothing_twice(file: Path, points: PointMap) -> None:
    """Unusable values are counted by asset, as of the last list."""
    ahead = item("b", at_ms=NOON + 10 * MINUTE_MS, t=1)
    async with backfilling(file, points) as run:
        for _ in range(3):
            await run.list_page(item("a", at_ms=None, t=1, h=2), ahead)  # the rest never comes
        await run.reconcile(item("a", at_ms=None, t=1), ahead)
        assert (run.status.without_time, run.status.clock_ahead) == (1, 1)
        assert "no time (1)" in str(run.status.last_error)


async def test_a_time_in_the_future_is_counted_and_changes_nothing(file: Path, points: PointMap) -> None:
    """A reading from the future is not used, and counted."""
    async with backfilling(file, points) as run:
        await run.reconcile(item("a", at_ms=NOON + 10 * MINUTE_MS, t=1))
        assert (run.newest("R/T"), run.status.clock_ahead, run.status.last_error) == (None, 1, None)


@contextmanager
def no_new_events(file: Path) -> Iterator[None]:
    """Make every commit of an event fail, as on a full disk."""
    with closing(sqlite3.connect(file)) as database:
        database.execute(
            "CREATE TRIGGER failing BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
        try:
            yield
        finally:
            database.execute("DROP TRIGGER failing")


async def test_a_failing_journal_is_caught_up_with_later(file: Path, points: PointMap) -> None:
    """The failure is logged once, nothing counts as backfilled, and the next list catches up."""
    with capture_logs() as lines:
        async with backfilling(file, points) as run:
            with no_new_events(file):
                for _ in range(2):
                    await run.list_assets(item("a", at_ms=NOON, t=1))
                assert "next reconciliation" in str(run.status.last_error)
                assert (run.status.events, run.status.readings) == (0, 0)
            await run.reconcile(item("a", at_ms=NOON, t=1))
            assert run.shown("R/T") == (1, NOON)
            assert run.status.last_error is None
    logged = [line["event"] for line in lines if line["event"].startswith("refill.")]
    assert logged == ["refill.incomplete", "refill.done", "refill.available"]


MANY = 2_000


async def test_many_assets_never_hold_the_loop_for_long(file: Path, tmp_path: Path) -> None:
    """Thousands of backfilled assets leave turns to the event loop; all arrive."""
    rows = "\n".join(f"  - {{tag: R{n}, point: T, asset: a{n}, from: t}}" for n in range(MANY))
    table = f"schema: gateway.points/1\nsite: hq\npoints:\n{rows}\n"
    points = load_good_tables(tmp_path, table)
    async with backfilling(file, points) as run:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await run.reconcile(*(item(f"a{n}", at_ms=NOON, t=n) for n in range(MANY)))
        counting.cancel()
        assert (run.status.events, run.status.readings) == (MANY, MANY)
        assert turns > MANY / 10
        await until(lambda: run.newest(f"R{MANY - 1}/T") is not None)


async def test_unusable_items_are_skipped(file: Path, points: PointMap) -> None:
    """Unusable items do not affect the others."""
    odd: list[dict[str, Any]] = [
        {},
        {"id": None},
        {"id": ["a"]},
        {"id": "a"},
        {"id": "a", "shadows": []},
        {"id": "a", "shadows": {"Up": None, "Down": {"state": 7, "timestamp": {}}}},
        {
            "id": "a",
            "shadows": {"state": {"reported": {"t": [1, {}], "h": {"value": {}}, "timestamp": NOON}}},
        },
    ]
    async with backfilling(file, points) as run:
        await run.reconcile(*odd, item("b", at_ms=NOON, t=5))
        assert run.shown("S/T") == (5, NOON)
        assert run.status.last_error is None
