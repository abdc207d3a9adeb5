"""What the compiler makes of the point tables, and all that the running gateway uses of them.

An event's way: `PointMap.by_asset` gives the plan of its asset, `AssetPlan.by_key` the rules of each
telemetry key, and `Rule.convert` the point's value and quality. A reload compares two point maps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gateway.model import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.mapping.convert import Convert
    from gateway.mapping.expressions import Expression
    from gateway.mapping.paths import NotFound
    from gateway.model import Quality, Scalar
    from gateway.records import AssetSnapshot, AutoTag, KnownAsset

_LONGEST_UNIT = 64
_KEYS = tuple(key.name for key in fields(Point) if key.init)
_all_keys = attrgetter(*_KEYS)
_keys_of_value = attrgetter(*(key for key in _KEYS if key != "known"))


@dataclass(frozen=True, slots=True)
class PointMap:
    """All point tables together, compiled.

    `heartbeat` is its period in ms and its point, which `points` has too. `auto_tags` are the tags of
    automatic assets by asset id; `has_automatic` is whether a template accepts such assets. `computed` are in
    the order in which they are evaluated: after their members.
    """

    points: tuple[Point, ...]
    by_asset: dict[str, AssetPlan]
    heartbeat: tuple[int, Point] | None = None
    cases: tuple[Case, ...] = ()
    has_automatic: bool = True
    auto_tags: Mapping[str, AutoTag] = field(default_factory=dict)
    computed: tuple[ComputedPoint, ...] = ()
    by_name: dict[str, Point] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {point.name: point for point in self.points})


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """How the events of one asset are mapped.

    `by_key` has the rules of each telemetry key, `by_path` those of explicit paths. `measured` are the
    asset's points with readings, `pseudo` those whose values the gateway makes itself, such as `$quality`,
    `computed` those that are computed from other points. `has_choices` is whether a
    point reads the first of several keys.
    """

    by_key: dict[str, tuple[Rule, ...]]
    by_path: tuple[PathRule, ...]
    measured: tuple[Point, ...]
    pseudo: tuple[Point, ...]
    has_choices: bool = False
    computed: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ComputedPoint:
    """How a point is computed from its members, which are measured or computed themselves.

    `kind` is the key in the point table, one of `COMPUTED_KEYS`. `needed`: how many members of an aggregate
    must have a value. `per_ms` and `rollover` are those of a rate; `expression` has its names in the order of
    `members`. `own_stale_after_ms`: None if the point is stale only with its members.
    """

    point: Point
    kind: str
    members: tuple[Point, ...]
    convert: Convert
    needed: int = 1
    per_ms: int = 0
    rollover: int | None = None
    expression: Expression | None = None
    own_stale_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """How one telemetry key becomes the value of one point. `convert` never raises.

    `by_unit` has the conversion for readings whose event states their unit of measure; any unit is a key.
    `preferred` are the keys whose readings count instead if an event has any of them.
    """

    point: Point
    convert: Convert
    by_unit: Mapping[str, Convert]
    preferred: frozenset[str] = field(default=frozenset(), kw_only=True)


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
    """A user's test of a table for `gateway test`: readings in their order, and what they should give."""

    given: tuple[GivenReadings, ...]
    expect: tuple[Expectation, ...]
    place: str


@dataclass(frozen=True, slots=True)
class GivenReadings:
    """Readings of one asset by key or path, some time after those before."""

    asset: str
    telemetry: Mapping[str, Scalar]
    after_ms: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case expects of one point. `place` is where it is written: `file:line:col: path`."""

    name: str
    value: Scalar
    quality: Quality | None  # None: good, or bad if no value is expected
    place: str


@dataclass(frozen=True, slots=True)
class TableChanges:
    """How many points were added, removed and changed, by name. True if there is any change.

    `affected` are the points of the new map that may show another value: new and changed ones, the pseudo
    points of their assets, and what is computed from them. Points whose asset only has another description in
    Infodeck are not among them.
    """

    added: int
    removed: int
    changed: int
    unchanged: int
    affected: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare_tables(old: PointMap, new: PointMap) -> TableChanges:
    """Compare two point maps point by point. The order of points does not matter."""
    before, after = old.by_name, new.by_name
    added = [point for name, point in after.items() if name not in before]
    removed = [point for name, point in before.items() if name not in after]
    kept = [(before[name], point) for name, point in after.items() if name in before]
    paced = {point: period for period, point in filter(None, (old.heartbeat, new.heartbeat))}

    def differ(was: Point, now: Point, keys: Callable[[Point], object]) -> bool:
        return keys(was) != keys(now) or paced.get(was) != paced.get(now)

    changed = [(was, now) for was, now in kept if differ(was, now, _all_keys)]
    affected = [(was, now) for was, now in changed if differ(was, now, _keys_of_value)]
    moved = [point for pair in affected for point in pair]
    assets = {point.asset for point in (*added, *removed, *moved)}
    pseudo = [point.name for asset in assets & new.by_asset.keys() for point in new.by_asset[asset].pseudo]
    names = dict.fromkeys((*(point.name for point in (*added, *moved)), *pseudo))
    names |= dict.fromkeys(_affected_computed(old, new, names))
    return TableChanges(len(added), len(removed), len(changed), len(kept) - len(changed), tuple(names))


def _affected_computed(old: PointMap, new: PointMap, affected: Collection[str]) -> list[str]:
    """Return the computed points of which a member is affected, or that have other members now."""
    before = {each.point.name: [member.name for member in each.members] for each in old.computed}
    found = set(affected)
    for each in new.computed:
        members = [member.name for member in each.members]
        if before.get(each.point.name) != members or not found.isdisjoint(members):
            found.add(each.point.name)
    return list(found.difference(affected))


def compile_the_same(
    one: AssetSnapshot | None, other: AssetSnapshot, *, of: Collection[str] | None = None
) -> bool:
    """Return whether tables compile to the same with both snapshots. Connections of devices do not matter.

    `of`: the ids of the assets that matter, None for all. Their types do, because of warnings.
    """
    if one is None:
        return False
    if of is None:
        of, types = one.assets.keys() | other.assets.keys(), one.types.keys() | other.types.keys()
    else:
        types = {other.assets[asset].asset_type or "" for asset in of if asset in other.assets}
    if any(one.types.get(name) != other.types.get(name) for name in types):
        return False
    pairs = [(one.assets.get(asset), other.assets.get(asset)) for asset in of]
    return all(without_connection(before) == without_connection(after) for before, after in pairs)


def without_connection(known: KnownAsset | None) -> KnownAsset | None:
    """Return an asset without its connection, which changes often and which no point shows."""
    return known and replace(known, online=None, location_id=None)
