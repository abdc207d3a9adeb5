"""Which points of a table have which topics on one sink, and what changes with the next table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.sinks.mqtt.value_topics import AssetMember, AssetTopic, Metadata, PointTopic, ValueTopic

if TYPE_CHECKING:
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point

Describe = Callable[[ValueTopic], Iterable[Metadata]]
"""Returns the metadata of a topic, which is published and cleared with it."""

_shown = attrgetter("point", "asset", "source", "unit_of_measure")


def meta_only(topic: ValueTopic) -> Iterable[Metadata]:
    """Describe a topic by `…/$meta`."""
    return (topic.meta(),)


class TopicMap:
    """The topics of a sink. A point may have a topic of its own, a part in its asset's, or both."""

    def __init__(
        self,
        points: Iterable[Point],
        *,
        sink: str,
        topics: TopicScheme,
        bare: bool,
        describe: Describe = meta_only,
    ) -> None:
        """Make the topics of every point that goes to this sink."""
        self.describe = describe
        self.by_point: dict[Point, PointTopic] = {}
        self.asset_by_point: dict[Point, AssetTopic] = {}
        assets: dict[str, AssetTopic] = {}
        for point in points:
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            if (topic := topics.point_topic(point, own=point.mqtt.topic)) is not None:
                self.by_point[point] = PointTopic(point, topic, bare=bare)
            if (topic := topics.asset_topic(point)) is not None:
                asset = assets.setdefault(topic, AssetTopic(topic, bare, {}))
                asset.members[point] = AssetMember(point, bare=bare)
                self.asset_by_point[point] = asset
        self.by_topic: dict[str, ValueTopic] = {each.topic: each for each in self.by_point.values()} | assets
        self._metadata = {each.topic for topic in self.by_topic.values() for each in describe(topic)}

    def __contains__(self, topic: str) -> bool:
        """Return whether a value or metadata may be retained on a topic."""
        return topic in self.by_topic or topic in self._metadata

    def is_metadata(self, topic: str) -> bool:
        """Return whether a topic describes another one."""
        return topic in self._metadata

    def changed_topics(self, former: TopicMap) -> list[str]:
        """Return the topics that are gone, are new, or have other metadata than in the former map."""
        gone = [topic for topic in (*former.by_topic, *former._metadata) if topic not in self]
        changed = [
            topic
            for topic, after in self.by_topic.items()
            if (before := former.by_topic.get(topic)) is None
            or (*former.describe(before),) != (*self.describe(after),)
        ]
        return gone + changed

    def outdated_assets(self, former: TopicMap) -> list[AssetTopic]:
        """Return the assets whose retained message has other points than in this map."""
        return [
            asset
            for topic, asset in self.by_topic.items()
            if isinstance(asset, AssetTopic)
            and ((before := former.by_topic.get(topic)) is None or not _shows_same(before, asset))
        ]


def _shows_same(before: ValueTopic, after: ValueTopic) -> bool:
    return [*map(_shown, before.points)] == [*map(_shown, after.points)]
