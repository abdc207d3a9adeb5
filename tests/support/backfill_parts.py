"""Backfill on a real journal, pipeline and state, with a clock that tests set."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.infodeck.backfill import Backfill
from gateway.infodeck.history import BackfillContext
from gateway.infodeck.shadows import read_page
from gateway.mapping.paths import compile_path
from gateway.settings import RefillSettings
from gateway.status import RefillStatus
from support.asset_lists import connected, simulated_api
from support.delivery_parts import NOON, Clock, delivering
from support.recording_sink import Receiver
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from gateway.demo.simulated_api import SimulatedApi
    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Update
    from support.delivery_parts import Rig

ORGANIZATION = "o-test"
TOLERANCE_S = 60.0
DAY_MS = 86_400_000
MINUTE_MS = 60_000


def item(asset: str = "a", /, *, at_ms: int | None, **reported: Any) -> dict[str, Any]:
    """Return an asset as the API lists it, with the time of its report (None: not stated)."""
    if at_ms is not None:
        reported["timestamp"] = at_ms
    return {"id": asset, "shadows": {"DeviceUplink": {"state": {"reported": reported}}}}


@dataclass
class BackfillRig:
    """A running gateway with backfill."""

    rig: Rig
    backfill: Backfill
    status: RefillStatus
    receiver: Receiver
    item_time: Callable[[Any], Any] | None

    async def webhook(self, number: int | str, *, at_ms: int, asset: str = "a", **readings: Any) -> None:
        """Deliver a webhook's event; return once it is durable and mapped."""
        await self.rig.send_thing(number, {"assetId": asset, "timestamp": at_ms, "telemetry": readings})
        await self.rig.journal.flush()
        self.rig.pipeline.tick()
        await self.rig.journal.flush()

    async def reconcile(self, *items: dict[str, Any]) -> None:
        """Have these assets listed; return once the result is durable and mapped."""
        await self.list_assets(*items)
        await self.rig.journal.flush()
        await asyncio.sleep(0)

    async def list_assets(self, *items: dict[str, Any]) -> None:
        """Have these assets listed, in pages of 100."""
        for start in range(0, len(items), 100):
            await self.list_page(*items[start : start + 100])
        self.backfill.finish_list()

    async def list_page(self, *items: dict[str, Any]) -> None:
        """Have one page of a list backfilled."""
        plans, now_ms = self.rig.state.points.by_asset, self.rig.clock()
        listed = read_page(items, plans, now_ms=now_ms, item_time=self.item_time)
        await self.backfill.accept_page(listed)

    async def until_filled(self) -> None:
        """Wait until no gap is open, and all sinks are up to date."""
        await until(lambda: self.status.open_gaps == 0)
        await self.rig.delivered()

    def newest(self, point: str) -> Update | None:
        """Return what a point shows."""
        return self.rig.state.latest(self.rig.state.points.by_name[point])

    def shown(self, point: str) -> tuple[Any, int]:
        """Return value and time that a point shows."""
        newest = self.newest(point)
        assert newest is not None
        return newest.value, newest.time_ms

    async def backfills(self) -> list[Event]:
        """Return the gateway's own events, in order."""
        records = await self.rig.journal.read(0, 10_000)
        return [record.event for record in records if record.event.event_id.startswith("reconcile_")]


@asynccontextmanager
async def backfilling(
    file: Path,
    points: PointMap,
    api: SimulatedApi | None = None,
    *,
    clock: Clock | None = None,
    time: str | None = None,
    history_after_s: float = 24 * 3600.0,
    metric_time: str = "timestamp",
    receivers: Iterable[str] = ("bms",),
) -> AsyncIterator[BackfillRig]:
    """Run delivery and backfill on this file; without `api`, an empty one is used."""
    clock = clock or Clock(NOON)
    all_receivers = {name: Receiver() for name in receivers}
    async with delivering(file, points, all_receivers, clock=clock) as rig:
        status = RefillStatus()
        context = BackfillContext(
            organization=ORGANIZATION,
            settings=RefillSettings(
                tolerance=f"{TOLERANCE_S:.0f}s",  # type: ignore[arg-type]  # as in a file
                history_after=f"{history_after_s:.0f}s",  # type: ignore[arg-type]
                metric_time=metric_time,
            ),
            event_log=rig.journal,
            state_store=rig.journal,
            state=lambda: rig.pipeline.state,
            status=status,
            clock_ms=clock,
        )
        made = Backfill(context)
        async with AsyncExitStack() as stack:
            asked = await stack.enter_async_context(simulated_api(0)) if api is None else api
            infodeck = await stack.enter_async_context(connected(asked))
            running = asyncio.create_task(made.run(infodeck), name="backfilling")
            stack.push_async_callback(_ended, running)
            await made._gaps.opened.wait()
            item_time = None if time is None else compile_path(time)
            yield BackfillRig(rig, made, status, next(iter(all_receivers.values())), item_time)


async def _ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def body(event: Event) -> dict[str, Any]:
    """Return the resource in an event's body."""
    document = orjson.loads(event.body)
    assert document["source"] == "reconcile"
    assert document["id"] == event.event_id
    return dict(document["data"]["object"])
