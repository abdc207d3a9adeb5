"""The newest value of every point, as it may be shown: pure state, with time as an argument.

One image serves all sinks. It decides what is newest, what is no longer fresh, and what receivers
that see no quality are shown instead.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from gateway.mapping.plan import MISSING
from gateway.model import KeptValue, Quality, StalePolicy, Update

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Event, Point, Reading, Scalar

_AGED = (Quality.HELD, Quality.STALE)
_NO_EVENT = 0  # the journal number of what no event caused
_HEARTBEAT_WRAPS_AT = 32_768  # fits every register type, and never reads as a sentinel


def map_readings(
    plan: AssetPlan, readings: Sequence[Reading], *, event: Event, time_ms: int, seq: int
) -> list[Update]:
    """Return what one event's readings mean for its asset's points, in the order of the readings.

    `time_ms` is the event's own time, for points that read an explicit path.
    """
    updates = []
    event_id = event.event_id
    by_key = plan.by_key
    for reading in readings:
        for rule in by_key.get(reading.key, ()):
            value, quality = rule.convert(reading.value)
            plain = value if quality is Quality.GOOD else rule.point.on_stale.value
            updates.append(Update(rule.point, value, plain, quality, reading.time_ms, seq, event_id))
    for path in plan.by_path:
        found = path.get(event.document)
        if found is not MISSING:
            value, quality = path.convert(found)
            plain = value if quality is Quality.GOOD else path.point.on_stale.value
            updates.append(Update(path.point, value, plain, quality, time_ms, seq, event_id))
    return updates


class PointImage:
    """Implements `gateway.ports.LatestValues`. All times are Unix milliseconds."""

    def __init__(self, points: PointMap) -> None:
        """Begin without any value; `restore` brings those of the last run."""
        self._points = points
        self._measured: dict[Point, Update] = {}
        self._current: dict[Point, Update] = {}  # the measured update, or what stands in for it once it aged
        self._last_good: dict[Point, Scalar] = {}
        self._asset_times: dict[str, int] = {}
        self._deadlines: list[
            tuple[int, int, Point]
        ] = []  # one entry per point; its true deadline may be later
        self._watched: set[Point] = set()
        self._changed: set[Point] = set()
        self._ages = [
            point for plan in points.by_asset.values() for point in plan.pseudo if point.source == "$age"
        ]
        self.late = 0  # measured updates that were not the newest when they came

    def latest(self, point: Point) -> Update | None:
        """Return what the point shows now, or None before its first reading."""
        return self._current.get(point)

    def all_latest(self) -> Iterable[Update]:
        """Return what every point with a value shows now."""
        return list(self._current.values())

    def is_newest(self, update: Update) -> bool:
        """Say whether nothing newer is known. An update that aged meanwhile is no longer the newest.

        Pseudo-readings have no order but the one in which they were made: only the one shown counts.
        """
        current = self._current.get(update.point)
        if current is None or current is update:
            return True
        if update.seq == _NO_EVENT:
            return False
        ours, theirs = (update.time_ms, update.seq), (current.time_ms, current.seq)
        return ours > theirs or (ours == theirs and current.quality not in _AGED)

    def accept(self, plan: AssetPlan, updates: list[Update], *, now_ms: int) -> list[Update]:
        """Take in the updates of one event; return them with all that follows from them, in order.

        What follows: the stand-in of a reading that comes too late to be fresh, and the asset's
        pseudo-readings. Measured updates are returned even when they are not the newest.
        """
        out = updates
        for update in tuple(updates):
            if self._take(update):
                aged = self._aged(update, now_ms)
                if aged is not None:
                    self._current[update.point] = aged
                    out = [*out, aged]
        return [*out, *self._pseudo(plan, now_ms)] if plan.pseudo and updates else out

    def tick(self, now_ms: int) -> list[Update]:
        """Return the changes that time alone brings: values that aged, and the quality of their assets."""
        changes = []
        assets = set()
        while self._deadlines and self._deadlines[0][0] < now_ms:
            _, _, point = heapq.heappop(self._deadlines)
            self._watched.discard(point)
            measured = self._measured[point]
            aged = self._aged(measured, now_ms)
            if aged is None:
                self._watch(measured)
            elif self._current[point].quality not in _AGED:
                self._current[point] = aged
                changes.append(aged)
                assets.add(point.asset)
        for asset in sorted(assets):
            changes.extend(self._pseudo(self._points.by_asset[asset], now_ms))
        return changes

    def beside(self, plan: AssetPlan) -> list[Update]:
        """Return what an asset shows that is not in its events: stand-ins of aged values, pseudo-readings."""
        shown = [self._current.get(point) for point in (*plan.measured, *plan.pseudo)]
        return [
            update
            for update in shown
            if update is not None and (update.seq == _NO_EVENT or update.quality in _AGED)
        ]

    def ages(self, now_ms: int) -> list[Update]:
        """Return the present value of every `$age` point whose asset has reported, and the heartbeat's."""
        out = [self._age(point, now_ms) for point in self._ages if point.asset in self._asset_times]
        if self._points.heartbeat is not None:
            every_ms, point = self._points.heartbeat
            beat = self._pseudo_update(point, now_ms // every_ms % _HEARTBEAT_WRAPS_AT, now_ms)
            out.append(beat)
        return out

    def restore(self, kept: Iterable[KeptValue], *, now_ms: int) -> None:
        """Bring back the values of the last run; points that are no longer measured are left out."""
        measured = {point for plan in self._points.by_asset.values() for point in plan.measured}
        for value in kept:
            point = self._points.by_name.get(value.point)
            if point is None or point not in measured:
                continue
            good = value.quality is Quality.GOOD
            plain = value.value if good else point.on_stale.value
            self._last_good[point] = value.last_good
            update = Update(
                point, value.value, plain, value.quality, value.time_ms, value.seq, value.event_id
            )
            self._take(update)
            self._current[point] = self._aged(update, now_ms) or update
        self._changed.clear()
        for asset in sorted(self._asset_times):
            self._pseudo(self._points.by_asset[asset], now_ms)

    def keep(self) -> dict[str, KeptValue]:
        """Return what must be kept on disk of all points that changed since the last call."""
        kept = {}
        for point in self._changed:
            update = self._measured[point]
            kept[point.name] = KeptValue(
                point=point.name,
                value=update.value,
                last_good=self._last_good.get(point),
                quality=update.quality,
                time_ms=update.time_ms,
                seq=update.seq,
                event_id=update.event_id,
            )
        self._changed.clear()
        return kept

    def _take(self, update: Update) -> bool:
        """Take a measured update if it is the newest of its point; equal times count as new."""
        point = update.point
        before = self._measured.get(point)
        if before is not None and (update.time_ms, update.seq) < (before.time_ms, before.seq):
            self.late += 1
            return False
        if update.quality is Quality.GOOD:
            self._last_good[point] = update.value
        elif point.on_stale.policy is StalePolicy.HOLD:
            update.plain = self._last_good.get(point)
        self._measured[point] = self._current[point] = update
        self._changed.add(point)
        if update.time_ms > self._asset_times.get(point.asset, 0):
            self._asset_times[point.asset] = update.time_ms
        if point not in self._watched:
            self._watch(update)
        return True

    def _watch(self, update: Update) -> None:
        """Look at the point again when this update ages; at most one look is planned per point."""
        if update.point.stale_after_ms is not None:
            self._watched.add(update.point)
            deadline_ms = update.time_ms + update.point.stale_after_ms
            heapq.heappush(self._deadlines, (deadline_ms, id(update.point), update.point))

    def _aged(self, measured: Update, now_ms: int) -> Update | None:
        """Return what stands in for `measured` if it is no longer fresh."""
        point = measured.point
        if point.stale_after_ms is None or now_ms - measured.time_ms <= point.stale_after_ms:
            return None
        value, quality = point.on_stale.value, Quality.STALE
        if point.on_stale.policy is StalePolicy.HOLD and self._last_good.get(point) is not None:
            value, quality = self._last_good[point], Quality.HELD
        return Update(point, value, value, quality, measured.time_ms, measured.seq, measured.event_id)

    def _pseudo(self, plan: AssetPlan, now_ms: int) -> list[Update]:
        """Return the asset's pseudo-readings as they are now: age in seconds, and the worst quality."""
        out = []
        for point in plan.pseudo:
            if point.source == "$age":
                out.append(self._age(point, now_ms))
                continue
            worst = max(self._current[seen].quality for seen in plan.measured if seen in self._current)
            before = self._current.get(point)
            if before is None or before.value != int(worst):
                out.append(self._pseudo_update(point, int(worst), now_ms))
        return out

    def _age(self, point: Point, now_ms: int) -> Update:
        return self._pseudo_update(point, max(0, now_ms - self._asset_times[point.asset]) // 1000, now_ms)

    def _pseudo_update(self, point: Point, value: int, now_ms: int) -> Update:
        update = Update(point, value, value, Quality.GOOD, now_ms, _NO_EVENT, None)
        self._current[point] = update
        return update
