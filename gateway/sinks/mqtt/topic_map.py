"""Which points of a table have which topics on one sink, and what changes with the next table."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.sinks.mqtt.value_topics import AssetMember, AssetTopic, Metadata, PointTopic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point
    from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery
    from gateway.sinks.mqtt.value_topics import ValueTopic

_shown = attrgetter("point", "asset", "source", "unit_of_measure")


class TopicMap:
    """The topics of a sink. A point may have a topic of its own, a part in its asset's, or both."""

    def __init__(
        self,
        points: Iterable[Point],
        *,
        sink: str,
        topics: TopicScheme,
        bare: bool,
        discovery: HomeAssistantDiscovery | None = None,
    ) -> None:
        """Make the topics of every point that goes to this sink."""
        self._scheme = topics
        self._discovery = discovery
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
        self._metadata = {each.topic for topic in self.by_topic.values() for each in self.describe(topic)}

    def __contains__(self, topic: str) -> bool:
        """Return whether a value or metadata may be retained on a topic."""
        return topic in self.by_topic or topic in self._metadata

    def describe(self, topic: ValueTopic) -> Iterator[Metadata]:
        """Yield the metadata of a topic, which is published and cleared with it."""
        yield topic.meta()
        if self._discovery is None:
            return
        for point in topic.points:
            if self._scheme.topics(point)[0] != topic.topic:
                continue  # described once: by its own topic rather than by its asset's
            in_asset = isinstance(topic, AssetTopic)
            entity = self._discovery.entity(point, topic=topic.topic, in_asset=in_asset)
            if entity is not None:
                yield Metadata(*entity)

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
