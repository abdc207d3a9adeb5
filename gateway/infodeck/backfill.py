"""Backfill: takes into the event log what webhooks missed, from the device shadows in the API's list.

The list is processed page by page, in slices. What is missed is decided just before it is appended, so that
a webhook which came meanwhile wins. Histories follow: `history_gaps.py` and `history_backfill.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import JournalError
from gateway.infodeck.backfill_events import newest_event
from gateway.infodeck.history_backfill import HistoryBackfill
from gateway.infodeck.history_gaps import HistoryGaps
from gateway.infodeck.shadows import find_missed, read_shadows
from gateway.logs import internal_error_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.shadows import MissedReadings
    from gateway.ports import EventLog, StateStore
    from gateway.settings import RefillSettings
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus

log = structlog.get_logger()

_MOST_PAGES = 100  # that wait; the API is asked more slowly than they are processed
_SLICE = 10  # assets processed before the event loop gets its turn

_NO_TIME = (
    "values in Infodeck's list of assets that have no time ({count}) are not used: an old one would look"
    " fresh. Where an item has their time elsewhere, name it in infodeck.refill.time, such as $.updatedAt or"
    " $.shadows.DeviceUplink.timestamp, but only if neither an edit of the asset nor asking for it moves it"
)


@dataclass(slots=True)
class _ListOutcome:
    """What came of one list of all assets. Counts by asset: lists that broke off are in it, too."""

    assets: int = 0
    readings: int = 0
    without_time: dict[str, int] = field(default_factory=dict)
    clock_ahead: dict[str, int] = field(default_factory=dict)
    problem: str | None = None


class Backfill:
    """`accept_page` queues a page of the API's list, `finish_list` is awaited after the last one."""

    def __init__(
        self,
        *,
        organization: str,
        settings: RefillSettings,
        item_time: Callable[[Any], Any] | None,
        event_log: EventLog,
        state_store: StateStore,
        state: Callable[[], BuildingState],
        status: RefillStatus,
        clock_ms: Callable[[], int],
    ) -> None:
        """Begin with `start`.

        `state` returns the one in force; `item_time` the time of a whole item, see `read_shadows`.
        """
        self._organization = organization
        self._tolerance_ms = round(settings.tolerance * 1000)
        self._item_time = item_time
        self._event_log = event_log
        self._state = state
        self._status = status
        self._clock_ms = clock_ms
        self._pages: asyncio.Queue[list[Item] | None] = asyncio.Queue()  # None: the end of a list
        self._tables_id = token_hex(8)  # of the tables in force
        self._outcome = _ListOutcome()
        self._logged: str | None = None
        self._gaps = HistoryGaps(
            event_log=event_log,
            state_store=state_store,
            state=state,
            history_after_ms=round(settings.history_after * 1000),
            status=status,
        )
        self._history = HistoryBackfill(
            organization=organization,
            settings=settings,
            event_log=event_log,
            gaps=self._gaps,
            state=state,
            status=status,
            clock_ms=clock_ms,
        )
        self._gaps.on_due = self._history.request

    def accept_page(self, items: list[Item]) -> None:
        """Process a page of the API's list soon."""
        if self._pages.qsize() < _MOST_PAGES:
            self._pages.put_nowait(items)
        else:
            self._outcome.problem = "the journal is slow: some assets are left for the next reconciliation"

    async def finish_list(self) -> None:
        """Return once the whole list is processed. Then histories have their turn: the API answers."""
        self._pages.put_nowait(None)
        await self._pages.join()
        self._history.request()

    def follow_tables(self) -> None:
        """Follow a reload: its points may not have readings that points of other tables had."""
        self._tables_id = token_hex(8)

    async def start(self) -> None:
        """Go on with what the last run left, once the state is up to date."""
        if not self._gaps.is_open:
            await self._gaps.start()

    async def run(self, api: InfodeckApi) -> None:
        """Start, and work until cancelled."""
        await self.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._process_pages(), name="backfill newest values")
            tasks.create_task(self._history.run(api), name="backfill histories")

    async def _process_pages(self) -> None:
        """Process pages until cancelled. Whatever fails with one, the next one follows."""
        while True:
            page = await self._pages.get()
            try:
                if page is None:
                    self._show_outcome()
                else:
                    await self._process(page)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the gateway
                self._outcome.problem = internal_error_text(error)
            finally:
                self._pages.task_done()

    async def _process(self, page: list[Item]) -> None:
        """Append the missed readings of one page, all in one group."""
        appended: list[tuple[int, asyncio.Future[None]]] = []
        for number, item in enumerate(page):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            asset = item.get("id")
            missed = self._find_missed(asset, item) if isinstance(asset, str) else None
            if isinstance(asset, str) and missed is not None and missed.readings:
                self._gaps.accept_backfill(asset, missed)
                appended.append((len(missed.readings), self._append(asset, missed)))
        for readings, durable in appended:
            try:
                await asyncio.shield(durable)  # the future is shared with others' events
            except JournalError as error:
                self._outcome.problem = f"{error}: what was missed is left for the next reconciliation"
            else:
                self._count(readings)

    def _find_missed(self, asset: str, item: Item) -> MissedReadings | None:
        state = self._state()
        plan = state.points.by_asset.get(asset)
        if plan is None:
            return None
        now_ms = self._clock_ms()
        found = read_shadows(item, plan, now_ms=now_ms, item_time=self._item_time)
        self._outcome.without_time[asset] = found.without_time
        self._outcome.clock_ahead[asset] = found.clock_ahead
        return find_missed(found, plan, state.measured, tolerance_ms=self._tolerance_ms, now_ms=now_ms)

    def _append(self, asset: str, missed: MissedReadings) -> asyncio.Future[None]:
        event = newest_event(
            asset,
            missed.readings,
            tables_id=self._tables_id,
            organization=self._organization,
            now_ms=self._clock_ms(),
        )
        return self._event_log.append(event)

    def _count(self, readings: int) -> None:
        self._outcome.assets += 1
        self._outcome.readings += readings
        self._status.events += 1
        self._status.readings += readings
        self._status.last_ms = self._clock_ms()

    def _show_outcome(self) -> None:
        """Show what came of the list, and log what is new about it."""
        done, self._outcome = self._outcome, _ListOutcome()
        status = self._status
        status.without_time = sum(done.without_time.values())
        status.clock_ahead = sum(done.clock_ahead.values())
        if done.readings:
            log.info(
                "refill.done", assets=done.assets, readings=done.readings, reason="no webhook brought them"
            )
        problem = kind = done.problem
        if problem is None and status.without_time:
            problem, kind = _NO_TIME.format(count=status.without_time), "no time"
        status.last_error = problem
        if kind != self._logged:
            self._logged = kind
            if problem is None:
                log.info("refill.available")
            else:
                log.warning("refill.incomplete", reason=problem)
