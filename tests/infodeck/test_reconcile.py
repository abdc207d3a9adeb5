"""Reconciliation: the last good snapshot stays, whatever the API answers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.asset_lists import API_KEY, ORGANIZATION, answer, connected, items, simulated_api
from support.journal_parts import START_MS, sqlite_journal
from support.waiting import until

from gateway.backoff import Backoff
from gateway.demo.simulated_answers import Answer
from gateway.infodeck.inventory import InventoryReader
from gateway.infodeck.reconcile import Reconciler
from gateway.journal.lookup import read_assets
from gateway.mapping.plan import compile_the_same
from gateway.status import ReconcileStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.demo.simulated_api import SimulatedApi
    from gateway.infodeck.api_client import Item
    from gateway.journal.sqlite import SqliteJournal
    from gateway.records import AssetSnapshot

AWAY = Answer(status=503)
WRONG_KEY = answer({"message": "Invalid API key"}, status=401)


@dataclass
class Reconciling:
    """A running reconciler, its status and its snapshots."""

    reconciler: Reconciler
    status: ReconcileStatus
    snapshots: list[AssetSnapshot] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds."""
        await until(condition)


@asynccontextmanager
async def reconciling(
    journal: SqliteJournal,
    api: SimulatedApi,
    *,
    every_s: float = 0.05,
    apart_s: float = 0.0,
    on_snapshot: Callable[[AssetSnapshot], None] | None = None,
    on_items: Callable[[list[Item]], Awaitable[None]] | None = None,
) -> AsyncIterator[Reconciling]:
    """Run a reconciler with short pauses."""
    status = ReconcileStatus()
    snapshots: list[AssetSnapshot] = []

    async def accept(snapshot: AssetSnapshot) -> None:
        (on_snapshot or snapshots.append)(snapshot)

    reconciler = Reconciler(
        InventoryReader(organization=ORGANIZATION, clock_ms=lambda: START_MS, on_items=on_items),
        every_s=every_s,
        state_store=journal,
        status=status,
        on_snapshot=accept,
        apart_s=apart_s,
        backoff=Backoff(first_s=0.01, longest_s=0.02),
    )
    async with connected(api) as infodeck:
        running = asyncio.create_task(reconciler.run(infodeck), name="reconcile")
        try:
            yield Reconciling(reconciler, status, snapshots)
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


async def test_at_start_every_asset_is_fetched_and_stored(tmp_path: Path) -> None:
    """The snapshot reaches the listener, the status and the journal."""
    async with simulated_api(150) as api, sqlite_journal(tmp_path) as journal:
        async with reconciling(journal, api, every_s=60) as watch:
            await watch.until(lambda: watch.status.state == "ok")
        await journal.flush()
        kept = read_assets(tmp_path / "journal.db")
    assert watch.status == ReconcileStatus("ok", 150, START_MS, None, types=1, succeeded=1)
    assert [snapshot.at_ms for snapshot in watch.snapshots] == [START_MS]
    assert watch.snapshots[0].assets.keys() == {item["id"] for item in items(150)}
    assert kept == watch.snapshots[0]


async def test_the_newest_list_replaces_the_last(tmp_path: Path) -> None:
    """Assets that are gone or new are so in snapshot and journal."""
    async with simulated_api(2) as api, sqlite_journal(tmp_path) as journal:
        async with reconciling(journal, api) as watch:
            await watch.until(lambda: watch.status.assets == 2)
            api.items = items(4)[1:]
            await watch.until(lambda: watch.status.assets == 3)
        await journal.flush()
        kept = read_assets(tmp_path / "journal.db")
    assert kept is not None
    assert list(kept.assets) == list(watch.snapshots[-1].assets) == ["ast-1", "ast-2", "ast-3"]


async def test_an_asset_missing_from_one_list_stays(tmp_path: Path) -> None:
    """It keeps type and place; its connection is unknown."""
    async with simulated_api(2) as api, sqlite_journal(tmp_path) as journal:
        api.items = [items(2)[0], items(2)[1] | {"assetTypeId": "at-other", "connectionStatus": True}]
        api.types.append({"id": "at-other", "name": "Other"})
        async with reconciling(journal, api) as watch:
            await watch.until(lambda: len(watch.snapshots) == 1)
            api.path_faults["/assets"] = deque([answer({"data": api.items[:1]})])
            await watch.until(lambda: not api.path_faults["/assets"])
            await watch.until(lambda: len(watch.snapshots) >= 4)
    first, *others = watch.snapshots
    shown = {snapshot.assets["ast-1"].online for snapshot in others}
    assert shown == {True, None}
    for snapshot in others:
        assert replace(snapshot.assets["ast-1"], online=True) == first.assets["ast-1"]
        assert compile_the_same(first, snapshot)  # so the tables are not compiled without it


async def test_an_asset_missing_from_two_lists_is_gone_soon(tmp_path: Path) -> None:
    """The second list is requested soon."""
    async with (
        simulated_api(3) as api,
        sqlite_journal(tmp_path) as journal,
        reconciling(journal, api, every_s=3600, apart_s=0.05) as watch,
    ):
        await watch.until(lambda: len(watch.snapshots) == 1)
        del api.items[1]
        watch.reconciler.request()
        await watch.until(lambda: watch.status.assets == 2)
    assert [len(snapshot.assets) for snapshot in watch.snapshots] == [3, 3, 2]


async def test_lists_that_always_differ_are_not_requested_without_end(tmp_path: Path) -> None:
    """Only one additional list is requested, and no asset is dropped."""
    async with (
        simulated_api(4) as api,
        sqlite_journal(tmp_path) as journal,
        reconciling(journal, api, every_s=3600, apart_s=0.01) as watch,
    ):
        await watch.until(lambda: len(watch.snapshots) == 1)
        lists = [[each for each in items(4) if each["id"] != f"ast-{number % 4}"] for number in range(9)]
        api.path_faults["/assets"] = deque(answer({"data": listed}) for listed in lists)
        watch.reconciler.request()
        await watch.until(lambda: len(watch.snapshots) == 3)
        await asyncio.sleep(0.3)  # nothing may come: there is nothing to wait for
    assert [len(snapshot.assets) for snapshot in watch.snapshots] == [4, 4, 4]


@pytest.mark.parametrize(
    "fault",
    [
        AWAY,
        WRONG_KEY,
        Answer(body=b"<html>"),
        Answer(body=b'{"data": [{"id": "ast-'),
        Answer(body=b'{"data": [', broken_off=True),
        Answer(status=302, headers={"Location": "https://elsewhere.example/"}),
        answer({"data": []}),
        answer({"data": [None, 7, {"id": 7}, {"id": None, "shadows": []}]}),
        answer({"data": items(1), "nextToken": 7}),
        answer([{"id": "ast-9"}]),
    ],
)
async def test_however_the_api_fails_the_last_snapshot_stays(tmp_path: Path, fault: Answer) -> None:
    """Failure and recovery are shown and logged once; no asset is lost."""
    with capture_logs() as lines:
        async with (
            simulated_api(2) as api,
            sqlite_journal(tmp_path) as journal,
            reconciling(journal, api) as watch,
        ):
            await watch.until(lambda: watch.status.state == "ok")
            api.path_faults["/assets"] = deque([fault] * 3)
            await watch.until(lambda: watch.status.state == "failing")
            assert watch.status.assets == 2
            assert watch.status.last_error
            await watch.until(lambda: watch.status.state == "ok")
            assert watch.status.last_error is None
    assert all(len(snapshot.assets) == 2 for snapshot in watch.snapshots)
    assert [line["event"] for line in lines] == [
        "assets.available",
        "assets.unavailable",
        "assets.available",
    ]


async def test_a_failure_is_logged_once_down_and_once_up(tmp_path: Path) -> None:
    """A failure of another kind is logged again."""
    with capture_logs() as lines:
        async with simulated_api(2) as api, sqlite_journal(tmp_path) as journal:
            api.faults.extend([AWAY, AWAY, AWAY, WRONG_KEY, WRONG_KEY])
            async with reconciling(journal, api) as watch:
                await watch.until(lambda: len(watch.snapshots) > 2)
    logged = [(line["event"], line["log_level"]) for line in lines if line["event"].startswith("assets.")]
    assert logged == [
        ("assets.unavailable", "warning"),
        ("assets.unavailable", "error"),
        ("assets.available", "info"),
    ]
    assert API_KEY not in str(lines)


async def test_the_requested_pause_is_kept(tmp_path: Path) -> None:
    """Retry-After counts more than back-off and requests."""
    async with simulated_api() as api, sqlite_journal(tmp_path) as journal:
        api.faults.append(Answer(status=429, headers={"Retry-After": "1"}))
        async with reconciling(journal, api) as watch:
            await watch.until(lambda: watch.status.state == "failing")
            begun_s = time.monotonic()
            watch.reconciler.request()
            await watch.until(lambda: watch.status.state == "ok")
    assert time.monotonic() - begun_s > 0.9


async def test_the_listener_gets_every_page(tmp_path: Path) -> None:
    """Pages arrive with their shadows before the snapshot."""
    pages: list[list[Item]] = []

    async def keep(page: list[Item]) -> None:
        pages.append(page)

    async with (
        simulated_api(150) as api,
        sqlite_journal(tmp_path) as journal,
        reconciling(journal, api, every_s=60, on_items=keep) as watch,
    ):
        await watch.until(lambda: watch.status.state == "ok")
    assert [len(page) for page in pages] == [100, 50]
    assert [item for page in pages for item in page] == items(150)


async def test_many_requests_become_one_fetch(tmp_path: Path) -> None:
    """A hundred requests lead to one fetch, before the regular time."""
    async with (
        simulated_api() as api,
        sqlite_journal(tmp_path) as journal,
        reconciling(journal, api, every_s=60, apart_s=0.1) as watch,
    ):
        await watch.until(lambda: watch.status.state == "ok")
        api.items = items(3)
        for _ in range(100):
            watch.reconciler.request()
        await watch.until(lambda: watch.status.assets == 3)
        await asyncio.sleep(0.3)  # nothing may come: there is nothing to wait for
    assert sum("/assets?" in asked for asked in api.asked) == 2


async def test_a_refused_key_is_not_tried_at_every_request(tmp_path: Path) -> None:
    """After a 401, requests wait for the regular time."""
    async with simulated_api() as api, sqlite_journal(tmp_path) as journal:
        api.faults.append(WRONG_KEY)
        async with reconciling(journal, api, every_s=4.0) as watch:
            await watch.until(lambda: watch.status.state == "failing")
            begun_s = time.monotonic()
            for _ in range(20):
                watch.reconciler.request()
                await asyncio.sleep(0.02)
            assert len(api.asked) == 1
            await watch.until(lambda: watch.status.state == "ok")
    assert time.monotonic() - begun_s > 3


async def test_parts_that_are_missing_are_shown_and_logged_once(tmp_path: Path) -> None:
    """A missing part is logged once, and once when it is back."""
    with capture_logs() as lines:
        async with simulated_api(2) as api, sqlite_journal(tmp_path) as journal:
            api.path_faults["/locations"] = deque([answer({"message": "Forbidden"}, status=403)] * 3)
            async with reconciling(journal, api) as watch:
                await watch.until(lambda: len(watch.snapshots) == 3)
                assert "403 (Forbidden)" in watch.status.missing["locations"]
                assert (watch.status.state, watch.status.assets) == ("ok", 2)
                await watch.until(lambda: len(watch.snapshots) == 5)
                assert watch.status.missing == {}
    logged = [(line["event"], line["log_level"]) for line in lines]
    assert logged == [
        ("assets.available", "info"),
        ("assets.incomplete", "warning"),
        ("assets.complete", "info"),
    ]


async def test_a_failing_listener_does_not_stop_it(tmp_path: Path) -> None:
    """An error of the listener is shown, and the next snapshot comes."""
    taken: list[AssetSnapshot] = []

    def refuse_the_first(snapshot: AssetSnapshot) -> None:
        taken.append(snapshot)
        if len(taken) == 1:
            raise ZeroDivisionError("made up")

    async with (
        simulated_api() as api,
        sqlite_journal(tmp_path) as journal,
        reconciling(journal, api, on_snapshot=refuse_the_first) as watch,
    ):
        await watch.until(lambda: watch.status.state == "failing")
        assert str(watch.status.last_error).startswith("ZeroDivisionError: made up (line")
        await watch.until(lambda: watch.status.state == "ok")


async def test_a_restart_without_the_api_restores_the_snapshot(tmp_path: Path) -> None:
    """The journal restores the last snapshot with its time."""
    async with (
        simulated_api(3) as api,
        sqlite_journal(tmp_path) as journal,
        reconciling(journal, api) as watch,
    ):
        await watch.until(lambda: watch.status.state == "ok")
    async with sqlite_journal(tmp_path) as journal:
        assert journal.at_start.assets == watch.snapshots[-1]
        async with reconciling(journal, api) as again:
            await again.until(lambda: again.status.state == "failing")
    assert (again.status.assets, again.status.last_success_ms) == (3, START_MS)
    assert again.snapshots == []
