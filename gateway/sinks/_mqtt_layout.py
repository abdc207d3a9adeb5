"""All points of one table on one broker, and what has to be said there when another table takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.sinks._mqtt_outlet import Companion, Outlet

if TYPE_CHECKING:
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point

Describe = Callable[[Outlet], Iterable[Companion]]
"""Says what an outlet is by retained messages of its own, which come and go with it."""

_origin = attrgetter("asset", "source")
_meaning = attrgetter("asset", "source", "unit_of_measure", "conversion", "on_stale", "stale_after_ms", "cov")


def describe_by_meta(outlet: Outlet) -> Iterable[Companion]:
    """Describe an outlet on `…/$meta`."""
    return (outlet.meta(),)


@dataclass(frozen=True, slots=True)
class Layout:
    """The outlets of a sink, by point, by topic, and by the topics of what describes them."""

    outlets: dict[Point, Outlet]
    describe: Describe
    by_topic: dict[str, Outlet] = field(init=False)
    by_companion: dict[str, Outlet] = field(init=False)

    def __post_init__(self) -> None:
        outlets = self.outlets.values()
        object.__setattr__(self, "by_topic", {outlet.topic: outlet for outlet in outlets})
        described = {each.topic: outlet for outlet in outlets for each in self.describe(outlet)}
        object.__setattr__(self, "by_companion", described)

    @classmethod
    def of(
        cls,
        points: Iterable[Point],
        *,
        sink: str,
        topics: TopicScheme,
        plain: bool,
        describe: Describe = describe_by_meta,
    ) -> Layout:
        """Make the outlet of every point that goes to this sink."""
        outlets = {}
        for point in points:
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            topic = topics.of_point(point, own=point.mqtt.topic)
            if topic is not None:
                outlets[point] = Outlet.of(point, topic, plain=plain)
        return cls(outlets, describe)

    def has(self, topic: str) -> bool:
        """Say whether anything of this layout may be retained on a topic."""
        return topic in self.by_topic or topic in self.by_companion


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
        topics = [topic for topic in (*old.by_topic, *old.by_companion) if not new.has(topic)]
        kept = []
        for topic, outlet in new.by_topic.items():
            before = old.by_topic.get(topic)
            if before is None or not _is_told_the_same(before, old.describe, outlet, new.describe):
                topics.append(topic)
            if (
                outlet.point.cov is not None
                and before is not None
                and _meaning(before.point) == _meaning(outlet.point)
            ):
                kept.append((before, outlet))
        return cls(old, new, topics, kept)


def _is_told_the_same(before: Outlet, tell_before: Describe, outlet: Outlet, tell: Describe) -> bool:
    return _origin(before.point) == _origin(outlet.point) and (*tell_before(before),) == (*tell(outlet),)
