"""Registers with the quality of one point: where they are, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, load_good_tables, load_tables, table_of_points

from gateway.mapping.registers import register_text
from gateway.model import Quality
from gateway.state.overrides import check_override

if TYPE_CHECKING:
    from pathlib import Path


def registers_of(folder: Path, keys: str) -> list[tuple[str, str, bool]]:
    """Return the registers of a single point: place, type, and whether they show its quality."""
    (point,) = load_good_tables(folder, table_of_points(f"tag: R, point: P, {keys}")).points
    return [(register_text(each), each.type, each.shows_quality) for each in point.registers]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("quality: {register: 5}", "input register 5 of unit 1"),
        (
            "modbus: {unit: 3, table: holding, register: 4, type: int16}, quality: {register: 5}",
            "holding register 5 of unit 3",
        ),
        (
            "modbus: {modicon: 40007, type: int16}, quality: {register: 5}",
            "holding register 5 of unit 1",
        ),
        (
            "modbus: {modicon: 40007, type: int16}, quality: {modicon: 30006}",
            "input register 5 of unit 1",
        ),
        (
            "modbus: {table: coil, register: 4}, quality: {unit: 2, table: input, register: 5}",
            "input register 5 of unit 2",
        ),
    ],
)
def test_a_quality_is_where_the_value_is_unless_it_says_otherwise(
    tmp_path: Path, keys: str, place: str
) -> None:
    """Sink, unit and table are those of the value; it is a uint16, also of a float32 or a coil."""
    assert registers_of(tmp_path, keys)[-1] == (f"{place} on regs", "uint16", True)


def test_a_point_can_have_several(tmp_path: Path) -> None:
    """One for each of its sinks or units, say."""
    keys = "modbus: {register: 4, type: float32}, quality: [{register: 6}, {unit: 2, register: 6}]"
    assert [shown for _, _, shown in registers_of(tmp_path, keys)] == [False, True, True]


def test_in_a_template_it_is_relative_and_an_asset_overrides_it(tmp_path: Path) -> None:
    """Its register counts for the stride, and an asset changes single keys of it."""
    table = f"""{HEAD}templates:
  t:
    stride: 3
    points: {{P: {{from: t, modbus: {{register: 0, type: float32}}, quality: {{register: 2}}}}}}
assets:
  - {{id: a, tag: A, use: t, base: 100}}
  - {{id: b, tag: B, use: t, base: 103, points: {{P: {{quality: {{unit: 2}}}}}}}}
"""
    points = load_good_tables(tmp_path, table).points
    assert [(point.registers[1].address, point.registers[1].unit) for point in points] == [(102, 1), (105, 2)]
    _, problems = load_tables(tmp_path, table.replace("stride: 3", "stride: 2"))
    assert "quality.register: ends at register 2, beyond the template's stride of 2" in problems[0]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("quality: {}", "quality: `register` (a 0-based PDU address) or `modicon`"),
        ("quality: {register: 0, type: int16}", "quality.type: unknown key"),
        (
            "modbus: {table: coil, register: 0}, quality: {register: 0}",
            "quality: a coil is one bit: the quality needs `table: holding`",
        ),
        (
            "modbus: {register: 0, type: int32}, quality: {register: 1}",
            "quality: input register 1 of unit 1 on regs for R/P overlaps R/P",
        ),
        (
            "quality: [{register: 0}, {register: 0}]",
            "quality[1]: input register 0 of unit 1 on regs for R/P overlaps",
        ),
    ],
)
def test_a_quality_with_a_problem_is_refused(tmp_path: Path, keys: str, problem: str) -> None:
    """The message is at the key, as with registers of values."""
    _, problems = load_tables(tmp_path, table_of_points(f"tag: R, point: P, {keys}"))
    assert len(problems) == 1
    assert problem in problems[0]


def test_only_the_registers_of_the_value_limit_it(tmp_path: Path) -> None:
    """A text or a large number is no fault of a point whose quality is in a register."""
    points = load_good_tables(tmp_path, table_of_points("tag: R, point: P, quality: {register: 5}"))
    (rule,) = points.by_asset["a"].by_key["t"]
    assert rule.convert("n/a") == ("n/a", Quality.GOOD)
    assert rule.convert(1e9) == (1e9, Quality.GOOD)
    check_override(points, points.by_name["R/P"], "text")
