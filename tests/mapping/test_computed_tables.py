"""Computed points in point tables: which members they have, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD as TABLE_HEAD
from support.point_tables import load_good_tables, load_tables
from support.registers_lock import known, load

from gateway.records import KnownAsset
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
schema: gateway.points/1
site: hq
templates:
  room:
    points:
      T: {from: t, unit: degC}
      CO2: {from: co2, unit: ppm}
      MODE: {from: mode, map: {a: "on", b: "off"}}
      QUAL: {from: $quality}
      DEW: {expr: "T + 1", unit: degC}
assets:
  - {id: a1, tag: R1, use: room}
  - {id: a2, tag: R2, use: room, points: {T: {mean: {of: R1/T}}}}
points:
"""
PLACE = "points[0]"


def problems_of(tmp_path: Path, point: str) -> list[str]:
    """Return what is wrong with one more point, by its place in the line."""
    _, problems = load_tables(tmp_path, f"{HEAD}  - {point}\n")
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in problems]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            "mean: {of: R1/TT}",
            'mean.of: R1/TT: there is no point of this name, did you mean `R1/T`? ("R1/TT")',
        ),
        ("mean: {of: 'X*/T'}", "mean.of: X*/T: no point matches"),
        ("mean: {of: [R1/T, 'R2/C*']}", "mean.of: different units: R2/CO2 is in ppm, R1/T in degC"),
        (
            "mean: {of: R1/T}, unit: ppm",
            "unit: computed in degC: cannot become ppm: they measure different things",
        ),
        ("max: {of: R1/MODE}", "max.of: R1/MODE shows text, of which there is no max"),
        ("sum: {of: 'R*/T', at_least: 3}", "sum.at_least: there are only 2 points"),
        ("any: {of: R1/QUAL}", "any.of: R1/QUAL is $quality, which the gateway makes itself"),
        ("rate: {of: R1/CO2, per: 1h}, unit: kW", "unit: computed in ppm/h: cannot become kW"),
        ("runtime: {of: R1/T}, unit: kWh", "unit: computed in s: cannot become kWh"),
        ("expr: 'R1/T +'", "expr: character 7: the expression ends too early"),
        ("expr: 'R1/X + 1'", "expr: character 1: R1/X: there is no point of this name"),
        ("expr: '1 + 1'", "expr: names no point"),
        ("expr: 'R1/MODE + 1'", "expr: R1/MODE shows text, not a number"),
        ("expr: 'P * 2'", "is computed from itself: X/P from X/P"),
        ("mean: {of: R1/T}, from: t", "mean: cannot stand beside `from`"),
        ("mean: {of: R1/T}, rate: {of: R1/T, per: 1h}", "rate: cannot stand beside `mean`"),
        ("mean: {of: R1/T}, source_unit: degF", "source_unit: does not apply to a point that is computed"),
        ("mean: {of: R1/T}, refill: history", "refill: does not apply to a point that is computed"),
        ("from: t", "asset: this key is required: the asset's id in Infodeck"),
        ("mean: {of: R1/T, at_least: 0%}", "mean.at_least: "),
        ("mean: {of: a/b/c}", "mean.of: "),
        ("rate: {of: R1/T}", "rate.per: this key is required"),
        (
            "rate: {of: 'R*/T', per: 1h}",
            "rate.of: names one point as TAG/POINT, or POINT of the",
        ),
        ("runtime: {of: '*'}", "runtime.of: names one point as TAG/POINT"),
        ("expr: 'max(R1/T, 5)', unit: degF", "expr: the result is in degC, not in degF: write `unit: degC`"),
    ],
)
def test_what_is_wrong_is_refused_at_its_place(tmp_path: Path, keys: str, problem: str) -> None:
    """One message per mistake, at the key that is wrong."""
    (found,) = problems_of(tmp_path, f"{{tag: X, point: P, {keys}}}")
    assert found.startswith("a.yaml:15:")
    assert found.partition(": ")[2].removeprefix("points[0].").removeprefix("points[0]: ").startswith(problem)


@pytest.mark.parametrize("keys", ["rate: {of: 'S', per: 1h}", "runtime: {of: 'S'}"])
def test_what_counts_in_time_has_one_clock(tmp_path: Path, keys: str) -> None:
    """A rate of a sum is refused if the sum has several assets: each of their readings changes it alone."""
    total = """\
  - {tag: X, point: S, expr: R1/DEW + D}
  - {tag: X, point: D, max: {of: R3/T}}
  - {tag: R3, point: T, asset: a3, from: t}
  - {tag: X, point: ONE, sum: {of: [R1/T, R2/T]}}
  - {tag: X, point: OK, rate: {of: ONE, per: 1h}}
"""
    _, problems = load_tables(tmp_path, f"{HEAD}{total}  - {{tag: X, point: P, {keys}}}\n")
    (found,) = map(str, problems)
    kind = keys.partition(":")[0]
    assert (
        f"a.yaml:20:{35 + len(kind) - 4}: points[5].{kind}.of: X/S is computed from 2 assets, whose readings"
        in found
    )
    assert f"make a {kind} of each, and compute from these" in found


def test_a_cycle_names_its_points(tmp_path: Path) -> None:
    """Points that are computed from each other are refused once, with their names."""
    points = '{tag: X, point: A, expr: "B + 1"}\n  - {tag: X, point: B, mean: {of: ["X/C", "R1/T"]}}\n  - '
    (found,) = problems_of(tmp_path, points + '{tag: X, point: C, expr: "A"}')
    assert "is computed from itself: X/" in found
    assert all(name in found for name in ("X/A", "X/B", "X/C"))


def test_members_are_found(tmp_path: Path) -> None:
    """Patterns, names of the same tag and computed members are found, each once; members come first."""
    point_map = load_good_tables(
        tmp_path,
        HEAD + "  - {tag: X, point: ALL, mean: {of: ['R*/T', 'R1/D*', R1/T]}}\n"
        "  - {tag: X, point: TOP, expr: 'ALL - R2/DEW'}\n",
    )
    members = {each.point.name: [member.name for member in each.members] for each in point_map.computed}
    assert members["X/ALL"] == ["R1/T", "R2/T", "R1/DEW"]
    assert members["X/TOP"] == ["X/ALL", "R2/DEW"]
    assert members["R2/DEW"] == ["R2/T"]
    order = list(members)
    assert order.index("R2/T") < order.index("R2/DEW") < order.index("X/TOP")
    assert all(point_map.by_name[each.point.name] is each.point for each in point_map.computed)


def test_units_and_freshness_come_from_members(tmp_path: Path) -> None:
    """Without keys of their own, computed points have the members' unit, and the longest `stale_after`."""
    point_map = load_good_tables(
        tmp_path,
        HEAD.replace("T: {from: t,", "T: {from: t, stale_after: 5m,")
        + "  - {tag: X, point: A, mean: {of: 'R*/T'}}\n"
        "  - {tag: X, point: B, expr: 'R1/T * R1/CO2'}\n"
        "  - {tag: X, point: C, max: {of: R1/T}, stale_after: 1m, unit: degF}\n"
        "  - {tag: X, point: D, runtime: {of: R1/T}}\n",
    )
    found = {name: point_map.by_name[f"X/{name}"] for name in "ABCD"}
    assert [each.unit_of_measure for each in found.values()] == ["degC", None, "degF", "h"]
    assert [each.stale_after_ms for each in found.values()] == [300_000, 5_400_000, 60_000, 300_000]


AUTOMATIC = f"""{TABLE_HEAD}templates:
  iaq:
    match: {{asset_type: at-iaq}}
    auto: true
    points: {{T: {{from: t, unit: degC}}, DEW: {{expr: "T + 1"}}}}
points:
  - {{tag: H, point: MEAN, mean: {{of: "*/T"}}}}
  - {{tag: H, point: ONE, max: {{of: Room/T}}, unit: degF}}
"""
ROOM = KnownAsset(id="ast-0001", name="Room", asset_type="at-iaq")


def test_members_may_be_automatic_assets(tmp_path: Path) -> None:
    """While Infodeck's assets are unknown, missing members are warnings; then they are found."""
    found = load(tmp_path, AUTOMATIC)
    assert found.problems == []
    assert [warning.partition(": ")[2].partition(" (")[0] for warning in found.warnings] == [
        "points[0].mean.of: */T: no point matches",
        "points[1].max.of: Room/T: there is no point of this name; known: H/MEAN, H/ONE",
    ]
    found = load(tmp_path, AUTOMATIC, snapshot=known(ROOM))
    assert found.point_map is not None
    members = {each.point.name: [one.name for one in each.members] for each in found.point_map.computed}
    assert members == {"Room/DEW": ["Room/T"], "H/MEAN": ["Room/T"], "H/ONE": ["Room/T"]}


def test_a_new_device_never_breaks_tables(tmp_path: Path) -> None:
    """An automatic asset whose unit does not fit is left out of a mean, with a warning."""
    other = (
        AUTOMATIC.replace("unit: degC}", "unit: ppm}")
        + "  - {tag: A, point: T, asset: a, from: t, unit: degC}\n"
    )
    found = load(tmp_path, other.replace(", unit: degF", ""), snapshot=known(ROOM))
    assert found.problems == []
    assert found.point_map is not None
    assert any("different units: Room/T is in ppm, A/T in degC" in warning for warning in found.warnings)
    members = {each.point.name: [one.name for one in each.members] for each in found.point_map.computed}
    assert members["H/MEAN"] == ["A/T"]


@pytest.mark.parametrize("computed", ["mean: {of: Room/T}, unit: degC", "expr: 'dewpoint(Room/T, Room/T)'"])
def test_a_new_device_in_another_unit_gives_no_value(tmp_path: Path, computed: str) -> None:
    """What is computed from an automatic asset alone has no members, and a warning, if units do not fit."""
    table = AUTOMATIC.replace("unit: degC}", "unit: ppm}").replace("mean: {of: '*/T'}", computed)
    table = table.replace('mean: {of: "*/T"}', computed).replace(", unit: degF", "")
    found = load(tmp_path, table, snapshot=known(ROOM))
    assert found.problems == []
    assert found.point_map is not None
    assert any("points[0]" in warning and "ppm" in warning for warning in found.warnings)
    members = {each.point.name: each.members for each in found.point_map.computed}
    assert members["H/MEAN"] == ()


def test_a_point_of_a_device_that_is_not_there_yet(tmp_path: Path) -> None:
    """While assets may come, a computed point of one that is missing has no value, with a warning."""
    waiting = (
        "  - {tag: W, point: A, rate: {of: Gone/KWH, per: 1h}}\n"
        "  - {tag: W, point: B, runtime: {of: Gone/ON}}\n"
        "  - {tag: W, point: C, expr: 'Gone/T + 1'}\n"
    )
    found = load(tmp_path, AUTOMATIC + waiting, snapshot=known(ROOM))
    assert found.problems == []
    assert sum("there is no point of this name" in warning for warning in found.warnings) == 3
    assert found.point_map is not None
    state = BuildingState(found.point_map)
    assert [state.latest(found.point_map.by_name[f"W/{name}"]) for name in "ABC"] == [None] * 3


def test_a_template_is_checked_before_its_first_asset(tmp_path: Path) -> None:
    """A mistake in an automatic template's computed point is a problem without any asset."""
    found = load(tmp_path, AUTOMATIC.replace("T + 1", "TT + 1"))
    assert len(found.problems) == 1
    assert (
        "templates.iaq.points.DEW.expr: character 1: TT: there is no point of this name" in found.problems[0]
    )
