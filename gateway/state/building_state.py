"""What every point of the building shows now: pure state, with time as an argument.

One state serves all sinks. It decides which value is the newest, which is no longer fresh, and what
receivers are shown instead.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.model import STAND_INS, Quality, Update, is_computed
from gateway.records import OnlineState, Override
from gateway.state.computed import ComputedPoints
from gateway.state.overrides import can_show, check_override
from gateway.state.point_state import NO_EVENT, ClockSteps, PointState, PseudoPoints
from gateway.state.readings import map_saved_reading, rules_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Point, Scalar
    from gateway.records import LastValue

_time_and_number = attrgetter("time_ms", "seq")
_MOST_REMOVED = 10_000  # readings of points that are in no table any more


@dataclass(slots=True)
class Changes:
    """The points and assets whose readings, overrides or connections have changed since some moment."""

    readings: set[Point] = field(default_factory=set)
    overrides: set[Point] = field(default_factory=set)
    connections: set[str] = field(default_factory=set)


class BuildingState:
    """What every point of one point table shows. Implements `gateway.ports.LatestValues`.

    All times are Unix milliseconds. `now_ms` is by the steady clock; readings are dated by the wall clock,
    which may be set: `clock_steps` converts. Changes are returned as updates for the sinks.
    """

    def __init__(self, points: PointMap, *, clock_steps: ClockSteps | None = None) -> None:
        """Begin without any value; `restore` brings back those of the last run."""
        self.points = points
        self.clock_steps = clock_steps or ClockSteps()
        self.late = 0  # readings that were not the newest when they came
        self.aged_ms = 0  # the time of the last `tick`: what ages later is still shown as fresh
        self.known = PointState(self.clock_steps)
        self.unsaved = Changes()
        self._watched: Changes | None = None  # what was saved since the last call of `watch_changes`
        self.removed: dict[tuple[str, str], LastValue] = {}  # newest readings that no point shows, by source
        self._shown: dict[Point, Update] = {}
        self._pseudo = PseudoPoints(points, known=self.known, shown=self._shown)
        self.computed = ComputedPoints(points, self.known, self._shown, unsaved=self.unsaved.readings)
        self._has_computed = bool(points.computed)
        # Of each point that can age only the planned deadline counts; its true one may be later.
        self._deadlines: list[tuple[int, int, Point]] = []
        self._planned_ms: dict[Point, int] = {}
        self._steps_seen = self.clock_steps.count
        self._now_ms = 0

    def latest(self, point: Point) -> Update | None:
        """Return what the point shows now, None before its first value."""
        return self._shown.get(point)

    def all_latest(self) -> Iterable[Update]:
        """Return what every point with a value shows now."""
        return list(self._shown.values())

    def last_good(self, point: Point) -> Scalar:
        """Return the point's last value of good quality, however old; None if it never had one."""
        good = self.known.last_good.get(point)
        return None if good is None else good.value

    def is_newest(self, update: Update) -> bool:
        """Return whether nothing newer is known for the point.

        A reading is not the newest while something stands in for it, nor is a stand-in once the reading is
        shown again. An update that no event caused is the newest only while it is shown. A point of another
        table is never the newest.
        """
        shown = self._shown.get(update.point)
        if shown is update:
            return True
        if shown is None:
            return self.points.by_name.get(update.point.name) is update.point
        if update.seq == NO_EVENT or shown.quality is Quality.FORCED:
            return False
        ours, theirs = (update.time_ms, update.seq), (shown.time_ms, shown.seq)
        if ours != theirs:
            return ours > theirs
        return shown.quality not in STAND_INS and update.quality not in STAND_INS

    def age_ms(self, update: Update) -> int:
        """Return the age of what a point shows, as of the last event or tick."""
        if update.point.is_computed and update.quality is not Quality.FORCED:
            return self.computed.age_ms(update.point, self._now_ms)
        return self.known.age_ms(update, self._now_ms)

    def qualities(self) -> dict[str, int]:
        """Return how many points show a value of each quality, and how many are waiting for their first."""
        counts = Counter(update.quality for update in self._shown.values())
        return {
            **{quality.name.lower(): counts[quality] for quality in Quality},
            "waiting": len(self.points.points) - counts.total(),
        }

    def measured(self, point: Point) -> Update | None:
        """Return the point's newest reading, whatever is shown in its place."""
        return self.known.readings.get(point)

    def shown_without_event(self, plan: AssetPlan) -> list[Update]:
        """Return what an asset shows that no event brings: stand-ins and pseudo points."""
        shown = [self._shown.get(point) for point in (*plan.measured, *plan.pseudo)]
        return [
            update
            for update in shown
            if update is not None and (update.seq == NO_EVENT or update.quality in STAND_INS)
        ]

    def apply_updates(self, plan: AssetPlan, updates: list[Update], *, now_ms: int) -> list[Update]:
        """Apply the updates of one event; return them and all that follows from them, in order.

        What follows: stand-ins of readings that are already stale, the values of a device that was offline
        and has reported again, and the asset's pseudo points. A reading that is not the newest is returned
        too: it is history.
        """
        if not updates:
            return updates
        self._now_ms = now_ms
        out, known, shown, overrides = updates, self.known, self._shown, self.known.overrides
        unsaved = self.unsaved.readings
        applied = self._apply_readings(updates, now_ms)
        self.late += len(updates) - len(applied)
        is_back = known.offline and known.end_offline(updates[0].point.asset)
        ages_are_simple = known.has_simple_ages(updates[0].seq) and not known.offline
        for update in applied:
            point = update.point
            unsaved.add(point)
            if point in overrides:
                continue
            limit_ms = point.stale_after_ms
            if ages_are_simple and (limit_ms is None or now_ms - update.time_ms <= limit_ms):
                shown[point] = update  # the usual case, without a call
                continue
            stand_in = known.stand_in(update, now_ms)
            shown[point] = stand_in or update
            if stand_in is not None:
                out = [*out, stand_in]
        if is_back:
            out = [*out, *self._refresh(plan.measured, now_ms)]
        if self._has_computed:
            return [*out, *self._follow(out, now_ms, assets=[updates[0].point.asset])]
        return [*out, *self._pseudo.refresh_asset(plan, now_ms)] if plan.pseudo else out

    def tick(self, now_ms: int) -> list[Update]:
        """Let time pass; return the changes: stale values, overrides that ended, their `$quality`."""
        self._now_ms = self.aged_ms = now_ms
        known = self.known
        points = [point for point, each in known.overrides.items() if known.has_expired(each, now_ms)]
        for point in points:
            self._end_override(point, now_ms)
        due = self._due(now_ms)
        for point in due:
            if point.is_computed:
                continue
            reading = known.readings[point]
            is_fresh = known.is_fresh(reading, now_ms)
            if is_fresh:
                self._plan_deadline(reading, now_ms)
            if not is_fresh or self._shown.get(point) is not reading:
                points.append(point)
        return self._show_changes(points, now_ms, due=[point for point in due if point.is_computed])

    def refresh_ages(self, now_ms: int) -> list[Update]:
        """Return the present `$age` of every asset that has reported, and the heartbeat."""
        return self._pseudo.refresh_ages(now_ms)

    def force(self, point: Point, value: Scalar, *, until_ms: int, now_ms: int) -> list[Update]:
        """Show `value` until the wall clock's `until_ms`, whatever is measured; return the changes.

        Raise `GatewayError` if the point or the value cannot be forced.
        """
        check_override(self.points, point, value)
        since_ms = now_ms + self.clock_steps.ahead_ms
        if until_ms <= since_ms:
            raise GatewayError(f"{point.name}: cannot be forced until a time that has passed")
        ends_ms = now_ms + until_ms - since_ms
        self.known.overrides[point] = Override(point.name, value, since_ms, until_ms, ends_ms)
        self.unsaved.overrides.add(point)
        return self._show_changes([point], now_ms)

    def release(self, point: Point, *, now_ms: int) -> list[Update]:
        """End an override; return the changes: the reading again, or that there is no value."""
        if point not in self.known.overrides:
            return []
        self._end_override(point, now_ms)
        return self._show_changes([point], now_ms)

    def overrides(self) -> list[Override]:
        """Return the overrides in force."""
        return list(self.known.overrides.values())

    def ended_overrides(self) -> dict[str, Override]:
        """Return the ended overrides of points without a reading, by point name."""
        known = self.known
        return {
            point.name: each for point, each in known.ended_overrides.items() if point not in known.readings
        }

    def has_expired(self, override: Override) -> bool:
        """Return whether an override has ended, as of the last event or tick."""
        return self.known.has_expired(override, self._now_ms)

    def set_online(self, asset: str, online: bool, *, at_ms: int, now_ms: int) -> list[Update]:  # noqa: FBT001 - the state itself
        """Apply what Infodeck reports of a device's connection as of `at_ms`; return the changes.

        While a device is offline and has not reported since, all its readings have stand-ins.
        """
        known = self.known
        was_online, before = known.is_online(asset), known.connections.get(asset)
        if not known.apply_connection(OnlineState(asset, online, at_ms), now_ms=now_ms):
            return []
        if before is None or not (before.online and online):  # still connected is not worth a write
            self.unsaved.connections.add(asset)
        if self._watched is not None:
            self._watched.connections.add(asset)
        plan = self.points.by_asset.get(asset)
        if plan is None or known.is_online(asset) is was_online:
            return []
        changes = self._refresh(plan.measured, now_ms)
        return [*changes, *self._follow(changes, now_ms, assets=[asset])]

    def restore(
        self,
        values: Iterable[LastValue],
        *,
        now_ms: int,
        overrides: Iterable[Override] = (),
        connections: Iterable[OnlineState] = (),
    ) -> list[Update]:
        """Apply what an earlier state knew, as far as the points still mean the same; return the changes.

        A reading goes to all points of its asset and source, whatever they are called now, converted by their
        present rules. An override goes to the point of the same name if that can show the value.
        """
        self._now_ms = self.aged_ms = now_ms
        known, by_asset = self.known, self.points.by_asset
        points: list[Point] = []
        due: list[Point] = []
        assets: set[str] = set()
        for value in values:
            if is_computed(value.source):
                due += self.computed.restore(value, self.points.by_name.get(value.point))
                continue
            assets.add(value.asset)
            points += self._restore_value(value, now_ms)
        for source in list(islice(self.removed, max(0, len(self.removed) - _MOST_REMOVED))):
            del self.removed[source]
        restored = [self._restore_override(each, now_ms) for each in overrides]
        points += [point for point in restored if point is not None]
        connected = {each.asset for each in connections if known.apply_connection(each, now_ms=now_ms)}
        assets.update(point.asset for point in points)
        for asset in connected.union(filter(known.end_offline, assets)) & by_asset.keys():
            points += by_asset[asset].measured
        changes = self._refresh(points, now_ms)
        changes += self._follow(changes, now_ms, due=due, assets=assets | connected)
        self._pseudo.refresh_heartbeat(now_ms)
        return changes

    def pop_unsaved_values(self, at_most: int | None = None) -> dict[str, LastValue]:
        """Return the readings of points that changed since they were returned last, by point name."""
        unsaved = self.unsaved.readings
        count = len(unsaved) if at_most is None else min(at_most, len(unsaved))
        points = [unsaved.pop() for _ in range(count)]
        if self._watched is not None:
            self._watched.readings.update(points)
        return {value.point: value for value in self.values_to_save(points)}

    def values_to_save(self, points: Iterable[Point]) -> Iterator[LastValue]:
        """Yield what a restart needs of points."""
        points = list(points)
        yield from self.known.values_to_save(point for point in points if not point.is_computed)
        yield from self.computed.values_to_save(point for point in points if point.is_computed)

    def pop_unsaved_overrides(self) -> dict[str, Override | None]:
        """Return the overrides that changed since the last call, by point name; None: none any more.

        The ended override of a point without a reading is kept: after a restart, receivers must still be
        shown that there is no value.
        """
        known, points = self.known, self.unsaved.overrides
        changed = {
            point.name: known.overrides.get(point) or known.ended_overrides.get(point) for point in points
        }
        if self._watched is not None:
            self._watched.overrides |= points
        points.clear()
        return changed

    def pop_unsaved_connections(self) -> dict[str, OnlineState]:
        """Return the connections that changed since the last call, by asset."""
        changed = {asset: self.known.connections[asset] for asset in self.unsaved.connections}
        self.unsaved.connections.clear()
        return changed

    def mark_unsaved(self, names: Iterable[str]) -> None:
        """Have the readings of the points of these names saved."""
        by_name = self.points.by_name
        self.unsaved.readings.update(by_name[name] for name in names if name in by_name)

    def watch_changes(self) -> None:
        """Begin to record what changes, for `pop_watched_changes`."""
        self._watched = Changes()

    def pop_watched_changes(self) -> Changes:
        """Return what has changed since this or `watch_changes` was called, and perhaps more."""
        saved, unsaved = self._watched or Changes(), self.unsaved
        self._watched = Changes()
        return Changes(
            saved.readings | unsaved.readings, saved.overrides | unsaved.overrides, saved.connections
        )

    def _apply_readings(self, updates: list[Update], now_ms: int) -> list[Update]:
        """Apply the readings of one asset; return those that are the newest of their points."""
        applied = self.known.apply_readings(updates, now_ms)
        planned = () if self.clock_steps.count else self._planned_ms
        for update in applied:
            if update.point not in planned:
                self._plan_deadline(update, now_ms)
        return applied

    def _plan_deadline(self, update: Update, now_ms: int) -> None:
        """Have the point checked when this update becomes stale."""
        if update.point.stale_after_ms is not None:
            self._plan_check(update.point, self.known.age_ms(update, now_ms), now_ms)

    def _plan_check(self, point: Point, age_ms: int, now_ms: int) -> None:
        """Have a point that can age checked when it becomes stale, unless an earlier check is planned.

        A newer reading becomes stale later, unless the clock was set forward in between.
        """
        deadline_ms = now_ms + (point.stale_after_ms or 0) - age_ms
        planned_ms = self._planned_ms.get(point)
        if planned_ms is None or deadline_ms < planned_ms:
            self._planned_ms[point] = deadline_ms
            heapq.heappush(self._deadlines, (deadline_ms, id(point), point))

    def _due(self, now_ms: int) -> list[Point]:
        """Return the points whose planned deadline has passed.

        After a step of the wall clock, also those with readings of an earlier run, whose age only it shows.
        """
        due: list[Point] = []
        if self._steps_seen != self.clock_steps.count:
            self._steps_seen = self.clock_steps.count
            through = self.clock_steps.earlier_run_through
            due = [point for point, reading in self.known.readings.items() if reading.seq <= through]
        while self._deadlines and self._deadlines[0][0] < now_ms:
            deadline_ms, _, point = heapq.heappop(self._deadlines)
            if self._planned_ms.get(point) == deadline_ms:
                del self._planned_ms[point]
                due.append(point)
        return due

    def _refresh(self, points: Iterable[Point], now_ms: int) -> list[Update]:
        """Decide again what points show; return the changes."""
        changes = []
        for point in points:
            value = self.known.value_to_show(point, now_ms)
            if value is not None and value != self._shown.get(point):
                self._shown[point] = value
                changes.append(value)
        return changes

    def _show_changes(
        self, points: Iterable[Point], now_ms: int, *, due: Iterable[Point] = ()
    ) -> list[Update]:
        """Decide again what points show; return the changes, and all that follows from them."""
        changes = self._refresh(points, now_ms)
        assets = {change.point.asset for change in changes}
        return [*changes, *self._follow(changes, now_ms, due=due, assets=assets)]

    def _follow(
        self, changes: Iterable[Update], now_ms: int, *, assets: Iterable[str], due: Iterable[Point] = ()
    ) -> list[Update]:
        """Evaluate what is computed from changes, or due; return that, and the assets' pseudo points."""
        out = self.computed.refresh(changes, due, now_ms) if self._has_computed else []
        while self.computed.aging:
            self._plan_check(*self.computed.aging.popitem(), now_ms)
        concerned = {*assets, *(update.point.asset for update in out)} & self.points.by_asset.keys()
        for asset in sorted(concerned):
            out += self._pseudo.refresh_asset(self.points.by_asset[asset], now_ms)
        return out

    def _end_override(self, point: Point, now_ms: int) -> None:
        override = self.known.overrides.pop(point)
        if point not in self.known.readings:
            self.known.ended_overrides[point] = self.known.expired(override, now_ms)
        self.unsaved.overrides.add(point)

    def _restore_value(self, value: LastValue, now_ms: int) -> list[Point]:
        """Restore a saved reading; return the points that show it.

        A reading that no point shows is remembered, so that a point does not go back in time when it returns.
        The last good reading of a point itself counts more than that of another point of the same source.
        """
        self.known.apply_report(value.asset, value)  # also if the device reports nothing else
        rules = rules_for(self.points, value)
        if not rules:
            source = value.asset, value.source
            before = self.removed.pop(source, value)  # perhaps of a point that was removed later
            self.removed[source] = max(value, before, key=_time_and_number)
        points = []
        for rule in rules:
            point, is_own = rule.point, rule.point.name == value.point
            if not (is_own or self.known.is_unseen(value, point)):
                continue
            last_good, newest = map_saved_reading(rule, value)
            if last_good.quality is Quality.GOOD:
                self.known.last_good[point] = last_good
            self._apply_readings([newest], now_ms)
            points.append(point)
            if not is_own:
                self.unsaved.readings.add(point)  # the row of its own name may be another reading's
        return points

    def _restore_override(self, override: Override, now_ms: int) -> Point | None:
        """Restore an override, or that it has ended; return its point, None if no table has it."""
        known, point = self.known, self.points.by_name.get(override.point)
        if point is None or point.is_pseudo:
            return None
        if not known.has_expired(override, now_ms) and can_show(self.points, point, override.value):
            known.overrides[point] = override
        else:
            known.overrides.pop(point, None)
            ended = known.ended_overrides[point] = known.expired(override, now_ms)
            if ended.until_ms < override.until_ms:  # otherwise the next start would restore it
                self.unsaved.overrides.add(point)
        return point
