"""All objects of one point table on one sink. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.model import Refusal
from gateway.sinks.bacnet.objects import ServedObject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Point, Update
    from gateway.ports import LatestValues


class Written(NamedTuple):
    """The objects that clients see changed, and the updates whose value an object cannot hold."""

    changed: list[ServedObject]
    refusals: list[Refusal]


class ObjectTable:
    """The objects, by identifier (four bytes without a tag) and by name, in the order of the point table."""

    def __init__(self, points: Iterable[Point], *, sink: str) -> None:
        self._by_point = {
            point: ServedObject(point, shape)
            for point in points
            for shape in point.objects
            if shape.sink == sink
        }
        self.by_identifier = {served.identifier: served for served in self._by_point.values()}
        self.listed = [b"\xc4" + identifier for identifier in self.by_identifier]  # for Object_List
        self.by_name = {served.point.name: served for served in self._by_point.values()}

    def has_same_objects(self, other: ObjectTable) -> bool:
        """Return whether another table has the same identifiers with the same names."""
        return {name: served.identifier for name, served in self.by_name.items()} == {
            name: served.identifier for name, served in other.by_name.items()
        }

    def write(self, updates: Iterable[Update], latest: LatestValues) -> Written:
        """Show the updates; those of points without an object are ignored."""
        written = Written([], [])
        for update in updates:
            served = self._by_point.get(update.point)
            if served is None:
                continue
            before = served.present_value, served.status_flags
            reason = served.apply(update, latest.last_good(update.point))
            if reason is not None:
                written.refusals.append(Refusal(update, reason))
            if (served.present_value, served.status_flags) != before:
                written.changed.append(served)
        return written
