"""Backfill: takes into the event log what webhooks missed, from the device shadows in the API's list.

What is missed is decided just before it is appended, so that a webhook which came meanwhile wins. Histories
follow: see `history.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING

import structlog

from gateway.errors import JournalError
from gateway.infodeck.history import HistoryBackfill, HistoryGaps, backfilled_event
from gateway.infodeck.shadows import find_missed
from gateway.logs import internal_error_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.history import BackfillContext
    from gateway.infodeck.shadows import MissedReadings, ShadowReadings
    from gateway.model import Event, Reading

log = structlog.get_logger()

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
    """`accept_page` is awaited with each page of the API's list, `finish_list` called after the last one."""

    def __init__(self, context: BackfillContext) -> None:
        """Pages wait until `run` runs."""
        self._context = context
        self._tables_id = token_hex(8)  # of the tables in force
        self._outcome = _ListOutcome()
        self._logged: str | None = None
        self._gaps = HistoryGaps(context)
        self._history = HistoryBackfill(context, self._gaps)

    async def run(self, api: InfodeckApi) -> None:
        """Go on with the gaps that the last run left, and fill histories until cancelled."""
        if not self._gaps.opened.is_set():
            await self._gaps.start()
        await self._history.run(api)

    def follow_tables(self) -> None:
        """Follow a reload: its points may not have readings that points of other tables had."""
        self._tables_id = token_hex(8)

    async def accept_page(self, listed: Mapping[str, ShadowReadings]) -> None:
        """Return once the missed readings of a page are durable. Whatever fails with it, the list goes on."""
        await self._gaps.opened.wait()
        try:
            await self._append_missed(listed)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the gateway
            self._outcome.problem = internal_error_text(error)

    async def _append_missed(self, listed: Mapping[str, ShadowReadings]) -> None:
        appended: list[tuple[int, asyncio.Future[None]]] = []
        for number, (asset, found) in enumerate(listed.items()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            missed = self._find_missed(asset, found)
            if missed is not None and missed.readings:
                self._gaps.accept_backfill(asset, missed)
                appended.append((len(missed.readings), self._append(asset, missed)))
        for readings, durable in appended:
            try:
                await asyncio.shield(durable)  # the future is shared with others' events
            except JournalError as error:
                self._outcome.problem = f"{error}: what was missed is left for the next reconciliation"
            else:
                self._count(readings)

    def _find_missed(self, asset: str, found: ShadowReadings) -> MissedReadings | None:
        self._outcome.without_time[asset] = found.without_time
        self._outcome.clock_ahead[asset] = found.clock_ahead
        context, state = self._context, self._context.state()
        plan = state.points.by_asset.get(asset)
        if plan is None:
            return None
        tolerance_ms, now_ms = round(context.settings.tolerance * 1000), context.clock_ms()
        return find_missed(found, plan, state.measured, tolerance_ms=tolerance_ms, now_ms=now_ms)

    def _append(self, asset: str, missed: MissedReadings) -> asyncio.Future[None]:
        event = newest_event(
            asset,
            missed.readings,
            tables_id=self._tables_id,
            organization=self._context.organization,
            now_ms=self._context.clock_ms(),
        )
        return self._context.event_log.append(event)

    def _count(self, readings: int) -> None:
        self._outcome.assets += 1
        self._outcome.readings += readings
        status = self._context.status
        status.events += 1
        status.readings += readings
        status.last_ms = self._context.clock_ms()

    def finish_list(self) -> None:
        """Show what came of the list. Then histories have their turn: the API answers."""
        done, self._outcome = self._outcome, _ListOutcome()
        status = self._context.status
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
        self._gaps.requested.set()


def newest_event(
    asset: str, readings: Iterable[Reading], *, tables_id: str, organization: str, now_ms: int
) -> Event:
    """Return an event with missed readings of an asset. Their keys are telemetry keys, or points' paths.

    `tables_id` stands for the tables in force: for the points of other tables, it is no duplicate.
    """
    in_order = sorted(readings, key=lambda each: each.key)
    return backfilled_event("reconcile", asset, in_order, tables_id, organization=organization, now_ms=now_ms)
