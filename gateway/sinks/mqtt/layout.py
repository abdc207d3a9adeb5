"""All points of one table on one broker, and what has to be said there when another table takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.sinks.mqtt.asset import AssetOutlet, Member
from gateway.sinks.mqtt.outlet import Companion, Outlet

if TYPE_CHECKING:
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point

AnyOutlet = Outlet | AssetOutlet
Describe = Callable[[AnyOutlet], Iterable[Companion]]
"""Says what an outlet is by retained messages of its own, which come and go with it."""

_part = attrgetter("point", "asset", "source", "unit_of_measure")
_origin = attrgetter("asset", "source")
_meaning = attrgetter("asset", "source", "unit_of_measure", "conversion", "on_stale", "stale_after_ms", "cov")


def describe_by_meta(outlet: AnyOutlet) -> Iterable[Companion]:
    """Describe an outlet on `…/$meta`."""
    return (outlet.meta(),)


@dataclass(frozen=True, slots=True)
class Layout:
    """The outlets of a sink: by point, by topic, and by the topics of what describes them.

    A point may have an outlet for itself (`outlets`), a part in its asset's (`assets`), or both.
    """

    outlets: dict[Point, Outlet]
    assets: dict[Point, AssetOutlet]
    describe: Describe
    by_topic: dict[str, AnyOutlet] = field(init=False)
    by_companion: dict[str, AnyOutlet] = field(init=False)

    def __post_init__(self) -> None:
        both: tuple[AnyOutlet, ...] = (*self.outlets.values(), *dict.fromkeys(self.assets.values()))
        object.__setattr__(self, "by_topic", {outlet.topic: outlet for outlet in both})
        described = {each.topic: outlet for outlet in both for each in self.describe(outlet)}
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
        """Make the outlets of every point that goes to this sink."""
        outlets: dict[Point, Outlet] = {}
        by_asset: dict[str, list[Point]] = {}
        for point in points:
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            if (topic := topics.point_topic(point, own=point.mqtt.topic)) is not None:
                outlets[point] = Outlet.of(point, topic, plain=plain)
            if (topic := topics.asset_topic(point)) is not None:
                by_asset.setdefault(topic, []).append(point)
        assets: dict[Point, AssetOutlet] = {}
        for topic, together in by_asset.items():
            assets |= dict.fromkeys(together, AssetOutlet.of(together, topic, plain=plain))
        return cls(outlets, assets, describe)

    def has(self, topic: str) -> bool:
        """Say whether anything of this layout may be retained on a topic."""
        return topic in self.by_topic or topic in self.by_companion


@dataclass(frozen=True, slots=True)
class Change:
    """What lies between two layouts. `topics` are those that are gone, are new or mean something else.

    `kept` are outlets and parts of points that mean the same as before, and so go on with the deadband
    of their predecessor; `outdated` are assets whose messages show points as the old layout had them.
    """

    new: Layout
    topics: list[str]
    kept: list[tuple[Outlet | Member, Outlet | Member]]
    outdated: list[AssetOutlet]

    @classmethod
    def between(cls, old: Layout, new: Layout) -> Change:
        """Compare topic by topic."""
        topics = [topic for topic in (*old.by_topic, *old.by_companion) if not new.has(topic)]
        kept: list[tuple[Outlet | Member, Outlet | Member]] = []
        outdated: list[AssetOutlet] = []
        for topic, outlet in new.by_topic.items():
            before = old.by_topic.get(topic)
            if before is None or not _is_told_the_same(before, old.describe, outlet, new.describe):
                topics.append(topic)
                if isinstance(outlet, AssetOutlet) and not _has_the_same(before, outlet):
                    outdated.append(outlet)
            if before is not None:
                kept += _kept(before, outlet)
        return cls(new, topics, kept, outdated)


def _is_told_the_same(before: AnyOutlet, tell_before: Describe, outlet: AnyOutlet, tell: Describe) -> bool:
    origins = [list(map(_origin, one.points)) for one in (before, outlet)]
    return origins[0] == origins[1] and (*tell_before(before),) == (*tell(outlet),)


def _has_the_same(before: AnyOutlet | None, outlet: AssetOutlet) -> bool:
    """Say whether messages of both have the same points in them, which mean the same."""
    return before is not None and [*map(_part, before.points)] == [*map(_part, outlet.points)]


def _kept(before: AnyOutlet, outlet: AnyOutlet) -> Iterator[tuple[Outlet | Member, Outlet | Member]]:
    """Yield what has a deadband and means the same on both sides."""
    if isinstance(outlet, Outlet) and isinstance(before, Outlet):
        if outlet.point.cov is not None and _meaning(before.point) == _meaning(outlet.point):
            yield before, outlet
    elif isinstance(outlet, AssetOutlet) and isinstance(before, AssetOutlet):
        by_name = {point.point: member for point, member in before.members.items()}
        for point, member in outlet.members.items():
            former = by_name.get(point.point)
            if point.cov is not None and former is not None and _meaning(former.point) == _meaning(point):
                yield former, member
