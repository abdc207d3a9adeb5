"""Histories of points with `refill: history`: when gaps in them open and close, and how they are filled.

A gap begins with the last reading before something failed: the gateway was down, or the API had to supply a
reading. It ends with the first webhook that has a newer one. A gap that is shorter than Infodeck repeats
deliveries is left to these. Others are filled from `GET /assets/{id}/metrics`, which has at most 32 days; the
fields of its items are not documented, so the settings name them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from gateway.errors import ApiRefusalError, GatewayError, JournalError, TransientError
from gateway.events import TELEMETRY, parse_time, read_telemetry
from gateway.logs import error_text
from gateway.model import BACKFILL_ID_PREFIX, Event, Reading
from gateway.records import Gap, StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.shadows import MissedReadings
    from gateway.model import Record, Scalar, Telemetry
    from gateway.ports import EventLog, StateStore
    from gateway.records import GapId
    from gateway.settings import RefillSettings
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus

log = structlog.get_logger()

_READ_EVENTS = 250
_SLICE = 1_000  # gaps opened before the event loop gets its turn

_Key = tuple[str, str]
"""An asset and one of its telemetry keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillContext:
    """What backfilling reads and writes; `state` returns the one in force."""

    organization: str
    settings: RefillSettings
    event_log: EventLog
    state_store: StateStore
    state: Callable[[], BuildingState]
    status: RefillStatus
    clock_ms: Callable[[], int]


class HistoryGaps:
    """Belongs to the event loop. Stored are gaps to be filled, and open ones that the API supplied to.

    Changes are saved while the event that makes them is delivered, so that no kill comes in between.
    """

    def __init__(self, context: BackfillContext) -> None:
        self.requested = asyncio.Event()
        """Set when gaps are to be filled soon."""
        self.opened = asyncio.Event()
        """Set when `start` is done."""
        self._context = context
        self._since_ms: dict[_Key, int] = {}  # of open gaps; after a start, there is one for every reading
        self._newest_ms: dict[_Key, int] = {}  # of open gaps that are stored: the API's newest reading
        self._due: dict[_Key, dict[GapId, Gap]] = {}
        self._due_count = 0

    async def start(self) -> None:
        """Go on with the stored gaps, open those of the time when the gateway was down, and listen."""
        event_log, stored = self._context.event_log, self._context.state_store.at_start
        head, last_ms = event_log.head, dict(self._last_readings())
        self._restore(stored.gaps)
        if stored.values_through < head:  # events after the stored values may have closed a gap
            self._open_stored_values()
            await self._replay(stored.values_through, until=lambda: head)
        for number, (key, time_ms) in enumerate(last_ms.items()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            self._open(key, time_ms)
        await self._replay(head, until=lambda: event_log.head)
        event_log.subscribe(self.accept_records)
        self._save({})
        self.opened.set()

    def accept_records(self, records: Iterable[Record]) -> None:
        """Close gaps by what webhooks bring, and remember which readings inside gaps are known."""
        if not self._since_ms and not self._due:
            return
        for record in records:
            event = record.event
            if event.type == TELEMETRY and not is_history(event):
                telemetry = read_telemetry(event)
                if telemetry is not None:
                    self._accept_telemetry(telemetry, event)

    def accept_backfill(self, asset: str, missed: MissedReadings) -> None:
        """Open gaps before readings of the API are appended; they become durable together."""
        gaps: dict[GapId, Gap | None] = {}
        for reading in missed.readings:
            last_ms = missed.gaps.get(reading.key)
            if last_ms is None:
                continue
            key = asset, reading.key
            self._open(key, last_ms)
            if key not in self._newest_ms:
                gap = Gap(*key, self._since_ms[key])
                gaps[gap.id] = gap
            self._newest_ms[key] = max(self._newest_ms.get(key, 0), reading.time_ms)
        self._save(gaps)

    def due(self) -> list[Gap]:
        """Return the gaps to be filled, the oldest first."""
        gaps = [gap for of_key in self._due.values() for gap in of_key.values()]
        return sorted(gaps, key=lambda gap: gap.since_ms)

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the Unix seconds of all known readings inside a gap and at its ends."""
        state_store = self._context.state_store
        await state_store.flush()  # events that wait become durable, and their seconds are saved
        await state_store.flush()  # and these are on disk
        ends = {gap.since_ms // 1000, (gap.until_ms or 0) // 1000}
        return ends | await state_store.known_seconds(gap)

    def close(self, gap: Gap) -> None:
        """Forget a gap that is filled, or that nothing can fill."""
        of_key = self._due[gap.asset, gap.key]
        del of_key[gap.id]
        if not of_key:
            del self._due[gap.asset, gap.key]
        self._due_count -= 1
        self._save({gap.id: None})

    def is_used(self, asset: str, key: str) -> bool:
        """Whether a point of the tables in force has the history of a key backfilled."""
        plan = self._context.state().points.by_asset.get(asset)
        return plan is not None and any(rule.point.backfill for rule in plan.by_key.get(key, ()))

    def _restore(self, gaps: Iterable[Gap]) -> None:
        for gap in gaps:
            key = gap.asset, gap.key
            if not self.is_used(*key):
                self._save({gap.id: None})
            elif gap.until_ms is not None:
                self._make_due(gap)
            else:
                self._open(key, gap.since_ms)
                self._newest_ms.setdefault(key, gap.since_ms)

    def _last_readings(self) -> Iterator[tuple[_Key, int]]:
        state = self._context.state()
        for point in state.points.points:
            if point.backfill and (last := state.measured(point)) is not None:
                yield (point.asset, point.source), last.time_ms

    def _open_stored_values(self) -> None:
        by_name = self._context.state().points.by_name
        for value in self._context.state_store.at_start.last_values:
            point = by_name.get(value.point)
            key = value.asset, value.source
            if point is not None and point.backfill and (point.asset, point.source) == key:
                self._open(key, value.time_ms)

    async def _replay(self, through: int, *, until: Callable[[], int]) -> None:
        while through < until():
            records = await self._context.event_log.read(through, _READ_EVENTS)
            records = [each for each in records if each.seq <= until()]
            if not records:
                return
            self.accept_records(records)
            through = records[-1].seq

    def _open(self, key: _Key, last_ms: int) -> None:
        """Open a gap after the last reading of a key. One that is open and stored keeps its begin."""
        if key in self._newest_ms:
            self._newest_ms[key] = max(self._newest_ms[key], last_ms)
        else:
            self._since_ms[key] = max(self._since_ms.get(key, last_ms), last_ms)

    def _accept_telemetry(self, telemetry: Telemetry, event: Event) -> None:
        for reading in telemetry.readings:
            key, time_ms = (telemetry.asset, reading.key), reading.time_ms
            since_ms = self._since_ms.get(key)
            if since_ms is None or time_ms <= since_ms:
                for gap in self._due.get(key, {}).values():  # such as a late webhook's reading
                    if gap.since_ms < time_ms < (gap.until_ms or 0):
                        self._mark_known(gap, time_ms)
                continue
            if event.is_backfilled and key in self._newest_ms:
                self._newest_ms[key] = max(self._newest_ms[key], time_ms)
            if event.is_backfilled or time_ms < self._newest_ms.get(key, 0):  # others may still be missing
                if key in self._newest_ms:
                    self._mark_known(Gap(*key, since_ms), time_ms)
            else:
                self._end(Gap(*key, since_ms, time_ms), dated_ms=event.dated_ms)

    def _mark_known(self, gap: Gap, time_ms: int) -> None:
        known = Gap(gap.asset, gap.key, gap.since_ms, gap.until_ms, (time_ms // 1000,))
        self._save({gap.id: known})

    def _end(self, gap: Gap, *, dated_ms: int) -> None:
        """End an open gap: it is due if it was long, and forgotten otherwise."""
        key = gap.asset, gap.key
        del self._since_ms[key]
        was_stored = self._newest_ms.pop(key, None) is not None
        duration_ms = max(dated_ms, gap.until_ms or 0) - gap.since_ms
        if duration_ms > self._context.settings.history_after * 1000:
            self._make_due(gap)
            self._save({gap.id: gap})
            self.requested.set()
        elif was_stored:
            self._save({gap.id: None})

    def _make_due(self, gap: Gap) -> None:
        of_key = self._due.setdefault((gap.asset, gap.key), {})
        self._due_count += gap.id not in of_key  # it is there, if the last start was cut short
        of_key[gap.id] = gap

    def _save(self, gaps: dict[GapId, Gap | None]) -> None:
        if gaps:
            self._context.state_store.save(StateChanges(gaps=gaps))
        self._context.status.open_gaps = len(self._newest_ms) + self._due_count


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
    """`run` fills the gaps that are due, whenever that is requested."""

    def __init__(self, context: BackfillContext, gaps: HistoryGaps) -> None:
        self._context = context
        self._gaps = gaps
        self._unknown: list[str] = []  # assets and keys that the API does not know
        self._failures: Counter[GapId] = Counter()

    async def run(self, api: InfodeckApi) -> None:
        """Fill until cancelled. A gap that cannot be filled stays due until the next request."""
        while True:
            await self._gaps.requested.wait()
            self._gaps.requested.clear()
            await self._fill_all(api)

    async def _fill_all(self, api: InfodeckApi) -> None:
        filled = readings = failures = 0
        problem: str | None = None
        self._unknown = []
        # What failed most often comes last: it must not keep the others waiting for ever.
        for gap in sorted(self._gaps.due(), key=lambda gap: self._failures[gap.id]):
            self._failures[gap.id] += 1
            try:
                readings += await self._fill(api, gap)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the gateway
                problem = error_text(error)
                failures += 1
                if isinstance(error, TransientError | JournalError) or failures == _MOST_FAILURES:
                    break
            else:
                filled += 1
                failures = 0
                del self._failures[gap.id]
        if filled:
            log.info("history.filled", gaps=filled, readings=readings, left=len(self._gaps.due()))
        if names := self._unknown:
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
                self._unknown.append(f"{gap.asset} {gap.key}")
        appended = await self._append(gap, values)
        self._gaps.close(gap)
        self._context.status.history_readings += appended
        return appended

    async def _fetch(self, api: InfodeckApi, gap: Gap) -> dict[int, Scalar]:
        time_name, value_name = self._context.settings.metric_time, self._context.settings.metric_value
        period_ms = self._context.clock_ms() - gap.since_ms + _MARGIN_MS
        days = min(_LONGEST_DAYS, max(1, ceil(period_ms / _DAY_MS)))
        values: dict[int, Scalar] = {}
        unreadable: Item | None = None
        is_readable = False
        async for page in api.metrics(gap.asset, metric=gap.key, days=days):
            for item in page:
                time_ms, value = parse_time(item.get(time_name)), item.get(value_name)
                if time_ms is None or value_name not in item:
                    unreadable = item
                    continue
                is_readable = True
                if gap.since_ms < time_ms < (gap.until_ms or 0) and isinstance(value, str | int | float):
                    values[time_ms] = value
            if len(values) >= _MOST_READINGS:
                log.warning("history.cut_short", asset=gap.asset, key=gap.key, kept=len(values))
                break
        if unreadable is not None and not is_readable:
            names = ", ".join(sorted(unreadable)[:_MOST_NAMES])
            raise GatewayError(
                f"no item of Infodeck's history of {gap.key} of {gap.asset} has a time as `{time_name}` and a"
                f" value as `{value_name}`, but {names or 'nothing'}: name them in"
                " infodeck.refill.metric_time and metric_value"
            )
        return values

    async def _append(self, gap: Gap, values: dict[int, Scalar]) -> int:
        """Append the values that are not known, as fast as the sinks keep up; return how many these are.

        A value of the same second is the same reading: one side may have its time in seconds, one in ms.
        """
        await self._wait_for_sinks()
        known_s = await self._gaps.known_seconds(gap)
        times_ms = sorted(time_ms for time_ms in values if time_ms // 1000 not in known_s)
        unit = self._stated_unit(gap)
        readings = (Reading(gap.key, values[time_ms], time_ms, unit) for time_ms in times_ms)
        context = self._context
        events = history_events(
            gap.asset, readings, organization=context.organization, now_ms=context.clock_ms()
        )
        group: set[asyncio.Future[None]] = set()
        for number, event in enumerate(events, start=1):
            group.add(context.event_log.append(event))
            if number % _GROUP_EVENTS == 0:
                await _until_durable(group)
                await self._wait_for_sinks()
        await _until_durable(group)
        return len(times_ms)

    def _stated_unit(self, gap: Gap) -> str | None:
        """Return the unit of measure that the newest reading of the key states; a history states none."""
        state = self._context.state()
        plan = state.points.by_asset.get(gap.asset)
        rules = plan.by_key.get(gap.key, ()) if plan is not None else ()
        newest = [update for rule in rules if (update := state.measured(rule.point)) is not None]
        return newest[0].raw_unit if newest else None

    async def _wait_for_sinks(self) -> None:
        while self._context.event_log.backlog > _MOST_BACKLOG:  # noqa: ASYNC110 - there is no notification
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _show(self, problem: str | None) -> None:
        status = self._context.status
        before, status.history_error = status.history_error, problem
        if problem is not None and before is None:
            log.warning("history.unavailable", reason=problem, gaps=len(self._gaps.due()))
        elif problem is None and before is not None:
            log.info("history.available")


async def _until_durable(group: set[asyncio.Future[None]]) -> None:
    for future in group:
        await asyncio.shield(future)  # shared with others' events
    group.clear()


_HISTORY = "history"
_ID_DIGITS = 32
_MOST_IN_EVENT = 100
_HOUR_MS = 3_600_000


def history_events(
    asset: str, readings: Iterable[Reading], *, organization: str, now_ms: int
) -> Iterator[Event]:
    """Yield events with an asset's history, each of at most 100 readings, all of one hour.

    `readings` are in order of time. An hour has the same ids if more of the history is fetched later.
    """
    for _, group in groupby(readings, key=lambda each: each.time_ms // _HOUR_MS):
        hour = list(group)
        for start in range(0, len(hour), _MOST_IN_EVENT):
            part = hour[start : start + _MOST_IN_EVENT]
            yield backfilled_event(_HISTORY, asset, part, "", organization=organization, now_ms=now_ms)


def is_history(event: Event) -> bool:
    """Whether the gateway made an event of the API's history."""
    return event.is_backfilled and event.document.get("source") == _HISTORY


def backfilled_event(
    source: str, asset: str, readings: list[Reading], tables_id: str, *, organization: str, now_ms: int
) -> Event:
    """Return an event that the gateway makes of readings from the API; it goes the same way as a webhook.

    `source` is `reconcile` for newest values, `history` for what was between them. The id is made of the
    contents, so that the same again is a duplicate.
    """
    resource = {"id": asset, "readings": [_written(each) for each in readings]}
    digest = sha256(orjson.dumps([resource, tables_id], option=orjson.OPT_SORT_KEYS)).hexdigest()
    event_id = BACKFILL_ID_PREFIX + digest[:_ID_DIGITS]
    document: dict[str, Any] = {
        "id": event_id,
        "type": TELEMETRY,
        "source": source,
        "organizationId": organization,
        "created": now_ms // 1000,
        "data": {"object": resource},
    }
    return Event(event_id, TELEMETRY, orjson.dumps(document), document, now_ms)


def _written(reading: Reading) -> dict[str, Any]:
    written = {"key": reading.key, "value": reading.value, "timestamp": reading.time_ms}
    return written if reading.unit_of_measure is None else written | {"unit": reading.unit_of_measure}
