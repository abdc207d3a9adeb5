"""The users' own tests of their tables, compiled: given these readings, expect these values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mapping.plan import Case, Expectation, GivenReadings
from gateway.mapping.table import Expected, Given
from gateway.model import Quality
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.mapping.compile.sources import Place, Steps
    from gateway.mapping.table import CaseEntry
    from gateway.model import Point


def compile_case(
    entry: CaseEntry, place: Place, *, by_name: Mapping[str, Point], assets: Collection[str]
) -> Case:
    """Return a case that can be run; report names of assets and points that do not exist."""
    given = _compile_given(entry, place, assets)
    known = {each.asset: None for each in given}
    expect = []
    for name, expected in entry.expect.items():
        point = by_name.get(name)
        if point is None:
            place.report(unknown_name("point", name, by_name), "expect", name)
        elif point.asset not in known and not point.is_computed:
            owner = point.asset or "the gateway itself"
            place.report(f"is a point of {owner}, not of {' or '.join(known)}", "expect", name)
        where = place.text("expect", name)
        if isinstance(expected, Expected):
            quality = Quality[expected.quality.upper()]
            expect.append(Expectation(name, expected.value, quality, where))
        else:
            expect.append(Expectation(name, expected, None, where))
    return Case(given, tuple(expect), place.text())


def _compile_given(entry: CaseEntry, place: Place, assets: Collection[str]) -> tuple[GivenReadings, ...]:
    if isinstance(entry.given, Given):
        by_steps: dict[Steps, Given] = {("given",): entry.given}
    else:
        by_steps = {("given", index): each for index, each in enumerate(entry.given)}
    for steps, each in by_steps.items():
        if each.asset not in assets:
            place.report(unknown_name("asset", each.asset, assets), *steps, "asset")
    return tuple(
        GivenReadings(each.asset, each.telemetry, round((each.after or 0) * 1000))
        for each in by_steps.values()
    )
