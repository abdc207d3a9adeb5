"""What is known of every point, and what follows from it: pure state, with time as an argument."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.events import CLOCK_LEAD_MS
from gateway.model import Point, Quality, StalePolicy, Update
from gateway.records import LastValue, OnlineState, Override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Record, Scalar


NO_EVENT = 0  # the journal number of an update that no event caused
_SMALLEST_STEP_MS = 1_000
_HEARTBEAT_WRAPS_AT = 32_768  # fits every register type, and never equals a sentinel
_TIME_MS = attrgetter("time_ms")


class ClockSteps:
    """The steps of the wall clock, by event number, so that ages stay right when the clock is set.

    The steady clock shows the same as the wall clock when the process starts, and nothing sets it. A reading
    is dated by the wall clock as it was when its event was received. For events of an earlier run the steps
    are unknown: of the ages by both clocks, the larger one counts. Times are Unix milliseconds.
    """

    def __init__(self) -> None:
        self.earlier_run_through = 0  # the number of the last event that an earlier run received
        self.ahead_ms = 0  # wall clock minus steady clock
        self.count = 0
        self._after = [0]  # the number of the last event before each step
        self._ahead_ms = [0]

    def follow(self, ahead_ms: int, *, after: int) -> None:
        """Record the present offset of the wall clock; it applies to events with numbers above `after`."""
        if abs(ahead_ms - self.ahead_ms) >= _SMALLEST_STEP_MS:
            self.ahead_ms = ahead_ms
            self.count += 1
            self._after.append(after)
            self._ahead_ms.append(ahead_ms)

    def steady_ms(self, dated_ms: int, seq: int) -> int:
        """Convert the date of something in event `seq` to the steady clock."""
        if not self.count:
            return dated_ms
        return dated_ms - self._ahead_ms[max(0, bisect_left(self._after, seq) - 1)]

    def received_ms(self, record: Record) -> int:
        """Return when an event was received, by the steady clock."""
        return self.steady_ms(record.event.received_ms, record.seq)

    def age_ms(self, dated_ms: int, seq: int, now_ms: int) -> int:
        """Return the age of something in event `seq`; `now_ms` is by the steady clock."""
        if seq <= self.earlier_run_through:
            return now_ms - dated_ms + max(0, self.ahead_ms)
        return now_ms - self.steady_ms(dated_ms, seq)

    def is_age_known(self, dated_ms: int, seq: int, now_ms: int) -> bool:
        """Return False for a date of an earlier run that is still to come by the present clock."""
        return seq > self.earlier_run_through or dated_ms <= self._latest_date_ms(now_ms)

    def is_in_future(self, dated_ms: int, now_ms: int) -> bool:
        """Return whether a date is later than Infodeck's clock can be."""
        return dated_ms > self._latest_date_ms(now_ms)

    def _latest_date_ms(self, now_ms: int) -> int:
        return now_ms + self.ahead_ms + CLOCK_LEAD_MS


class PointState:
    """Newest readings, last good ones, overrides and connections, and the rules for what a point shows.

    `now_ms` is by the steady clock. Updates in here never change.
    """

    def __init__(self, clock_steps: ClockSteps) -> None:
        self.clock_steps = clock_steps
        self.readings: dict[Point, Update] = {}  # the newest of each point
        self.last_good: dict[Point, Update] = {}
        self.early_ms: dict[Point, int] = {}  # when readings arrived that are dated later than that
        self.reports: dict[str, Update | LastValue] = {}  # each asset's newest reading
        self.overrides: dict[Point, Override] = {}
        self.ended_overrides: dict[Point, Override] = {}  # of points without any reading
        self.connections: dict[str, OnlineState] = {}  # what Infodeck said last of each device
        self.offline: set[str] = set()  # assets that are offline and have not reported since

    def apply_readings(self, updates: list[Update], now_ms: int) -> list[Update]:
        """Apply the readings of one asset; return those that are the newest of their points."""
        applied = [update for update in updates if self._apply_reading(update)]
        if applied:
            newest = max(applied, key=_TIME_MS)
            self.apply_report(newest.point.asset, newest)
            if self.early_ms or self.clock_steps.count or newest.time_ms > now_ms:
                for update in applied:
                    self._remember_early(update, now_ms)
        return applied

    def _apply_reading(self, update: Update) -> bool:
        """Apply a reading unless a newer one is known; of equal ones, the last counts."""
        point = update.point
        known = self.readings.get(point)
        if known is not None and (update.time_ms, update.seq) < (known.time_ms, known.seq):
            return False
        if update.quality is Quality.GOOD:
            self.last_good[point] = update
        elif point.on_stale.policy is StalePolicy.HOLD:
            update.safe_value = self.fallback(point)
        self.readings[point] = update
        return True

    def is_unseen(self, reading: Update | LastValue, point: Point) -> bool:
        """Return whether a reading is newer than the newest known one of `point`."""
        known = self.readings.get(point)
        return known is None or (known.time_ms, known.seq) < (reading.time_ms, reading.seq)

    def _remember_early(self, update: Update, now_ms: int) -> None:
        if self.clock_steps.steady_ms(update.time_ms, update.seq) > now_ms:
            self.early_ms[update.point] = now_ms
        else:
            self.early_ms.pop(update.point, None)

    def apply_report(self, asset: str, reading: Update | LastValue) -> None:
        """Record that an asset has reported, whether or not a point shows the reading."""
        before = self.reports.get(asset)
        if before is None or reading.time_ms > before.time_ms:
            self.reports[asset] = reading

    def apply_connection(self, state: OnlineState, *, now_ms: int) -> bool:
        """Apply what Infodeck reports of a connection; return False if something newer is known.

        A known state with a date in the future does not count: the clock has been set back since.
        """
        before = self.connections.get(state.asset)
        is_older = before is not None and state.at_ms < before.at_ms
        if is_older and before is not None and not self.clock_steps.is_in_future(before.at_ms, now_ms):
            return False
        self.connections[state.asset] = state
        if state.online or self._has_reported_since(state.asset, state.at_ms):
            self.offline.discard(state.asset)
        else:
            self.offline.add(state.asset)
        return True

    def end_offline(self, asset: str) -> bool:
        """End an asset's offline state if it has reported since; return whether that was the case."""
        if asset not in self.offline:
            return False
        if not self._has_reported_since(asset, self.connections[asset].at_ms):
            return False
        self.offline.discard(asset)
        return True

    def _has_reported_since(self, asset: str, time_ms: int) -> bool:
        newest = self.reports.get(asset)
        return newest is not None and newest.time_ms > time_ms

    def is_online(self, asset: str) -> bool | None:
        """Return whether the asset is connected; None if Infodeck has said nothing."""
        return asset not in self.offline if asset in self.connections else None

    def value_to_show(self, point: Point, now_ms: int) -> Update | None:
        """Return what the point must show: an override, the newest reading, or its stand-in.

        None for a point that never had a value. After an override, a point without any reading shows that
        it has no value.
        """
        if (override := self.overrides.get(point)) is not None:
            value = override.value
            return Update(point, value, value, Quality.FORCED, override.since_ms, NO_EVENT, None)
        if (reading := self.readings.get(point)) is not None:
            return reading if point.is_computed else self.stand_in(reading, now_ms) or reading
        if (ended := self.ended_overrides.get(point)) is not None:
            return Update(point, None, None, Quality.BAD, ended.until_ms, NO_EVENT, None)
        return None

    def stand_in(self, reading: Update, now_ms: int) -> Update | None:
        """Return what is shown instead of a reading that is stale or whose device is offline, else None."""
        point = reading.point
        if point.asset in self.offline:
            quality = Quality.OFFLINE
        elif self.is_fresh(reading, now_ms):
            return None
        else:
            quality = Quality.STALE
        value = self.fallback(point)
        if quality is Quality.STALE and value is not None and point.on_stale.policy is StalePolicy.HOLD:
            quality = Quality.HELD
        return replace(reading, value=value, safe_value=value, quality=quality)

    def fallback(self, point: Point) -> Scalar:
        """Return the value that `on_stale` puts in the place of one that cannot be trusted."""
        if point.on_stale.policy is not StalePolicy.HOLD:
            return point.on_stale.value
        good = self.last_good.get(point)
        return good.value if good is not None else None

    def has_simple_ages(self, seq: int) -> bool:
        """Return whether the age of the readings in event `seq` is simply now minus their date."""
        steps = self.clock_steps
        return not (steps.count or self.early_ms) and seq > steps.earlier_run_through

    def is_fresh(self, reading: Update, now_ms: int) -> bool:
        """Return whether a reading is known to be within its point's `stale_after`."""
        stale_after_ms = reading.point.stale_after_ms
        return stale_after_ms is None or self.is_within(reading, stale_after_ms, now_ms)

    def is_within(self, reading: Update, limit_ms: int, now_ms: int) -> bool:
        """Return whether the age of a reading is known, and no more than `limit_ms`."""
        is_known = self.clock_steps.is_age_known(reading.time_ms, reading.seq, now_ms)
        return is_known and self.age_ms(reading, now_ms) <= limit_ms

    def is_current(self, reading: Update, now_ms: int) -> bool:
        """Return whether a reading is good and nothing stands in for it but an override."""
        if reading.quality is not Quality.GOOD or reading.point.is_computed:
            return reading.quality is Quality.GOOD
        return reading.point.asset not in self.offline and self.is_fresh(reading, now_ms)

    def age_ms(self, reading: Update, now_ms: int) -> int:
        """Return the age of a point's newest reading, at least the time since it arrived if it came early."""
        age_ms = self.clock_steps.age_ms(reading.time_ms, reading.seq, now_ms)
        if self.early_ms and (arrived_ms := self.early_ms.get(reading.point)) is not None:
            return max(age_ms, now_ms - arrived_ms)
        return age_ms

    def has_expired(self, override: Override, now_ms: int) -> bool:
        """Return whether an override is over; one of an earlier run also if the clock is before its begin."""
        if override.ends_ms is not None:
            return override.ends_ms <= now_ms
        wall_ms = now_ms + self.clock_steps.ahead_ms
        return not override.since_ms - CLOCK_LEAD_MS <= wall_ms < override.until_ms

    def expired(self, override: Override, now_ms: int) -> Override:
        """Return an override with its end set to now."""
        until_ms = min(override.until_ms, now_ms + self.clock_steps.ahead_ms)
        return replace(override, until_ms=until_ms, ends_ms=now_ms)

    def values_to_save(self, points: Iterable[Point]) -> Iterator[LastValue]:
        """Yield the unconverted readings of `points`, from which any point table can restore them."""
        for point in points:
            reading = self.readings.get(point)
            if reading is None:
                continue
            good = self.last_good.get(point)
            yield LastValue(
                point=point.name,
                asset=point.asset,
                source=point.source,
                raw=reading.raw,
                last_good=good.raw if good is not None else None,
                time_ms=reading.time_ms,
                seq=reading.seq,
                event_id=reading.event_id,
                raw_unit=reading.raw_unit,
                last_good_unit=good.raw_unit if good is not None else None,
            )


class PseudoPoints:
    """Makes the updates of pseudo points and enters them into `shown`."""

    def __init__(self, points: PointMap, *, known: PointState, shown: dict[Point, Update]) -> None:
        self._known = known
        self._shown = shown
        self._heartbeat = points.heartbeat
        self._ages = [
            point for plan in points.by_asset.values() for point in plan.pseudo if point.source == "$age"
        ]

    def refresh_asset(self, plan: AssetPlan, now_ms: int) -> list[Update]:
        """Return the asset's `$age`, and its `$quality` and `$online` if they changed."""
        out = []
        for point in plan.pseudo:
            if point.source == "$age":
                if point.asset in self._known.reports:
                    out.append(self._age(point, now_ms))
                continue
            value = (
                self._worst_quality(point.asset, plan)
                if point.source == "$quality"
                else self._online(point.asset)
            )
            before = self._shown.get(point)
            if before is None:
                is_news = value is not None or self._may_have_shown_quality(point.asset, plan)
            else:
                is_news = value != before.value
            if is_news:
                out.append(self._show(point, value, now_ms))
        return out

    def refresh_ages(self, now_ms: int) -> list[Update]:
        """Return every `$age` whose asset has reported, and the heartbeat."""
        reports = self._known.reports
        out = [self._age(point, now_ms) for point in self._ages if point.asset in reports]
        return [*out, *self.refresh_heartbeat(now_ms)]

    def refresh_heartbeat(self, now_ms: int) -> list[Update]:
        """Return the heartbeat, if the point tables have one."""
        if self._heartbeat is None:
            return []
        every_ms, point = self._heartbeat
        return [self._show(point, now_ms // every_ms % _HEARTBEAT_WRAPS_AT, now_ms)]

    def _worst_quality(self, asset: str, plan: AssetPlan) -> int | None:
        """Return the worst quality of the asset's points, None if none of them ever had a value."""
        known = self._known
        if asset in known.offline:
            return int(Quality.OFFLINE)
        points = plan.measured + plan.computed
        seen = (point for point in points if point in known.readings or point in known.overrides)
        return max((int(self._shown[point].quality) for point in seen), default=None)

    def _may_have_shown_quality(self, asset: str, plan: AssetPlan) -> bool:
        """Return whether receivers may have a quality from before any reading: forced, or offline."""
        known = self._known
        return asset in known.connections or any(
            point in known.ended_overrides for point in plan.measured + plan.computed
        )

    def _online(self, asset: str) -> int | None:
        online = self._known.is_online(asset)
        return None if online is None else int(online)

    def _age(self, point: Point, now_ms: int) -> Update:
        newest, steps = self._known.reports[point.asset], self._known.clock_steps
        if not steps.is_age_known(newest.time_ms, newest.seq, now_ms):
            return self._show(point, None, now_ms)
        age_ms = steps.age_ms(newest.time_ms, newest.seq, now_ms)
        return self._show(point, max(0, age_ms) // 1000, now_ms)

    def _show(self, point: Point, value: int | None, now_ms: int) -> Update:
        quality = Quality.GOOD if value is not None else Quality.BAD
        dated_ms = now_ms + self._known.clock_steps.ahead_ms
        update = self._shown[point] = Update(point, value, value, quality, dated_ms, NO_EVENT, None)
        return update
