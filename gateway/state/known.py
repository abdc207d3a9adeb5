"""What is known of points and devices, and what follows from it: pure state, with time as an argument."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.model import Point, Quality, StalePolicy, Update
from gateway.state.clock_steps import CLOCK_LEAD_MS, ClockSteps

if TYPE_CHECKING:
    from gateway.model import Scalar
    from gateway.records import LastValue, OnlineState, Override

NO_EVENT = 0  # the journal number of what no event caused
_TIME_MS = attrgetter("time_ms")


class Known:
    """Newest readings, last good ones, forced values, connections. All times are Unix milliseconds.

    `now_ms` is by the steady clock; `steps` knows the wall clock, which dates readings and what is told.
    """

    def __init__(self, steps: ClockSteps) -> None:
        self.steps = steps
        self.measured: dict[Point, Update] = {}
        self.early: dict[Point, int] = {}  # when readings were taken that are dated later than that
        self.last_good: dict[Point, Update] = {}
        self.reports: dict[str, Update | LastValue] = {}  # each asset's newest reading
        self.forced: dict[Point, Override] = {}
        self.ended: dict[Point, Override] = {}  # overrides that are over, of points without any reading
        self.told: dict[str, OnlineState] = {}  # what was said last of each device's connection
        self.offline: set[str] = set()  # assets said to be offline that have not reported since

    def copy(self) -> Known:
        """Return a copy that shares nothing but the updates, which never change once they are taken."""
        copied = Known(self.steps)
        copied.measured = dict(self.measured)
        copied.early = dict(self.early)
        copied.last_good = dict(self.last_good)
        copied.reports = dict(self.reports)
        copied.forced = dict(self.forced)
        copied.ended = dict(self.ended)
        copied.told = dict(self.told)
        copied.offline = set(self.offline)
        return copied

    def take(self, updates: list[Update], now_ms: int) -> list[Update]:
        """Take those of an asset's readings that are the newest of their points; return them."""
        taken = [update for update in updates if self._take(update)]
        if taken:
            newest = max(taken, key=_TIME_MS)
            self.note_report(newest.point.asset, newest)
            if self.early or self.steps.count or newest.time_ms > now_ms:
                for update in taken:
                    self._note_early(update, now_ms)
        return taken

    def _take(self, update: Update) -> bool:
        """Take a reading if it is the newest of its point; equal times count as new."""
        point = update.point
        before = self.measured.get(point)
        if before is not None and (update.time_ms, update.seq) < (before.time_ms, before.seq):
            return False
        if update.quality is Quality.GOOD:
            self.last_good[point] = update
        elif point.on_stale.policy is StalePolicy.HOLD:
            update.safe_value = self._held(point)
        self.measured[point] = update
        return True

    def _note_early(self, update: Update, now_ms: int) -> None:
        if self.steps.steady_ms(update.time_ms, update.seq) > now_ms:
            self.early[update.point] = now_ms
        else:
            self.early.pop(update.point, None)

    def note_report(self, asset: str, reading: Update | LastValue) -> None:
        """Take in that an asset has reported, whether any point shows what or not."""
        before = self.reports.get(asset)
        if before is None or reading.time_ms > before.time_ms:
            self.reports[asset] = reading

    def has_reported_since(self, asset: str, time_ms: int) -> bool:
        """Say whether the asset has a later reading."""
        newest = self.reports.get(asset)
        return newest is not None and newest.time_ms > time_ms

    def tell(self, state: OnlineState, *, now_ms: int) -> bool:
        """Take what is said of a connection if nothing newer was; equal times count as new.

        What was said at a time that has yet to come was said by a clock that has been set back since.
        """
        before = self.told.get(state.asset)
        if before is not None and state.at_ms < before.at_ms <= now_ms + self.steps.ahead_ms + CLOCK_LEAD_MS:
            return False
        self.told[state.asset] = state
        if state.online or self.has_reported_since(state.asset, state.at_ms):
            self.offline.discard(state.asset)
        else:
            self.offline.add(state.asset)
        return True

    def has_come_back(self, asset: str) -> bool:
        """End the asset's being offline if it has reported since; say whether that was so."""
        if asset not in self.offline or not self.has_reported_since(asset, self.told[asset].at_ms):
            return False
        self.offline.discard(asset)
        return True

    def is_online(self, asset: str) -> bool | None:
        """Say whether the asset is connected, as was said last or shown since; None: nothing was said."""
        return asset not in self.offline if asset in self.told else None

    def shown(self, point: Point, now_ms: int) -> Update | None:
        """Return what the point must show: a forced value, the newest reading, or its stand-in.

        None where it has never had a value. After an override, a point without any reading shows no value.
        """
        if (forced := self.forced.get(point)) is not None:
            value = forced.value
            return Update(point, value, value, Quality.FORCED, forced.since_ms, NO_EVENT, None)
        if (measured := self.measured.get(point)) is not None:
            return self.stand_in(measured, now_ms) or measured
        if (ended := self.ended.get(point)) is not None:
            return Update(point, None, None, Quality.BAD, ended.until_ms, NO_EVENT, None)
        return None

    def are_dates_plain(self, seq: int) -> bool:
        """Say whether the age of an event's readings is simply the time since they are dated."""
        return not (self.steps.count or self.early) and seq > self.steps.earlier_run_through

    def stand_in(self, measured: Update, now_ms: int) -> Update | None:
        """Return what stands in for a reading that is no longer fresh, or whose device is offline."""
        point = measured.point
        if point.asset in self.offline:
            value = self._held(point)
            quality = Quality.OFFLINE
        elif self.is_fresh(measured, now_ms):
            return None
        else:
            value = self._held(point)
            held = point.on_stale.policy is StalePolicy.HOLD and value is not None
            quality = Quality.HELD if held else Quality.STALE
        return replace(measured, value=value, safe_value=value, quality=quality)

    def is_fresh(self, measured: Update, now_ms: int) -> bool:
        """Say whether a reading is not older than its point allows, as far as that is known."""
        stale_after_ms = measured.point.stale_after_ms
        if stale_after_ms is None:
            return True
        is_known = self.steps.is_age_known(measured.time_ms, measured.seq, now_ms)
        return is_known and self.age_ms(measured, now_ms) <= stale_after_ms

    def age_ms(self, measured: Update, now_ms: int) -> int:
        """Return how old a point's newest reading is: as old as it came, and what has passed since."""
        age_ms = self.steps.age_ms(measured.time_ms, measured.seq, now_ms)
        if self.early and (taken_ms := self.early.get(measured.point)) is not None:
            return max(age_ms, now_ms - taken_ms)
        return age_ms

    def is_over(self, forced: Override, now_ms: int) -> bool:
        """Say whether an override is over; of an earlier run also where the clock is before its begin."""
        if forced.ends_ms is not None:
            return forced.ends_ms <= now_ms
        return not forced.since_ms - CLOCK_LEAD_MS <= now_ms + self.steps.ahead_ms < forced.until_ms

    def ended_now(self, forced: Override, now_ms: int) -> Override:
        """Return an override as one that is over."""
        until_ms = min(forced.until_ms, now_ms + self.steps.ahead_ms)
        return replace(forced, until_ms=until_ms, ends_ms=now_ms)

    def _held(self, point: Point) -> Scalar:
        """Return the value that `on_stale` puts in the place of one that cannot be trusted."""
        if point.on_stale.policy is not StalePolicy.HOLD:
            return point.on_stale.value
        good = self.last_good.get(point)
        return good.value if good is not None else None
