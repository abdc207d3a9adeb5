"""What is known of points and devices, and what follows from it: pure state, with time as an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Forced, OnlineState, Point, Quality, StalePolicy, Update

if TYPE_CHECKING:
    from gateway.model import Scalar

NO_EVENT = 0  # the journal number of what no event caused
_CLOCK_LEAD_MS = 300_000  # Infodeck's clock may be ahead of ours by so much


class Known:
    """Newest readings, last good ones, forced values, connections. All times are Unix milliseconds."""

    def __init__(self) -> None:
        self.measured: dict[Point, Update] = {}
        self.last_good: dict[Point, Update] = {}
        self.asset_times: dict[str, int] = {}  # of each asset's newest reading
        self.forced: dict[Point, Forced] = {}
        self.ended: dict[Point, Forced] = {}  # overrides that are over, of points without any reading
        self.told: dict[str, OnlineState] = {}  # what was said last of each device's connection
        self.offline: set[str] = set()  # assets said to be offline that have not reported since

    def copy(self) -> Known:
        """Return a copy that shares nothing but the updates, which never change once they are taken."""
        copied = Known()
        copied.measured = dict(self.measured)
        copied.last_good = dict(self.last_good)
        copied.asset_times = dict(self.asset_times)
        copied.forced = dict(self.forced)
        copied.ended = dict(self.ended)
        copied.told = dict(self.told)
        copied.offline = set(self.offline)
        return copied

    def take(self, update: Update) -> bool:
        """Take a reading if it is the newest of its point; equal times count as new."""
        point = update.point
        before = self.measured.get(point)
        if before is not None and (update.time_ms, update.seq) < (before.time_ms, before.seq):
            return False
        if update.quality is Quality.GOOD:
            self.last_good[point] = update
        elif point.on_stale.policy is StalePolicy.HOLD:
            update.plain = self._held(point)
        self.measured[point] = update
        self.note_report(point.asset, update.time_ms)
        return True

    def note_report(self, asset: str, time_ms: int) -> None:
        """Take in that an asset has reported, whether any point shows what or not."""
        if time_ms > self.asset_times.get(asset, 0):
            self.asset_times[asset] = time_ms

    def tell(self, state: OnlineState, *, now_ms: int) -> bool:
        """Take what is said of a connection if nothing newer was; equal times count as new.

        What was said at a time that has yet to come was said by a clock that has been set back since.
        """
        before = self.told.get(state.asset)
        if before is not None and state.at_ms < before.at_ms <= now_ms + _CLOCK_LEAD_MS:
            return False
        self.told[state.asset] = state
        if state.online or self.asset_times.get(state.asset, 0) > state.at_ms:
            self.offline.discard(state.asset)
        else:
            self.offline.add(state.asset)
        return True

    def has_come_back(self, asset: str) -> bool:
        """End the asset's being offline if it has reported since; say whether that was so."""
        if asset not in self.offline or self.asset_times.get(asset, 0) <= self.told[asset].at_ms:
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

    def stand_in(self, measured: Update, now_ms: int) -> Update | None:
        """Return what stands in for a reading that is no longer fresh, or whose device is offline."""
        point = measured.point
        if point.asset in self.offline:
            value = self._held(point)
            quality = Quality.OFFLINE
        elif is_fresh(measured, now_ms):
            return None
        else:
            value = self._held(point)
            held = point.on_stale.policy is StalePolicy.HOLD and value is not None
            quality = Quality.HELD if held else Quality.STALE
        return Update(
            point, value, value, quality, measured.time_ms, measured.seq, measured.event_id, measured.raw
        )

    def _held(self, point: Point) -> Scalar:
        """Return the value that `on_stale` puts in the place of one that cannot be trusted."""
        if point.on_stale.policy is not StalePolicy.HOLD:
            return point.on_stale.value
        good = self.last_good.get(point)
        return good.value if good is not None else None


def is_fresh(measured: Update, now_ms: int) -> bool:
    """Say whether a reading is not older than its point allows."""
    stale_after_ms = measured.point.stale_after_ms
    return stale_after_ms is None or now_ms - measured.time_ms <= stale_after_ms
