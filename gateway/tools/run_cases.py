"""`gateway test`: the users' own tests of their tables, run by the code of the daemon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.mapping.object_types import object_error
from gateway.mapping.plan import PointMap
from gateway.mapping.registers import encoding_errors, register_text
from gateway.model import Quality, Reading
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_reading
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.mapping.plan import AssetPlan, Case, ComputedPoint, Expectation
    from gateway.model import Scalar, Update

_START_MS = 1_000_000_000_000


def run_cases(point_map: PointMap) -> list[str]:
    """Run every case; return one line with its place per expectation that is not met."""
    return [line for case in point_map.cases for line in _run(case, point_map)]


def _run(case: Case, point_map: PointMap) -> Iterator[str]:
    """Yield what is wrong in a building of the case's assets, in which time passes only between readings."""
    plans = {given.asset: point_map.by_asset[given.asset] for given in case.given}
    computed = _computed_for([expectation.name for expectation in case.expect], point_map)
    state, now_ms = BuildingState(PointMap((), plans, computed=computed)), _START_MS
    for seq, given in enumerate(case.given, start=1):
        now_ms += given.after_ms
        state.tick(now_ms)
        plan, updates = plans[given.asset], []
        for key, value in given.telemetry.items():
            rules = plan.by_key.get(key) or [rule for rule in plan.by_path if rule.point.source == key]
            if not rules:
                yield f"{case.place}: {unknown_name('reading', key, _readings(plan))} ({show(key)})"
            updates += [
                map_reading(rule, Reading(key, value, now_ms), seq, None)
                for rule in rules
                if rule.preferred.isdisjoint(given.telemetry)
            ]
        state.apply_updates(plan, updates, now_ms=now_ms)
    for expectation in case.expect:
        yield from _compare(expectation, state.latest(point_map.by_name[expectation.name]))


def _computed_for(names: Iterable[str], point_map: PointMap) -> tuple[ComputedPoint, ...]:
    """Return the computed points of these names and those that they are computed from, members first."""
    wanted, found = set(names), []
    for each in reversed(point_map.computed):
        if each.point.name in wanted:
            wanted.update(member.name for member in each.members)
            found.append(each)
    return tuple(reversed(found))


def _readings(plan: AssetPlan) -> set[str]:
    return {*plan.by_key, *(rule.point.source for rule in plan.by_path)}


def _compare(expectation: Expectation, shown: Update | None) -> list[str]:
    if shown is None:
        return [f"{expectation.place}: expected {_shown(expectation.value)}, but no given reading leads here"]
    value, quality, expected = shown.value, shown.quality, expectation.quality
    if expected is None:
        expected = Quality.BAD if expectation.value is None else Quality.GOOD
    if _is_same(value, expectation.value):
        if quality is expected:
            return _misfits(expectation, shown) if quality is Quality.GOOD else []
        if expected is Quality.GOOD and (errors := list(encoding_errors(shown.point, value))):
            return [
                f"{expectation.place}: {_shown(value)} is right, but {register_text(register)} "
                f"cannot show it: {error}"
                for register, error in errors
            ]
    wanted = f"{_shown(expectation.value)} ({expected.name.lower()})"
    return [f"{expectation.place}: expected {wanted}, got {_shown(value)} ({quality.name.lower()})"]


def _misfits(expectation: Expectation, shown: Update) -> list[str]:
    """Return the BACnet objects that cannot show a good value; registers that cannot make it bad."""
    errors = [(one, object_error(one, shown.value)) for one in shown.point.objects]
    right = f"{expectation.place}: {_shown(shown.value)} is right, but {{}} on {{}} cannot show it: {{}}"
    return [right.format(f"{one.type} {one.instance}", one.sink, error) for one, error in errors if error]


def _is_same(value: Scalar, expected: Scalar) -> bool:
    """Compare numbers with as many digits as people write; true and 1 are the same."""
    if isinstance(value, float | int) and isinstance(expected, float | int):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return value == expected


def _shown(value: Scalar) -> str:
    return "no value" if value is None else show(value)
