"""What webhooks have missed, taken from the shadows in the API's list into the journal.

The list comes page by page and is looked at in slices. What is missed is decided just before it is
appended, so that a webhook which came meanwhile wins.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import JournalError
from gateway.infodeck.backfill.missed import missed_readings
from gateway.infodeck.backfill.shadows import read_shadows
from gateway.infodeck.backfill.synthetic import refill_event
from gateway.logs import unforeseen

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.infodeck.api_client import Item
    from gateway.infodeck.backfill.gaps import Gaps
    from gateway.infodeck.backfill.missed import Missed
    from gateway.ports import EventLog
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus

log = structlog.get_logger()

_MOST_PAGES = 100  # that wait; the API is asked more slowly than they are looked at
_SLICE = 10  # assets that are looked at before the event loop gets its turn

_NO_TIME = (
    "values in Infodeck's list of assets that have no time ({count}) are not used: an old one would look"
    " fresh. Where an item has their time elsewhere, name it in infodeck.refill.time, such as $.updatedAt or"
    " $.shadows.DeviceUplink.timestamp, but only if neither an edit of the asset nor asking for it moves it"
)


@dataclass(slots=True)
class _Round:
    """One time that the API listed all assets."""

    assets: int = 0
    readings: int = 0
    without_time: dict[str, int] = field(
        default_factory=dict
    )  # by asset: lists that broke off have some, too
    clock_ahead: dict[str, int] = field(default_factory=dict)
    problem: str | None = None


class Refill:
    """`take` never waits; `run` does the work."""

    def __init__(
        self,
        *,
        organization: str,
        tolerance_s: float,
        item_time: Callable[[Any], Any] | None,
        event_log: EventLog,
        image: Callable[[], BuildingState],
        gaps: Gaps,
        status: RefillStatus,
        clock_ms: Callable[[], int],
    ) -> None:
        """`item_time` gets the time of a whole item, for shadows without one; `image` is the one in force."""
        self._organization = organization
        self._tolerance_ms = round(tolerance_s * 1000)
        self._item_time = item_time
        self._event_log = event_log
        self._image = image
        self._gaps = gaps
        self._status = status
        self._clock_ms = clock_ms
        self._pages: asyncio.Queue[list[Item] | None] = asyncio.Queue()
        self._tables = token_hex(8)  # stands for those in force, and never did for any others
        self._round = _Round()
        self._logged: str | None = None

    def follow_tables(self) -> None:
        """Tell points of other tables, which are in force now, what others may have been told before."""
        self._tables = token_hex(8)

    def take(self, items: list[Item]) -> None:
        """Look at a page of the API's list soon."""
        if self._pages.qsize() < _MOST_PAGES:
            self._pages.put_nowait(items)
        else:
            self._round.problem = "the journal is slow: some assets are left for the next reconciliation"

    async def end_round(self) -> None:
        """Say that the list was whole, and return once all of it is worked through."""
        self._pages.put_nowait(None)
        await self._pages.join()

    async def run(self) -> None:
        """Work until cancelled; whatever a page does to it, the next one has its turn."""
        while True:
            page = await self._pages.get()
            try:
                if page is None:
                    self._finish()
                else:
                    await self._refill(page)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the gateway
                self._round.problem = unforeseen(error)
            finally:
                self._pages.task_done()

    async def _refill(self, page: list[Item]) -> None:
        """Append what one page has of missed readings, all in one group."""
        group: list[tuple[Missed, asyncio.Future[None]]] = []
        for number, item in enumerate(page):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            asset = item.get("id")
            missed = self._missed(asset, item) if isinstance(asset, str) else None
            if isinstance(asset, str) and missed:
                self._gaps.supply(asset, missed)
                group.append((missed, self._append(asset, missed)))
        for missed, written in group:
            try:
                await asyncio.shield(written)  # shared with others' events
            except JournalError as error:
                self._round.problem = f"{error}: what was missed is left for the next reconciliation"
            else:
                self._count(missed)

    def _missed(self, asset: str, item: Item) -> Missed | None:
        image = self._image()
        plan = image.points.by_asset.get(asset)
        if plan is None:
            return None
        now_ms = self._clock_ms()
        found = read_shadows(item, plan, now_ms=now_ms, item_time=self._item_time)
        self._round.without_time[asset] = found.without_time
        self._round.clock_ahead[asset] = found.clock_ahead
        return missed_readings(found, plan, image.measured, tolerance_ms=self._tolerance_ms, now_ms=now_ms)

    def _append(self, asset: str, missed: Missed) -> asyncio.Future[None]:
        event = refill_event(
            asset,
            missed.readings,
            told_to=self._tables,
            organization=self._organization,
            now_ms=self._clock_ms(),
        )
        return self._event_log.append(event)

    def _count(self, missed: Missed) -> None:
        status = self._status
        readings = len(missed.readings)
        self._round.assets += 1
        status.events += 1
        self._round.readings += readings
        status.readings += readings
        status.last_ms = self._clock_ms()

    def _finish(self) -> None:
        """Show what came of the round, and log what is new about it."""
        done, self._round = self._round, _Round()
        status = self._status
        status.without_time = sum(done.without_time.values())
        status.clock_ahead = sum(done.clock_ahead.values())
        if done.readings:
            log.info(
                "refill.done", assets=done.assets, readings=done.readings, reason="no webhook brought them"
            )
        problem = done.problem
        if problem is None and status.without_time:
            problem = _NO_TIME.format(count=status.without_time)
        status.last_error = problem
        kind = problem and ("time" if done.problem is None else problem)
        if kind != self._logged:
            self._logged = kind
            if problem is None:
                log.info("refill.available")
            else:
                log.warning("refill.incomplete", reason=problem)
