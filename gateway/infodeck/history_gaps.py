"""Gaps in the histories of points with `refill: history`: when they open and close, which are to be filled.

A gap begins with the last reading before something failed: the gateway was down, or the API had to supply a
reading. It ends with the first webhook that has a newer one. A gap that is shorter than Infodeck repeats
deliveries is left to these.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.events import TELEMETRY, read_telemetry
from gateway.infodeck.backfill_events import is_history
from gateway.records import Gap, StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.infodeck.shadows import MissedReadings
    from gateway.model import Event, Record, Telemetry
    from gateway.ports import EventLog, StateStore
    from gateway.records import GapId
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus

_READ_EVENTS = 250
_SLICE = 1_000  # gaps opened before the event loop gets its turn


_Key = tuple[str, str]
"""An asset and one of its telemetry keys."""


class HistoryGaps:
    """Belongs to the event loop. Stored are gaps to be filled, and open ones that the API supplied to.

    Changes are saved while the event that makes them is delivered, so that no kill comes in between.
    """

    def __init__(
        self,
        *,
        event_log: EventLog,
        state_store: StateStore,
        state: Callable[[], BuildingState],
        history_after_ms: int,
        status: RefillStatus,
    ) -> None:
        self._event_log = event_log
        self._state_store = state_store
        self._state = state
        self._history_after_ms = history_after_ms
        self._status = status
        # By asset and key, plain numbers: after a start there is an open gap for every reading.
        self._since_ms: dict[str, dict[str, int]] = {}  # of open gaps
        self._newest_ms: dict[_Key, int] = {}  # of open gaps that are stored: the API's newest reading
        self._due: dict[str, dict[GapId, Gap]] = {}  # by asset
        self._due_count = 0
        self._early: list[Record] | None = None  # events that came before `start` was done
        self.on_due: Callable[[], None] = lambda: None
        """Called when a gap is ready to be filled."""
        self.is_open = False
        """Whether `start` is done. If it was cut short, it may be called again."""

    async def start(self) -> None:
        """Go on with the stored gaps, open those of the time when the gateway was down, and listen.

        To be called once the state is up to date, before any event can come.
        """
        head, last_ms = self._event_log.head, dict(self._last_readings())
        if self._early is None:
            self._event_log.subscribe(self.accept_records)
        self._early = []
        self._restore(self._state_store.at_start.gaps)
        await self._replay(head)
        for number, (key, time_ms) in enumerate(last_ms.items()):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            self._open(*key, time_ms)
        early, self._early = self._early or [], None
        self.accept_records(early)
        self._save({})
        self.is_open = True

    def accept_records(self, records: Sequence[Record]) -> None:
        """Close gaps by what webhooks bring, and remember which readings inside gaps are known."""
        if self._early is not None:
            self._early.extend(records)
        else:
            self._accept(records)

    def accept_backfill(self, asset: str, missed: MissedReadings) -> None:
        """Open gaps before readings of the API are appended; they become durable together."""
        gaps: dict[GapId, Gap | None] = {}
        for reading in missed.readings:
            last_ms = missed.gaps.get(reading.key)
            if last_ms is None:
                continue
            key = asset, reading.key
            self._open(*key, last_ms)
            if key not in self._newest_ms:
                gap = Gap(*key, self._since_ms[asset][reading.key])
                gaps[gap.id] = gap
            self._newest_ms[key] = max(self._newest_ms.get(key, 0), reading.time_ms)
        self._save(gaps)

    def due(self) -> list[Gap]:
        """Return the gaps to be filled, the oldest first."""
        gaps = [gap for of_asset in self._due.values() for gap in of_asset.values()]
        return sorted(gaps, key=lambda gap: gap.since_ms)

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the Unix seconds of all known readings inside a gap and at its ends.

        Raise `JournalError` if they can't be read.
        """
        await self._state_store.flush()  # events that wait become durable, and their seconds are saved
        await self._state_store.flush()  # and these are on disk
        ends = {gap.since_ms // 1000, (gap.until_ms or 0) // 1000}
        return ends | await self._state_store.known_seconds(gap)

    def close(self, gap: Gap) -> None:
        """Forget a gap that is filled, or that nothing can fill."""
        self._due_count -= 1
        del self._due[gap.asset][gap.id]
        if not self._due[gap.asset]:
            del self._due[gap.asset]
        self._save({gap.id: None})

    def is_used(self, asset: str, key: str) -> bool:
        """Whether a point of the tables in force has the history of a key backfilled."""
        plan = self._state().points.by_asset.get(asset)
        return plan is not None and any(rule.point.backfill for rule in plan.by_key.get(key, ()))

    def _restore(self, gaps: Iterable[Gap]) -> None:
        for gap in gaps:
            if not self.is_used(gap.asset, gap.key):
                self._save({gap.id: None})
            elif gap.until_ms is not None:
                self._make_due(gap)
            else:
                self._open(gap.asset, gap.key, gap.since_ms)
                self._newest_ms.setdefault((gap.asset, gap.key), gap.since_ms)

    def _last_readings(self) -> Iterator[tuple[_Key, int]]:
        """Yield key and time of the last reading of every point whose history is backfilled."""
        state = self._state()
        for point in state.points.points:
            if point.backfill and (last := state.measured(point)) is not None:
                yield (point.asset, point.source), last.time_ms

    async def _replay(self, head: int) -> None:
        """Take in the events after the stored values, up to `head`: these may have closed a gap."""
        stored = self._state_store.at_start
        through = stored.values_through
        if through >= head:
            return
        by_name = self._state().points.by_name
        for value in stored.last_values:
            point = by_name.get(value.point)
            is_same = point is not None and (point.asset, point.source) == (value.asset, value.source)
            if point is not None and is_same and point.backfill:
                self._open(value.asset, value.source, value.time_ms)
        while through < head:
            records = [each for each in await self._event_log.read(through, _READ_EVENTS) if each.seq <= head]
            if not records:
                return
            self._accept(records)
            through = records[-1].seq

    def _open(self, asset: str, key: str, last_ms: int) -> None:
        """Open a gap after the last reading of a key. One that is open and stored keeps its begin."""
        since_ms = self._since_ms.setdefault(asset, {})
        if (asset, key) in self._newest_ms:
            self._newest_ms[asset, key] = max(self._newest_ms[asset, key], last_ms)
        else:
            since_ms[key] = max(since_ms.get(key, last_ms), last_ms)

    def _accept(self, records: Iterable[Record]) -> None:
        if not self._since_ms and not self._due:
            return
        for record in records:
            event = record.event
            if event.type == TELEMETRY and not is_history(event):
                telemetry = read_telemetry(event)
                if telemetry and (telemetry.asset in self._since_ms or telemetry.asset in self._due):
                    self._accept_telemetry(telemetry, event)

    def _accept_telemetry(self, telemetry: Telemetry, event: Event) -> None:
        for reading in telemetry.readings:
            key, time_ms = (telemetry.asset, reading.key), reading.time_ms
            since_ms = self._since_ms.get(telemetry.asset, {}).get(reading.key)
            if since_ms is None or time_ms <= since_ms:
                self._mark_known_in_due(*key, time_ms)
                continue
            if event.is_backfilled and key in self._newest_ms:
                self._newest_ms[key] = max(self._newest_ms[key], time_ms)
            if event.is_backfilled or time_ms < self._newest_ms.get(key, 0):  # others may still be missing
                self._mark_known(Gap(*key, since_ms), time_ms)
            else:
                self._end(Gap(*key, since_ms, time_ms), received_ms=event.received_ms)

    def _mark_known_in_due(self, asset: str, key: str, time_ms: int) -> None:
        """Remember a reading that comes after its gap has ended, such as a late webhook's."""
        for gap in self._due.get(asset, {}).values():
            if gap.key == key and gap.since_ms < time_ms < (gap.until_ms or 0):
                self._mark_known(gap, time_ms)

    def _mark_known(self, gap: Gap, time_ms: int) -> None:
        """Store that a reading inside a gap is known, if the gap is stored at all."""
        if gap.until_ms is not None or (gap.asset, gap.key) in self._newest_ms:
            known = Gap(gap.asset, gap.key, gap.since_ms, gap.until_ms, (time_ms // 1000,))
            self._save({gap.id: known})

    def _end(self, gap: Gap, *, received_ms: int) -> None:
        """End an open gap: it is due if it was long, and forgotten otherwise."""
        del self._since_ms[gap.asset][gap.key]
        if not self._since_ms[gap.asset]:
            del self._since_ms[gap.asset]
        was_stored = self._newest_ms.pop((gap.asset, gap.key), None) is not None
        if max(received_ms, gap.until_ms or 0) - gap.since_ms > self._history_after_ms:
            self._make_due(gap)
            self._save({gap.id: gap})
            self.on_due()
        elif was_stored:
            self._save({gap.id: None})

    def _make_due(self, gap: Gap) -> None:
        of_asset = self._due.setdefault(gap.asset, {})
        self._due_count += gap.id not in of_asset  # it is there, if the last start was cut short
        of_asset[gap.id] = gap

    def _save(self, gaps: dict[GapId, Gap | None]) -> None:
        if gaps:
            self._state_store.save(StateChanges(gaps=gaps))
        self._status.open_gaps = len(self._newest_ms) + self._due_count
