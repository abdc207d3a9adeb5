"""Fills gaps in histories from the API's history of a metric, one after the other.

Source: Infodeck's developer documentation, `GET /assets/{id}/metrics`: at most 32 days. The fields of its
items are not documented, so the settings name them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

import structlog

from gateway.errors import ApiRefusalError, GatewayError, JournalError, TransientError
from gateway.events import parse_time
from gateway.infodeck.backfill_events import history_events
from gateway.logs import internal_error_text
from gateway.model import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.history_gaps import HistoryGaps
    from gateway.model import Scalar
    from gateway.ports import EventLog
    from gateway.records import Gap, GapId
    from gateway.settings import RefillSettings
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus

log = structlog.get_logger()

_DAY_MS = 86_400_000
_LONGEST_DAYS = 32
_MARGIN_MS = 3_600_000  # for other clocks, and for the time until the API answers
_MOST_READINGS = 100_000  # of one gap: 32 days, two a minute
_GROUP_EVENTS = 10
_MOST_BACKLOG = 2_000  # events; with more, history waits for the sinks
_LOOK_AGAIN_S = 1.0
_MOST_FAILURES = 3  # in a row, before the other gaps wait for the next request
_MOST_NAMES = 10
_NOT_FOUND = 404


class HistoryBackfill:
    """`run` fills the gaps that are due, whenever `request` is called."""

    def __init__(
        self,
        *,
        organization: str,
        settings: RefillSettings,
        event_log: EventLog,
        gaps: HistoryGaps,
        state: Callable[[], BuildingState],
        status: RefillStatus,
        clock_ms: Callable[[], int],
    ) -> None:
        self._organization = organization
        self._metric_time, self._metric_value = settings.metric_time, settings.metric_value
        self._event_log = event_log
        self._gaps = gaps
        self._state = state
        self._status = status
        self._clock_ms = clock_ms
        self._requested = asyncio.Event()
        self._not_there: list[str] = []  # assets and keys that the API does not know
        self._failures: Counter[GapId] = Counter()

    def request(self) -> None:
        """Fill soon what is due."""
        self._requested.set()

    async def run(self, api: InfodeckApi) -> None:
        """Fill until cancelled. A gap that cannot be filled stays due until the next request."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            await self._fill_all(api)

    async def _fill_all(self, api: InfodeckApi) -> None:
        filled = readings = failures = 0
        problem: str | None = None
        self._not_there = []
        # What failed most often comes last: it must not keep the others waiting for ever.
        for gap in sorted(self._gaps.due(), key=lambda gap: self._failures[gap.id]):
            self._failures[gap.id] += 1
            try:
                readings += await self._fill(api, gap)
                filled += 1
                failures = 0
                del self._failures[gap.id]
            except (TransientError, JournalError) as error:
                problem = str(error)
                break
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the gateway
                problem = str(error) if isinstance(error, GatewayError) else internal_error_text(error)
                failures += 1
            if failures == _MOST_FAILURES:
                break
        if filled:
            log.info("history.filled", gaps=filled, readings=readings, left=len(self._gaps.due()))
        if names := self._not_there:
            log.warning(
                "history.not_there", gaps=len(names), such_as=names[:3], reason="404 of Infodeck's API"
            )
        self._show(problem)

    async def _fill(self, api: InfodeckApi, gap: Gap) -> int:
        """Append what the API has of a gap, and close it; return the number of readings."""
        values: dict[int, Scalar] = {}
        if self._gaps.is_used(gap.asset, gap.key):
            try:
                values = await self._fetch(api, gap)
            except ApiRefusalError as error:
                if error.status != _NOT_FOUND:
                    raise
                self._not_there.append(f"{gap.asset} {gap.key}")
        appended = await self._append(gap, values)
        self._gaps.close(gap)
        self._status.history_readings += appended
        return appended

    async def _fetch(self, api: InfodeckApi, gap: Gap) -> dict[int, Scalar]:
        """Return the values inside a gap by their times in Unix ms."""
        days = min(_LONGEST_DAYS, max(1, ceil((self._clock_ms() - gap.since_ms + _MARGIN_MS) / _DAY_MS)))
        until_ms = gap.until_ms or 0
        values: dict[int, Scalar] = {}
        unreadable: Item | None = None
        is_readable = False
        left_out = 0
        async for page in api.metrics(gap.asset, metric=gap.key, days=days):
            for item in page:
                time_ms, value = parse_time(item.get(self._metric_time)), item.get(self._metric_value)
                if time_ms is None or self._metric_value not in item:
                    unreadable = item
                    continue
                is_readable = True
                if gap.since_ms < time_ms < until_ms and isinstance(value, str | int | float | bool):
                    if len(values) < _MOST_READINGS:
                        values[time_ms] = value
                    else:
                        left_out += 1
        if unreadable is not None and not is_readable:
            raise GatewayError(self._names_advice(gap, unreadable))
        if left_out:
            log.warning(
                "history.cut_short", asset=gap.asset, key=gap.key, kept=_MOST_READINGS, left_out=left_out
            )
        return values

    def _names_advice(self, gap: Gap, item: Item) -> str:
        names = ", ".join(sorted(item)[:_MOST_NAMES])
        return (
            f"no item of Infodeck's history of {gap.key} of {gap.asset} has a time as"
            f" `{self._metric_time}` and a value as `{self._metric_value}`, but {names or 'nothing'}: name"
            " them in infodeck.refill.metric_time and metric_value"
        )

    async def _append(self, gap: Gap, values: dict[int, Scalar]) -> int:
        """Append the values that are not known, as fast as the sinks keep up; return how many these are.

        A value of the same second is the same reading: one side may have its time in seconds, one in ms.
        """
        await self._wait_for_sinks()
        known_s = await self._gaps.known_seconds(gap)
        times_ms = sorted(time_ms for time_ms in values if time_ms // 1000 not in known_s)
        unit = self._stated_unit(gap)
        readings = (Reading(gap.key, values[time_ms], time_ms, unit) for time_ms in times_ms)
        events = history_events(gap.asset, readings, organization=self._organization, now_ms=self._clock_ms())
        group: set[asyncio.Future[None]] = set()
        for number, event in enumerate(events, start=1):
            group.add(self._event_log.append(event))
            if number % _GROUP_EVENTS == 0:
                await _until_durable(group)
                await self._wait_for_sinks()
        await _until_durable(group)
        return len(times_ms)

    def _stated_unit(self, gap: Gap) -> str | None:
        """Return the unit of measure that the newest reading of the key states; a history states none."""
        state = self._state()
        plan = state.points.by_asset.get(gap.asset)
        rules = plan.by_key.get(gap.key, ()) if plan is not None else ()
        newest = [update for rule in rules if (update := state.measured(rule.point)) is not None]
        return newest[0].raw_unit if newest else None

    async def _wait_for_sinks(self) -> None:
        while self._event_log.backlog > _MOST_BACKLOG:  # noqa: ASYNC110 - there is no notification
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _show(self, problem: str | None) -> None:
        """Show why gaps stay open; logged once, and once when that is over."""
        before, self._status.history_error = self._status.history_error, problem
        if problem is not None and before is None:
            log.warning("history.unavailable", reason=problem, gaps=len(self._gaps.due()))
        elif problem is None and before is not None:
            log.info("history.available")


async def _until_durable(group: set[asyncio.Future[None]]) -> None:
    for future in group:
        await asyncio.shield(future)  # shared with others' events
    group.clear()
