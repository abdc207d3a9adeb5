"""Point tables as the running gateway uses them: compiled once, only looked up afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mapping.convert import Convert
    from gateway.model import MadeTag, Point, Quality, Scalar


class _Missing(Enum):
    MISSING = "missing"


_LONGEST_UNIT = 64
MISSING: Final = _Missing.MISSING
"""What an explicit path finds where the event does not have it."""

Missing = Literal[_Missing.MISSING]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one telemetry key becomes one point's value; `convert` never raises.

    `by_unit` has the same for readings whose event states their unit of measure, for any unit.
    """

    point: Point
    convert: Convert
    by_unit: Mapping[str, Convert]


@dataclass(frozen=True, slots=True)
class PathRule(Rule):
    """Like Rule, for a reading at an explicit path; `get` takes the parsed body.

    `get_unit` finds what stands beside a path to a `value`, None for other paths.
    """

    get: Callable[[dict[str, Any]], Scalar | Missing]
    get_unit: Callable[[dict[str, Any]], Scalar | Missing] | None

    def stated_unit(self, body: dict[str, Any]) -> str | None:
        """Return the unit of measure that the event states for the reading."""
        stated = self.get_unit(body) if self.get_unit is not None else None
        return stated[:_LONGEST_UNIT] if isinstance(stated, str) else None


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """All that one asset's events mean. `measured` are its points with readings, `pseudo` those without."""

    by_key: dict[str, tuple[Rule, ...]]
    by_path: tuple[PathRule, ...]
    measured: tuple[Point, ...]
    pseudo: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case expects of one point. `place` is where that is written, `file:line:col: path`."""

    name: str
    value: Scalar
    quality: Quality | None  # None: good, or bad where no value is expected
    place: str


@dataclass(frozen=True, slots=True)
class Case:
    """One case, ready to run. `telemetry` is by telemetry key or path."""

    asset: str
    telemetry: Mapping[str, Scalar]
    expect: tuple[Expectation, ...]
    place: str


@dataclass(frozen=True, slots=True)
class PointMap:
    """All point tables together. `heartbeat`: its period in ms and its point; `points` has it too.

    `has_automatic`: whether a template may take assets that no table names; `made_tags`: of those that are.
    """

    points: tuple[Point, ...]
    by_asset: dict[str, AssetPlan]
    heartbeat: tuple[int, Point] | None = None
    cases: tuple[Case, ...] = ()
    has_automatic: bool = True
    made_tags: Mapping[str, MadeTag] = field(default_factory=dict)
    by_name: dict[str, Point] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {point.name: point for point in self.points})
