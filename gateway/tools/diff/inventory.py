"""What a BMS database is made from: each point with its topics, registers and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.model import StalePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Conversion, Point, Register

Topic = tuple[str, str]
"""An MQTT sink and the topic there; the sink is "" where that is not known, as in a CSV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPoint:
    """One point as a BMS may know it. `facts`: what else is known of it, by the keys of point tables."""

    name: str
    topics: frozenset[Topic]
    registers: tuple[Register, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All points by name, and what is known of each sink, by its name."""

    points: Mapping[str, ListedPoint]
    sinks: Mapping[str, Mapping[str, str]]


def inventory_of(
    point_map: PointMap, *, topics: Mapping[str, TopicScheme], sinks: Mapping[str, Mapping[str, str]]
) -> Inventory:
    """Return what compiled tables offer. `topics`: those of each MQTT sink by its name."""
    beat = point_map.heartbeat
    return Inventory(
        points={
            point.name: ListedPoint(
                name=point.name,
                topics=_topics(point, topics),
                registers=point.registers,
                facts=_facts(point) | ({"every_ms": beat[0]} if beat and beat[1] is point else {}),
            )
            for point in point_map.points
        },
        sinks=sinks,
    )


def in_message(asset_topic: str, point: str) -> str:
    """Return how the place of a point in its asset's messages reads: it has that topic not for itself."""
    return f"{asset_topic} ({point})"


def _topics(point: Point, topics: Mapping[str, TopicScheme]) -> frozenset[Topic]:
    mqtt = point.mqtt
    if mqtt is None:
        return frozenset()
    found: set[Topic] = set()
    for sink, scheme in topics.items():
        if not mqtt.goes_to(sink):
            continue
        if (own := scheme.point_topic(point, own=mqtt.topic)) is not None:
            found.add((sink, own))
        if (of_asset := scheme.asset_topic(point)) is not None:
            found.add((sink, in_message(of_asset, point.point)))
    return frozenset(found)


def _facts(point: Point) -> dict[str, Any]:
    conversion, stale = point.conversion, point.on_stale
    return _meaning(conversion) | {
        "asset": point.asset or None,
        "from": point.source,
        "unit_of_measure": point.unit_of_measure,
        "description": point.description,
        "range": conversion.range,
        "clamp": conversion.clamp,
        "decimals": conversion.decimals,
        "cov": point.cov and (point.cov.delta, point.cov.every_ms),
        "stale_after": point.stale_after_ms,
        "on_stale": {"value": stale.value} if stale.policy is StalePolicy.VALUE else stale.policy.value,
        "tags": dict(point.tags) if point.tags else None,
        "refill": "history" if point.backfill else "newest",
    }


def _meaning(conversion: Conversion) -> dict[str, Any]:
    """Return what makes the number another one for the same reading, the change of unit counted in."""
    gain, offset = conversion.linear
    return {
        "map": dict(conversion.map) if conversion.map is not None else None,
        "gain": gain,
        "offset": offset,
        "take": conversion.kind.value,
    }
