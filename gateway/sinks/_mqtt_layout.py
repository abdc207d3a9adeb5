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

_AT_ONCE = 50  # topics announced before live values have their turn

_log = structlog.get_logger()

_described = attrgetter("asset", "tag", "point", "description", "unit_of_measure", "tags")
_meaning = attrgetter("asset", "source", "unit_of_measure", "conversion", "on_stale", "cov")


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
                if point.mqtt is not None and (point.mqtt.sinks is None or sink in point.mqtt.sinks)
            }
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What lies between two layouts. `topics` are those that are gone, are new or have another `$meta`.

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
            if before is None or _described(before.point) != _described(outlet.point):
                topics.append(topic)
            if (
                outlet.point.cov is not None
                and before is not None
                and _meaning(before.point) == _meaning(outlet.point)
            ):
                kept.append((before, outlet))
        return cls(old, new, topics, kept)


class Announcer:
    """Says beside the values what the points are (`$meta`), and clears the topics of points that are gone.

    Both are retained. What could not be said because the broker was away is said at the next connection.
    """

    def __init__(self, *, sink: str) -> None:
        """Have nothing to say yet."""
        self._sink = sink
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
    ) -> None:
        """Announce whatever is noted, by the layout in force, until the connection is lost."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._topics:
                topics = list(islice(self._topics, _AT_ONCE))
                for topic in topics:
                    del self._topics[topic]
                try:
                    rejections = await publish(_announcements(topics, layout))
                except BaseException as error:
                    self.note(topics)
                    if isinstance(error, TransientError):
                        return
                    raise
                self._tell(rejections)

    def _tell(self, rejections: list[Rejection]) -> None:
        if rejections:
            topic, reason = rejections[0].message.topic, rejections[0].reason
            _log.warning("sink.refused", sink=self._sink, topics=len(rejections), first=topic, reason=reason)


def _announcements(topics: Iterable[str], layout: Callable[[], Layout]) -> Iterator[Message]:
    """Make the messages one by one, by the layout that is in force when each is sent."""
    for topic in topics:
        outlet = layout().by_topic.get(topic)
        if outlet is not None:
            yield Message(f"{topic}/$meta", outlet.meta(), retain=True)
        else:
            yield Message(topic, b"", retain=True)
            yield Message(f"{topic}/$meta", b"", retain=True)
