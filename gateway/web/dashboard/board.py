"""What all points show, for browsers that watch: compared once a second, encoded once for all of them.

Events pay nothing for it. With nobody watching, only the last values of each point are remembered, so that
who opens the page sees where a value comes from.
"""

from __future__ import annotations

import asyncio
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.mapping.live.image import PointImage
    from gateway.mapping.plan import PointMap
    from gateway.model import Update

_MOST_WATCHING = 20
_MOST_WAITING = 30  # messages of one browser: half a minute
_MOST_REMEMBERED = 48  # values of a point
_LEAST_REMEMBERED = 8
_REMEMBERED_IN_ALL = 480_000  # with many points, fewer of each

Message = tuple[str, bytes]  # its name, and JSON


class Board:
    """Belongs to the event loop; `tick` is called once a second."""

    def __init__(self, image: Callable[[], PointImage], *, status: Callable[[], dict[str, Any]]) -> None:
        """`image` is the one in force, `status` a JSON-ready copy of what the gateway knows about itself."""
        self._image = image
        self._status = status
        self._points: PointMap | None = None
        self._shown: list[Update | None] = []
        self._recent: dict[str, array[float]] = {}  # by point: times (Unix s) and values in turns
        self._most = _MOST_REMEMBERED
        self._watching: set[asyncio.Queue[Message | None]] = set()
        self.generation = 0  # of the point tables: what a point's number means

    def tick(self) -> None:
        """Remember what has changed, and tell whoever watches."""
        changed = self._compare()
        if not self._watching:
            return
        if changed:
            self._tell("values", orjson.dumps([_row(number, update) for number, update in changed]))
        self._tell("status", orjson.dumps(self._status()))

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[Message | None]]:
        """Give a queue of messages, which begins with everything; None ends it.

        Raises TransientError where too many watch already.
        """
        if len(self._watching) >= _MOST_WATCHING:
            raise TransientError(f"{_MOST_WATCHING} pages are open already: close one")
        self._compare()
        queue: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
        queue.put_nowait(("tables", orjson.dumps(self.generation)))
        shown = [_row(number, update) for number, update in enumerate(self._shown) if update is not None]
        queue.put_nowait(("values", orjson.dumps(shown)))
        queue.put_nowait(("status", orjson.dumps(self._status())))
        self._watching.add(queue)
        try:
            yield queue
        finally:
            self._watching.discard(queue)

    def close(self) -> None:
        """End all watching."""
        for queue in list(self._watching):
            self._end(queue)

    def recent(self, names: Iterable[str]) -> dict[str, list[float]]:
        """Return the last numbers of points by name, oldest first: time (Unix s) and value in turns."""
        return {name: list(self._recent[name]) for name in names if name in self._recent}

    def _compare(self) -> list[tuple[int, Update]]:
        """Return what shows something else than before, by the number of the point."""
        image = self._image()
        if image.points is not self._points:
            self._begin(image.points)
        changed = []
        shown = self._shown
        for number, point in enumerate(image.points.points):
            update = image.latest(point)
            if update is not None and update is not shown[number]:
                shown[number] = update
                changed.append((number, update))
                self._remember(update)
        return changed

    def _begin(self, points: PointMap) -> None:
        """Begin with other point tables; points of the same name keep what is remembered of them."""
        self._points = points
        self._shown = [None] * len(points.points)
        self._recent = {name: found for name, found in self._recent.items() if name in points.by_name}
        room = _REMEMBERED_IN_ALL // max(1, len(points.points))
        self._most = max(_LEAST_REMEMBERED, min(_MOST_REMEMBERED, room))
        self.generation += 1
        self._tell("tables", orjson.dumps(self.generation))

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
    return [number, update.value, update.quality.name.lower(), update.time_ms, update.event_id]
