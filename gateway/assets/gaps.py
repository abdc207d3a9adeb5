"""Gaps in the histories of points that want theirs whole: when they open and close, which are to be filled.

A gap begins with the last reading before something went wrong: the gateway was down, or the API had to
supply a key. It ends with the first webhook that has a newer reading. What is shorter than Infodeck's
retries is of no interest, for they bring the rest.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.events import TELEMETRY, asset_of, is_refilled, read_telemetry
from gateway.model import Gap, Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.mapping.live.image import PointImage
    from gateway.model import Event, Reading, Record
    from gateway.ports import Journal
    from gateway.status import RefillStatus

_READ_EVENTS = 250
_TURN_VALUES = 1_000  # gaps opened at before the event loop gets its turn


@dataclass(slots=True)
class _Open:
    """A gap that no webhook has closed. `newest_ms` is the newest reading that the API supplied inside it."""

    gap: Gap
    newest_ms: int
    is_kept: bool = False


class Gaps:
    """Belongs to the event loop. What is to be filled is durable, and what the API supplied something for."""

    def __init__(
        self,
        *,
        journal: Journal,
        image: Callable[[], PointImage],
        history_after_ms: int,
        status: RefillStatus,
        on_due: Callable[[], None],
    ) -> None:
        """`on_due` is called when a gap is there to be filled."""
        self._journal = journal
        self._image = image
        self._history_after_ms = history_after_ms
        self._status = status
        self._on_due = on_due
        self._open: dict[str, dict[str, _Open]] = {}  # by asset and key
        self._due: dict[tuple[str, str, int], Gap] = {}
        self._kept = 0  # of those that are open
        self._early: list[Record] | None = []  # that came before `start` was done

    async def start(self) -> None:
        """Take up the gaps of the last run, open one where that has ended, and listen from now on.

        To be called once the image is up to date, before any event can come.
        """
        head, last_ms = self._journal.head, dict(self._last_readings())
        self._journal.subscribe(self.accept)
        self._take_up(self._journal.gaps())
        await self._catch_up(head)
        for number, ((asset, key), time_ms) in enumerate(last_ms.items()):
            if number % _TURN_VALUES == 0:
                await asyncio.sleep(0)
            self._begin(asset, key, time_ms)
        early, self._early = self._early or [], None
        self.accept(early)
        self._show()

    def accept(self, records: Sequence[Record]) -> None:
        """Close gaps by what webhooks bring."""
        if self._early is not None:
            self._early.extend(records)
            return
        self._close_by(records)

    def supply(self, asset: str, since_ms: dict[str, int]) -> None:
        """Open gaps before the API supplies readings of an asset, and have them durable with these.

        `since_ms` has by key the time of the last reading.
        """
        for key, last_ms in since_ms.items():
            opened = self._begin(asset, key, last_ms)
            if not opened.is_kept:
                opened.is_kept = True
                self._kept += 1
                self._note(opened.gap)
        self._show()

    def supplied(self, asset: str, readings: Iterable[Reading]) -> None:
        """Remember readings inside gaps that the API supplied: they are durable, and known."""
        gaps = self._open.get(asset, {})
        for reading in readings:
            opened = gaps.get(reading.key)
            if opened is not None:
                opened.newest_ms = max(opened.newest_ms, reading.time_ms)
                self._know(opened.gap, reading)
                continue
            for gap in self._due.values():  # a webhook has closed it just now
                if (gap.asset, gap.key) == (asset, reading.key):
                    self._know(gap, reading)

    def due(self) -> list[Gap]:
        """Return the gaps that are to be filled, the oldest first."""
        return sorted(self._due.values(), key=lambda gap: gap.since_ms)

    def settle(self, gap: Gap) -> None:
        """Forget a gap that is filled, or that nothing can fill."""
        del self._due[gap.place]
        self._journal.note(Notes(gaps={gap.place: None}))
        self._show()

    def is_wanted(self, asset: str, key: str) -> bool:
        """Say whether a point of the tables in force wants the history of a key."""
        plan = self._image().points.by_asset.get(asset)
        return plan is not None and any(rule.point.refill_history for rule in plan.by_key.get(key, ()))

    def _take_up(self, gaps: Iterable[Gap]) -> None:
        """Go on with the gaps of the last run, but for those that nobody wants filled any more."""
        for gap in gaps:
            if not self.is_wanted(gap.asset, gap.key):
                self._journal.note(Notes(gaps={gap.place: None}))
            elif gap.until_ms is not None:
                self._due[gap.place] = gap
            else:
                self._open.setdefault(gap.asset, {})[gap.key] = _Open(gap, gap.since_ms, is_kept=True)
                self._kept += 1

    def _last_readings(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield asset, key and time of the last reading of every point whose history is wanted."""
        image = self._image()
        for point in image.points.points:
            if point.refill_history and (last := image.measured(point)) is not None:
                yield (point.asset, point.source), last.time_ms

    async def _catch_up(self, head: int) -> None:
        """Take in what came after the kept values up to `head`: a gap that it closes may not be kept."""
        kept, through = self._journal.kept()
        if through >= head:
            return
        by_name = self._image().points.by_name
        for value in kept:
            point = by_name.get(value.point)
            is_same = point is not None and (point.asset, point.source) == (value.asset, value.source)
            if point is not None and is_same and point.refill_history:
                self._begin(value.asset, value.source, value.time_ms)
        while through < head:
            records = [each for each in await self._journal.read(through, _READ_EVENTS) if each.seq <= head]
            if not records:
                return
            self._close_by(records)
            through = records[-1].seq

    def _begin(self, asset: str, key: str, since_ms: int) -> _Open:
        """Return the open gap of a key; one that is opened now begins at `since_ms`."""
        gaps = self._open.setdefault(asset, {})
        opened = gaps.get(key)
        if opened is None:
            opened = gaps[key] = _Open(Gap(asset, key, since_ms), since_ms)
        elif not opened.is_kept and since_ms > opened.gap.since_ms:
            opened.gap = replace(opened.gap, since_ms=since_ms)
            opened.newest_ms = since_ms
        return opened

    def _close_by(self, records: Iterable[Record]) -> None:
        if not self._open:
            return
        for record in records:
            event = record.event
            if event.type == TELEMETRY and not is_refilled(event):
                asset = asset_of(event)
                if asset is not None and asset in self._open:
                    self._take(asset, event)

    def _take(self, asset: str, event: Event) -> None:
        telemetry = read_telemetry(event)
        for reading in telemetry.readings if telemetry is not None else ():
            opened = self._open.get(asset, {}).get(reading.key)
            if opened is None or reading.time_ms <= opened.gap.since_ms:
                continue
            if reading.time_ms < opened.newest_ms:  # a late one: those that come in time are still missing
                self._know(opened.gap, reading)
            else:
                self._close(opened, until_ms=reading.time_ms, received_ms=event.received_ms)

    def _close(self, opened: _Open, *, until_ms: int, received_ms: int) -> None:
        gap = opened.gap
        gaps = self._open[gap.asset]
        del gaps[gap.key]
        if not gaps:
            del self._open[gap.asset]
        self._kept -= opened.is_kept
        if max(received_ms, until_ms) - gap.since_ms > self._history_after_ms:
            closed = self._due[gap.place] = replace(gap, until_ms=until_ms)
            self._note(closed)
            self._on_due()
        elif opened.is_kept:
            self._journal.note(Notes(gaps={gap.place: None}))
        self._show()

    def _know(self, gap: Gap, reading: Reading) -> None:
        self._note(replace(gap, known_s=(reading.time_ms // 1000,)))

    def _note(self, gap: Gap) -> None:
        self._journal.note(Notes(gaps={gap.place: gap}))

    def _show(self) -> None:
        self._status.open_gaps = self._kept + len(self._due)
