"""From the image of one point table to that of the next: built aside, then swapped with little work."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from gateway.records import LastValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Update
    from gateway.records import Override
    from gateway.state.building_state import BuildingState
    from gateway.state.known import Known


@dataclass(slots=True)
class Noted:
    """What changed in an image: readings, overrides, connections."""

    measured: set[Point] = field(default_factory=set)
    forced: set[Point] = field(default_factory=set)
    assets: set[str] = field(default_factory=set)

    def add(self, other: Noted, *, by_name: Mapping[str, Point]) -> None:
        """Add what was noted of another table's points, as far as they are still there."""
        for ours, theirs in ((self.measured, other.measured), (self.forced, other.forced)):
            ours.update(found for point in theirs if (found := by_name.get(point.name)) is not None)
        self.assets |= other.assets

    def clear(self) -> None:
        """Forget everything."""
        self.measured.clear()
        self.forced.clear()
        self.assets.clear()


class Handover:
    """One hand-over: `build` in any thread, then `finish` on the event loop. May be dropped at any time."""

    def __init__(
        self,
        *,
        known: Known,
        noted: Noted,
        image: BuildingState,
        make_state: Callable[[PointMap], BuildingState],
    ) -> None:
        """Begin with what `image` knew; `noted` grows with what changes in it."""
        self._before = known.copy()
        self._now = known
        self._noted = noted
        self._image = image
        self._make_image = make_state
        self._successor: BuildingState | None = None
        self._revived: list[Point] = []
        self.news: list[Update] = []  # what the successor shows of assets that changed since it was built

    def build(self, points: PointMap, *, now_ms: int) -> BuildingState:
        """Make the image of the new table from what was known at the beginning; leave the old one alone.

        Nobody changes it until `finish`, but whoever needs it may look at it.
        """
        before = self._before
        successor = self._make_image(points)
        gone = self._image.gone
        successor.restore(
            chain(gone, kept_values(before, before.measured)),
            now_ms=now_ms,
            forced=_overrides(before, chain(before.ended, before.forced), points, now_ms),
            online=before.told.values(),
        )
        self._revived = [point for value in gone if (point := points.by_name.get(value.point)) is not None]
        self._successor = successor
        return successor

    def finish(self, *, now_ms: int) -> BuildingState:
        """Take over what changed meanwhile, and return the new image; let the old one change no more."""
        successor = self._successor
        assert successor is not None  # noqa: S101 - a fault of the caller
        noted, known = self._noted, self._now
        for point in noted.forced & self._before.forced.keys() - known.forced.keys():
            if (released := successor.points.by_name.get(point.name)) is not None:
                successor.release(released, now_ms=now_ms)
        successor.restore(
            kept_values(known, noted.measured),
            now_ms=now_ms,
            forced=_overrides(known, noted.forced, successor.points, now_ms),
            online=[known.told[asset] for asset in noted.assets],
        )
        self.news = [*successor.tick(now_ms), *successor.beat(now_ms), *self._shown(successor)]
        successor.take_over_unkept(self._image, revived=self._revived)
        return successor

    def _shown(self, successor: BuildingState) -> Iterator[Update]:
        """Yield what the assets of which something was noted show now."""
        noted = self._noted
        assets = noted.assets | {point.asset for point in (*noted.measured, *noted.forced)}
        for asset in assets & successor.points.by_asset.keys():
            plan = successor.points.by_asset[asset]
            yield from filter(None, map(successor.latest, (*plan.measured, *plan.pseudo)))


def _overrides(known: Known, points: Iterable[Point], table: PointMap, now_ms: int) -> Iterator[Override]:
    """Return what these points are or were forced to; over where `table` has another unit of measure."""
    for point in points:
        forced = known.forced.get(point) or known.ended.get(point)
        if forced is None:
            continue
        there = table.by_name.get(point.name)
        if there is not None and there.unit_of_measure != point.unit_of_measure:
            forced = known.ended_now(forced, now_ms)
        yield forced


def kept_values(known: Known, points: Iterable[Point]) -> Iterator[LastValue]:
    """Return the readings of those of `points` that have one, such that any table can take them up."""
    for point in points:
        measured = known.measured.get(point)
        if measured is not None:
            good = known.last_good.get(point)
            yield LastValue(
                point=point.name,
                asset=point.asset,
                source=point.source,
                raw=measured.raw,
                last_good=good.raw if good is not None else None,
                time_ms=measured.time_ms,
                seq=measured.seq,
                event_id=measured.event_id,
                raw_unit=measured.raw_unit,
                last_good_unit=good.raw_unit if good is not None else None,
            )
