"""From the state of one point table to that of the next: built aside, then swapped with little work."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Update
    from gateway.records import Override
    from gateway.state.building_state import Changes


class Handover:
    """One handover: `build` in any thread, then `finish` on the event loop. It may be dropped.

    The old state goes on changing while the new one is built from it. `finish` takes over only what has
    changed since; `catch_up` leaves it less to do.
    """

    def __init__(self, state: BuildingState) -> None:
        self._state = state
        self._points = list(state.known.readings)
        self._overridden = [*state.known.ended_overrides, *state.known.overrides]
        self._connections = list(state.known.connections.values())
        self._successor: BuildingState | None = None
        self.news: list[Update] = []  # what the successor shows differently since it was built
        state.watch_changes()

    def build(self, points: PointMap, *, now_ms: int) -> BuildingState:
        """Build the state of the new table; nobody changes it before `finish`."""
        before, removed = self._state, list(self._state.removed.values())
        successor = BuildingState(points, clock_steps=before.clock_steps)
        successor.restore(
            [*removed, *before.values_to_save(self._points)],
            now_ms=now_ms,
            overrides=self._overrides(self._overridden, points, now_ms),
            connections=self._connections,
        )
        successor.mark_unsaved(value.point for value in removed)  # another reading may have their rows
        self._successor = successor
        return successor

    def catch_up(self, *, now_ms: int) -> Callable[[], None]:
        """Return what takes over the changes until now; it may run in any thread."""
        return partial(self._take_over, self._state.pop_watched_changes(), now_ms=now_ms)

    def finish(self, *, now_ms: int) -> BuildingState:
        """Take over what has changed meanwhile, and return the new state; the old one is done."""
        self.catch_up(now_ms=now_ms)()
        successor, before = self._built(), self._state
        by_name = successor.points.by_name
        self.news += successor.tick(now_ms)
        successor.mark_unsaved(point.name for point in before.unsaved.readings)
        successor.unsaved.overrides.update(
            by_name[point.name] for point in before.unsaved.overrides if point.name in by_name
        )
        successor.unsaved.connections |= before.unsaved.connections
        successor.late += before.late
        return successor

    def _built(self) -> BuildingState:
        assert self._successor is not None  # noqa: S101 - a fault of the caller
        return self._successor

    def _take_over(self, changes: Changes, *, now_ms: int) -> None:
        successor, known = self._built(), self._state.known
        for point in changes.overrides:
            there = successor.points.by_name.get(point.name)
            if point not in known.overrides and there is not None:
                self.news += successor.release(there, now_ms=now_ms)
        self.news += successor.restore(
            self._state.values_to_save(changes.readings),
            now_ms=now_ms,
            overrides=self._overrides(changes.overrides, successor.points, now_ms),
            connections=[known.connections[asset] for asset in changes.connections],
        )

    def _overrides(self, points: Iterable[Point], table: PointMap, now_ms: int) -> Iterator[Override]:
        """Yield the overrides of points; one ends if `table` has the point in another unit of measure."""
        known = self._state.known
        for point in points:
            override = known.overrides.get(point) or known.ended_overrides.get(point)
            there = table.by_name.get(point.name)
            if override is not None and there is not None:
                is_same_unit = there.unit_of_measure == point.unit_of_measure
                yield override if is_same_unit else known.expired(override, now_ms)
