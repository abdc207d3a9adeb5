"""Any sequence of lost, late and repeated webhooks, odd lists, restarts, kills and edited tables ends well.

Webhooks and the API's list report what a device measures; the API has its history. Whatever happens, every
point ends with the newest reported reading, no point goes back in time, and a filled history is complete.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.asset_lists import simulated_api
from support.backfill_parts import MINUTE_MS, TOLERANCE_S, backfilling
from support.delivery_parts import Clock
from support.point_tables import load_good_tables
from support.waiting import until

from gateway.events import read_telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.backfill_parts import BackfillRig

    from gateway.demo.simulated_api import SimulatedApi
    from gateway.mapping.plan import PointMap
    from gateway.model import Record
    from gateway.records import Gap

HOUR_MS = 60 * MINUTE_MS
START = 1_790_000_000_000
HISTORY_AFTER_S = 3600.0
METRIC_TIME = "at"  # not `timestamp`, which the simulated API compares with its own clock

M = "$.data.object.shadows.Up.state.reported.m"
HEAD = "schema: gateway.points/1\nsite: hq\npoints:\n"
WHOLE = "  - {tag: R, point: T, asset: a, from: t, refill: history}\n"
PATH = f"  - {{tag: R, point: M, asset: a, from: {M}}}\n"
TABLES = (
    WHOLE + PATH,
    WHOLE + PATH + "  - {tag: R, point: T2, asset: a, from: t}\n",
    "  - {tag: X, point: T, asset: a, from: t, refill: history}\n",
    "  - {tag: R, point: T, asset: b, from: t}\n" + PATH,
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[PointMap]:
    """Compile the tables once; nothing changes them."""
    folders = [tmp_path_factory.mktemp("tables") for _ in TABLES]
    return [load_good_tables(folder, HEAD + rows) for folder, rows in zip(folders, TABLES, strict=True)]


@dataclass(frozen=True)
class Report:
    """The device measures; its webhook is delivered, lost or late."""

    after_minutes: int
    fate: str


@dataclass(frozen=True)
class Repeat:
    """Infodeck sends any event again."""

    which: int


@dataclass(frozen=True)
class Reconcile:
    """The API lists the device with its newest reading, or an odd list."""

    how: str


@dataclass(frozen=True)
class Restart:
    """The gateway stops and starts some hours later, perhaps with other tables."""

    hours: int
    table: int


@dataclass(frozen=True)
class Kill:
    """The gateway is killed while it works, and starts some hours later."""

    hours: int
    doing: str


@dataclass(frozen=True)
class Sink:
    """The only sink goes away, or comes back."""

    is_there: bool


Step = Report | Repeat | Reconcile | Restart | Kill | Sink
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Report, st.sampled_from([1, 2, 90]), st.sampled_from(["comes", "comes", "lost", "late"])),
    st.builds(Repeat, st.integers(0, 10)),
    st.builds(Reconcile, st.sampled_from(["right", "right", "older", "untimed", "ahead", "twofold", "away"])),
    st.builds(Restart, st.sampled_from([0, 2, 30]), st.integers(0, len(TABLES) - 1)),
    st.builds(Kill, st.sampled_from([0, 2, 30]), st.sampled_from(["nothing", "webhook", "list"])),
    st.builds(Sink, st.booleans()),
)


@dataclass
class World:
    """What really happened, whatever the gateway knows of it."""

    folder: Path
    tables: Sequence[PointMap]
    api: SimulatedApi
    clock: Clock = field(default_factory=lambda: Clock(START))
    table: int = 0
    measured: list[int] = field(default_factory=list)  # Unix ms; the value is its position
    reported: set[int] = field(default_factory=set)  # positions that webhooks brought, or the API
    sent: list[int] = field(default_factory=list)  # by webhooks, or still to be sent
    records: list[tuple[int, Record]] = field(
        default_factory=list
    )  # all that ever were durable; by which table
    filled: list[tuple[Gap, set[int]]] = field(default_factory=list)
    runs: int = 0

    @property
    def file(self) -> Path:
        """The journal of this run."""
        return self.folder / f"journal{self.runs}.db"

    def measure(self) -> int:
        """Have the device measure now; return the position."""
        self.measured.append(self.clock.now_ms)
        history = self.api.metrics.setdefault(("a", "t"), [])
        history.append({METRIC_TIME: self.clock.now_ms, "value": len(self.measured) - 1})
        return len(self.measured) - 1

    def listed(self, how: str) -> dict[str, Any]:
        """Return the asset as the API lists it."""
        position = max(0, len(self.measured) - (2 if how == "older" else 1))
        at_ms = self.clock.now_ms + HOUR_MS if how == "ahead" else self.measured[position]
        reported: dict[str, Any] = {"t": position, "m": position}
        if how != "untimed":
            reported["timestamp"] = at_ms
        if how in {"right", "older", "twofold"}:
            self.reported.add(position)
        shadows = {"Up": {"state": {"reported": reported}}}
        if how == "twofold":
            old = {"t": 0, "timestamp": self.measured[0]}
            shadows = {"Old": {"state": {"reported": old}}, **shadows}
        return {"id": "a", "shadows": shadows}


async def send(run: BackfillRig, world: World, position: int) -> None:
    """Deliver the webhook of a reading."""
    world.reported.add(position)
    thing = {
        "assetId": "a",
        "timestamp": world.measured[position],
        "telemetry": {"t": position},
        "shadows": {"Up": {"state": {"reported": {"m": position}}}},
    }
    await run.rig.send_thing(position, thing)


async def perform(step: Step, run: BackfillRig, world: World) -> None:
    """Perform a step while the gateway runs."""
    match step:
        case Report(after_minutes, fate):
            world.clock.now_ms += after_minutes * MINUTE_MS
            position = world.measure()
            if fate != "lost":
                world.sent.append(position)
            if fate == "comes":
                await send(run, world, position)
        case Repeat(which) if world.sent:
            await send(run, world, world.sent[which % len(world.sent)])
        case Reconcile("away") if world.measured:
            await run.list_page(world.listed("right"))  # and the rest of the list never comes
        case Reconcile(how) if world.measured:
            await run.reconcile(world.listed(how))
            if how == "right":
                check_listed(run, world.measured[-1])
        case Sink(True):
            run.receiver.open.set()
        case Sink(False):
            run.receiver.open.clear()
        case _:
            pass


def check_listed(run: BackfillRig, time_ms: int) -> None:
    """Check that every point shows the reading that the API has just listed, or a newer one."""
    for point in run.rig.state.points.points:
        measured = run.rig.state.measured(point)
        if point.asset == "a":
            assert measured is not None
            assert measured.time_ms >= time_ms - TOLERANCE_S * 1000


def watch(run: BackfillRig, world: World) -> None:
    """Record the durable events and the filled gaps."""
    gaps = run.backfill._gaps
    close = gaps.close

    def record_and_close(gap: Gap) -> None:
        if gaps.is_used(gap.asset, gap.key):
            world.filled.append((gap, set(world.measured)))
        close(gap)

    gaps.close = record_and_close  # type: ignore[method-assign]
    table, kept = world.table, world.records
    run.rig.journal.subscribe(lambda records: kept.extend((table, record) for record in records))


async def kill(step: Kill, run: BackfillRig, world: World) -> None:
    """Continue with the file as it is on disk just after an event became durable."""
    if step.doing == "webhook" and world.sent:
        await send(run, world, world.sent[-1])
    elif step.doing == "list" and world.measured:
        await run.list_assets(world.listed("right"))
    before = world.file
    world.runs += 1
    with closing(sqlite3.connect(before)) as alive, closing(sqlite3.connect(world.file)) as copy:
        alive.backup(copy)
        numbered = "SELECT seq FROM events UNION SELECT seq FROM cursors"  # events may be forgotten
        through = max((seq for (seq,) in copy.execute(numbered)), default=0)
    world.records = [(table, record) for table, record in world.records if record.seq <= through]


async def live(steps: Sequence[Step], world: World) -> None:
    """Run the gateway through the steps, with its restarts."""
    left = deque(steps)
    ended: Restart | Kill | None = Restart(0, 0)
    while ended is not None:
        async with backfilling(
            world.file,
            world.tables[world.table],
            world.api,
            clock=world.clock,
            history_after_s=HISTORY_AFTER_S,
            metric_time=METRIC_TIME,
        ) as run:
            watch(run, world)
            await run.list_assets()  # the API is asked at once, and knows nothing yet
            ended = await live_once(left, run, world)
        if ended is not None:
            world.clock.now_ms += ended.hours * HOUR_MS


async def live_once(left: deque[Step], run: BackfillRig, world: World) -> Restart | Kill | None:
    """Perform steps until the gateway ends; return what ended it, None at the end of the story."""
    shown = Shown(run)
    while left:
        step = left.popleft()
        if isinstance(step, Restart):
            await run.list_assets()  # a stop in order lets what is under way come to its end
            await settled(run)
            world.table = step.table
            return step
        if isinstance(step, Kill):
            await kill(step, run, world)
            return step
        await perform(step, run, world)
        await settled(run)
        shown.check()
    await end(run, world)
    shown.check()
    return None


async def settled(run: BackfillRig) -> None:
    """Wait until due gaps are filled, and all values are on disk.

    A webhook that arrives while a gap is filled may repeat a reading, so no step begins before.
    """
    await until(lambda: not run.backfill._gaps.due())
    run.rig.pipeline.tick()
    await run.rig.journal.flush()


@dataclass
class Shown:
    """The times that points showed, to check that they never go back."""

    run: BackfillRig
    times: dict[str, int] = field(default_factory=dict)

    def check(self) -> None:
        """Check that no point went back in time."""
        for point in self.run.rig.state.points.points:
            measured = self.run.rig.state.measured(point)
            if measured is not None:
                assert measured.time_ms >= self.times.get(point.name, 0)
                self.times[point.name] = measured.time_ms


async def end(run: BackfillRig, world: World) -> None:
    """End all faults for a while, then check the result."""
    run.receiver.open.set()
    world.clock.now_ms += 5 * MINUTE_MS
    await send(run, world, world.measure())
    world.clock.now_ms += 5 * MINUTE_MS
    last = world.measure()
    world.clock.now_ms += 5 * MINUTE_MS
    await run.reconcile(world.listed("right"))
    for point in run.rig.state.points.points:
        if point.asset == "a":
            assert run.shown(point.name) == (last, world.measured[last])
    world.clock.now_ms += 5 * MINUTE_MS
    await send(run, world, world.measure())
    await run.rig.journal.flush()
    await asyncio.sleep(0)
    await until(lambda: run.status.open_gaps == 0)
    assert (run.status.last_error, run.status.history_error) == (None, None)
    await run.rig.delivered()


def check_records(world: World) -> None:
    """Check every event that was in the journal against what was measured."""
    known: set[tuple[str, int]] = set()  # by point
    for table, record in sorted(world.records, key=lambda each: each[1].seq):
        event = record.event
        whole = [point.name for point in world.tables[table].points if point.backfill]
        telemetry = read_telemetry(event)
        assert telemetry is not None
        for reading in telemetry.readings:
            if event.is_backfilled:
                assert world.measured[int(str(reading.value))] == reading.time_ms  # with its own time
            events = {(name, reading.time_ms) for name in whole if reading.key == "t"}
            if event.document.get("source") == "history":
                assert not events & known  # nothing that is there already
            known |= events
    for gap, measured in world.filled:
        inside = {time_ms for time_ms in measured if gap.since_ms < time_ms < (gap.until_ms or 0)}
        assert inside <= {time_ms for _, time_ms in known}


async def play(steps: Sequence[Step], tables: Sequence[PointMap]) -> None:
    """Run one story to its end."""
    with TemporaryDirectory() as folder:
        async with simulated_api(0) as api:
            api.items = [{"id": "a"}]
            world = World(Path(folder), tables, api)
            await live(steps, world)
            check_records(world)


@settings(max_examples=30)
@given(steps=st.lists(STEPS, min_size=8, max_size=20))
def test_every_story_ends_well(tables: list[PointMap], steps: list[Step]) -> None:
    """The claims of this module hold for any story, with a real journal and HTTP API."""
    asyncio.run(play(steps, tables))
