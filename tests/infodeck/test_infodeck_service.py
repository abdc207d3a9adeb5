"""Everything that asks Infodeck, put together: when it is asked beside the regular times."""

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
    """Cannot be read for a while, as with a disk that fails; events come in all the same."""

    failures: int = 0

    async def read(self, after: int, limit: int) -> list[Record]:
        """Fail as often as was asked for."""
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return await super().read(after, limit)


class CountingService(InfodeckService):
    """Counts how often the API is to be asked soon."""

    asked = 0

    def reconcile_soon(self) -> None:
        """Count it."""
        self.asked += 1


@asynccontextmanager
async def made_service(folder: Path, status: Status) -> AsyncIterator[CountingService]:
    """Make the service side of a gateway without points, as the gateway does."""
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
    """Make the service side of a gateway with these points."""
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
        ),
        status=status,
        alarms=Alarms(clock_ms=lambda: START_MS),
        clock_skew_s=300,
        clock_ms=lambda: START_MS,
        on_assets_changed=on_assets_changed,
    )


async def test_after_the_journal_took_no_events_the_api_is_asked(tmp_path: Path) -> None:
    """Once it takes them again, and once only: what Infodeck has given up meanwhile comes from there."""
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
async def test_tables_are_compiled_anew_only_for_assets_that_can_matter(
    tmp_path: Path, auto: str, compiled: list[str]
) -> None:
    """Other assets are nothing to tables that name theirs; a template with `auto` may want any of them."""
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
        (0, False, 1),  # in the second of the question, of which Infodeck tells no part
        (1000, False, 0),
        (-1000, True, 1),  # its clock may be behind ours, or its list behind its events
        (-299_000, True, 1),
        (-301_000, True, 0),  # a delivery that is repeated
    ],
)
async def test_an_offline_beside_the_list_that_says_online(
    *, tmp_path: Path, after_ms: int, is_online: bool, asked: int
) -> None:
    """It counts from the second of the question on; one that seems a little older has the API asked again."""
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
async def test_an_offline_that_comes_before_the_list_that_says_online_is_there(
    *, tmp_path: Path, after_ms: int, is_online: bool, asked: int
) -> None:
    """A long list takes a while: where it overrules what was just said, the API is asked once more."""
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
        async with asyncio.timeout(20):
            while pipeline.state.known.is_online("a") is None:  # noqa: ASYNC110 - the journal tells soon
                await asyncio.sleep(0)
        known = KnownAsset(id="a", online=True)
        await service._accept_snapshot(AssetSnapshot(second_ms + 900, {"a": known}))
        assert pipeline.state.known.is_online("a") is is_online
        assert service.asked == asked
        await service._accept_snapshot(AssetSnapshot(second_ms + 5900, {"a": known}))
    assert service.asked == asked


class Piece:
    """Something that can be seen to be searched for garbage."""


async def test_what_is_refilled_in_numbers_is_not_searched_for_garbage(tmp_path: Path) -> None:
    """80,000 readings would hold the event loop for a tenth of a second. What is garbage already is freed."""
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


async def test_after_other_tables_came_into_force_the_api_is_asked(tmp_path: Path) -> None:
    """A point that is new may have a value at Infodeck; a reload that changed nothing asks for nothing."""
    status = Status(name="box", started_ms=START_MS)
    asked = []
    async with made_service(tmp_path, status) as service:
        for reloads in (0, 1, 1, 2):
            status.tables.reloads = reloads
            service.follow_tables()
            asked.append(service.asked)
    assert asked == [0, 1, 1, 2]


async def test_whatever_fails_in_it_it_begins_again_and_ends_nothing(tmp_path: Path) -> None:
    """A journal that can't be read takes down neither the gateway nor what asks the API; it is told once."""
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
