"""Gaps in the histories of points that want theirs whole: when they open and close, which are to be filled.

A gap begins with the last reading before something went wrong: the gateway was down, or the API had to
supply a key. It ends with the first webhook that has a newer reading. What is shorter than Infodeck's
retries is of no interest, for they bring the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gateway.events import TELEMETRY, asset_of, read_telemetry
from gateway.infodeck.backfill.synthetic import is_history
from gateway.records import Gap, StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.infodeck.backfill.missed import Missed
    from gateway.model import Event, Record
    from gateway.ports import EventLog, StateStore
    from gateway.records import GapId
    from gateway.state.building_state import BuildingState
    from gateway.status import RefillStatus

_READ_EVENTS = 250
_TURN_VALUES = 1_000  # gaps opened at before the event loop gets its turn


_Key = tuple[str, str]
"""An asset and one of its telemetry keys."""


class Gaps:
    """Belongs to the event loop. What is to be filled is durable, and what the API supplied something for.

    What becomes known of a gap is noted right when its event is mapped, so that no kill comes in between.
    """

    def __init__(
        self,
        *,
        event_log: EventLog,
        state_store: StateStore,
        image: Callable[[], BuildingState],
        history_after_ms: int,
        status: RefillStatus,
        on_due: Callable[[], None],
    ) -> None:
        """`on_due` is called when a gap is there to be filled."""
        self._event_log = event_log
        self._state_store = state_store
        self._image = image
        self._history_after_ms = history_after_ms
        self._status = status
        self._on_due = on_due
        # Plain values, for after a start there is a gap for every reading, until its next one comes.
        self._since_ms: dict[_Key, int] = {}  # of gaps that are open
        self._newest_ms: dict[_Key, int] = {}  # of those that are kept: the newest that the API supplied
        self._due: dict[GapId, Gap] = {}
        self._due_since_ms: defaultdict[_Key, set[int]] = defaultdict(set)
        self._assets: Counter[str] = Counter()  # how many gaps each has, open or due
        self._early: list[Record] | None = None  # that came while `start` was not done yet
        self.is_open = False
        """Whether `start` is done. Where it was cut short, it may be called again."""

    async def start(self) -> None:
        """Take up the gaps of the last run, open one where that has ended, and listen from now on.

        To be called once the image is up to date, before any event can come.
        """
        head, last_ms = self._event_log.head, dict(self._last_readings())
        if self._early is None:
            self._event_log.subscribe(self.accept)
        self._early = []
        self._take_up(self._state_store.at_start.gaps)
        await self._catch_up(head)
        for number, (key, time_ms) in enumerate(last_ms.items()):
            if number % _TURN_VALUES == 0:
                await asyncio.sleep(0)
            self._begin(key, time_ms)
        early, self._early = self._early or [], None
        self.accept(early)
        self._note({})
        self.is_open = True

    def accept(self, records: Sequence[Record]) -> None:
        """Close gaps by what webhooks bring, and note what comes inside them."""
        if self._early is not None:
            self._early.extend(records)
            return
        self._take_in(records)

    def supply(self, asset: str, missed: Missed) -> None:
        """Open gaps before the API supplies readings of an asset, and have them durable with these."""
        gaps: dict[GapId, Gap | None] = {}
        for reading in missed.readings:
            last_ms = missed.gaps.get(reading.key)
            if last_ms is None:
                continue
            key = asset, reading.key
            self._begin(key, last_ms)
            if key not in self._newest_ms:
                gap = Gap(*key, self._since_ms[key])
                gaps[gap.id] = gap
            self._newest_ms[key] = max(self._newest_ms.get(key, 0), reading.time_ms)
        self._note(gaps)

    def due(self) -> list[Gap]:
        """Return the gaps that are to be filled, the oldest first."""
        return sorted(self._due.values(), key=lambda gap: gap.since_ms)

    async def known_seconds(self, gap: Gap) -> set[int]:
        """Return the Unix seconds of what is known inside a gap and at its ends, as of this call.

        Raise `JournalError` where that can't be told.
        """
        await self._state_store.flush()  # then what waits is durable, and its seconds are noted
        await self._state_store.flush()  # and then they are on disk
        return {
            gap.since_ms // 1000,
            (gap.until_ms or 0) // 1000,
            *await self._state_store.known_seconds(gap),
        }

    def settle(self, gap: Gap) -> None:
        """Forget a gap that is filled, or that nothing can fill."""
        key = gap.asset, gap.key
        del self._due[gap.id]
        self._due_since_ms[key].discard(gap.since_ms)
        if not self._due_since_ms[key]:
            del self._due_since_ms[key]
        self._count_down(gap.asset)
        self._note({gap.id: None})

    def is_wanted(self, asset: str, key: str) -> bool:
        """Say whether a point of the tables in force wants the history of a key."""
        plan = self._image().points.by_asset.get(asset)
        return plan is not None and any(rule.point.backfill for rule in plan.by_key.get(key, ()))

    def _take_up(self, gaps: Iterable[Gap]) -> None:
        """Go on with the gaps of the last run, but for those that nobody wants filled any more."""
        for gap in gaps:
            if not self.is_wanted(gap.asset, gap.key):
                self._note({gap.id: None})
            elif gap.until_ms is not None:
                if gap.id not in self._due:  # where the last start was cut short, it is
                    self._assets[gap.asset] += 1
                self._have_due(gap)
            else:
                key = gap.asset, gap.key
                self._begin(key, gap.since_ms)
                self._newest_ms.setdefault(key, gap.since_ms)

    def _last_readings(self) -> Iterator[tuple[_Key, int]]:
        """Yield key and time of the last reading of every point whose history is wanted."""
        image = self._image()
        for point in image.points.points:
            if point.backfill and (last := image.measured(point)) is not None:
                yield (point.asset, point.source), last.time_ms

    async def _catch_up(self, head: int) -> None:
        """Take in what came after the kept values up to `head`: a gap that it closes may not be kept."""
        stored = self._state_store.at_start
        through = stored.values_through
        if through >= head:
            return
        by_name = self._image().points.by_name
        for value in stored.last_values:
            point = by_name.get(value.point)
            is_same = point is not None and (point.asset, point.source) == (value.asset, value.source)
            if point is not None and is_same and point.backfill:
                self._begin((value.asset, value.source), value.time_ms)
        while through < head:
            records = [each for each in await self._event_log.read(through, _READ_EVENTS) if each.seq <= head]
            if not records:
                return
            self._take_in(records)
            through = records[-1].seq

    def _begin(self, key: _Key, last_ms: int) -> None:
        """Have an open gap of a key, which begins with its last reading unless it has begun before."""
        if key not in self._since_ms:
            self._assets[key[0]] += 1
            self._since_ms[key] = last_ms
        elif key in self._newest_ms:
            self._newest_ms[key] = max(self._newest_ms[key], last_ms)
        else:
            self._since_ms[key] = max(self._since_ms[key], last_ms)

    def _take_in(self, records: Iterable[Record]) -> None:
        if not self._assets:
            return
        for record in records:
            event = record.event
            if event.type == TELEMETRY and not is_history(event):
                asset = asset_of(event)
                if asset is not None and asset in self._assets:
                    self._take(asset, event)

    def _take(self, asset: str, event: Event) -> None:
        telemetry = read_telemetry(event)
        for reading in telemetry.readings if telemetry is not None else ():
            key, time_ms = (asset, reading.key), reading.time_ms
            since_ms = self._since_ms.get(key)
            if since_ms is None or time_ms <= since_ms:
                self._know_of_due(key, time_ms)
                continue
            if event.is_backfilled and key in self._newest_ms:
                self._newest_ms[key] = max(self._newest_ms[key], time_ms)
            if event.is_backfilled or time_ms < self._newest_ms.get(key, 0):  # others may still be missing
                self._know(Gap(*key, since_ms), time_ms)
            else:
                self._close(key, until_ms=time_ms, received_ms=event.received_ms)

    def _know_of_due(self, key: _Key, time_ms: int) -> None:
        """Note a reading that comes when its gap is over: a late one, or the API's just behind a webhook."""
        for since_ms in self._due_since_ms.get(key, ()):
            gap = self._due[*key, since_ms]
            if since_ms < time_ms < (gap.until_ms or 0):
                self._know(gap, time_ms)

    def _know(self, gap: Gap, time_ms: int) -> None:
        """Remember that a reading inside a gap is known. What has no gap on disk yet needs none."""
        if gap.id in self._due or (gap.asset, gap.key) in self._newest_ms:
            known = Gap(gap.asset, gap.key, gap.since_ms, gap.until_ms, (time_ms // 1000,))
            self._note({gap.id: known})

    def _close(self, key: _Key, *, until_ms: int, received_ms: int) -> None:
        """End a gap: it is to be filled where it was long, and forgotten otherwise."""
        asset, name = key
        gap = Gap(asset, name, self._since_ms.pop(key), until_ms)
        was_kept = self._newest_ms.pop(key, None) is not None
        if max(received_ms, until_ms) - gap.since_ms > self._history_after_ms:
            self._have_due(gap)
            self._note({gap.id: gap})
            self._on_due()
            return
        self._count_down(asset)
        if was_kept:
            self._note({gap.id: None})

    def _have_due(self, gap: Gap) -> None:
        self._due[gap.id] = gap
        self._due_since_ms[gap.asset, gap.key].add(gap.since_ms)

    def _count_down(self, asset: str) -> None:
        self._assets[asset] -= 1
        if not self._assets[asset]:
            del self._assets[asset]

    def _note(self, gaps: dict[GapId, Gap | None]) -> None:
        if gaps:
            self._state_store.save(StateChanges(gaps=gaps))
        self._status.open_gaps = len(self._newest_ms) + len(self._due)
