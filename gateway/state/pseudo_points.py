"""The points that no sensor measures: age, quality and connection of each asset, and the heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Quality, Update
from gateway.state.point_state import NO_EVENT

if TYPE_CHECKING:
    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Point
    from gateway.state.point_state import PointState

_HEARTBEAT_WRAPS_AT = 32_768  # fits every register type, and never equals a sentinel


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
        seen = (point for point in plan.measured if point in known.readings or point in known.overrides)
        return max((int(self._shown[point].quality) for point in seen), default=None)

    def _may_have_shown_quality(self, asset: str, plan: AssetPlan) -> bool:
        """Return whether receivers may have a quality from before any reading: forced, or offline."""
        known = self._known
        return asset in known.connections or any(point in known.ended_overrides for point in plan.measured)

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
