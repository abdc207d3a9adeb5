"""The compiled point tables: what the running gateway looks up per event. Built by the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mapping.convert import Convert
    from gateway.model import Point, Quality, Scalar


@dataclass(frozen=True, slots=True)
class Rule:
    """A point and how readings of its telemetry key become its value."""

    point: Point
    convert: Convert


@dataclass(frozen=True, slots=True)
class PathRule:
    """A point with an explicit path: `get` takes the parsed body of an event to the reading's value.

    `get` returns `gateway.mapping.paths.MISSING` where the event has nothing at the path: no reading.
    """

    point: Point
    get: Callable[[Any], Any]
    convert: Convert


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """All points of one asset, by what feeds them."""

    by_key: dict[str, tuple[Rule, ...]]  # telemetry key → rules
    by_path: tuple[PathRule, ...]
    pseudo: tuple[Point, ...]  # `$quality` and `$age` of this asset
    measured: tuple[Point, ...]  # all others


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case expects of one point. `place` is where that is written, `file:line:col: path`."""

    name: str
    value: Scalar
    quality: Quality | None  # None: good, or whatever goes with no value
    place: str


@dataclass(frozen=True, slots=True)
class Case:
    """A user's own check of a table. `telemetry` is by telemetry key or path."""

    asset: str
    telemetry: Mapping[str, Scalar]
    expect: tuple[Expectation, ...]
    place: str


@dataclass(frozen=True, slots=True)
class PointMap:
    """All tables together. `points` has the heartbeat too; its pair is (every_ms, point)."""

    points: tuple[Point, ...]
    by_asset: dict[str, AssetPlan]
    by_name: dict[str, Point]
    heartbeat: tuple[int, Point] | None
    cases: tuple[Case, ...] = ()
