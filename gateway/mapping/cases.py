"""The users' own tests of their tables: given these readings, expect these values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.mapping.plan import Case, Expectation
from gateway.mapping.registers import encoding_errors, register_text
from gateway.mapping.table import Expected
from gateway.model import Quality
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.mapping.compile.sources import Place
    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.mapping.table import CaseEntry
    from gateway.model import Point, Scalar


def compile_case(
    entry: CaseEntry, place: Place, *, by_name: Mapping[str, Point], assets: Collection[str]
) -> Case:
    """Return a case that can be run; report names of assets and points that do not exist."""
    asset = entry.given.asset
    if asset not in assets:
        place.report(unknown_name("asset", asset, assets), "given", "asset")
    expect = []
    for name, expected in entry.expect.items():
        point = by_name.get(name)
        if point is None:
            place.report(unknown_name("point", name, by_name), "expect", name)
        elif point.asset != asset:
            owner = point.asset or "the gateway itself"
            place.report(f"is a point of {owner}, not of {asset}", "expect", name)
        where = place.text("expect", name)
        if isinstance(expected, Expected):
            quality = Quality[expected.quality.upper()]
            expect.append(Expectation(name, expected.value, quality, where))
        else:
            expect.append(Expectation(name, expected, None, where))
    return Case(asset, entry.given.telemetry, tuple(expect), place.text())


def run_cases(point_map: PointMap) -> list[str]:
    """Run every case; return one line with its place per expectation that is not met."""
    return [line for case in point_map.cases for line in _run(case, point_map.by_asset[case.asset])]


def _run(case: Case, plan: AssetPlan) -> list[str]:
    results: dict[str, tuple[Point, Scalar, Quality]] = {}
    failures = []
    for key, value in case.telemetry.items():
        rules = plan.by_key.get(key) or [rule for rule in plan.by_path if rule.point.source == key]
        if not rules:
            known = {*plan.by_key, *(rule.point.source for rule in plan.by_path)}
            failures.append(f"{case.place}: {unknown_name('reading', key, known)} ({show(key)})")
        for rule in rules:
            results[rule.point.name] = (rule.point, *rule.convert(value))
    for expectation in case.expect:
        failures += _compare(expectation, *results.get(expectation.name, (None, None, Quality.BAD)))
    return failures


def _compare(expectation: Expectation, point: Point | None, value: Scalar, quality: Quality) -> list[str]:
    if point is None:
        return [f"{expectation.place}: expected {_shown(expectation.value)}, but no given reading leads here"]
    expected = expectation.quality
    if expected is None:
        expected = Quality.BAD if expectation.value is None else Quality.GOOD
    if _is_same(value, expectation.value):
        if quality is expected:
            return []
        if expected is Quality.GOOD and (errors := list(encoding_errors(point, value))):
            return [
                f"{expectation.place}: {_shown(value)} is right, but {register_text(register)} "
                f"cannot show it: {error}"
                for register, error in errors
            ]
    wanted = f"{_shown(expectation.value)} ({expected.name.lower()})"
    return [f"{expectation.place}: expected {wanted}, got {_shown(value)} ({quality.name.lower()})"]


def _is_same(value: Scalar, expected: Scalar) -> bool:
    """Compare numbers with as many digits as people write; true and 1 are the same."""
    if isinstance(value, float | int) and isinstance(expected, float | int):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return value == expected


def _shown(value: Scalar) -> str:
    return "no value" if value is None else show(value)
