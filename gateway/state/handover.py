"""From the state of one point table to that of the next: built aside, then swapped with little work."""

from __future__ import annotations

from itertools import chain, compress, islice
from operator import is_not
from typing import TYPE_CHECKING

from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Update
    from gateway.records import Override
    from gateway.state.point_state import PointState


class Handover:
    """One hand-over: `build` in any thread, then `finish` on the event loop. It may be dropped."""

    def __init__(self, state: BuildingState) -> None:
        """Copy what `state` knows now; it goes on changing until `finish`."""
        self._state = state
        self._before = state.known.copy()
        self._successor: BuildingState | None = None
        self.news: list[Update] = []  # what the successor shows differently since it was built

    def build(self, points: PointMap, *, now_ms: int) -> BuildingState:
        """Build the state of the new table from the copy; nobody changes it before `finish`."""
        before = self._before
        successor = BuildingState(points, clock_steps=self._state.clock_steps)
        successor.restore(
            chain(self._state.removed_values(), before.values_to_save(before.readings)),
            now_ms=now_ms,
            overrides=_overrides(before, chain(before.ended_overrides, before.overrides), points, now_ms),
            connections=before.connections.values(),
        )
        self._successor = successor
        return successor

    def finish(self, *, now_ms: int) -> BuildingState:
        """Take over what has changed meanwhile, and return the new state; the old one is done."""
        successor = self._successor
        assert successor is not None  # noqa: S101 - a fault of the caller
        before, now = self._before, self._state.known
        readings = _changed_readings(before.readings, now.readings)
        overrides = _changed(before.overrides, now.overrides)
        connections = [
            state for asset, state in now.connections.items() if before.connections.get(asset) is not state
        ]
        released = [point for point in before.overrides if point not in now.overrides]
        for point in released:
            if (there := successor.points.by_name.get(point.name)) is not None:
                successor.release(there, now_ms=now_ms)
        overridden = [*overrides, *released, *_changed(before.ended_overrides, now.ended_overrides)]
        successor.restore(
            now.values_to_save(readings),
            now_ms=now_ms,
            overrides=_overrides(now, dict.fromkeys(overridden), successor.points, now_ms),
            connections=connections,
        )
        assets = {point.asset for point in (*readings, *overridden)} | {state.asset for state in connections}
        self.news = [*successor.tick(now_ms), *_shown(successor, assets)]
        successor.take_over_unsaved(self._state)
        return successor


def _changed_readings(before: Mapping[Point, Update], now: Mapping[Point, Update]) -> list[Point]:
    """Return the points with another newest reading than before.

    No reading is ever removed, so both mappings have the same order: 80,000 points take some milliseconds.
    """
    changed = compress(now, map(is_not, before.values(), now.values()))
    return [*changed, *islice(now, len(before), None)]


def _changed(before: Mapping[Point, object], now: Mapping[Point, object]) -> list[Point]:
    """Return the points whose entry is another object than before."""
    return [point for point, entry in now.items() if before.get(point) is not entry]


def _overrides(
    known: PointState, points: Iterable[Point], table: PointMap, now_ms: int
) -> Iterator[Override]:
    """Yield the overrides of points; one ends if `table` has the point in another unit of measure."""
    for point in points:
        override = known.overrides.get(point) or known.ended_overrides.get(point)
        if override is None:
            continue
        there = table.by_name.get(point.name)
        if there is not None and there.unit_of_measure != point.unit_of_measure:
            override = known.expired(override, now_ms)
        yield override


def _shown(state: BuildingState, assets: Iterable[str]) -> Iterator[Update]:
    """Yield what all points of some assets show."""
    for asset in assets:
        plan = state.points.by_asset.get(asset)
        if plan is not None:
            yield from filter(None, map(state.latest, (*plan.measured, *plan.pseudo)))
