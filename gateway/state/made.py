"""The values that no sensor measures: age, quality and connection of each asset, and the heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Quality, Update
from gateway.state.known import NO_EVENT

if TYPE_CHECKING:
    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Point
    from gateway.state.known import Known

_HEARTBEAT_WRAPS_AT = 32_768  # fits every register type, and never reads as a sentinel


class Made:
    """Makes them from what is known and shown, and puts them among what is shown."""

    def __init__(self, points: PointMap, *, known: Known, shown: dict[Point, Update]) -> None:
        self._known = known
        self._shown = shown
        self._heartbeat = points.heartbeat
        self._ages = [
            point for plan in points.by_asset.values() for point in plan.pseudo if point.source == "$age"
        ]

    def of(self, plan: AssetPlan, now_ms: int) -> list[Update]:
        """Return the asset's age in seconds, and its quality and connection where they changed."""
        out = []
        for point in plan.pseudo:
            if point.source == "$age":
                if point.asset in self._known.reports:
                    out.append(self._age(point, now_ms))
                continue
            value = (
                self._worst(point.asset, plan) if point.source == "$quality" else self._online(point.asset)
            )
            before = self._shown.get(point)
            if before is None:
                is_news = value is not None or self._had_quality(point.asset, plan)
            else:
                is_news = value != before.value
            if is_news:
                out.append(self._show(point, value, now_ms))
        return out

    def ages(self, now_ms: int) -> list[Update]:
        """Return the present value of every `$age` point whose asset has reported, and the heartbeat's."""
        reports = self._known.reports
        out = [self._age(point, now_ms) for point in self._ages if point.asset in reports]
        return [*out, *self.beat(now_ms)]

    def beat(self, now_ms: int) -> list[Update]:
        """Return the present value of the heartbeat, where the tables have one."""
        if self._heartbeat is None:
            return []
        every_ms, point = self._heartbeat
        return [self._show(point, now_ms // every_ms % _HEARTBEAT_WRAPS_AT, now_ms)]

    def _worst(self, asset: str, plan: AssetPlan) -> int | None:
        """Return the worst quality of the asset's points, None where none of them has ever had a value."""
        known = self._known
        if asset in known.offline:
            return int(Quality.OFFLINE)
        seen = (point for point in plan.measured if point in known.measured or point in known.forced)
        return max((int(self._shown[point].quality) for point in seen), default=None)

    def _had_quality(self, asset: str, plan: AssetPlan) -> bool:
        """Say whether receivers may have been shown a quality before any reading: forced, or offline."""
        known = self._known
        return asset in known.told or any(point in known.ended for point in plan.measured)

    def _online(self, asset: str) -> int | None:
        online = self._known.is_online(asset)
        return None if online is None else int(online)

    def _age(self, point: Point, now_ms: int) -> Update:
        newest, steps = self._known.reports[point.asset], self._known.steps
        if not steps.is_age_known(newest.time_ms, newest.seq, now_ms):
            return self._show(point, None, now_ms)
        age_ms = steps.age_ms(newest.time_ms, newest.seq, now_ms)
        return self._show(point, max(0, age_ms) // 1000, now_ms)

    def _show(self, point: Point, value: int | None, now_ms: int) -> Update:
        quality = Quality.GOOD if value is not None else Quality.BAD
        dated_ms = now_ms + self._known.steps.ahead_ms
        update = self._shown[point] = Update(point, value, value, quality, dated_ms, NO_EVENT, None)
        return update
