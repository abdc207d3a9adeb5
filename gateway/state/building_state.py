"""The newest value of every point, as it may be shown: pure state, with time as an argument.

One image serves all sinks. It decides what is newest, what is no longer fresh, and what receivers
that see no quality are shown instead.
"""

from __future__ import annotations

import heapq
from collections import Counter
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.model import STAND_INS, Quality, Reading, Update
from gateway.records import OnlineState, Override
from gateway.state.clock_steps import ClockSteps
from gateway.state.handover import Handover, Noted, kept_values
from gateway.state.known import NO_EVENT, Known
from gateway.state.made import Made
from gateway.state.overrides import can_show, check_forcing
from gateway.state.readings import update_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.plan import AssetPlan, PointMap, Rule
    from gateway.model import Point, Record, Scalar
    from gateway.records import LastValue

_MOST_GONE = 10_000  # readings of points that are in no table any more


class BuildingState:
    """Implements `gateway.ports.LatestValues`. All times are Unix milliseconds.

    `now_ms` is by the steady clock, whatever the wall clock, which dates readings, is set to: see `steps`.
    """

    def __init__(self, points: PointMap, *, steps: ClockSteps | None = None) -> None:
        """Begin without any value; `restore` brings those of the last run."""
        plans = points.by_asset.values()
        self._points = points
        self.steps = steps or ClockSteps()
        self._steps_seen = self.steps.count
        self._known = Known(self.steps)
        self._current: dict[Point, Update] = {}
        # One entry per point that can age counts, the planned one; its true deadline may be later.
        self._deadlines: list[tuple[int, int, Point]] = []
        self._planned_ms: dict[Point, int] = {}
        self._made = Made(points, known=self._known, shown=self._current)
        self._unkept = Noted()
        self._noted: Noted | None = None  # for the hand-over under way
        self._rules: dict[Point, Rule] = {rule.point: rule for plan in plans for rule in plan.by_path}
        for rule in chain.from_iterable(chain.from_iterable(plan.by_key.values()) for plan in plans):
            self._rules[rule.point] = rule
        self._gone: dict[tuple[str, str, str], LastValue] = {}
        self._inherited: set[Point] = set()  # points with a reading that is kept under another name
        self.late = 0  # measured updates that were not the newest when they came
        self._now_ms = 0
        self.aged_ms = 0  # until when time has passed here: what ages later is yet to be told, by `tick`

    @property
    def points(self) -> PointMap:
        """The point table whose values these are."""
        return self._points

    def latest(self, point: Point) -> Update | None:
        """Return what the point shows now, or None before its first reading."""
        return self._current.get(point)

    def all_latest(self) -> Iterable[Update]:
        """Return what every point with a value shows now."""
        return list(self._current.values())

    def qualities(self) -> dict[str, int]:
        """Return how many points show a value of each quality, and how many are waiting for their first."""
        shown = Counter(update.quality for update in self._current.values())
        return {
            **{quality.name.lower(): shown[quality] for quality in Quality},
            "waiting": len(self._points.points) - shown.total(),
        }

    def measured(self, point: Point) -> Update | None:
        """Return the point's newest reading, whatever is shown in its place."""
        return self._known.measured.get(point)

    def all_measured(self) -> Iterable[Update]:
        """Return every point's newest reading, whatever is shown in its place."""
        return self._known.measured.values()

    def age_ms(self, update: Update) -> int:
        """Return how old what a point shows is, as of the last event or tick."""
        return self._known.age_ms(update, self._now_ms)

    def received_ms(self, record: Record) -> int:
        """Return when an event was received, by the steady clock."""
        return self.steps.steady_ms(record.event.received_ms, record.seq)

    def is_over(self, forced: Override) -> bool:
        """Say whether an override has ended, as of the last event or tick."""
        return self._known.is_over(forced, self._now_ms)

    def is_newest(self, update: Update) -> bool:
        """Say whether nothing newer is known. A reading that something stands in for is not the newest.

        Nor is what once stood in for one that is shown again.

        What no event caused has no order but the one in which it was made: only what is shown counts.
        A point of another table has no place here.
        """
        current = self._current.get(update.point)
        if current is update:
            return True
        if current is None:
            return self._points.by_name.get(update.point.name) is update.point
        if update.seq == NO_EVENT or current.quality is Quality.FORCED:
            return False
        ours, theirs = (update.time_ms, update.seq), (current.time_ms, current.seq)
        if ours != theirs:
            return ours > theirs
        return current.quality not in STAND_INS and update.quality not in STAND_INS

    def has_missed(self, update: Update) -> bool:
        """Say whether a measured update would be the newest, but was never taken in."""
        known = self._known.measured.get(update.point)
        return known is None or (known.time_ms, known.seq) < (update.time_ms, update.seq)

    def accept(self, plan: AssetPlan, updates: list[Update], *, now_ms: int) -> list[Update]:
        """Take in the updates of one event; return them with all that follows from them, in order.

        What follows: stand-ins of readings that are not to be shown as they came, what a device shows
        again that was offline, and the asset's pseudo-readings. Measured updates are returned even
        when they are not the newest.
        """
        if not updates:
            return updates
        self._now_ms = now_ms
        out, known = updates, self._known
        taken = self._take(updates, now_ms)
        back = known.offline and known.has_come_back(updates[0].point.asset)
        forced, current = known.forced, self._current
        are_plain = known.are_dates_plain(updates[0].seq) and not known.offline
        for update in taken:
            point = update.point
            if point in forced:
                continue
            limit_ms = point.stale_after_ms
            if are_plain and (limit_ms is None or now_ms - update.time_ms <= limit_ms):
                current[point] = update  # as below, without a call
                continue
            stand_in = known.stand_in(update, now_ms)
            current[point] = stand_in or update
            if stand_in is not None:
                out = [*out, stand_in]
        if back:
            out = [*out, *self._shown_anew(plan.measured, now_ms)]
        return [*out, *self._made.of(plan, now_ms)] if plan.pseudo else out

    def tick(self, now_ms: int) -> list[Update]:
        """Return the changes that time alone brings: what aged, overrides that ended, their `$quality`."""
        self._now_ms = self.aged_ms = now_ms
        known = self._known
        points = [point for point, forced in known.forced.items() if known.is_over(forced, now_ms)]
        for point in points:
            self._end_forcing(point, now_ms)
        due = self._dated() if self._steps_seen != self.steps.count else []
        while self._deadlines and self._deadlines[0][0] < now_ms:
            deadline_ms, _, point = heapq.heappop(self._deadlines)
            if self._planned_ms.get(point) == deadline_ms:
                del self._planned_ms[point]
                due.append(point)
        for point in due:
            measured = known.measured[point]
            is_fresh = known.is_fresh(measured, now_ms)
            if is_fresh:
                self._watch(measured, now_ms)
            if not is_fresh or self._current.get(point) is not measured:
                points.append(point)
        return self._with_pseudo(self._shown_anew(points, now_ms), now_ms)

    def _dated(self) -> list[Point]:
        """Return the points with readings of an earlier run, whose age only the wall clock knows."""
        self._steps_seen = self.steps.count
        through = self.steps.earlier_run_through
        return [point for point, measured in self._known.measured.items() if measured.seq <= through]

    def force(self, point: Point, value: Scalar, *, until_ms: int, now_ms: int) -> list[Update]:
        """Show `value` until the wall clock's `until_ms`, whatever is measured; return the changes.

        Raise `GatewayError` where the point or the value cannot be forced.
        """
        check_forcing(self._points, point, value)
        since_ms = now_ms + self.steps.ahead_ms
        if until_ms <= since_ms:
            raise GatewayError(f"{point.name}: cannot be forced until a time that has passed")
        ends_ms = now_ms + until_ms - since_ms
        self._known.forced[point] = Override(point.name, value, since_ms, until_ms, ends_ms)
        self._note_forcing(point)
        return self._with_pseudo(self._shown_anew([point], now_ms), now_ms)

    def release(self, point: Point, *, now_ms: int) -> list[Update]:
        """End forcing; return the changes: what is measured is shown again, or that there is nothing."""
        if point not in self._known.forced:
            return []
        self._end_forcing(point, now_ms)
        return self._with_pseudo(self._shown_anew([point], now_ms), now_ms)

    def forced(self) -> list[Override]:
        """Return what is forced now."""
        return list(self._known.forced.values())

    def ended(self) -> dict[str, Override]:
        """Return by point the overrides that are over, of points that have no reading."""
        known = self._known
        return {point.name: forced for point, forced in known.ended.items() if point not in known.measured}

    def set_online(self, asset: str, online: bool, *, at_ms: int, now_ms: int) -> list[Update]:  # noqa: FBT001 - the state itself
        """Take in what Infodeck says of a device's connection, as of `at_ms`; return the changes.

        While it is offline and has not reported since, all its readings have stand-ins.
        """
        before, told = self._known.is_online(asset), self._known.told.get(asset)
        if not self._known.tell(OnlineState(asset, online, at_ms), now_ms=now_ms):
            return []
        if told is None or not (told.online and online):  # connected as before is not worth a write
            self._unkept.assets.add(asset)
        if self._noted is not None:
            self._noted.assets.add(asset)
        plan = self._points.by_asset.get(asset)
        if plan is None or self._known.is_online(asset) is before:
            return []
        return [*self._shown_anew(plan.measured, now_ms), *self._made.of(plan, now_ms)]

    def is_online(self, asset: str) -> bool | None:
        """Say whether a device is connected: what was said last, or reports since; None: nothing was said."""
        return self._known.is_online(asset)

    def beside(self, plan: AssetPlan) -> list[Update]:
        """Return what an asset shows that is not in its events: stand-ins, pseudo-readings."""
        shown = [self._current.get(point) for point in (*plan.measured, *plan.pseudo)]
        return [
            update
            for update in shown
            if update is not None and (update.seq == NO_EVENT or update.quality in STAND_INS)
        ]

    def ages(self, now_ms: int) -> list[Update]:
        """Return the present value of every `$age` point whose asset has reported, and the heartbeat's."""
        return self._made.ages(now_ms)

    def beat(self, now_ms: int) -> list[Update]:
        """Return the present value of the heartbeat, where the tables have one."""
        return self._made.beat(now_ms)

    def restore(
        self,
        kept: Iterable[LastValue],
        *,
        now_ms: int,
        forced: Iterable[Override] = (),
        online: Iterable[OnlineState] = (),
    ) -> None:
        """Bring back what an earlier image knew, as far as its points are still the same.

        Readings go to points of the same name, asset and source, else to others of the same asset and source,
        by their present conversion; overrides to points of the same name that can show them, unless their
        time is over; connections to all devices.
        """
        self._now_ms = self.aged_ms = now_ms
        by_asset = self._points.by_asset
        points: list[Point] = []
        assets: set[str] = set()
        for value in kept:
            if value.asset in by_asset:
                assets.add(value.asset)
            points += self._bring_back(value, now_ms)
        for place in list(islice(self._gone, max(0, len(self._gone) - _MOST_GONE))):
            del self._gone[place]
        self._unkept.clear()
        points += [point for each in forced if (point := self._force_again(each, now_ms)) is not None]
        taken = [state.asset for state in online if self._known.tell(state, now_ms=now_ms)]
        told = [asset for asset in taken if asset in by_asset]
        assets.update(point.asset for point in points)
        for asset in (*told, *filter(self._known.has_come_back, assets)):
            points += by_asset[asset].measured
        self._shown_anew(points, now_ms)
        for asset in sorted(assets.union(told)):
            self._made.of(by_asset[asset], now_ms)
        self._made.beat(now_ms)
        self._unkept.measured |= self._inherited

    def keep(self, at_most: int | None = None) -> dict[str, LastValue]:
        """Return what must be kept on disk of points that changed, and was not returned before.

        Of so many points at most, where that is said; then `has_unkept` says whether there are more.
        """
        changed = self._unkept.measured
        count = len(changed) if at_most is None else min(at_most, len(changed))
        points = [changed.pop() for _ in range(count)]
        return {value.point: value for value in kept_values(self._known, points)}

    @property
    def has_unkept(self) -> bool:
        """Whether `keep` has more to return."""
        return bool(self._unkept.measured)

    def keep_forced(self) -> dict[str, Override | None]:
        """Return what must be kept on disk of what was forced or released since the last call, by point.

        None: nothing any more. What ended on a point without a reading is kept, for after a restart
        receivers may still have to be told that there is no value.
        """
        known = self._known
        points = self._unkept.forced
        forced = {point.name: known.forced.get(point) or known.ended.get(point) for point in points}
        points.clear()
        return forced

    def keep_online(self) -> dict[str, OnlineState]:
        """Return what was said since the last call of devices' connections, by asset."""
        told = {asset: self._known.told[asset] for asset in self._unkept.assets}
        self._unkept.assets.clear()
        return told

    @property
    def gone(self) -> list[LastValue]:
        """The last readings of points that earlier tables had, the latest to go last."""
        return list(self._gone.values())

    def hand_over(self) -> Handover:
        """Begin to hand over to the image of another table, and note what changes from now on."""
        self._noted = Noted()
        return Handover(
            known=self._known,
            noted=self._noted,
            image=self,
            make_state=partial(BuildingState, steps=self.steps),
        )

    def take_over_unkept(self, image: BuildingState, *, revived: Iterable[Point]) -> None:
        """Keep what `image` would have kept next, and count on from it.

        So are the readings of `revived` points: what is kept by their names may be another device's.
        """
        self._unkept.add(image._unkept, by_name=self._points.by_name)
        self._unkept.measured.update(revived)
        self.late += image.late

    def _bring_back(self, value: LastValue, now_ms: int) -> list[Point]:
        """Take up a kept reading; return the points that it is the newest of.

        Where its point is no longer the same it is remembered: should that come back, it must not go back in
        time. Until then the points that read the same source of the same asset have it, as after a new name.
        """
        self._known.note_report(value.asset, value)  # of a device that reports nothing else, too
        point = self._points.by_name.get(value.point)
        rule = self._rules.get(point) if point is not None else None
        if rule is not None and (rule.point.asset, rule.point.source) == (value.asset, value.source):
            return [self._read_again(rule, value, now_ms)]
        place = value.point, value.asset, value.source
        self._gone.pop(place, None)
        self._gone[place] = value
        heirs = [each for each in self._rules_of(value) if self._is_newer(value, each.point)]
        self._inherited.update(each.point for each in heirs)
        return [self._read_again(each, value, now_ms) for each in heirs]

    def _rules_of(self, value: LastValue) -> Iterable[Rule]:
        """Return how the source of a kept reading is read by the present points of its asset."""
        plan = self._points.by_asset.get(value.asset)
        if plan is None:
            return ()
        return plan.by_key.get(value.source) or [r for r in plan.by_path if r.point.source == value.source]

    def _is_newer(self, value: LastValue, point: Point) -> bool:
        known = self._known.measured.get(point)
        return known is None or (known.time_ms, known.seq) < (value.time_ms, value.seq)

    def _read_again(self, rule: Rule, value: LastValue, now_ms: int) -> Point:
        good = Reading(value.source, value.last_good, value.time_ms, value.last_good_unit)
        last_good = update_of(rule, good, value.seq, value.event_id)
        if last_good.quality is Quality.GOOD:
            self._known.last_good[rule.point] = last_good
        newest = Reading(value.source, value.raw, value.time_ms, value.raw_unit)
        self._take([update_of(rule, newest, value.seq, value.event_id)], now_ms)
        return rule.point

    def _force_again(self, forced: Override, now_ms: int) -> Point | None:
        """Take up an override; return its point, None where the table has no such point."""
        point = self._points.by_name.get(forced.point)
        if point is None or point not in self._rules:
            return None
        known = self._known
        if not known.is_over(forced, now_ms) and can_show(self._points, point, forced.value):
            known.forced[point] = forced
        else:
            known.forced.pop(point, None)
            ended = known.ended[point] = known.ended_now(forced, now_ms)
            if ended.until_ms < forced.until_ms:  # or it would be taken up once more at the next start
                self._note_forcing(point)
        return point

    def _end_forcing(self, point: Point, now_ms: int) -> None:
        forced = self._known.forced.pop(point)
        if point not in self._known.measured:
            self._known.ended[point] = self._known.ended_now(forced, now_ms)
        self._note_forcing(point)

    def _note_forcing(self, point: Point) -> None:
        for noted in self._noting():
            noted.forced.add(point)

    def _noting(self) -> tuple[Noted, ...]:
        return (self._unkept,) if self._noted is None else (self._unkept, self._noted)

    def _take(self, updates: list[Update], now_ms: int) -> list[Update]:
        """Take those of an asset's measured updates that are the newest of their points; return them."""
        taken = self._known.take(updates, now_ms)
        self.late += len(updates) - len(taken)
        planned = () if self.steps.count else self._planned_ms
        unkept = self._unkept.measured
        for update in taken:
            point = update.point
            unkept.add(point)
            if point not in planned:
                self._watch(update, now_ms)
        if self._noted is not None:
            self._noted.measured.update(update.point for update in taken)
        return taken

    def _watch(self, update: Update, now_ms: int) -> None:
        """Look at the point again when this update ages, unless a look is planned that comes first.

        A newer reading ages later, but not where the clock was set forward in between.
        """
        point = update.point
        if point.stale_after_ms is None:
            return
        deadline_ms = now_ms + point.stale_after_ms - self._known.age_ms(update, now_ms)
        planned_ms = self._planned_ms.get(point)
        if planned_ms is None or deadline_ms < planned_ms:
            self._planned_ms[point] = deadline_ms
            heapq.heappush(self._deadlines, (deadline_ms, id(point), point))

    def _shown_anew(self, points: Iterable[Point], now_ms: int) -> list[Update]:
        """Decide again what points show; return those that show something else now."""
        changes = []
        for point in points:
            shown = self._known.shown(point, now_ms)
            if shown is not None and shown != self._current.get(point):
                self._current[point] = shown
                changes.append(shown)
        return changes

    def _with_pseudo(self, changes: list[Update], now_ms: int) -> list[Update]:
        """Add the pseudo-readings of all assets of which something changed."""
        for asset in sorted({change.point.asset for change in changes}):
            changes.extend(self._made.of(self._points.by_asset[asset], now_ms))
        return changes
