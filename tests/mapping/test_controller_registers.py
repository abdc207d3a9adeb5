"""Registers that a point table must not write into a controller are refused at their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.model import WriteLimits

if TYPE_CHECKING:
    from pathlib import Path

SINKS = {"bms": "mqtt", "ahu": "modbus_client", "line": "modbus_client", "regs": "modbus_server"}
LIMITS = {
    "ahu": WriteLimits(functions=frozenset({6, 15}), units=frozenset({1, 3})),
    "line": WriteLimits(functions=frozenset({5, 16}), is_serial=True),
}
HEAD = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: ahu, table: holding}}
"""


def problems_of(folder: Path, text: str, limits: dict[str, WriteLimits] | None = None) -> list[str]:
    """Return what is wrong with a table."""
    (folder / "a.yaml").write_text(HEAD + text, encoding="utf-8")
    compiled = load_point_map(TableInputs(folder, SINKS, limits=LIMITS if limits is None else limits))
    assert (compiled.point_map is None) is bool(compiled.problems)
    return [str(problem).replace(f"{folder}/", "") for problem in compiled.problems]


def single(keys: str) -> str:
    """Return a free-standing point in line 5."""
    return f"points:\n  - {{tag: A, point: P, asset: a, from: t, {keys}}}\n"


REFUSED = [
    (
        "modbus: {register: 0, type: int16, table: input}",
        "5:85: points[0].modbus.table: input registers can only be read: write into holding registers",
    ),
    (
        "modbus: {modicon: 30001, type: int16}",
        "5:61: points[0].modbus.modicon: input registers can only be read",
    ),
    (
        "modbus: {register: 0, table: discrete}",
        "5:72: points[0].modbus.table: discrete inputs can only be read: write into coils",
    ),
    (
        "modbus: {register: 0, type: int16, unit: 2}",
        "5:84: points[0].modbus.unit: unit 2 may not be written to; ahu allows 1, 3 (2)",
    ),
    (
        "modbus: [{register: 9, type: int16}, {register: 0, type: float32}]",
        "5:100: points[0].modbus[1].type: needs function 16; ahu allows 6 or 15",
    ),
    (
        "modbus: {to: line, register: 0, type: int16, unit: 0}",
        "5:94: points[0].modbus.unit: unit 0 may not be written to; line allows 1 to 255 (0)",
    ),
    (
        "range: [0, 50], on_stale: {value: 99}, modbus: {register: 0, type: int16}",
        "5:77: points[0].on_stale.value: is outside of `range`, 0 to 50, and so never written",
    ),
]


@pytest.mark.parametrize(("keys", "problem"), REFUSED)
def test_what_cannot_be_written_is_refused(tmp_path: Path, keys: str, problem: str) -> None:
    """Each has one problem with what is allowed."""
    (found,) = problems_of(tmp_path, single(keys))
    assert found.startswith(f"a.yaml:{problem}")


@pytest.mark.parametrize(
    "keys",
    [
        "modbus: {register: 0, type: int16}",
        "modbus: {register: 0, table: coil, unit: 3}",
        "modbus: {to: line, register: 0, type: float64}",
        "modbus: {to: line, register: 0, table: coil}",
        "modbus: {to: regs, register: 0, table: input, type: float32, unit: 0}",
        "range: [0, 50], on_stale: {value: 99}, modbus: {to: regs, table: input, register: 0, type: int16}",
        "range: [0, 50], on_stale: {value: null}, modbus: {register: 0, type: int16}",
    ],
)
def test_what_can_be_written_is_accepted(tmp_path: Path, keys: str) -> None:
    """Limits apply to the Modbus client that has them, and to no other sink."""
    assert problems_of(tmp_path, single(keys)) == []


def test_missing_functions_are_reported(tmp_path: Path) -> None:
    """Registers need function 6 or 16, coils 5 or 15."""
    limits = {"ahu": WriteLimits(functions=frozenset({5})), "line": WriteLimits(functions=frozenset({16}))}
    assert problems_of(tmp_path, single("modbus: {register: 0, type: int16}"), limits) == [
        'a.yaml:5:71: points[0].modbus.type: needs function 6 or 16; ahu allows 5 ("int16")'
    ]
    assert problems_of(tmp_path, single("modbus: {to: line, register: 0, table: coil}"), limits) == [
        "a.yaml:5:51: points[0].modbus.type: needs function 5 or 15; line allows 16"
    ]


def test_without_limits_only_the_table_is_checked(tmp_path: Path) -> None:
    """Limits are unknown while gateway.yaml has problems."""
    assert problems_of(tmp_path, single("modbus: {register: 0, type: float32, unit: 9}"), {}) == []
    assert len(problems_of(tmp_path, single("modbus: {register: 0, table: discrete}"), {})) == 1


def test_templates_overrides_and_the_heartbeat_are_checked(tmp_path: Path) -> None:
    """A template is reported once, an asset's own key at the asset."""
    found = problems_of(
        tmp_path,
        """\
templates:
  t:
    defaults: {modbus: {unit: 2}}
    points:
      A: {from: t, modbus: {register: 0, type: int16}}
      B: {from: t, modbus: {register: 1, type: int16, unit: 1}}
assets:
  - {id: a, tag: A, use: t, base: 0}
  - {id: b, tag: B, use: t, base: 10, points: {B: {modbus: {unit: 9}}}}
system:
  heartbeat: {every: 10s, modbus: [{register: 90, type: uint16}, {register: 91, type: uint16, unit: 4}]}
""",
    )
    text = "may not be written to; ahu allows 1, 3"
    assert found == [
        f"a.yaml:8:28: templates.t.points.A.modbus.unit: unit 2 {text}",
        f"a.yaml:12:67: assets[1].points.B.modbus.unit: unit 9 {text} (9)",
        f"a.yaml:14:101: system.heartbeat.modbus[1].unit: unit 4 {text} (4)",
    ]
