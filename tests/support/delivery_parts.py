"""Delivery as the gateway composes it: a journal on disk, the pipeline, a loop for each recording sink."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.backoff import Backoff
from gateway.delivery.event_copies import EventCopies
from gateway.delivery.pipeline import Pipeline
from gateway.delivery.sink_loop import SinkLoop
from gateway.events import parse_event
from gateway.journal.sqlite import SqliteJournal
from gateway.state.building_state import BuildingState
from gateway.status import JournalStatus, MappingStatus
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Quality, Scalar
    from support.recording_sink import Receiver

NOON = 1_790_000_000_000
_NO_COPIES = EventCopies({})
TABLE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s}
points:
  - {tag: R, point: T, asset: a, from: t, range: [0, 1000000], on_stale: hold}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: R, point: QUAL, asset: a, from: $quality}
  - {tag: R, point: DEEP, asset: c, from: $.data.object.deep.value}
"""


@dataclass
class Clock:
    """A clock that tests set."""

    now_ms: int = NOON

    def __call__(self) -> int:
        """Return Unix milliseconds."""
        return self.now_ms


@dataclass
class Rig:
    """One run of delivery."""

    file: Path
    journal: SqliteJournal
    pipeline: Pipeline
    state: BuildingState
    clock: Clock
    mapping: MappingStatus
    loops: dict[str, SinkLoop] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def offer(self, number: int | str, thing: dict[str, Any]) -> asyncio.Future[None]:
        """Append an event to the journal; events in a row share one commit."""
        return self.journal.append(self.event(number, thing))

    def event(self, number: int | str, thing: dict[str, Any]) -> Event:
        """Return an event with this resource, received now."""
        document = {"id": f"evt_{number}", "type": "asset.telemetry.updated", "data": {"object": thing}}
        return parse_event(orjson.dumps(document), received_ms=self.clock.now_ms)

    async def send(self, number: int | str, **readings: Any) -> None:
        """Return once one event of asset `a` is durable."""
        await self.offer(number, {"assetId": "a", "telemetry": readings})

    async def send_thing(self, number: int | str, thing: dict[str, Any]) -> None:
        """Return once an event with this resource is durable and mapped."""
        await self.offer(number, thing)
        await asyncio.sleep(0)

    async def delivered(self) -> None:
        """Return once every sink has everything, and its cursor is on disk."""
        await self.journal.flush()
        self.pipeline.tick()
        await self.until(lambda: all(loop.idle for loop in self.loops.values()))
        await self.journal.flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition without an event."""
        await until(condition, within_s=60, look_every_s=0.002)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the journal's file from outside."""
        return rows(self.file, query)


def with_a_fault(points: PointMap) -> PointMap:
    """Return the table with one more asset, `faulty`, whose readings of `t` cannot be mapped."""
    plan = points.by_asset["a"]
    faulty = replace(plan, by_key={"t": (replace(plan.by_key["t"][0], convert=_fail),)})
    return replace(points, by_asset=points.by_asset | {"faulty": faulty})


def _fail(_: Scalar) -> tuple[Scalar, Quality]:
    """Fail as a fault of the gateway's own would."""
    raise ZeroDivisionError("a fault")


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a journal's file."""
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


@contextmanager
def failing_commits(file: Path) -> Iterator[None]:
    """Let every commit that moves a cursor fail, as on a full disk."""
    with closing(sqlite3.connect(file)) as database:
        database.execute(
            "CREATE TRIGGER failing BEFORE INSERT ON cursors BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
        try:
            yield
        finally:
            database.execute("DROP TRIGGER failing")


@asynccontextmanager
async def delivering(
    file: Path,
    points: PointMap,
    receivers: Mapping[str, Receiver],
    *,
    clock: Clock | None = None,
    pause_s: float = 0.002,
    copies: EventCopies = _NO_COPIES,
) -> AsyncIterator[Rig]:
    """Run delivery to these receivers. Leaving stops at once, as it stands: nothing is written any more.

    `pause_s`: the first one after a failure.
    """
    clock = clock or Clock()
    journal = SqliteJournal(
        file, sinks=receivers, retention_s=3600, max_bytes=1 << 30, clock_ms=clock, status=JournalStatus()
    )
    state, mapping = BuildingState(points), MappingStatus()
    pipeline = Pipeline(
        event_log=journal,
        state_store=journal,
        state=state,
        status=mapping,
        clock_ms=clock,
        steady_ms=clock,
        copies=copies,
    )
    rig = Rig(file, journal, pipeline, state, clock, mapping)
    async with journal:
        feeds = await pipeline.start(list(receivers))
        async with asyncio.TaskGroup() as tasks:
            for name, receiver in receivers.items():
                loop = rig.loops[name] = SinkLoop(
                    name=name,
                    make_sink=receiver.make_sink,
                    feed=feeds[name],
                    event_log=journal,
                    state_store=journal,
                    status=receiver.status,
                    clock_ms=clock,
                    steady_ms=clock,
                    backoff=Backoff(first_s=pause_s, longest_s=5 * pause_s),
                )
                rig.tasks[name] = tasks.create_task(loop.run(), name=f"sink {name}")
            yield rig
            for task in rig.tasks.values():
                task.cancel()
