"""All points of one table on one broker, and what has to be said there when another table takes over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

import structlog

from gateway.errors import TransientError
from gateway.sinks._mqtt_connection import Message
from gateway.sinks._mqtt_outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from gateway.model import Point
    from gateway.sinks._mqtt_connection import Rejection

_META = "/$meta"
_AT_ONCE = 50  # topics announced before live values have their turn

_log = structlog.get_logger()

_origin = attrgetter("asset", "source")
_described = attrgetter("asset", "tag", "point", "description", "unit_of_measure", "tags")
_meaning = attrgetter("asset", "source", "unit_of_measure", "conversion", "on_stale", "stale_after_ms", "cov")


@dataclass(frozen=True, slots=True)
class Layout:
    """The outlets of a sink, by point and by topic."""

    outlets: dict[Point, Outlet]
    by_topic: dict[str, Outlet] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_topic", {outlet.topic: outlet for outlet in self.outlets.values()})

    @classmethod
    def of(cls, points: Iterable[Point], *, sink: str, prefix: str, plain: bool) -> Layout:
        """Make the outlet of every point that goes to this sink."""
        return cls(
            {
                point: Outlet.of(point, prefix=prefix, plain=plain)
                for point in points
                if point.mqtt is not None and point.mqtt.goes_to(sink)
            }
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What lies between two layouts. `topics` are those that are gone, are new or mean something else.

    `kept` are outlets that mean the same as before, and so go on with the deadband of their predecessor.
    """

    old: Layout
    new: Layout
    topics: list[str]
    kept: list[tuple[Outlet, Outlet]]

    @classmethod
    def between(cls, old: Layout, new: Layout) -> Change:
        """Compare topic by topic."""
        topics = [topic for topic in old.by_topic if topic not in new.by_topic]
        kept = []
        for topic, outlet in new.by_topic.items():
            before = old.by_topic.get(topic)
            if before is None or any(
                part(before.point) != part(outlet.point) for part in (_described, _origin)
            ):
                topics.append(topic)
            if (
                outlet.point.cov is not None
                and before is not None
                and _meaning(before.point) == _meaning(outlet.point)
            ):
                kept.append((before, outlet))
        return cls(old, new, topics, kept)


class Announcer:
    """Says beside the values what the points are (`$meta`), and clears topics of points that are gone.

    A point without a value has its topic cleared, too: what stands there was measured by another device.
    All of it is retained by the broker. What could not be said because that was away is said at the next
    connection.
    """

    def __init__(self, *, sink: str, retained: dict[str, bool]) -> None:
        """`retained`: topics that the broker may hold something of, and whether that may be a value."""
        self._sink = sink
        self._retained = retained
        self._topics: dict[str, None] = {}  # those of which the broker must be told, in order
        self._news = asyncio.Event()

    def note(self, topics: Iterable[str]) -> None:
        """Have these topics announced, or cleared where no point has them by then."""
        self._topics.update(dict.fromkeys(topics))
        self._news.set()

    async def run(
        self,
        publish: Callable[[Iterable[Message]], Awaitable[list[Rejection]]],
        *,
        layout: Callable[[], Layout],
        has_value: Callable[[Point], bool],
    ) -> None:
        """Announce whatever is noted, by layout and values in force then, until the connection is lost."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._topics:
                topics = list(islice(self._topics, _AT_ONCE))
                for topic in topics:
                    del self._topics[topic]
                cleared: dict[str, bool] = {}
                try:
                    rejections = await publish(self._messages(topics, cleared, layout, has_value))
                except BaseException as error:
                    self.note(topics)
                    if isinstance(error, TransientError):
                        return
                    raise
                self._tell(rejections)
                for rejection in rejections:
                    cleared.pop(rejection.message.topic.removesuffix(_META), None)
                self._take_down(cleared)

    def _messages(
        self,
        topics: Iterable[str],
        cleared: dict[str, bool],
        layout: Callable[[], Layout],
        has_value: Callable[[Point], bool],
    ) -> Iterator[Message]:
        """Make the messages one by one, by what is in force when each is sent.

        Add to `cleared` which topics lose their value, and whether what describes it stays.
        """
        for topic in topics:
            outlet = layout().by_topic.get(topic)
            if (outlet is None or not has_value(outlet.point)) and self._retained.get(topic):
                cleared[topic] = outlet is not None
                yield Message(topic, b"", retain=True)
            if outlet is not None:
                if topic not in self._retained:
                    self._retained[topic] = False
                yield Message(topic + _META, outlet.meta(), retain=True)
            elif topic in self._retained:
                cleared[topic] = False
                yield Message(topic + _META, b"", retain=True)

    def _take_down(self, cleared: dict[str, bool]) -> None:
        """Remember what the broker has cleared."""
        for topic, is_described in cleared.items():
            if is_described:
                self._retained[topic] = False
            else:
                del self._retained[topic]

    def _tell(self, rejections: list[Rejection]) -> None:
        if rejections:
            topic, reason = rejections[0].message.topic, rejections[0].reason
            _log.warning("sink.refused", sink=self._sink, topics=len(rejections), first=topic, reason=reason)
