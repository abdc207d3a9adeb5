"""What the compiler makes of the point tables, and all that the running gateway uses of them.

An event's way: `PointMap.by_asset` gives the plan of its asset, `AssetPlan.by_key` the rules of each
telemetry key, and `Rule.convert` the point's value and quality.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mapping.convert import Convert
    from gateway.mapping.paths import NotFound
    from gateway.model import Point, Quality, Scalar
    from gateway.records import AutoTag

_LONGEST_UNIT = 64


@dataclass(frozen=True, slots=True)
class PointMap:
    """All point tables together, compiled.

    `heartbeat` is its period in ms and its point, which `points` has too. `auto_tags` are the tags of
    automatic assets by asset id; `has_automatic` is whether a template accepts such assets.
    """

    points: tuple[Point, ...]
    by_asset: dict[str, AssetPlan]
    heartbeat: tuple[int, Point] | None = None
    cases: tuple[Case, ...] = ()
    has_automatic: bool = True
    auto_tags: Mapping[str, AutoTag] = field(default_factory=dict)
    by_name: dict[str, Point] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {point.name: point for point in self.points})


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """How the events of one asset are mapped.

    `by_key` has the rules of each telemetry key, `by_path` those of explicit paths. `measured` are the
    asset's points with readings, `pseudo` those whose values the gateway makes itself, such as `$quality`.
    """

    by_key: dict[str, tuple[Rule, ...]]
    by_path: tuple[PathRule, ...]
    measured: tuple[Point, ...]
    pseudo: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one telemetry key becomes the value of one point. `convert` never raises.

    `by_unit` has the conversion for readings whose event states their unit of measure; any unit is a key.
    """

    point: Point
    convert: Convert
    by_unit: Mapping[str, Convert]


@dataclass(frozen=True, slots=True)
class PathRule(Rule):
    """How the value at an explicit path becomes the value of one point.

    `get` finds the value in the parsed body of an event, `get_unit` the `unit` beside a path to a `value`;
    it is None for other paths.
    """

    get: Callable[[dict[str, Any]], Scalar | NotFound]
    get_unit: Callable[[dict[str, Any]], Scalar | NotFound] | None

    def stated_unit(self, body: dict[str, Any]) -> str | None:
        """Return the unit of measure that the event states for the value."""
        stated = self.get_unit(body) if self.get_unit is not None else None
        return stated[:_LONGEST_UNIT] if isinstance(stated, str) else None


@dataclass(frozen=True, slots=True)
class Case:
    """A user's test of a table for `gateway test`: readings by key or path, and what they should give."""

    asset: str
    telemetry: Mapping[str, Scalar]
    expect: tuple[Expectation, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case expects of one point. `place` is where it is written: `file:line:col: path`."""

    name: str
    value: Scalar
    quality: Quality | None  # None: good, or bad if no value is expected
    place: str
