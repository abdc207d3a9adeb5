"""What all points show, for browsers that watch: compared once a second, encoded once for all of them.

Events pay nothing for it. With nobody watching, only the last values of each point are remembered, so that
who opens the page sees where a value comes from.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar, Update
    from gateway.state.building_state import BuildingState

_MOST_WATCHING = 20
_MOST_WAITING = 30  # messages of one browser: half a minute
_MOST_REMEMBERED = 48  # values of a point
_LEAST_REMEMBERED = 8
_COMPARED_AT_ONCE = 20_000  # points a second, 2 ms; more of them have their turns
_TOLD_AT_ONCE = 5_000  # points in a message, 5 ms
_COMPARED_UNSEEN = 5_000  # likewise, where nobody watches
_REMEMBERED_IN_ALL = 480_000  # with many points, fewer of each
_EXACT_IN_BROWSERS = 2**53  # all their numbers are floats

Message = tuple[str, bytes]  # its name, and JSON


class Board:
    """Belongs to the event loop; `tick` is called once a second."""

    def __init__(self, image: Callable[[], BuildingState], *, status: Callable[[], dict[str, Any]]) -> None:
        """`image` is the one in force, `status` a JSON-ready copy of what the gateway knows about itself."""
        self._image = image
        self._status = status
        self._points: PointMap | None = None
        self._shown: list[Update | None] = []
        self._next = 0  # the number of the point at which the next comparison begins
        self._recent: dict[str, array[float]] = {}  # by point: times (Unix s) and values in turns
        self._most = _MOST_REMEMBERED
        self._watching: set[asyncio.Queue[Message | None]] = set()
        self._generation = 0  # of the point tables: what a point's number means

    def tick(self) -> None:
        """Remember what has changed, and tell whoever watches."""
        changed = self._compare(_COMPARED_AT_ONCE if self._watching else _COMPARED_UNSEEN)
        if not self._watching:
            return
        self._tell_values(changed)
        self._tell("status", orjson.dumps(self._status()))

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[Message | None]]:
        """Give a queue of what changes from now on, None at its end; what there is, `everything` tells.

        Raises TransientError where too many watch already.
        """
        if len(self._watching) >= _MOST_WATCHING:
            raise TransientError(f"{_MOST_WATCHING} pages are open already: close one")
        self._tell_values(self._compare(sys.maxsize))  # those who watch already; the new one is told all
        queue: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
        self._watching.add(queue)
        try:
            yield queue
        finally:
            self._watching.discard(queue)

    def everything(self) -> Iterator[Message]:
        """Yield what there is now, in messages that are made one by one: others may have their turns between.

        What changes meanwhile is in the queue, too, so that the last word is always the newest.
        """
        shown = self._shown
        yield "tables", orjson.dumps(self._generation)
        yield "status", orjson.dumps(self._status())
        for first in range(0, max(1, len(shown)), _TOLD_AT_ONCE):
            if shown is not self._shown:
                return  # other tables came into force: all that they show is in the queue
            part = enumerate(shown[first : first + _TOLD_AT_ONCE], start=first)
            rows = [_row(number, update) for number, update in part if update is not None]
            yield "values", orjson.dumps(rows)

    def tables(self) -> tuple[int, PointMap]:
        """Return the generation of the point tables that were told last, and the points as it numbers them.

        Others may be in force already: then they are told next.
        """
        points = self._points
        if points is None:
            points = self._image().points
            self._begin(points)
        return self._generation, points

    def close(self) -> None:
        """End all watching."""
        for queue in list(self._watching):
            self._end(queue)

    def recent(self, names: Iterable[str]) -> dict[str, list[float]]:
        """Return the last numbers of points by name, oldest first: time (Unix s) and value in turns."""
        return {name: list(self._recent[name]) for name in names if name in self._recent}

    def _compare(self, most: int) -> list[tuple[int, Update]]:
        """Return what shows something else than before, by the number of the point; look at `most` points."""
        image = self._image()
        if image.points is not self._points:
            self._begin(image.points)
        changed = []
        shown, points = self._shown, image.points.points
        for number in self._turn(min(most, len(points))):
            update = image.latest(points[number])
            if update is not None and update is not shown[number]:
                shown[number] = update
                changed.append((number, update))
                self._remember(update)
        return changed

    def _turn(self, count: int) -> Iterable[int]:
        """Return so many numbers of points, going on where the last turn ended."""
        begin, end = self._next, self._next + count
        all_points = len(self._shown)
        self._next = end % all_points if all_points else 0
        return chain(range(begin, min(end, all_points)), range(max(0, end - all_points)))

    def _begin(self, points: PointMap) -> None:
        """Begin with other point tables; points of the same name keep what is remembered of them."""
        self._points = points
        self._shown = [None] * len(points.points)
        self._next = 0
        self._recent = {name: found for name, found in self._recent.items() if name in points.by_name}
        room = _REMEMBERED_IN_ALL // max(1, len(points.points))
        self._most = max(_LEAST_REMEMBERED, min(_MOST_REMEMBERED, room))
        self._generation += 1
        self._tell("tables", orjson.dumps(self._generation))

    def _remember(self, update: Update) -> None:
        value = update.value
        if not isinstance(value, int | float) or not update.is_measured:
            return
        recent = self._recent.get(update.point.name)
        if recent is None:
            recent = self._recent[update.point.name] = array("d")
        if recent and recent[-2] > update.time_ms / 1000:
            return  # late
        recent.extend((update.time_ms / 1000, float(value)))
        if len(recent) > 2 * self._most:
            del recent[: len(recent) - 2 * self._most]

    def _tell_values(self, changed: Sequence[tuple[int, Update]]) -> None:
        if changed and self._watching:
            self._tell("values", orjson.dumps([_row(number, update) for number, update in changed]))

    def _tell(self, name: str, document: bytes) -> None:
        for queue in list(self._watching):
            try:
                queue.put_nowait((name, document))
            except asyncio.QueueFull:  # a browser that sleeps; it asks again when it wakes up
                self._end(queue)

    def _end(self, queue: asyncio.Queue[Message | None]) -> None:
        self._watching.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


def _row(number: int, update: Update) -> list[Any]:
    """Return number, value, quality, time (Unix ms) and event of what a point shows."""
    return [number, _exact(update.value), update.quality.name.lower(), update.time_ms, update.event_id]


def _exact(value: Scalar) -> Scalar:
    """Return whole numbers that a browser would round as text."""
    if isinstance(value, int) and not -_EXACT_IN_BROWSERS <= value <= _EXACT_IN_BROWSERS:
        return str(value)
    return value
