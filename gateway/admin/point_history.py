"""The readings of one point over time, from the journal, converted by the tables in force and thinned out.

A chart has so many pixels in a row. Of the readings in each, the first and the last one, the highest, the
lowest and one that is bad are kept, so that the line looks as with all of them.
"""

from __future__ import annotations

import math
import time
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gateway.admin.dashboard_points import exact_in_browsers
from gateway.events import CLOCK_LEAD_MS, STATUS_CHANGED, TELEMETRY, read_online, read_telemetry
from gateway.journal.lookup import search_asset_events
from gateway.state.readings import map_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Record, Scalar

WIDEST = 20_000
"""The most pixels of a history: enough for every reading of two days that come 10 s apart."""

_SEARCH_WITHIN_S = 10.0
_ROWS_AT_ONCE = 2_000  # encoded: more would hold up the event loop


class HistoryWindow(NamedTuple):
    """The times of a history in Unix ms, both included, and its width in pixels."""

    from_ms: int
    to_ms: int
    width: int


class PastReading(NamedTuple):
    """One reading as it was shown if it was the newest; `quality` is `good`, `bad`, `stale` or `offline`."""

    time_ms: int
    seq: int
    value: Scalar
    quality: str
    event_id: str | None


_order = attrgetter("time_ms", "seq")


class _Pixel:
    """The readings of one pixel that are kept, whatever the order in which they come."""

    __slots__ = ("_first", "_high", "_last", "_low", "_marked")

    def __init__(self, reading: PastReading) -> None:
        self._first = self._last = reading
        self._low, self._high = math.inf, -math.inf
        self._marked: dict[str, PastReading] = {}
        self.add(reading)

    def add(self, reading: PastReading) -> None:
        """Keep a reading if it is one of the five."""
        self._first = min(reading, self._first, key=_order)
        self._last = max(self._last, reading, key=_order)
        if reading.quality != "good":
            self._marked["bad"] = reading
        elif isinstance(reading.value, int | float):
            if reading.value < self._low:
                self._low, self._marked["low"] = reading.value, reading
            if reading.value > self._high:
                self._high, self._marked["high"] = reading.value, reading

    def kept(self) -> list[PastReading]:
        """Return them in the order of time."""
        return sorted({self._first, *self._marked.values(), self._last}, key=_order)


class PointHistory:
    """What the events say about one point in a window, in whatever order they come.

    `start` is its last reading before the window, whose value it shows at first.
    """

    def __init__(self, point: Point, window: HistoryWindow) -> None:
        """Begin without readings."""
        self.start: PastReading | None = None
        self.count = 0
        self._point = point
        self._window = window
        self._pixel_ms = max(1, -(-(window.to_ms - window.from_ms) // window.width))
        self._pixels: dict[int, _Pixel] = {}

    def add(self, reading: PastReading) -> None:
        """Add a reading, or that the device was offline."""
        if reading.time_ms > self._window.to_ms:
            return
        number = (reading.time_ms - self._window.from_ms) // self._pixel_ms
        if number < 0:
            self.start = max(self.start or reading, reading, key=_order)
            return
        self.count += reading.quality != "offline"
        pixel = self._pixels.get(number)
        if pixel is None:
            self._pixels[number] = _Pixel(reading)
        else:
            pixel.add(reading)

    def rows(self, now_ms: int) -> Iterator[PastReading]:
        """Yield what is kept, oldest first, and since when the point was stale in between and at the end."""
        last = self.start
        if last is not None:
            yield last
        for number in sorted(self._pixels):
            kept = self._pixels[number].kept()
            yield from self._stale(last, until_ms=kept[0].time_ms)
            yield from kept
            last = kept[-1]
        yield from self._stale(last, until_ms=min(self._window.to_ms, now_ms))

    def _stale(self, last: PastReading | None, *, until_ms: int) -> Iterator[PastReading]:
        limit_ms = self._point.stale_after_ms
        if last is not None and limit_ms is not None and until_ms - last.time_ms > limit_ms:
            yield PastReading(last.time_ms + limit_ms, last.seq, None, "stale", None)


def read_history(
    path: Path,
    points: PointMap,
    point: Point,
    window: HistoryWindow,
    *,
    now_ms: int,
    wanted: Callable[[], bool],
) -> bytes:
    """Return the history of a measured point as JSON. Blocking, for ten seconds at most.

    `rows` have time (Unix ms), value, quality and event. `since_ms` is null, or when the oldest event was
    received that could be read in this time. The search ends early once nobody has `wanted` it any more.
    """
    history, since_ms = PointHistory(point, window), None
    latest_s = time.monotonic() + _SEARCH_WITHIN_S
    for received_ms, record in search_asset_events(path, point.asset):
        if record is not None:
            for reading in _readings(record, points, point):
                history.add(reading)
        elif _is_complete(history, point, window, received_ms):
            break
        elif time.monotonic() > latest_s or not wanted():
            since_ms = received_ms
            break
    head = {"point": point.name, **window._asdict(), "since_ms": since_ms, "readings": history.count}
    return b'%b,"rows":[%b]}' % (orjson.dumps(head)[:-1], b",".join(_encoded(history.rows(now_ms))))


def _is_complete(history: PointHistory, point: Point, window: HistoryWindow, received_ms: int) -> bool:
    """Return whether events from before `received_ms` change nothing in the window."""
    before_ms = window.from_ms - CLOCK_LEAD_MS - received_ms
    if history.start is not None:
        return before_ms > 0
    return point.stale_after_ms is not None and before_ms > point.stale_after_ms


def _readings(record: Record, points: PointMap, point: Point) -> Iterator[PastReading]:
    event, seq = record.event, record.seq
    if event.type == STATUS_CHANGED:
        connection = read_online(event)
        if connection is not None and not connection.online:
            yield PastReading(connection.at_ms, seq, None, "offline", event.event_id)
    elif event.type == TELEMETRY and (telemetry := read_telemetry(event)) is not None:
        for update in map_telemetry(points.by_asset[point.asset], telemetry, event=event, seq=seq):
            if update.point is point:
                quality = update.quality.name.lower()
                yield PastReading(update.time_ms, seq, update.value, quality, event.event_id)


def _encoded(readings: Iterable[PastReading]) -> Iterator[bytes]:
    rows = [(one.time_ms, exact_in_browsers(one.value), one.quality, one.event_id) for one in readings]
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield orjson.dumps(rows[first : first + _ROWS_AT_ONCE])[1:-1]
