"""The points on the dashboard: what they show, sent to open pages, and what does not change of them.

Values are compared once a second and encoded once for all pages, so events cost nothing. While no page is
open, only the last numbers of each point are kept, so that a page has a trend when it opens.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import TransientError
from gateway.mapping.registers import modicon_text
from gateway.model import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Scalar, Update
    from gateway.state.building_state import BuildingState

_MOST_PAGES = 20
_MOST_QUEUED = 30  # messages of one page: half a minute
_MOST_RECENT = 48  # numbers of a point
_LEAST_RECENT = 8
_RECENT_IN_ALL = 480_000  # with many points, fewer of each
_COMPARED_PER_TICK = 20_000  # points; all have changed after a reload, and would hold up the event loop
_COMPARED_WITHOUT_PAGES = 5_000
_POINTS_PER_MESSAGE = 5_000  # 5 ms
_DESCRIBED_AT_ONCE = 500  # points, half a millisecond
_EXACT_IN_BROWSERS = 2**53  # all their numbers are floats

Message = tuple[str, bytes]
"""A server-sent event: its name, and JSON."""


class LivePoints:
    """What all points show, for open pages. Belongs to the event loop; `tick` is called once a second."""

    def __init__(self, state: Callable[[], BuildingState], *, status: Callable[[], dict[str, Any]]) -> None:
        """Begin without pages; `state` returns the one in force, `status` a JSON-ready copy of the status."""
        self._state = state
        self._status = status
        self._points: PointMap | None = None
        self._shown: list[Update | None] = []  # by number of the point
        self._recent: dict[str, array[float]] = {}  # by point: times (Unix s) and values in turns
        self._next = 0  # the number at which the next comparison begins
        self._most_recent = _MOST_RECENT
        self._pages: set[asyncio.Queue[Message | None]] = set()
        self._generation = 0  # of the point tables, which give points their numbers

    def tick(self) -> None:
        """Compare values, and send open pages what has changed."""
        self._send_changes(most=_COMPARED_PER_TICK if self._pages else _COMPARED_WITHOUT_PAGES)
        if self._pages:
            self._send("status", orjson.dumps(self._status()))

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[Message | None]]:
        """Give a page its queue of changes, None at the end; `everything` has what there is already.

        Raises TransientError if too many pages are open.
        """
        if len(self._pages) >= _MOST_PAGES:
            raise TransientError(f"{_MOST_PAGES} pages are open already: close one")
        self._next = 0
        self._send_changes(most=sys.maxsize)  # to the other pages; the new one gets everything
        queue: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_QUEUED)
        self._pages.add(queue)
        try:
            yield queue
        finally:
            self._pages.discard(queue)

    def everything(self) -> Iterator[Message]:
        """Yield what there is now, in messages that are made one by one, so that others run in between.

        What changes meanwhile is in the queue, too, so that a page ends up with the newest values.
        """
        shown = self._shown
        yield "tables", orjson.dumps(self._generation)
        yield "status", orjson.dumps(self._status())
        for first in range(0, max(1, len(shown)), _POINTS_PER_MESSAGE):
            if shown is not self._shown:
                return  # other tables came into force: the queue has all that they show
            part = enumerate(shown[first : first + _POINTS_PER_MESSAGE], start=first)
            rows = [_row(number, update) for number, update in part if update is not None]
            yield "values", orjson.dumps(rows)

    def tables(self) -> tuple[int, PointMap]:
        """Return the generation of the point tables that were sent last, and its points by number.

        Other tables may be in force already: they are sent next.
        """
        points = self._points
        if points is None:
            points = self._begin(self._state().points)
        return self._generation, points

    def close(self) -> None:
        """End all pages' streams."""
        for queue in list(self._pages):
            self._end(queue)

    def recent(self, names: Iterable[str]) -> dict[str, list[float]]:
        """Return the last numbers of points by name, oldest first: time (Unix s) and value in turns."""
        return {name: list(self._recent[name]) for name in names if name in self._recent}

    def _send_changes(self, *, most: int) -> None:
        """Compare the next `most` points, and send open pages those that have changed."""
        state = self._state()
        if state.points is not self._points:
            self._begin(state.points)
        points, shown, changed = state.points.points, self._shown, []
        first = self._next if self._next < len(points) else 0
        self._next = first + most
        for number in range(first, min(self._next, len(points))):
            update = state.latest(points[number])
            if update is not None and update is not shown[number]:
                shown[number] = update
                changed.append((number, update))
                self._add_recent(update)
        if changed and self._pages:
            self._send("values", orjson.dumps([_row(number, update) for number, update in changed]))

    def _begin(self, points: PointMap) -> PointMap:
        """Begin with other point tables; points of the same name keep their last numbers."""
        self._points = points
        self._shown = [None] * len(points.points)
        if len(self._recent) > 2 * len(points.points):  # mostly of points that are gone
            self._recent = {name: found for name, found in self._recent.items() if name in points.by_name}
        room = _RECENT_IN_ALL // max(1, len(points.points))
        self._most_recent = max(_LEAST_RECENT, min(_MOST_RECENT, room))
        self._generation += 1
        self._send("tables", orjson.dumps(self._generation))
        return points

    def _add_recent(self, update: Update) -> None:
        value = update.value
        is_of_trend = update.is_measured or (update.point.is_computed and update.quality is Quality.GOOD)
        if not isinstance(value, int | float) or not is_of_trend:
            return
        recent = self._recent.setdefault(update.point.name, array("d"))
        if recent and recent[-2] > update.time_ms / 1000:
            return  # late
        recent.extend((update.time_ms / 1000, float(value)))
        del recent[: -2 * self._most_recent]

    def _send(self, name: str, document: bytes) -> None:
        for queue in list(self._pages):
            try:
                queue.put_nowait((name, document))
            except asyncio.QueueFull:  # a browser that sleeps; it connects again when it wakes up
                self._end(queue)

    def _end(self, queue: asyncio.Queue[Message | None]) -> None:
        self._pages.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


def _row(number: int, update: Update) -> list[Any]:
    """Return number, value, quality, time (Unix ms) and event of what a point shows."""
    return [
        number,
        exact_in_browsers(update.value),
        update.quality.name.lower(),
        update.time_ms,
        update.event_id,
    ]


def exact_in_browsers(value: Scalar) -> Scalar:
    """Return a value as a browser can show it: a whole number that it would round becomes text."""
    if isinstance(value, int) and not -_EXACT_IN_BROWSERS <= value <= _EXACT_IN_BROWSERS:
        return str(value)
    return value


def describe_points(points: PointMap, *, topics: Mapping[str, TopicScheme]) -> bytes:
    """Return every point in the order of the tables, which is its number, as a JSON list.

    `topics` are those of MQTT sinks, by name. Call it in a thread: it encodes in pieces, for a large building
    at once would hold up the event loop for a tenth of a second.
    """
    described = (_described(point, topics) for point in points.points)
    pieces = []
    while batch := list(islice(described, _DESCRIBED_AT_ONCE)):
        pieces.append(orjson.dumps(batch)[1:-1])
    return b"[%b]" % b",".join(pieces)


def _described(point: Point, topics: Mapping[str, TopicScheme]) -> dict[str, Any]:
    known = point.known
    return {
        "name": point.name,
        "site": point.site,
        "description": point.description,
        "unit": point.unit_of_measure,
        "asset": point.asset or None,
        "asset_name": known.name if known is not None else None,
        "location": known.place if known is not None else None,
        "from": point.source,
        "stale_after_s": None if point.stale_after_ms is None else point.stale_after_ms / 1000,
        **point_places(point, topics),
    }


def point_places(point: Point, topics: Mapping[str, TopicScheme]) -> dict[str, list[dict[str, Any]]]:
    """Return where a point is shown: its topics, its registers by 0-based PDU address, BACnet objects."""
    sinks = [name for name in topics if point.mqtt is not None and point.mqtt.goes_to(name)]
    return {
        "topics": [{"sink": name, "topic": topic} for name in sinks for topic in topics[name].topics(point)],
        "registers": [
            {
                "sink": register.sink,
                "unit": register.unit,
                "table": register.table,
                "address": register.address,
                "modicon": modicon_text(register.table, register.address),
                "type": register.type,
                "bit": register.bit,
                "order": register.order,
                "scale": register.scale,
                "shows": "quality" if register.shows_quality else "value",
            }
            for register in point.registers
        ],
        "objects": [
            {"sink": each.sink, "type": each.type, "instance": each.instance} for each in point.objects
        ],
    }
