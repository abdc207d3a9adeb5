"""Point maps that valid tables compile to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import pytest
from support.point_tables import EXAMPLES, HEAD, SINKS, load_good_tables

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.paths import NOT_FOUND
from gateway.model import ByteOrder, Cov, Mqtt, OnStale, Quality, Register, RegisterTable, StalePolicy
from gateway.tools.run_cases import run_cases

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Scalar

DESIGN = """\
schema: gateway.points/1
site: hq-tower
defaults:
  stale_after: 90m
  on_stale: sentinel
  modbus: {to: regs, unit: 1, table: input, order: ABCD}
templates:
  iaq:
    match: {asset_type: at-iaq}
    stride: 16
    points:
      ZN-T: {from: temperature, unit: degC, cov: 0.1, range: [-20, 60], modbus: {register: 0, type: float32}}
      ZN-RH:  {from: humidity, unit: percent, modbus: {register: 2, type: uint16, scale: 10}}
      ZN-CO2: {from: co2, unit: ppm, modbus: {register: 3, type: uint16}}
      OCC:    {from: occupancy, map: {vacant: 0, occupied: 1}, modbus: {register: 4, bit: 0}}
      AGE:    {from: $age, modbus: {register: 12, type: uint32}}
      QUAL:   {from: $quality, modbus: {register: 14, type: uint16}}
assets:
  - {id: ast-a1b2c3d4, tag: L03-RM312, use: iaq, base: 1000}
  - {id: ast-b7c8d9e0, tag: L03-RM314, use: iaq, base: 1016, points: {ZN-T: {offset: -0.4}}}
system:
  heartbeat: {every: 10s, modbus: {register: 0, type: uint16}}
cases:
  - given: {asset: ast-a1b2c3d4, telemetry: {temperature: 21.5, occupancy: occupied}}
    expect: {L03-RM312/ZN-T: 21.5, L03-RM312/OCC: 1}
"""


def test_the_documented_table_compiles(tmp_path: Path) -> None:
    """The table in the documentation gives its points, registers, rules and heartbeat, and meets its case."""
    point_map = load_good_tables(tmp_path, DESIGN)
    assert len(point_map.points) == 13
    assert set(point_map.by_asset) == {"ast-a1b2c3d4", "ast-b7c8d9e0"}
    point = point_map.by_name["L03-RM314/ZN-T"]
    assert (point.site, point.tag, point.point, point.asset) == (
        "hq-tower", "L03-RM314", "ZN-T", "ast-b7c8d9e0",
    )  # fmt: skip
    assert (point.source, point.unit_of_measure) == ("temperature", "degC")
    assert point.stale_after_ms == 90 * 60_000
    assert point.on_stale == OnStale(StalePolicy.SENTINEL)
    assert point.cov == Cov(0.1, 45 * 60_000)
    assert point.mqtt == Mqtt()
    assert point.registers == (Register("regs", 1, RegisterTable.INPUT, 1016, "float32", 2),)
    assert run_cases(point_map) == []


def test_an_asset_plan_has_rules_by_key(tmp_path: Path) -> None:
    """Each telemetry key has its rules; pseudo points are listed apart."""
    point_map = load_good_tables(tmp_path, DESIGN)
    plan = point_map.by_asset["ast-b7c8d9e0"]
    assert set(plan.by_key) == {"temperature", "humidity", "co2", "occupancy"}
    assert [point.name for point in plan.pseudo] == ["L03-RM314/AGE", "L03-RM314/QUAL"]
    assert [point.point for point in plan.measured] == ["ZN-T", "ZN-RH", "ZN-CO2", "OCC"]
    assert all(point.stale_after_ms is None for point in plan.pseudo)
    (rule,) = plan.by_key["temperature"]
    assert rule.point is point_map.by_name["L03-RM314/ZN-T"]
    assert rule.convert(21.8) == (21.4, Quality.GOOD)
    (unchanged,) = point_map.by_asset["ast-a1b2c3d4"].by_key["temperature"]
    assert unchanged.convert("21.8") == (21.8, Quality.GOOD)


def test_the_heartbeat_is_a_register_only(tmp_path: Path) -> None:
    """The heartbeat is a point with a register, without topic and asset."""
    heartbeat = load_good_tables(tmp_path, DESIGN).heartbeat
    assert heartbeat is not None
    every_ms, point = heartbeat
    assert every_ms == 10_000
    assert (point.source, point.asset, point.mqtt) == ("$heartbeat", "", None)
    assert [register.address for register in point.registers] == [0]


def single(keys: str) -> str:
    """Return a table with one point, X/P of the asset `a`."""
    return f"{HEAD}points:\n  - {{tag: X, point: P, asset: a, {keys}}}\n"


@pytest.mark.parametrize(
    ("keys", "register"),
    [
        ("modbus: {modicon: 31001, type: int16}", Register("regs", 1, RegisterTable.INPUT, 1000, "int16", 1)),
        (
            "modbus: {modicon: 465536, type: int16}",
            Register("regs", 1, RegisterTable.HOLDING, 65535, "int16", 1),
        ),
        ("modbus: {modicon: 00007}", Register("regs", 1, RegisterTable.COIL, 6, "bit", 1)),
        ("modbus: {modicon: 010001}", Register("regs", 1, RegisterTable.COIL, 10000, "bit", 1)),
        ("modbus: {modicon: 065536}", Register("regs", 1, RegisterTable.COIL, 65535, "bit", 1)),
        ("modbus: [{modicon: 010001}]", Register("regs", 1, RegisterTable.COIL, 10000, "bit", 1)),
        ("modbus: {modicon: '010001'}", Register("regs", 1, RegisterTable.COIL, 10000, "bit", 1)),
        ("modbus: {modicon: 10001}", Register("regs", 1, RegisterTable.DISCRETE, 0, "bit", 1)),
        (
            "modbus: {register: 7, unit: 9, table: holding, type: string(15)}",
            Register("regs", 9, RegisterTable.HOLDING, 7, "string", 8),
        ),
        (
            "modbus: {register: 7, type: float64, order: CDAB, scale: 0.1}",
            Register("regs", 1, RegisterTable.INPUT, 7, "float64", 4, ByteOrder.CDAB, 0.1),
        ),
        ("modbus: {register: 7, bit: 15}", Register("regs", 1, RegisterTable.INPUT, 7, "bit", 1, bit=15)),
        (
            "modbus: {register: 7, type: bit, bit: 3}",
            Register("regs", 1, RegisterTable.INPUT, 7, "bit", 1, bit=3),
        ),
        (
            "modbus: {register: 7, table: coil, type: bit}",
            Register("regs", 1, RegisterTable.COIL, 7, "bit", 1),
        ),
        (
            "modbus: {register: 65534, type: uint32}",
            Register("regs", 1, RegisterTable.INPUT, 65534, "uint32", 2),
        ),
    ],
)
def test_register_blocks_become_registers(tmp_path: Path, keys: str, register: Register) -> None:
    """Every form of a register block gives its table, 0-based PDU address, type and size."""
    point_map = load_good_tables(tmp_path, single(f"from: t, {keys}"))
    assert point_map.by_name["X/P"].registers == (register,)


@pytest.mark.parametrize(
    ("keys", "name", "expected"),
    [
        ("stale_after: never", "stale_after_ms", None),
        ("stale_after: 90s", "stale_after_ms", 90_000),
        ("unit: degC", "stale_after_ms", 5_400_000),
        ("on_stale: hold", "on_stale", OnStale(StalePolicy.HOLD)),
        ("on_stale: {value: -1}", "on_stale", OnStale(StalePolicy.VALUE, -1)),
        ("cov: {delta: 0.5, every: 1m}", "cov", Cov(0.5, 60_000)),
        ("cov: 1, stale_after: 10m", "cov", Cov(1, 300_000)),
        ("cov: 1, stale_after: never", "cov", Cov(1, 2_700_000)),
        ("cov: {delta: 1, every: 1h}, stale_after: 90m", "cov", Cov(1, 2_700_000)),  # half of it at most
        ("cov: {delta: 1, every: 3h}, stale_after: never", "cov", Cov(1, 10_800_000)),
        ("mqtt: false", "mqtt", None),
        ("mqtt: {to: [bms]}", "mqtt", Mqtt(frozenset({"bms"}))),
        ("mqtt: {topic: plant/x}", "mqtt", Mqtt(None, "plant/x")),
        ("description: Supply air", "description", "Supply air"),
        ("unit: degC", "tags", None),
        (
            "tags: {brick: Zone_Air_Temperature_Sensor, haystack: [zone, air], floor: 3, vav: true, k: 1.5}",
            "tags",
            {
                "brick": "Zone_Air_Temperature_Sensor",
                "haystack": ("zone", "air"),
                "floor": 3,
                "vav": True,
                "k": 1.5,
            },
        ),
    ],
)
def test_point_keys_reach_the_point(tmp_path: Path, keys: str, name: str, expected: object) -> None:
    """Each key of a point table is found in the point, with its default."""
    point_map = load_good_tables(tmp_path, single(f"from: t, {keys}"))
    assert getattr(point_map.by_name["X/P"], name) == expected


@pytest.mark.parametrize(
    ("keys", "reading", "value"),
    [
        ("unit: degC", "21.5", 21.5),
        ("cov: 1", "21.5", 21.5),
        ("modbus: {register: 0, type: uint16}", True, 1),
        ("modbus: {register: 0, bit: 0}", True, True),
        ("modbus: {register: 0, bit: 0}", "true", True),
        ("modbus: {register: 0, type: string(8)}", "21.5", "21.5"),
        ("description: Mode", "cooling", "cooling"),
        ("description: On", False, False),
    ],
)
def test_the_kind_of_readings_follows_from_the_keys(
    tmp_path: Path, keys: str, reading: Scalar, value: object
) -> None:  # fmt: skip
    """A unit, deadband or numeric register makes a point numeric, a bit a switch; others accept anything."""
    plan = load_good_tables(tmp_path, single(f"from: t, {keys}")).by_asset["a"]
    converted, quality = plan.by_key["t"][0].convert(reading)
    assert (converted, quality) == (value, Quality.GOOD)
    assert type(converted) is type(value)


def test_a_path_has_its_own_rule(tmp_path: Path) -> None:
    """A `$.…` source reads the event's body; a missing value is no reading."""
    plan = load_good_tables(tmp_path, single("from: '$.data.object.t[0]', gain: 2")).by_asset["a"]
    (rule,) = plan.by_path
    assert plan.by_key == {}
    found = rule.get({"data": {"object": {"t": [4]}}})
    assert found is not NOT_FOUND
    assert rule.convert(found) == (8, Quality.GOOD)
    assert rule.get({"data": {}}) is NOT_FOUND


def test_overrides_replace_keys_of_the_template(tmp_path: Path) -> None:
    """An override replaces the keys that it has, in a register block key by key."""
    table = f"""{HEAD}
templates:
  t:
    points:
      A: {{from: a, unit: degC, modbus: {{register: 1, type: int16, scale: 10}}}}
      B: {{from: b, modbus: {{register: 2, type: int16}}}}
      C: {{from: c, modbus: {{register: 3, type: int16}}}}
      D: {{from: d, modbus: {{modicon: 40100, type: int16}}}}
assets:
  - id: x
    tag: X
    use: t
    base: 100
    points:
      A: {{from: a2, modbus: {{scale: 100}}}}
      B: {{modbus: {{modicon: 40007}}}}
      C: {{modbus: [{{register: 5, type: int16}}, {{register: 6, type: int16, unit: 2}}], mqtt: false}}
      D: {{modbus: {{register: 7}}}}
"""
    by_name = load_good_tables(tmp_path, table).by_name
    a, b, c, d = (by_name[f"X/{name}"] for name in "ABCD")
    assert (a.source, a.unit_of_measure) == ("a2", "degC")
    assert a.registers == (Register("regs", 1, RegisterTable.INPUT, 101, "int16", 1, scale=100),)
    assert b.registers == (Register("regs", 1, RegisterTable.HOLDING, 6, "int16", 1),)
    assert [(register.address, register.unit) for register in c.registers] == [(105, 1), (106, 2)]
    assert c.mqtt is None
    assert d.registers == (Register("regs", 1, RegisterTable.HOLDING, 107, "int16", 1),)


def test_the_closest_default_applies(tmp_path: Path) -> None:
    """Asset, point, template and file are searched in this order, register keys one by one."""
    table = """\
schema: gateway.points/1
site: hq
defaults:
  {stale_after: 1h, on_stale: hold, mqtt: false, modbus: {to: regs, unit: 3, table: holding, order: CDAB}}
templates:
  t:
    defaults: {stale_after: never, on_stale: {value: -1}, mqtt: {to: [bms]}, modbus: {unit: 7, order: ABCD}}
    points:
      A: {from: a, modbus: {register: 0, type: int32}}
      B:
        from: b
        stale_after: 2h
        on_stale: sentinel
        mqtt: false
        modbus: {register: 2, type: int32, unit: 8}
  u: {points: {A: {from: a, modbus: {register: 0, type: int32}}}}
assets:
  - {id: x, tag: X, use: t, base: 0}
  - {id: y, tag: Y, use: t, base: 10, points: {A: {stale_after: 3h, modbus: {unit: 9}}}}
  - {id: z, tag: Z, use: u, base: 20}
"""
    by_name = load_good_tables(tmp_path, table).by_name

    def facts(name: str) -> tuple[object, ...]:
        point = by_name[name]
        (register,) = point.registers
        hours = point.stale_after_ms and point.stale_after_ms / 3_600_000
        return hours, point.on_stale.policy, point.mqtt, register.unit, register.table, register.order

    on_bms, holding = Mqtt(frozenset({"bms"})), RegisterTable.HOLDING
    assert facts("X/A") == (None, StalePolicy.VALUE, on_bms, 7, holding, ByteOrder.ABCD)
    assert facts("X/B") == (2, StalePolicy.SENTINEL, None, 8, holding, ByteOrder.ABCD)
    assert facts("Y/A") == (3, StalePolicy.VALUE, on_bms, 9, holding, ByteOrder.ABCD)
    assert facts("Z/A") == (1, StalePolicy.HOLD, None, 3, holding, ByteOrder.CDAB)


def test_tags_of_an_asset_extend_those_of_the_template(tmp_path: Path) -> None:
    """An override adds or replaces single tags, also of pseudo points."""
    table = f"""{HEAD}
templates:
  t:
    points:
      A: {{from: a, tags: {{brick: Temperature_Sensor, haystack: [zone, temp]}}}}
      B: {{from: $age, tags: {{brick: Age}}}}
assets:
  - {{id: x, tag: X, use: t}}
  - {{id: y, tag: Y, use: t, points: {{A: {{tags: {{haystack: [x], fan: 2}}}}, B: {{tags: {{brick: No}}}}}}}}
"""
    by_name = load_good_tables(tmp_path, table).by_name
    assert by_name["X/A"].tags == {"brick": "Temperature_Sensor", "haystack": ("zone", "temp")}
    assert by_name["Y/A"].tags == {"brick": "Temperature_Sensor", "haystack": ("x",), "fan": 2}
    assert by_name["Y/B"].tags == {"brick": "No"}
    assert orjson.loads(orjson.dumps(by_name["Y/A"].tags))["haystack"] == ["x"]


def test_files_share_templates_and_assets(tmp_path: Path) -> None:
    """An asset may use another file's template and have single points in other files."""
    templates = f"{HEAD}templates: {{t: {{points: {{A: {{from: k}}}}}}}}\n"
    assets = """\
schema: gateway.points/1
site: annex
assets: [{id: a, tag: X, use: t}]
points: [{tag: X, point: B, asset: a, from: k}]
"""
    point_map = load_good_tables(tmp_path, assets, templates)
    rules = point_map.by_asset["a"].by_key["k"]
    assert [rule.point.name for rule in rules] == ["X/A", "X/B"]
    assert {point.site for point in point_map.points} == {"annex"}


def test_bits_share_a_word(tmp_path: Path) -> None:
    """Different bits of a word do not overlap, nor do equal addresses of other tables and units."""
    blocks = ["register: 0, bit: 0", "register: 0, bit: 1", "register: 0, bit: 0, unit: 2"]
    blocks += ["register: 0, type: uint16, table: holding", "register: 0, table: coil"]
    table = f"{HEAD}points:\n" + "".join(
        f"  - {{tag: X, point: P{index}, asset: a, from: t, modbus: {{{block}}}}}\n"
        for index, block in enumerate(blocks)
    )
    assert len(load_good_tables(tmp_path, table).points) == 5


def test_the_shipped_examples_load_and_meet_their_cases() -> None:
    """The example tables have no problems and meet their own cases."""
    tables = load_point_map(TableInputs(EXAMPLES, SINKS))
    point_map, problems = tables.point_map, tables.problems
    assert problems == []
    assert point_map is not None
    assert len(point_map.cases) >= 6
    assert run_cases(point_map) == []
    assert {"L03-RM312/ZN-T", "AHU-1/KWH", "AHU-1/SF-STS"} <= set(point_map.by_name)


def test_thousands_of_assets_load_in_seconds(tmp_path: Path) -> None:
    """2,000 assets with 8 points each load in seconds of CPU; `bench/mapping.py` loads 10,000."""
    points = "".join(
        f"      P{index}: {{from: k{index}, modbus: {{register: {index}, type: uint16}}}}\n"
        for index in range(8)
    )
    assets = "".join(
        f"  - {{id: ast-{index}, tag: T{index}, use: u{index // 1000}, base: {index % 1000 * 8}}}\n"
        for index in range(2_000)
    )
    second = points.replace("register:", "unit: 2, register:")
    table = f"{HEAD}templates:\n  u0:\n    points:\n{points}  u1:\n    points:\n{second}assets:\n{assets}"
    start = time.process_time()
    point_map = load_good_tables(tmp_path, table)
    assert len(point_map.points) == 16_000
    assert time.process_time() - start < 8  # 0.5 s on a fast machine
