"""Computed points in `gateway explain`: those that an event changes, with what their members show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.mapping.computed_keys import AGGREGATES
from gateway.model import is_computed
from gateway.state.readings import unused_reason
from gateway.text import count_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from gateway.mapping.plan import ComputedPoint, PointMap
    from gateway.model import Event, Point, Scalar, Update
    from gateway.records import StoredState
    from gateway.state.building_state import BuildingState

_MOST_MEMBERS = 20


@dataclass(frozen=True, slots=True)
class MemberView:
    """What a member of a computed point shows, None before its first value, and why it is not used."""

    point: Point
    update: Update | None
    unused_reason: str | None
    is_of_event: bool

    @property
    def is_used(self) -> bool:
        """Whether the computed point is computed from it."""
        return self.unused_reason is None


@dataclass(frozen=True, slots=True)
class ComputedTrace:
    """A computed point after an event: members, what it shows (None: nothing yet), its last good value."""

    computed: ComputedPoint
    members: list[MemberView]
    shown: Update | None
    last_good: Scalar


def affected_by(points: Collection[Point], point_map: PointMap) -> list[ComputedPoint]:
    """Return what is computed from any of `points`, directly or not, members first."""
    affected, found = set(points), []
    for each in point_map.computed:
        if not affected.isdisjoint(each.members):
            affected.add(each.point)
            found.append(each)
    return found


def restore_members(
    state: BuildingState, computed: Iterable[ComputedPoint], stored: StoredState, *, event: Event, asset: str
) -> None:
    """Restore the stored members of computed points, as if their values had come before the event.

    Values of the event's own asset that the event brings are replaced by it afterwards.
    """
    needed = {point for each in computed for point in (each.point, *each.members)}
    for each in reversed(state.points.computed):
        if each.point in needed:
            needed.update(each.members)
    sources = {(point.asset, point.source) for point in needed}
    names = {point.name for point in needed}
    assets = {of_asset for of_asset, _ in sources} - {asset}
    received_ms = event.received_ms
    state.restore(
        [
            value
            if is_computed(value.source)
            else replace(value, time_ms=min(value.time_ms, received_ms - 1))
            for value in stored.last_values
            if (value.asset, value.source) in sources
        ],
        now_ms=received_ms,
        overrides=[each for each in stored.overrides if each.point in names],
        connections=[each for each in stored.online if each.asset in assets],
    )


def trace_computed(each: ComputedPoint, state: BuildingState, *, reached: Collection[Point]) -> ComputedTrace:
    """Return what a computed point shows, and its members, those that the event has reached first."""
    members = [
        MemberView(point, update, unused_reason(update, each.kind), point in reached)
        for point in each.members
        for update in [state.latest(point)]
    ]
    members.sort(key=lambda member: (not member.is_of_event, member.is_used))
    return ComputedTrace(each, members, state.latest(each.point), state.last_good(each.point))


def member_rows(trace: ComputedTrace, value_text: Callable[[Update], str]) -> Iterator[list[str]]:
    """Yield a row for each member, the first twenty: name, value, and why it is not used or when it came."""
    listed = trace.members[:_MOST_MEMBERS]
    values = ["no value" if each.update is None else value_text(each.update) for each in listed]
    width = max(map(len, values))
    for member, value in zip(listed, values, strict=True):
        yield [member.point.name, f"{value:{width}}  {_note(member)}"]
    rest = trace.members[_MOST_MEMBERS:]
    if rest:
        used = sum(member.is_used for member in rest)
        yield ["…", f"{len(rest)} more, {used} of them used"]
    if trace.computed.kind in AGGREGATES:
        used = sum(member.is_used for member in trace.members)
        needed = trace.computed.needed
        yield ["", f"{used} of {count_text(len(trace.members), 'point')} used, {needed} needed"]


def _note(member: MemberView) -> str:
    if member.update is None or not member.is_used:
        return f"not used: {member.unused_reason}"
    return "from this event" if member.is_of_event else f"of {time_text(member.update.time_ms)}"
