"""Problems of assets, templates, files and folders: their places and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, load_tables, table_of_points

from gateway.mapping.compiler import TableInputs, load_point_map

if TYPE_CHECKING:
    from pathlib import Path


BARE = "schema: gateway.points/1\nsite: hq\n"
TEMPLATE = f"""{HEAD}templates:
  t:
    stride: 4
    points:
      A: {{from: a, modbus: {{register: 0, type: float32}}}}
      B: {{from: b, modbus: {{register: 2, type: int16}}}}
assets:
  - {{id: one, tag: X1, use: t, base: 0}}
"""


@pytest.mark.parametrize(
    ("asset", "problem"),
    [
        (
            "id: two, tag: X2, use: tt, base: 4",
            "assets[1].use: there is no template of this name, did you mean `t`?",
        ),
        (
            "id: two, tag: X2, use: t",
            "assets[1]: no `base` and no slot in registers.lock for two: write a base, or run `gateway",
        ),
        (
            "id: two, tag: X2, use: t, base: 65534",
            "assets[1].base: the asset would end at register 65536, the last is",
        ),
        ("id: two, tag: X2, use: t, base: 65536", "assets[1].base: must be at most 65535"),
        ("id: one, tag: X2, use: t, base: 4", "assets[1].id: this asset is already at a.yaml:11:5"),
        ("id: two, tag: X1, use: t, base: 4", "assets[1].tag: this tag is already at a.yaml:11:5"),
        (
            "id: two, tag: X2, use: t, base: 1",
            "register 1-2 of unit 1 on regs for X2/A overlaps X1/A at a.yaml:11:5",
        ),
        (
            "id: two, tag: X2, use: t, base: 4, points: {AA: {gain: 2}}",
            "assets[1].points.AA: there is no point of this name, did you mean `A`? (template t)",
        ),
        (
            "id: two, tag: X2, use: t, base: 4, points: {B: {modbus: {register: 4}}}",
            "assets[1].points.B.modbus.register: ends at register 4, beyond the template's stride of 4 (4)",
        ),
        (
            "id: two, tag: X2, use: t, base: 4, points: {B: {range: [-40000, 0], clamp: true}}",
            "assets[1].points.B.range[0]: does not fit its register: -40000 is beyond int16",
        ),
        (
            "id: two, tag: X2, use: t, base: 4, points: {B: {modbus: {order: CDAB}}}",
            "assets[1].points.B.modbus.order: int16 has no order",
        ),
        (
            "id: two, tag: X2, use: t, base: 4, points: {B: {modbus: {register: 1}}}",
            "points.B.modbus: input register 5 of unit 1 on regs for X2/B overlaps X2/A at a.yaml:8:10",
        ),
        ("id: two, tag: X2, use: t, base: 4, auto: true", "assets[1].auto: unknown key"),
    ],
)
def test_an_asset_with_a_problem_is_refused(tmp_path: Path, asset: str, problem: str) -> None:
    """A problem of an asset, or of its overrides, is reported once, on the asset's line."""
    _, problems = load_tables(tmp_path, f"{TEMPLATE}  - {{{asset}}}\n")
    assert len(problems) == 1
    shown = problems[0].replace(f"{tmp_path}/", "")
    assert shown.startswith("a.yaml:12:")
    assert problem in shown


def test_a_clash_in_a_template_is_reported_once(tmp_path: Path) -> None:
    """A clash inside a template is one problem at the template, not one per asset."""
    table = TEMPLATE.replace("register: 2", "register: 1") + "  - {id: two, tag: X2, use: t, base: 8}\n"
    _, problems = load_tables(tmp_path, table)
    assert len(problems) == 1
    assert problems[0].startswith("a.yaml:9:28: templates.t.points.B.modbus: input register 1 of unit 1")


ABSOLUTE = f"""{HEAD}templates:
  t:
    points:
      A: {{from: a, modbus: {{modicon: 30001, type: int16}}}}
      B: {{from: b, mqtt: {{topic: plant/b}}}}
      C: {{from: c, modbus: [{{register: 5, type: int16}}, {{modicon: 40001, type: int16}}]}}
assets:
"""


def test_a_key_that_makes_all_assets_clash_is_reported_once(tmp_path: Path) -> None:
    """An absolute register or a fixed topic in a template of many assets is one problem."""
    assets = "".join(f"  - {{id: a{index}, tag: X{index}, use: t, base: {index}}}\n" for index in range(200))
    _, problems = load_tables(tmp_path, ABSOLUTE + assets)
    same = "this key is the same for every asset of the template"
    assert problems == [
        (
            "a.yaml:7:38: templates.t.points.A.modbus.modicon: input register 0 of unit 1 on regs for X1/A"
            f" overlaps X0/A at a.yaml:11:5; {same} (30001)"
        ),
        (
            "a.yaml:8:34: templates.t.points.B.mqtt.topic: the topic plant/b of X1/B on bms already belongs"
            f' to X0/B on bms at a.yaml:11:5; {same} ("plant/b")'
        ),
        (
            "a.yaml:9:67: templates.t.points.C.modbus[1].modicon: holding register 0 of unit 1 on regs for"
            f" X1/C overlaps X0/C at a.yaml:11:5; {same} (40001)"
        ),
    ]


def test_a_template_of_one_asset_may_have_absolute_registers(tmp_path: Path) -> None:
    """Absolute registers are allowed if one asset uses them; others can override them."""
    assets = "  - {id: a, tag: X, use: t, base: 0}\n  - {id: b, tag: Y, use: t, base: 9, points: {"
    assets += "A: {modbus: {modicon: 30002}}, B: {mqtt: {topic: plant/y}}, "
    assets += "C: {modbus: {register: 5, type: int16}}}}\n"
    _, problems = load_tables(tmp_path, ABSOLUTE + assets)
    assert problems == []


def test_a_template_point_beyond_the_stride_is_refused(tmp_path: Path) -> None:
    """A point must end within the stride of its template."""
    _, problems = load_tables(tmp_path, TEMPLATE.replace("register: 0", "register: 3"))
    assert len(problems) == 1
    assert (
        "templates.t.points.A.modbus.register: ends at register 4, beyond the template's stride of 4 (3)"
        in (problems[0])
    )


def test_clashes_between_files_name_the_other_file(tmp_path: Path) -> None:
    """Ids, tags, templates, names, topics, registers and the heartbeat are unique across all files."""
    table = (
        TEMPLATE + "points:\n  - {tag: Y, point: P, asset: y, from: t, modbus: {register: 90, type: int16}}\n"
    )
    table += "system: {heartbeat: {every: 10s, modbus: {register: 99, type: uint16}}}\n"
    _, problems = load_tables(tmp_path, table, table)
    shown = [problem.replace(f"{tmp_path}/", "") for problem in problems]
    assert shown == [
        "b.yaml:6:5: templates.t: a template of this name is already at a.yaml:6:5",
        'b.yaml:11:10: assets[0].id: this asset is already at a.yaml:11:5 ("one")',
        'b.yaml:11:20: assets[0].tag: this tag is already at a.yaml:11:5 ("X1")',
        'b.yaml:13:21: points[0].point: a point named Y/P is already at a.yaml:13:5 ("P")',
        "b.yaml:14:21: system.heartbeat: the gateway has only one, already at a.yaml:14:21",
    ]


def test_register_and_topic_clashes_between_files_name_the_other_file(tmp_path: Path) -> None:
    """Clashes of registers and topics have file, line and column of both points."""
    first = table_of_points("tag: X, point: A, mqtt: {topic: x}, modbus: {register: 1, type: int16}")
    _, problems = load_tables(tmp_path, first, first.replace("point: A", "point: B"))
    assert len(problems) == 2
    assert all(problem.startswith("b.yaml:5:") for problem in problems)
    assert all("X/A " in problem and "a.yaml:5:5" in problem for problem in problems)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("schema: gateway.points/2\nsite: hq\n", "a.yaml:1:9: schema: gateway.points/1 is expected"),
        ("site: hq\n", "a.yaml:1:1: schema: this key is required"),
        (f"{BARE}tags: {{}}\n", "a.yaml:3:1: tags: unknown key"),
        (
            "schema: gateway.points/1\nsite: hq\ndefaults: {modbus: {to: rgs}}\n",
            "defaults.modbus.to: there is no sink",
        ),
        (
            "schema: gateway.points/1\nsite: hq\ndefaults: {mqtt: {to: [regs]}}\n",
            "defaults.mqtt.to[0]: this sink is",
        ),
        (
            f"{HEAD}templates: {{t: {{defaults: {{modbus: {{to: rgs}}}}, points: {{A: {{from: a}}}}}}}}\n",
            "a.yaml:4:41: templates.t.defaults.modbus.to: there is no sink of this name, did you mean",
        ),
        (
            f"{HEAD}templates: {{t: {{defaults: {{cov: 1}}, points: {{A: {{from: a}}}}}}}}\n",
            "templates.t.defaults.cov: unknown key; known here: ",
        ),
        (
            f"{HEAD}templates: {{t: {{points: {{A: {{unit: V}}}}}}}}\n",
            "templates.t.points.A.from: this key is required",
        ),
        (f"{HEAD}templates: {{t: {{points: {{}}}}}}\n", "templates.t.points: needs 1 or more entries"),
        (
            f"{HEAD}system: {{heartbeat: {{every: 0s, modbus: {{register: 1, type: int16}}}}}}\n",
            "system.heartbeat.every: must be more than 0s",
        ),
        (
            f"{HEAD}system: {{heartbeat: {{every: 1s, modbus: {{register: 1, bit: 0}}}}}}\n",
            "system.heartbeat.modbus: the heartbeat counts up to 32767: a bit holds 0, 1, true",
        ),
        (
            f"{BARE}points: [{{tag: X, point: P, asset: a, from: t, modbus: {{table: coil, register: 1}}}}]",
            "points[0].modbus: `to` is required: the name of a Modbus sink, here or under defaults",
        ),
        (
            f"{BARE}points: [{{tag: X, point: P, asset: a, from: t, modbus: {{to: regs, register: 1}}}}]",
            "points[0].modbus: `table` is required, here or under defaults: input, holding, coil or discrete",
        ),
    ],
)
def test_a_table_with_a_problem_is_refused(tmp_path: Path, table: str, problem: str) -> None:
    """A problem of a whole file is reported at its place."""
    point_map, problems = load_tables(tmp_path, table)
    assert point_map is None
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_broken_file_hides_no_problem_of_the_others(tmp_path: Path) -> None:
    """An unreadable file is one problem; the other files are checked."""
    broken = "schema: gateway.points/1\nsite: [\n"
    other = (
        f"{HEAD}assets: [{{id: a, tag: X, use: in_the_broken_file}}]\n"
        + table_of_points("tag: Y, point: P, clamp: true")[len(HEAD) :]
    )
    _, problems = load_tables(tmp_path, broken, other)
    assert [problem.split(":")[0] for problem in problems] == ["a.yaml", "b.yaml"]
    assert "points[0].clamp" in problems[1]


@pytest.mark.parametrize(
    "name", [".#a.yaml", ".a.yaml", "._a.yaml", ".b.yml", "#a.yaml#", "a.yaml~", ".a.yaml.swp"]
)
def test_hidden_files_are_no_tables(tmp_path: Path, name: str) -> None:
    """Hidden files of editors and file servers are not read."""
    (tmp_path / name).symlink_to("someone@host.4711:1795507200")
    point_map, problems = load_tables(tmp_path, table_of_points("tag: X, point: P"))
    assert problems == []
    assert point_map is not None


@pytest.mark.parametrize("name", ["b.yml", "B.YAML", "b.Yml"])
def test_a_table_under_another_name_is_a_problem(tmp_path: Path, name: str) -> None:
    """A file that looks like a table but has another ending is reported."""
    (tmp_path / name).write_text(BARE)
    _, problems = load_tables(tmp_path, BARE)
    assert problems == [f"{name}:1:1: would not be read: a point table's name ends in .yaml"]


def test_a_folder_without_tables_is_a_problem(tmp_path: Path) -> None:
    """A missing folder, and one without tables, is reported."""
    assert "No such file" in str(load_point_map(TableInputs(tmp_path / "no", {})).problems[0])
    assert "no file ends in .yaml" in str(load_point_map(TableInputs(tmp_path, {})).problems[0])
    (tmp_path / "hq.yml").write_text("", encoding="utf-8")
    assert "hq.yml:1:1: would not be read: a point table's name ends in .yaml" in str(
        load_point_map(TableInputs(tmp_path, {})).problems[0]
    )


def test_a_tag_in_two_sites_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Names are unique across sites, although their topics differ."""
    template = "templates: {t: {points: {T: {from: t}}}}\n"
    assets = "assets: [{id: a, tag: X, use: t}]\npoints: [{tag: Y, point: P, asset: a, from: p}]\n"
    one = f"{HEAD}{template}{assets}"
    other = one.replace("site: hq", "site: annex").replace(template, "").replace("id: a", "id: b")
    _, problems = load_tables(tmp_path, one, other)
    why = "names are unique in the whole gateway, not only in a site; put the site into the tag:"
    assert [problem.split(" (")[0] for problem in problems] == [
        f"b.yaml:4:23: assets[0].tag: {why} this tag is already at a.yaml:5:10",
        f"b.yaml:5:26: points[0].point: {why} a point named Y/P is already at a.yaml:6:10",
    ]
