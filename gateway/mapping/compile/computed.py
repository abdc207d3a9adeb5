"""Compiles computed points: finds their members, checks that these go together, and puts them in order."""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections import ChainMap, defaultdict
from dataclasses import replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import TYPE_CHECKING

from gateway.mapping.computed_keys import AggregateKeys, RateKeys
from gateway.mapping.convert import compile_conversion
from gateway.mapping.expression_units import check_units
from gateway.mapping.expressions import Expression, ExpressionError, compile_expression
from gateway.mapping.plan import ComputedPoint
from gateway.mapping.units import UnitProblem, is_known_unit, stated_unit_conversion, unit_conversion
from gateway.text import count_text, unknown_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gateway.mapping.compile.claims import Claimant
    from gateway.mapping.compile.computations import Computation
    from gateway.mapping.compile.sources import Steps
    from gateway.model import Conversion, Cov, Point

_IN_UNIT = frozenset({"mean", "min", "max", "sum"})
_IN_TIME = frozenset({"rate", "runtime"})


class ComputedCompiler:
    """Compiles computed points; `points` are all points of the tables.

    `automatic`: the ids of automatic assets. What is wrong with their points alone is a warning, and so is a
    name that nothing has as long as `may_grow`: a new or missing device must not break tables that work.
    """

    def __init__(self, points: Iterable[Point], *, automatic: Collection[str], may_grow: bool) -> None:
        self._by_name = {point.name: point for point in points}
        self._automatic = automatic
        self._may_grow = may_grow
        self._final: dict[Point, Point] = {}  # by the point that it replaces
        self._members_of: dict[Point, Sequence[Point]] = {}  # of final computed points
        self._matches: dict[str, Sequence[Point]] = {}
        self._expressions: dict[int, Expression | None] = {}  # by draft, which assets share
        self._reported: set[tuple[int, bool, Steps]] = set()

    def compile(self, claimants: Sequence[Claimant]) -> tuple[dict[Point, Point], tuple[ComputedPoint, ...]]:
        """Return the points that replace those of the claimants, and how they are computed, in order."""
        by_point = {each.point: each for each in claimants}
        members = {point: self._members(each) for point, each in by_point.items()}
        try:
            order = [point for point in TopologicalSorter(members).static_order() if point.is_computed]
        except CycleError as error:
            cycle: list[Point] = error.args[1]
            names = " from ".join(point.name for point in reversed(cycle))
            self._report(by_point[cycle[0]], f"is computed from itself: {names}")
            return {}, ()
        computed = tuple(self._finish(by_point[point], members[point]) for point in order)
        return self._final, computed

    def _members(self, claimant: Claimant) -> Sequence[Point]:
        """Return the members of a point in the order of their names."""
        computation, tag = _computation(claimant), claimant.point.tag
        names = computation.names
        if computation.keys is None:
            expression = self._expression(claimant, computation)
            names = () if expression is None else expression.names
        found: list[Point] = []
        for index, name in enumerate(names):
            steps = computation.steps(index)
            matching = self._matching(name if "/" in name else f"{tag}/{name}")
            if not matching:
                self._report_unknown(claimant, name, steps)
            found += matching
            for point in matching:
                if point.is_pseudo:
                    made = f"{point.name} is {point.source}, which the gateway makes itself"
                    self._report(claimant, f"{made}; only measured and computed points can be used", *steps)
        return found if computation.keys is None else list(dict.fromkeys(found))

    def _expression(self, claimant: Claimant, computation: Computation) -> Expression | None:
        draft = id(claimant.draft)
        if draft not in self._expressions:
            self._expressions[draft] = None
            names = ChainMap(self._by_tag[claimant.point.tag], self._by_name)
            try:
                self._expressions[draft] = expression = compile_expression(computation.text, names)
            except ExpressionError as error:
                is_warning = self._may_grow and "/" in error.unknown_point
                self._report(claimant, f"character {error.column}: {error}", "expr", is_warning=is_warning)
            else:
                if not expression.names:
                    self._report(claimant, "names no point", "expr")
        return self._expressions[draft]

    def _matching(self, name: str) -> Sequence[Point]:
        """Return the points of a name or pattern, in the order of their names."""
        if name not in self._matches:
            if "*" not in name:
                point = self._by_name.get(name)
                self._matches[name] = () if point is None else (point,)
            else:
                self._matches[name] = self._search(name)
        return self._matches[name]

    def _search(self, pattern: str) -> Sequence[Point]:
        """Return the points that match a pattern, without those that the gateway makes itself."""
        expression = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
        beginning, names = pattern.partition("*")[0], self._names
        last = bisect_left(names, beginning + chr(sys.maxunicode))
        candidates = islice(names, bisect_left(names, beginning), last)
        found = [self._by_name[name] for name in candidates if expression.fullmatch(name)]
        return [point for point in found if not point.is_pseudo]

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self._by_name)

    @cached_property
    def _by_tag(self) -> dict[str, dict[str, Point]]:
        by_tag: dict[str, dict[str, Point]] = defaultdict(dict)
        for point in self._by_name.values():
            by_tag[point.tag][point.point] = point
        return by_tag

    def _finish(self, claimant: Claimant, members: Sequence[Point]) -> ComputedPoint:
        """Return how a point is computed, and make the final point: unit and freshness follow its members."""
        computation = _computation(claimant)
        keys, draft, expression = computation.keys, claimant.draft, self._expressions.get(id(claimant.draft))
        members = [self._final.get(member, member) for member in members]
        if expression is None:
            listed_first = sorted(members, key=self._is_automatic)
            members = [member for member in members if self._goes_with(claimant, member, listed_first[0])]
        elif not self._is_computable(claimant, expression, members):
            members = []
        unit, conversion = self._unit_and_conversion(claimant, members)
        if conversion is None:
            members, conversion = [], draft.conversion
        is_as_drafted = conversion is draft.conversion
        limit_ms = point_limit_ms = claimant.point.stale_after_ms if computation.stale_after else None
        if computation.stale_after is None:
            point_limit_ms = _longest_ms([member.stale_after_ms for member in members])
        point = self._final[claimant.point] = replace(
            claimant.point,
            unit_of_measure=unit,
            conversion=conversion,
            stale_after_ms=point_limit_ms,
            cov=_within(claimant.point.cov, point_limit_ms),
        )
        self._members_of[point] = members
        return ComputedPoint(
            point=point,
            kind=computation.kind,
            members=tuple(members),
            convert=draft.make_rule(point).convert
            if is_as_drafted
            else compile_conversion(conversion, point.registers),
            needed=self._needed(claimant, keys, len(members)) if isinstance(keys, AggregateKeys) else 1,
            per_ms=round(keys.per * 1000) if isinstance(keys, RateKeys) else 0,
            rollover=keys.rollover if isinstance(keys, RateKeys) else None,
            expression=expression,
            own_stale_after_ms=limit_ms,
        )

    def _goes_with(self, claimant: Claimant, member: Point, first: Point) -> bool:
        """Return whether a member can be used; report it if not."""
        kind, problem = _computation(claimant).kind, None
        if kind != "count" and _shows_text(member):
            problem = f"{member.name} shows text, of which there is no {kind}"
        elif kind in _IN_TIME and len(assets := self._assets(member)) > 1:
            problem = (
                f"{member.name} is computed from {len(assets)} assets, whose readings have different times:"
                f" make a {kind} of each, and compute from these"
            )
        elif kind in _IN_UNIT and not _is_same_unit(member.unit_of_measure, first.unit_of_measure):
            ours, theirs = (point.unit_of_measure or "no unit" for point in (member, first))
            problem = f"different units: {member.name} is in {ours}, {first.name} in {theirs}"
        if problem is not None:
            self._report(claimant, problem, kind, "of", is_warning=self._is_automatic(member))
        return problem is None

    def _assets(self, point: Point) -> set[str]:
        """Return the assets whose readings a point shows, or is computed from."""
        found, waiting = {point}, [point]
        while waiting:
            members = set(self._members_of.get(waiting.pop(), ())) - found
            found |= members
            waiting += members
        return {each.asset for each in found if not each.is_computed}

    def _is_automatic(self, *members: Point) -> bool:
        return any(member.asset in self._automatic for member in members)

    def _is_computable(self, claimant: Claimant, expression: Expression, members: Sequence[Point]) -> bool:
        """Return whether text and units of the members allow the expression; report it if not."""
        texts = [member.name for member in members if _shows_text(member)]
        problems = [f"{name} shows text, not a number" for name in texts]
        units = {
            name: member.unit_of_measure
            for name, member in zip(expression.names, members, strict=False)  # fewer if one is unknown
        }
        conversion, unit = claimant.draft.conversion, claimant.point.unit_of_measure
        is_as_computed = conversion.linear == (1, 0) and conversion.map is None
        result_unit = unit if is_as_computed else None
        for message, is_certain in check_units(expression, units, result_unit=result_unit):
            if is_certain:
                problems.append(message)
            else:
                self._report(claimant, message, "expr", is_warning=True)
        for message in problems[:1]:
            self._report(claimant, message, "expr", is_warning=self._is_automatic(*members))
        return not problems

    def _unit_and_conversion(
        self, claimant: Claimant, members: Sequence[Point]
    ) -> tuple[str | None, Conversion | None]:
        """Return the published unit, and the conversion to it from that in which the point is computed.

        Report it if there is none, and return None instead.
        """
        computation, conversion = _computation(claimant), claimant.draft.conversion
        unit, source, factor = _units(computation, members)
        if source is None or unit is None or conversion.map is not None or (unit == source and factor == 1):
            return unit, conversion
        found = unit_conversion(source, unit)
        if isinstance(found, UnitProblem):
            message = f"computed in {source}: {found.message}"
            self._report(claimant, message, "unit", is_warning=self._is_automatic(*members))
            return unit, None
        gain, offset = found[0] * factor, found[1]
        if (gain, offset) == (1, 0):
            return unit, conversion
        return unit, replace(conversion, source_unit=source, unit_gain=gain, unit_offset=offset)

    def _needed(self, claimant: Claimant, keys: AggregateKeys, count: int) -> int:
        needed = keys.needed(count)
        if needed > count > 0:
            message = f"there are only {count_text(count, 'point')}"
            self._report(
                claimant, message, _computation(claimant).kind, "at_least", is_warning=self._may_grow
            )
        return needed

    def _report_unknown(self, claimant: Claimant, name: str, steps: Steps) -> None:
        if "*" in name:
            self._report(claimant, f"{name}: no point matches", *steps, is_warning=self._may_grow)
        else:
            message = unknown_name("point", name, self._by_name)
            self._report(claimant, f"{name}: {message}", *steps, is_warning=self._may_grow)

    def _report(self, claimant: Claimant, message: str, *steps: str | int, is_warning: bool = False) -> None:
        """Report a problem once for all assets that share a draft."""
        if (key := (id(claimant.draft), is_warning, steps)) not in self._reported:
            self._reported.add(key)
            place = claimant.draft.place
            (place.warn if is_warning else place.report)(message, *steps)


def _computation(claimant: Claimant) -> Computation:
    assert claimant.draft.computation is not None  # noqa: S101 - a fault of the caller
    return claimant.draft.computation


def _units(computation: Computation, members: Sequence[Point]) -> tuple[str | None, str | None, float]:
    """Return the published unit, the unit that the point is computed in, and a factor to get to that."""
    of_members = members[0].unit_of_measure if members else None
    if computation.kind == "runtime":
        return computation.unit or "h", "s", 1
    if isinstance(computation.keys, RateKeys):
        is_known = of_members is not None and is_known_unit(of_members)
        return computation.unit, f"{of_members}/h" if is_known else None, 3600 / computation.keys.per
    if computation.kind in _IN_UNIT:
        return computation.unit or of_members, of_members, 1
    return computation.unit, None, 1


def _shows_text(point: Point) -> bool:
    outputs = (point.conversion.map or {}).values()
    return any(isinstance(output, str) for output in outputs) or any(
        register.type == "string" for register in point.registers
    )


def _is_same_unit(one: str | None, other: str | None) -> bool:
    if one == other or one is None or other is None:
        return one == other
    return stated_unit_conversion(one, other) == (1, 0) and stated_unit_conversion(other, one) == (1, 0)


def _longest_ms(limits_ms: Sequence[int | None]) -> int | None:
    """Return the longest time, None if there is one without an end."""
    known = [limit_ms for limit_ms in limits_ms if limit_ms is not None]
    return max(known) if known and len(known) == len(limits_ms) else None


def _within(cov: Cov | None, stale_after_ms: int | None) -> Cov | None:
    """Return a deadband whose longest interval is at most half of `stale_after`."""
    if cov is None or stale_after_ms is None:
        return cov
    return replace(cov, every_ms=min(cov.every_ms, stale_after_ms // 2))
