"""Computed points: each evaluated from what its members show, once per event, after its members."""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING

from gateway.model import Quality, StalePolicy, Update
from gateway.records import LastValue
from gateway.state.computations import Aggregate, Formula, Memory, Nothing, Rate, Result, Runtime
from gateway.state.point_state import NO_EVENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.mapping.plan import AssetPlan, ComputedPoint, PointMap
    from gateway.model import Point, Scalar
    from gateway.state.computations import Computing
    from gateway.state.point_state import PointState


class ComputedPoints:
    """Evaluates computed points, and enters the results into `known` and `shown`.

    The result is the reading of the computed point, with a quality that follows from the members. Its age is
    that of the oldest member that contributes.
    """

    def __init__(
        self,
        points: PointMap,
        known: PointState,
        shown: dict[Point, Update],
        *,
        unsaved: set[Point],
    ) -> None:
        """Add to `unsaved` what changes and must outlive a restart."""
        self._known = known
        self._unsaved = unsaved
        self.aging: dict[Point, int] = {}  # ages in ms as evaluated last, of points with a `stale_after`
        self._shown = shown
        self._all = points.computed
        self._by_asset = points.by_asset
        self._computings = [_make_computing(each, known, shown) for each in points.computed]
        self._number_of = {each.point: number for number, each in enumerate(points.computed)}
        self._oldest: dict[Point, Update] = {}  # the reading that each point is as old as
        self._by_source: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._followers: dict[Point, list[tuple[int, int]]] = defaultdict(list)  # with the member's place
        for number, each in enumerate(points.computed):
            self._by_source[each.point.asset, each.point.source].append(number)
            for place, member in enumerate(each.members):
                self._followers[member].append((number, place))

    def refresh(self, changes: Iterable[Update], due: Iterable[Point], now_ms: int) -> list[Update]:
        """Evaluate what depends on changed points, and the computed points that are due.

        Return what changes on computed points that are not forced.
        """
        pending = [self._number_of[point] for point in due]
        queued = set(pending)
        heapq.heapify(pending)
        out: list[Update] = []
        for change in changes:
            self._queue_followers(change, pending, queued)
        while pending:
            number = heapq.heappop(pending)
            update = self._evaluate(number, now_ms)
            if update is None:
                continue
            if update.point not in self._known.overrides:
                self._shown[update.point] = update
                out.append(update)
            self._queue_followers(update, pending, queued)
        return out

    def age_ms(self, point: Point, now_ms: int) -> int:
        """Return the age of a computed point, 0 if all members that contribute are forced."""
        oldest = self._oldest.get(point)
        return 0 if oldest is None else self._known.age_ms(oldest, now_ms)

    def shown_after(self, plans: Iterable[AssetPlan]) -> list[Update]:
        """Return what the points show that depend on these assets, and the pseudo points of their assets."""
        waiting = [point for plan in plans for point in plan.measured]
        found: set[int] = set()
        while waiting:
            numbers = {number for number, _ in self._followers.get(waiting.pop(), ())} - found
            found |= numbers
            waiting += [self._all[number].point for number in numbers]
        points = [self._all[number].point for number in sorted(found)]
        assets = {point.asset: None for point in points if point.asset}
        points += [point for asset in assets for point in self._by_asset[asset].pseudo]
        return [update for point in points if (update := self._shown.get(point)) is not None]

    def values_to_save(self, points: Iterable[Point]) -> Iterator[LastValue]:
        """Yield what a restart needs of computed points that cannot be computed from their members alone."""
        for point in points:
            computing, good = self._computings[self._number_of[point]], self._known.last_good.get(point)
            memory = computing.memory() if isinstance(computing, Rate | Runtime) else None
            if memory is None and good is not None:
                memory = Memory(None, good.raw, good.time_ms, point.unit_of_measure)
            if memory is not None:
                newest, result, time_ms, meaning = memory
                yield LastValue(
                    point.name, point.asset, point.source, newest, result, time_ms, NO_EVENT, None, meaning
                )

    def restore(self, value: LastValue, point: Point | None) -> list[Point]:
        """Restore what `values_to_save` yielded for a point of this name; return the points to evaluate.

        Rates and runtimes go on under another name of the same tag, and under any if the old one is gone.
        """
        memory = Memory(value.raw, value.last_good, value.time_ms, value.raw_unit)
        found = []
        for number in self._by_source.get((value.asset, value.source), ()):
            computing, each = self._computings[number], self._all[number]
            if isinstance(computing, Rate | Runtime):
                is_same = point is None or each.point.tag == point.tag
                if each.point is point or (is_same and computing.memory() is None):
                    computing.remember(memory)
                    found.append(each.point)
            elif each.point is point and memory.meaning == point.unit_of_measure:
                good = self._good(each, memory.result, memory.time_ms)
                if good.quality is Quality.GOOD:
                    self._known.last_good[point] = good
        return found

    def _queue_followers(self, change: Update, pending: list[int], queued: set[int]) -> None:
        for number, place in self._followers.get(change.point, ()):
            computing = self._computings[number]
            computing.follow(change, place)
            if isinstance(computing, Rate | Runtime):
                self._unsaved.add(self._all[number].point)
            if number not in queued:
                queued.add(number)
                heapq.heappush(pending, number)

    def _evaluate(self, number: int, now_ms: int) -> Update | None:
        """Return the new reading of a computed point, None if it is the same as before."""
        each, computing = self._all[number], self._computings[number]
        try:
            result = computing.compute(now_ms)
        except ArithmeticError:
            result = Result(Quality.BAD)
        if result is None:
            return None
        known, point = self._known, each.point
        update = self._reading(each, result, now_ms)
        if update == known.readings.get(point):
            return None
        known.readings[point] = update
        if update.quality is Quality.GOOD:
            known.last_good[point] = update
            if point.on_stale.policy is StalePolicy.HOLD:
                self._unsaved.add(point)
        return update

    def _reading(self, each: ComputedPoint, result: Result, now_ms: int) -> Update:
        """Return a result as the reading of its point, with the time of the oldest contributing member."""
        known, point, quality, oldest = self._known, each.point, result.quality, result.oldest
        if quality is not Quality.GOOD:
            return self._without_value(point, quality, oldest, now_ms)
        root = self._oldest.get(oldest.point) if oldest and oldest.point.is_computed else oldest
        if root is None:
            self._oldest.pop(point, None)
        else:
            self._oldest[point] = root
            limit_ms = each.own_stale_after_ms
            if limit_ms is not None:
                if not known.is_within(root, limit_ms, now_ms):
                    return self._without_value(point, Quality.STALE, oldest, now_ms)
                self.aging[point] = known.age_ms(root, now_ms)
        time_ms = oldest.time_ms if oldest is not None else now_ms + known.clock_steps.ahead_ms
        return self._good(each, result.value, time_ms)

    def _good(self, each: ComputedPoint, raw: Scalar, time_ms: int) -> Update:
        point = each.point
        value, quality = each.convert(raw)
        safe_value = value if quality is Quality.GOOD else self._known.fallback(point)
        return Update(point, value, safe_value, quality, time_ms, NO_EVENT, None, raw)

    def _without_value(self, point: Point, quality: Quality, oldest: Update | None, now_ms: int) -> Update:
        """Return the reading of a point that cannot be computed: dated as the last one that it had."""
        before = self._known.readings.get(point) or self._known.last_good.get(point) or oldest
        time_ms = now_ms if before is None else before.time_ms
        value = self._known.fallback(point)
        if quality is Quality.BAD:
            return Update(point, None, value, quality, time_ms, NO_EVENT, None)
        if value is not None and point.on_stale.policy is StalePolicy.HOLD:
            quality = Quality.HELD
        return Update(point, value, value, quality, time_ms, NO_EVENT, None)


def _make_computing(each: ComputedPoint, known: PointState, shown: Mapping[Point, Update]) -> Computing:
    if not each.members:
        return Nothing()
    if each.kind == "expr":
        return Formula(each, shown)
    if each.kind == "rate":
        return Rate(each, known)
    return Runtime(each, known) if each.kind == "runtime" else Aggregate(each, shown)
