"""Problems of single points: their places and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, load_tables, table_of_points

if TYPE_CHECKING:
    from pathlib import Path


POINT_PROBLEMS = [
    (
        "modbus: {register: 0}",
        "a.yaml:5:51: points[0].modbus: needs `type`, or for a single bit",
    ),
    ("modbus: {type: int16}", "`register` (a 0-based PDU address) or `modicon` (such as 30001) is required"),
    ("modbus: {register: 65536, type: int16}", "modbus.register: must be at most 65535 (65536)"),
    (
        "modbus: {register: 65535, type: int32}",
        "register: int32 needs 2 registers, the last one is 65535 (65535)",
    ),
    ("modbus: {register: -1, type: int16}", "modbus.register: must be at least 0 (-1)"),
    ("modbus: {register: 0, type: int16, unit: 256}", "modbus.unit: must be at most 255 (256)"),
    (
        "modbus: {register: 0, modicon: 30001, type: int16}",
        "a.yaml:5:74: points[0].modbus.modicon: cannot stand beside `register`: write one of them (30001)",
    ),
    (
        "modbus: {modicon: 30001, table: holding, type: int16}",
        "modbus.modicon: is in the input table, but `table` says holding (30001)",
    ),
    (
        "modbus: {modicon: 50001, type: int16}",
        "modbus.modicon: has 5 or 6 digits: 0 coil, 1 discrete, 3 input",
    ),
    ("modbus: {modicon: 4000001, type: int16}", "modbus.modicon: has 5 or 6 digits"),
    ("modbus: {modicon: 465537, type: int16}", "modbus.modicon: has 5 or 6 digits"),
    ("modbus: {modicon: 30000, type: int16}", "modbus.modicon: has 5 or 6 digits"),
    ("modbus: {modicon: '4001', type: int16}", "modbus.modicon: has 5 or 6 digits"),
    ("modbus: {register: 0, bit: 16}", "modbus.bit: must be at most 15 (16)"),
    (
        "modbus: {register: 0, bit: 1, type: uint16}",
        "modbus.type: needs `type`, or for a single bit",
    ),
    (
        "modbus: {register: 0, type: bit}",
        "modbus.type: needs `type`, or for a single bit",
    ),
    (
        "modbus: {register: 0, table: coil, bit: 1}",
        "modbus.bit: a coil is one bit by itself: leave out `type` and",
    ),
    (
        "modbus: {register: 0, table: discrete, type: int16}",
        "modbus.type: a discrete is one bit by itself: leave out",
    ),
    (
        "modbus: {register: 0, type: float}",
        "modbus.type: a type is one of int16, uint16, int32, uint32, int64",
    ),
    ("modbus: {register: 0, type: string(300)}", "string(N) with N from 1 to 246"),
    (
        "modbus: {register: 0, type: uint16, order: CDAB}",
        'modbus.order: uint16 has no order, only numbers wider than one register have one ("CDAB")',
    ),
    ("modbus: {register: 0, type: string(4), order: CDAB}", "modbus.order: string has no order"),
    ("modbus: {register: 0, bit: 1, order: CDAB}", "modbus.order: bit has no order"),
    ("modbus: {register: 0, type: int32, order: DABC}", "modbus.order: one of ABCD, CDAB, BADC or DCBA is"),
    ("modbus: {register: 0, type: string(4), scale: 10}", "modbus.scale: string has no scale"),
    ("modbus: {register: 0, type: int16, scale: 0}", "modbus.scale: must not be 0"),
    (
        "modbus: {register: 0, type: int16, to: reg}",
        'points[0].modbus.to: there is no sink of this name, did you mean `regs`? ("reg")',
    ),
    ("modbus: {register: 0, type: int16, to: bms}", "modbus.to: this sink is of type mqtt, not modbus"),
    ("mqtt: {to: [bmss]}", "points[0].mqtt.to[0]: there is no sink of this name, did you mean `bms`?"),
    ("mqtt: {to: []}", "points[0].mqtt.to: needs 1 or more entries, has 0"),
    ("mqtt: {to: [bms, regs]}", "mqtt.to[1]: this sink is of type modbus_server, not mqtt"),
    (
        "on_stale: {value: -1}, modbus: {register: 0, type: uint16}",
        "on_stale.value: does not fit its register: -1 is beyond uint16, 0 to 65534 (65535 means",
    ),
    ("on_stale: {value: off}, modbus: {register: 0, type: int16}", "int16 holds numbers, not the text 'off'"),
    (
        "map: {low: 1, high: 70000}, modbus: {register: 0, type: uint16}",
        "points[0].map.high: does not fit its register: 70000 is beyond uint16",
    ),
    ("map: {low: 1, high: 7}, modbus: {register: 0, bit: 0}", "a bit holds 0, 1, true or false, not 7"),
    ("map: {low: 1, high: 9}, gain: 1000, modbus: {register: 0, type: int16, scale: 10}", "9000 at scale 10"),
    ("map: {a: on}, modbus: {register: 0, type: int16}", "int16 holds numbers, not the text 'on'"),
    ("map: {a: long text}, modbus: {register: 0, type: string(4)}", "has 9 characters, the register holds 4"),
    ("map: {a: text}, gain: 2", "map.a: is text, but gain, offset, range, decimals and cov need numbers"),
    ("range: [0, 65535], clamp: true, modbus: {register: 0, type: uint16}", "65535 is beyond uint16"),
    ("gain: 0", "points[0].gain: must not be 0"),
    ("range: [60, -20]", "points[0].range: is [lowest, highest], but 60 is not less than -20"),
    ("range: [1]", "points[0].range"),
    ("clamp: true", "points[0].clamp: has no effect without `range` (true)"),
    ("decimals: -1", "points[0].decimals: must be at least 0 (-1)"),
    ("map: {}", "points[0].map: needs 1 or more entries"),
    ("stale_after: 0s", "points[0].stale_after: never is expected; or must be more than 0s"),
    ("stale_after: 90", "points[0].stale_after: never is expected; or a duration is a number and its unit"),
    ("on_stale: nan", "points[0].on_stale"),
    ('unit: ""', "points[0].unit: needs 1 or more characters"),
    (
        "mqtt: {topic: a/#}",
        "points[0].mqtt.topic: is a topic: it has no wildcard + or #, and no level that starts with $",
    ),
    ("mqtt: {topic: a/+/b}", "mqtt.topic: is a topic: it has no wildcard"),
    ("mqtt: {topic: $SYS/a}", "mqtt.topic: is a topic: it has no wildcard"),
    ("mqtt: {topic: a//b}", "mqtt.topic: has an empty level"),
    ("mqtt: {topic: /a}", "mqtt.topic: has an empty level"),
    ("mqtt: {topic: ''}", "mqtt.topic: has an empty level"),
    ("source_unit: degF", 'points[0].source_unit: needs `unit` beside it, the published unit ("degF")'),
    (
        "unit: degC, source_unit: degF, map: {low: 1}",
        "source_unit: has no effect with `map`, whose values are in `unit` already",
    ),
    (
        "unit: kWh, source_unit: degC",
        'source_unit: cannot become kWh: they measure different things ("degC")',
    ),
    (
        "unit: W, source_unit: kw",
        "source_unit: an unknown unit, so nothing can be converted; did you mean `kW` for kw?",
    ),
    (
        "unit: degc, source_unit: degF",
        "a.yaml:5:49: points[0].unit: an unknown unit, so nothing can be converted",
    ),
    ("unit: degC, source_unit: F", "they measure different things; did you mean `degF` for F?"),
    ("unit: percent, source_unit: dB", "source_unit: cannot become percent by a factor and an offset"),
    ("unit: K, source_unit: degC/min", "source_unit: cannot become K: they measure different things"),
    ("unit: degC, source_unit: delta_degF", "source_unit: cannot become degC: they measure different things"),
    ("unit: Hz, source_unit: rpm", "source_unit: cannot become Hz: they measure different things"),
    ("unit: kW, source_unit: kvar", "source_unit: cannot become kW: they measure different things"),
    ("tags: {}", "points[0].tags: needs 1 or more entries"),
    ("tags: {brick: }", "points[0].tags.brick: true or false, a number, text or a list is expected (null)"),
    ("tags: {brick: {a: b}}", "tags.brick: true or false, a number, text or a list is expected (a mapping)"),
    ("tags: {haystack: []}", "points[0].tags.haystack: needs 1 or more entries"),
    ("tags: {haystack: [zone, 1]}", "tags.haystack[1]: text is expected; put quotes around it (1)"),
    ("tags: [zone]", "points[0].tags: a mapping is expected (a list)"),
    ("gian: 2", "points[0].gian: unknown key, did you mean `gain`?"),
]


@pytest.mark.parametrize(("keys", "problem"), POINT_PROBLEMS)
def test_a_point_with_a_problem_is_refused(tmp_path: Path, keys: str, problem: str) -> None:
    """Each problem of a point is reported once, on its line, with path, value and reason."""
    point_map, problems = load_tables(tmp_path, table_of_points(f"tag: X, point: P, {keys}"))
    assert point_map is None
    assert len(problems) == 1
    assert problems[0].startswith("a.yaml:5:")
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "$agee",
            "points[0].from: unknown; known are a telemetry key, $.data.object…, $quality, $age, $online",
        ),
        ("$.data..x", "points[0].from: a path into the event is written like $.data.object"),
        ("$heartbeat", "points[0].from: unknown"),
        ('""', "points[0].from: needs 1 or more characters"),
        ("$age, unit: min, source_unit: s", "source_unit: does not apply to $age, which the gateway makes"),
        ("$age, gain: 2", "points[0].gain: does not apply to $age, which the gateway makes itself (2)"),
        ("$quality, map: {0: 1}", "points[0].map: does not apply to $quality"),
        (
            "$age, modbus: {register: 0, type: uint16}",
            "points[0].modbus: $age can become 31536000: 31536000 is beyond uint16",
        ),
        ("$quality, modbus: {register: 0, bit: 1}", "points[0].modbus: $quality can become 5: a bit holds"),
        ("$age, stale_after: 1h", "points[0].stale_after: does not apply to $age"),
        ("$age, refill: history", "points[0].refill: is for points that read one telemetry key, not $age"),
        ("[t, $quality]", 'points[0].from[1]: only telemetry keys can be in a list ("$quality")'),
        ("[t, u], refill: history", "points[0].refill: is for points that read one telemetry key, not t | u"),
        ("t, bits: 64", "points[0].bits: must be at most 63"),
        ("t, bits: [7, 4]", "points[0].bits: is [lowest, highest], but 7 is not less than 4"),
        ("t, bits: 3, unit: degC, source_unit: degF", "points[0].source_unit: has no effect with `bits`"),
        ("$quality, bits: 3", "points[0].bits: does not apply to $quality"),
        (
            "$.data.object.x, refill: newest",
            'points[0].refill: is for points that read one telemetry key, not $.data.object.x ("newest")',
        ),
    ],
)
def test_a_source_with_a_problem_is_refused(tmp_path: Path, source: str, problem: str) -> None:
    """An unknown `from`, or a key that does not apply to it, is reported."""
    table = f"{HEAD}points:\n  - {{tag: X, point: P, asset: a, from: {source}}}\n"
    _, problems = load_tables(tmp_path, table)
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize("name", ["a/b", "a+", '"#"', "$a", '" a"', '""', r'"a\tb"'])
@pytest.mark.parametrize("key", ["site", "tag", "point"])
def test_names_must_be_topic_levels(tmp_path: Path, key: str, name: str) -> None:
    """Sites, tags and points become levels of topics; others are refused at their place."""
    names = {"site": "hq", "tag": "X", "point": "P"} | {key: name}
    table = (
        f"schema: gateway.points/1\nsite: {names['site']}\n"
        f"points:\n  - {{tag: {names['tag']}, point: {names['point']}, asset: a, from: t}}\n"
    )
    _, problems = load_tables(tmp_path, table)
    assert len(problems) == 1
    assert f": {'site' if key == 'site' else f'points[0].{key}'}: " in problems[0]


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (
            "modbus: {register: 10, type: float32}",
            "modbus: {register: 11, type: int16}",
            "points[1].modbus: input register 11 of unit 1 on regs for X/B overlaps X/A at a.yaml:5",
        ),
        (
            "modbus: {register: 11, type: int16}",
            "modbus: {register: 8, type: float64}",
            "input register 8-11 of unit 1 on regs for X/B overlaps X/A at a.yaml:5:5",
        ),
        (
            "modbus: {register: 10, bit: 3}",
            "modbus: {register: 10, bit: 3}",
            "input register 10 bit 3 of unit 1 on regs for X/B overlaps X/A",
        ),
        (
            "modbus: {register: 10, bit: 3}",
            "modbus: {register: 9, type: int32}",
            "input register 9-10 of unit 1 on regs for X/B overlaps X/A",
        ),
        (
            "modbus: {register: 10, type: int16}",
            "modbus: {register: 10, bit: 0}",
            "input register 10 bit 0 of unit 1 on regs for X/B overlaps X/A",
        ),
        (
            "modbus: {modicon: 10011}",
            "modbus: {register: 10, table: discrete}",
            "discrete 10 of unit 1 on regs for X/B overlaps X/A",
        ),
        (
            "mqtt: {topic: plant/x}",
            "mqtt: {topic: plant/x}",
            "mqtt.topic: the topic plant/x of X/B on bms already belongs to X/A on bms at a.yaml:5",
        ),
        (
            "unit: V",
            "mqtt: {topic: gw/v1/hq/X/A}",
            "mqtt.topic: the topic gw/v1/hq/X/A of X/B on bms already belongs to X/A on bms at a.yaml:5",
        ),
    ],
)
def test_overlapping_points_are_refused(tmp_path: Path, first: str, second: str, problem: str) -> None:
    """The second of two points on one register, bit or topic is reported with the place of the first."""
    _, problems = load_tables(
        tmp_path, table_of_points(f"tag: X, point: A, {first}", f"tag: X, point: B, {second}")
    )
    assert len(problems) == 1
    shown = problems[0].replace(f"{tmp_path}/", "")
    assert problem in shown
    assert shown.startswith("a.yaml:6:")


def test_two_blocks_of_one_point_may_not_overlap(tmp_path: Path) -> None:
    """Two blocks of one point cannot have the same register."""
    block = "{register: 1, type: int16}"
    _, problems = load_tables(tmp_path, table_of_points(f"tag: X, point: A, modbus: [{block}, {block}]"))
    assert len(problems) == 1
    assert "points[0].modbus[1]: input register 1 of unit 1 on regs for X/A overlaps X/A" in problems[0]
