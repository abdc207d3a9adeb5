"""All that refills from Infodeck's API, put together: newest values from the list, histories behind them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.infodeck.backfill.gaps import Gaps
from gateway.infodeck.backfill.history import History
from gateway.infodeck.backfill.refill import Refill

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.ports import EventLog, StateStore
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus


class Refilling:
    """`take` is given each page of the API's list, `end_round` is awaited after the last one."""

    def __init__(
        self,
        *,
        organization: str,
        tolerance_s: float,
        item_time: Callable[[Any], Any] | None,
        history_after_s: float,
        metric_time: str,
        metric_value: str,
        event_log: EventLog,
        state_store: StateStore,
        image: Callable[[], BuildingState],
        status: RefillStatus,
        clock_ms: Callable[[], int],
    ) -> None:
        """`image` is the one in force; see `Refill` and `History` for the rest."""
        self._gaps = Gaps(
            event_log=event_log,
            state_store=state_store,
            image=image,
            history_after_ms=round(history_after_s * 1000),
            status=status,
            on_due=self._fill,
        )
        self._refill = Refill(
            organization=organization,
            tolerance_s=tolerance_s,
            item_time=item_time,
            event_log=event_log,
            image=image,
            gaps=self._gaps,
            status=status,
            clock_ms=clock_ms,
        )
        self._history = History(
            organization=organization,
            metric_time=metric_time,
            metric_value=metric_value,
            event_log=event_log,
            gaps=self._gaps,
            stated_unit=lambda asset, key: _stated_unit(image(), asset, key),
            status=status,
            clock_ms=clock_ms,
        )

    def take(self, items: list[Item]) -> None:
        """Look at a page of the API's list soon."""
        self._refill.take(items)

    def follow_tables(self) -> None:
        """Take note that other tables are in force, whose points may never have been told anything."""
        self._refill.follow_tables()

    async def end_round(self) -> None:
        """Return once all of the list is worked through. Then histories have their turn: the API answers."""
        await self._refill.end_round()
        self._history.request()

    async def start(self) -> None:
        """Take up what the last run left, once the journal is open and the image is up to date."""
        if not self._gaps.is_open:
            await self._gaps.start()

    async def run(self, api: InfodeckApi) -> None:
        """Start, and work until cancelled."""
        await self.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._refill.run(), name="refill")
            tasks.create_task(self._history.run(api), name="history")

    def _fill(self) -> None:
        self._history.request()


def _stated_unit(image: BuildingState, asset: str, key: str) -> str | None:
    """Return the unit of measure that the newest reading of a telemetry key states."""
    plan = image.points.by_asset.get(asset)
    rules = plan.by_key.get(key, ()) if plan is not None else ()
    measured = [update for rule in rules if (update := image.measured(rule.point)) is not None]
    return measured[0].raw_unit if measured else None
