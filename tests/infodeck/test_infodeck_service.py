"""The Infodeck service as a whole: when it requests the API beside the regular times."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.asset_lists import API_KEY, ORGANIZATION, simulated_api
from support.journal_parts import RETENTION_S, START_MS, make_event, sqlite_journal
from support.point_tables import load_good_tables
from support.waiting import until

from gateway.alarms import Alarms
from gateway.config.secrets import Secret
from gateway.delivery.event_copies import EventCopies
from gateway.delivery.pipeline import Pipeline
from gateway.events import STATUS_CHANGED
from gateway.infodeck.service import InfodeckService
from gateway.journal.sqlite import SqliteJournal
from gateway.mapping.plan import PointMap
from gateway.model import Event
from gateway.records import AssetSnapshot, KnownAsset
from gateway.settings import InfodeckSettings, RefillSettings, Secrets
from gateway.state.building_state import BuildingState
from gateway.status import JournalStatus, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.model import Record


TABLE = """\
schema: gateway.points/1
site: hq
templates:
  iaq: {match: {asset_type: at-iaq}, auto: AUTO, points: {T: {from: t}}}
assets:
  - {id: a, tag: R, use: iaq}
"""


class TroubledJournal(SqliteJournal):
    """Cannot be read for a while; events are stored all the same."""

    failures: int = 0

    async def read(self, after: int, limit: int) -> list[Record]:
        """Fail for the number of times that the test sets."""
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return await super().read(after, limit)


class CountingService(InfodeckService):
    """Counts requests to reconcile soon."""

    asked = 0

    def reconcile_soon(self) -> None:
        """Count it."""
        self.asked += 1


@asynccontextmanager
async def made_service(folder: Path, status: Status) -> AsyncIterator[CountingService]:
    """Make the service of a gateway without points."""
    async with sqlite_journal(folder) as journal:
        yield make_service(journal, status, PointMap(points=(), by_asset={}))


def make_service(
    journal: SqliteJournal,
    status: Status,
    points: PointMap,
    *,
    api: str = "http://127.0.0.1:9/api/v2",
    refills: bool = True,
    on_assets_changed: Callable[[], None] = lambda: None,
) -> CountingService:
    """Make the service of a gateway with these points."""
    image = BuildingState(points)
    return CountingService(
        settings=InfodeckSettings(organization=ORGANIZATION, api=api, refill=RefillSettings(enabled=refills)),
        secrets=Secrets(signing_secrets=(Secret(b"s"),), api_key=Secret(API_KEY.encode())),
        event_log=journal,
        state_store=journal,
        pipeline=Pipeline(
            event_log=journal,
            state_store=journal,
            state=image,
            status=status.mapping,
            clock_ms=lambda: START_MS,
            steady_ms=lambda: START_MS,
            copies=EventCopies({}),
        ),
        status=status,
        alarms=Alarms(clock_ms=lambda: START_MS),
        clock_skew_s=300,
        clock_ms=lambda: START_MS,
        on_assets_changed=on_assets_changed,
    )


async def test_a_recovered_journal_requests_the_api(tmp_path: Path) -> None:
    """Once the journal accepts events again, the API is requested, once."""
    status = Status(name="box", started_ms=START_MS)
    asked = []
    async with made_service(tmp_path, status) as service:
        for state in ("ok", "ok", "the journal is full", "the journal is full", "ok", "ok"):
            status.journal.state = state
            service.tick()
            asked.append(service.asked)
    assert asked == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("auto", "compiled"), [("false", ["ours", "again"]), ("true", ["others", "ours", "again"])]
)
async def test_tables_are_compiled_for_relevant_assets_only(
    tmp_path: Path, auto: str, compiled: list[str]
) -> None:
    """Assets outside the tables matter only to templates with `auto`."""
    points = load_good_tables(tmp_path, TABLE.replace("AUTO", auto))
    asked = []
    steps = {
        "first": ("Room", "Hall"),
        "others": ("Room", "Hall 2"),
        "ours": ("Room 2", "Hall 2"),
        "again": ("Room", "Hall 2"),
    }
    async with sqlite_journal(tmp_path) as journal:
        status = Status(name="box", started_ms=START_MS)
        step = ""
        service = make_service(
            journal, status, points, refills=False, on_assets_changed=lambda: asked.append(step)
        )
        for step, (ours, other) in steps.items():  # noqa: B007 - it is asked for above
            assets = {"a": KnownAsset(id="a", name=ours), "b": KnownAsset(id="b", name=other)}
            await service._accept_snapshot(AssetSnapshot(START_MS, assets))
    assert asked == ["first", *compiled]


@pytest.mark.parametrize(
    ("after_ms", "is_online", "asked"),
    [
        (0, False, 1),  # in the second of the request
        (1000, False, 0),
        (-1000, True, 1),  # its clock may be behind ours, or its list behind its events
        (-299_000, True, 1),
        (-301_000, True, 0),  # a delivery that is repeated
    ],
)
async def test_an_offline_event_after_a_list_with_online(
    *, tmp_path: Path, after_ms: int, is_online: bool, asked: int
) -> None:
    """The later of event and list counts; within the clock skew, the API is requested again."""
    points = load_good_tables(tmp_path, TABLE.replace("AUTO", "false"))
    second_ms = START_MS // 1000 * 1000
    async with sqlite_journal(tmp_path) as journal:
        service = make_service(journal, Status(name="box", started_ms=START_MS), points, refills=False)
        service.start()
        pipeline = service.pipeline
        await pipeline.start([])
        known = KnownAsset(id="a", online=True)
        await service._accept_snapshot(AssetSnapshot(second_ms + 900, {"a": known}))
        assert pipeline.state.known.is_online("a") is True
        thing = {"id": "a", "status": "Offline"}
        created = (second_ms + after_ms) // 1000
        document = {"id": "evt_1", "type": STATUS_CHANGED, "created": created, "data": {"object": thing}}
        await journal.append(Event("evt_1", STATUS_CHANGED, b"{}", document, second_ms + 1500))
    assert pipeline.state.known.is_online("a") is is_online
    assert service.asked == asked


@pytest.mark.parametrize(
    ("after_ms", "is_online", "asked"),
    [(0, True, 1), (1000, False, 0), (-1000, True, 1), (-299_000, True, 1), (-301_000, True, 0)],
)
async def test_an_offline_event_before_a_list_with_online(
    *, tmp_path: Path, after_ms: int, is_online: bool, asked: int
) -> None:
    """A list that overrides an event of about its time is requested again, once."""
    points = load_good_tables(tmp_path, TABLE.replace("AUTO", "false"))
    second_ms = START_MS // 1000 * 1000
    async with sqlite_journal(tmp_path) as journal:
        service = make_service(journal, Status(name="box", started_ms=START_MS), points, refills=False)
        service.start()
        pipeline = service.pipeline
        await pipeline.start([])
        thing = {"id": "a", "status": "Offline"}
        created = (second_ms + after_ms) // 1000
        document = {"id": "evt_1", "type": STATUS_CHANGED, "created": created, "data": {"object": thing}}
        await journal.append(Event("evt_1", STATUS_CHANGED, b"{}", document, second_ms + 1500))
        async with asyncio.timeout(60):
            while pipeline.state.known.is_online("a") is None:  # noqa: ASYNC110 - it is stored soon
                await asyncio.sleep(0)
        known = KnownAsset(id="a", online=True)
        await service._accept_snapshot(AssetSnapshot(second_ms + 900, {"a": known}))
        assert pipeline.state.known.is_online("a") is is_online
        assert service.asked == asked
        await service._accept_snapshot(AssetSnapshot(second_ms + 5900, {"a": known}))
    assert service.asked == asked


class Piece:
    """An object that the garbage collector tracks."""


async def test_many_backfilled_readings_are_frozen(tmp_path: Path) -> None:
    """After many backfilled readings, garbage is freed and the rest frozen."""
    status = Status(name="box", started_ms=START_MS)
    async with made_service(tmp_path, status) as service:
        piece = Piece()
        service.tick()
        assert any(found is piece for found in gc.get_objects())
        circle = [Piece()]
        circle[0].circle = circle  # type: ignore[attr-defined]
        gone = weakref.ref(circle[0])
        del circle
        status.refill.readings = 5_000
        service.tick()
        assert gone() is None
        assert not any(found is piece for found in gc.get_objects())


async def test_changed_tables_request_the_api(tmp_path: Path) -> None:
    """Only a reload that changed the tables requests the API."""
    status = Status(name="box", started_ms=START_MS)
    asked = []
    async with made_service(tmp_path, status) as service:
        for reloads in (0, 1, 1, 2):
            status.tables.reloads = reloads
            service.follow_tables()
            asked.append(service.asked)
    assert asked == [0, 1, 1, 2]


async def test_a_failing_part_is_restarted(tmp_path: Path) -> None:
    """A part that fails is restarted and logged once; reconciliation continues."""
    status = Status(name="box", started_ms=START_MS)
    journal = TroubledJournal(
        tmp_path / "journal.db",
        sinks=("bms",),
        retention_s=RETENTION_S,
        max_bytes=1 << 30,
        clock_ms=lambda: START_MS,
        status=JournalStatus(),
    )
    with capture_logs() as lines:
        async with simulated_api(3) as api, journal:
            await journal.append(make_event(1))  # which the kept values do not include
            service = make_service(journal, status, PointMap(points=(), by_asset={}), api=api.url)
            journal.failures = 1  # when open gaps are looked for
            running = asyncio.create_task(service.run(), name="infodeck")
            await until(lambda: status.reconcile.state == "ok")
            assert (journal.failures, status.reconcile.assets) == (0, 3)
            assert not running.done()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
    (failed,) = [line for line in lines if line["event"] == "infodeck.failed"]
    assert failed["part"] == "backfill"
    assert failed["reason"].startswith("OperationalError: disk I/O error (")
