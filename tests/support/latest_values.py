"""`LatestValues` over a dict, by point name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.clock import now_ms
from gateway.model import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Point, Scalar, Update


class DictLatestValues:
    """The newest updates of `take`. `now_ms` None is the present time."""

    def __init__(self) -> None:
        self.now_ms: int | None = None
        self._updates: dict[str, Update] = {}
        self._good: dict[str, Scalar] = {}

    def take(self, updates: Iterable[Update]) -> None:
        """Keep those that are not older than the known ones."""
        for update in updates:
            if self.is_newest(update):
                self._updates[update.point.name] = update
                if update.quality is Quality.GOOD:
                    self._good[update.point.name] = update.value

    def latest(self, point: Point) -> Update | None:
        """Return the newest update of `point`."""
        return self._updates.get(point.name)

    def all_latest(self) -> Iterable[Update]:
        """Return the newest update of every point."""
        return list(self._updates.values())

    def last_good(self, point: Point) -> Scalar:
        """Return the last good value of `point`."""
        return self._good.get(point.name)

    def is_newest(self, update: Update) -> bool:
        """Return whether `update` is at least as new as the known one."""
        known = self._updates.get(update.point.name)
        return known is None or update.time_ms >= known.time_ms

    def age_ms(self, update: Update) -> int:
        """Return the age of `update`."""
        return (now_ms() if self.now_ms is None else self.now_ms) - update.time_ms
