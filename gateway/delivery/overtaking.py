"""Newest values overtake the backlog of a sink: a controller waits for the present, not for yesterday."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.model import Point, Update

_MOST_REMEMBERED = 10_000


class Overtaking:
    """Points that have news behind a backlog, and which readings went ahead of their turn.

    Holds a point once, however often it reports, and no value: the newest is asked for at the last moment.
    """

    def __init__(self, show: Callable[[str], Update | None]) -> None:
        """`show` tells what the point of a name shows now."""
        self._show = show
        self._points: dict[Point, None] = {}
        self._ahead: dict[tuple[Point, int], Update] = {}  # by point and number of the event

    def __bool__(self) -> bool:
        return bool(self._points)

    @property
    def names(self) -> list[str]:
        """The names of the points that wait."""
        return [point.name for point in self._points]

    def note(self, updates: Iterable[Update]) -> None:
        """Have the points of these updates overtake."""
        for update in updates:
            self._points[update.point] = None

    def take(self, at_most: int, *, taken: int) -> list[Update]:
        """Return what the points that wait longest show; not what came in the stream up to `taken`."""
        points = list(islice(self._points, at_most))
        for point in points:
            del self._points[point]
        shown = [update for point in points if (update := self._show(point.name)) is not None]
        return [update for update in shown if not (0 < update.seq <= taken or self._went_ahead(update))]

    def remember(self, updates: Iterable[Update], *, taken: int) -> None:
        """Remember what went ahead of the stream, so that it need not come again."""
        for update in updates:
            if update.seq > taken and len(self._ahead) < _MOST_REMEMBERED:
                self._ahead[update.point, update.seq] = update

    def without_repetitions(self, updates: Sequence[Update]) -> Sequence[Update]:
        """Return those of one event's updates that did not go ahead."""
        if not self._ahead:
            return updates
        return [update for update in updates if not self._went_ahead(update)]

    def forget_through(self, taken: int) -> None:
        """Forget readings of events whose turn has come: about in their order, so some a little later."""
        while self._ahead:
            first = next(iter(self._ahead))
            if first[1] > taken:
                return
            del self._ahead[first]

    def clear(self) -> None:
        """Forget everything: the stream has no backlog, or starts anew."""
        self._points.clear()
        self._ahead.clear()

    def _went_ahead(self, update: Update) -> bool:
        """Say whether this reading did: not one of the same event that something stood in for."""
        ahead = self._ahead.get((update.point, update.seq))
        if ahead is None or ahead is update:
            return ahead is not None
        ours, theirs = ((each.time_ms, each.quality, each.raw) for each in (update, ahead))
        return ours == theirs
