"""Warnings: suspicious keys of tables that can be used all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, load_tables, table_of_points, warnings_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        (
            "range: [-20, 60], modbus: {register: 0, type: uint16}",
            "-20 is beyond uint16, 0 to 65534 (65535 means: no value) (-20)",
        ),
        (
            "range: [0, 4000], modbus: {register: 0, type: int16, scale: 10}",
            "range[1]: reaches beyond its register; such a value is bad and becomes a dead letter: 4000",
        ),
        (
            "range: [0, 1e300], modbus: {register: 0, type: float32}",
            "range[1]: reaches beyond its register; such",
        ),
        (
            "range: [0, 5], modbus: {register: 0, bit: 0}",
            "range[1]: reaches beyond its register; such",
        ),
        (
            "decimals: 1, modbus: {register: 0, type: uint16}",
            "points[0].decimals: uint16 at scale 1 rounds to steps of 1; `scale: 10` would not (1)",
        ),
        (
            "decimals: 2, modbus: [{register: 0, type: int32, scale: 10}]",
            "decimals: int32 at scale 10 rounds to steps of 0.1; `scale: 100`",
        ),
    ],
)
def test_a_suspicious_point_is_warned_of(tmp_path: Path, keys: str, warning: str) -> None:
    """Each warning is one line at its place, and the table is used."""
    table = table_of_points(f"tag: X, point: P, {keys}")
    point_map, problems = load_tables(tmp_path, table)
    assert (problems, point_map is None) == ([], False)
    (found,) = warnings_of(tmp_path, table)
    assert warning in found


@pytest.mark.parametrize(
    "keys",
    [
        "range: [0, 65534], modbus: {register: 0, type: uint16}",
        "range: [-20, 60]",
        "decimals: 1, modbus: {register: 0, type: uint16, scale: 10}",
        "decimals: 0, modbus: {register: 0, type: uint16}",
        "decimals: 3, modbus: {register: 0, type: float32}",
    ],
)
def test_correct_points_cause_no_warning(tmp_path: Path, keys: str) -> None:
    """Correct tables have no warnings."""
    assert warnings_of(tmp_path, table_of_points(f"tag: X, point: P, {keys}")) == []


def test_an_age_in_another_unit_than_seconds_is_warned_of(tmp_path: Path) -> None:
    """It is not converted, so a BMS would show 600 s as 600 minutes."""
    table = table_of_points("tag: X, point: P, unit: min", "tag: X, point: Q, unit: seconds")
    assert warnings_of(tmp_path, table.replace("from: t", "from: $age")) == [
        'a.yaml:5:52: points[0].unit: $age is in seconds, whatever is written here: write `s` ("min")'
    ]


def test_a_template_that_no_asset_uses_is_warned_of(tmp_path: Path) -> None:
    """Assets in any file count as users of a template."""
    one = f"{HEAD}templates:\n  a: {{points: {{A: {{from: k}}}}}}\n  b: {{points: {{A: {{from: k}}}}}}\n"
    other = "schema: gateway.points/1\nsite: hq\nassets: [{id: x, tag: X, use: a}]\n"
    assert warnings_of(tmp_path, one, other) == [
        "a.yaml:6:6: templates.b: no asset uses this template, so it has no effect"
    ]


def test_an_unreadable_file_causes_no_warning_elsewhere(tmp_path: Path) -> None:
    """Its assets may use the templates of other files."""
    one = f"{HEAD}templates:\n  a: {{points: {{A: {{from: k}}}}}}\n"
    assert warnings_of(tmp_path, one, "schema: gateway.points/1\nsite: [\n") == []


def test_an_override_is_warned_of_at_the_asset(tmp_path: Path) -> None:
    """A suspicious override is reported at the asset, not at the template."""
    table = f"""{HEAD}
templates: {{t: {{points: {{A: {{from: k, modbus: {{register: 0, type: uint16}}}}}}}}}}
assets:
  - {{id: x, tag: X, use: t, base: 0}}
  - {{id: y, tag: Y, use: t, base: 1, points: {{A: {{range: [0, 70000]}}}}}}
"""
    (found,) = warnings_of(tmp_path, table)
    assert found.startswith("a.yaml:8:62: assets[1].points.A.range[1]: reaches beyond its register")
