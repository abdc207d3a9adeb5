"""All problems in one run: a misspelt key hides no other problem and causes no further message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.point_tables import HEAD, load_tables, table_of_points, warnings_of

from gateway.mapping.compiler import TableInputs, load_point_map

if TYPE_CHECKING:
    from pathlib import Path

TABLE = f"""{HEAD}
templates:
  t:
    points:
      A: {{from: a, modbus: {{register: 0, type: int16}}}}
      B: {{from: b, modbus: {{register: 1, type: int16}}}}
assets:
  - {{id: one, tag: X1, use: t, base: 0}}
  - {{id: two, tag: X2, use: t, base: 10, points: {{A: {{gain: 2}}}}}}
points:
  - {{tag: Y, point: P, asset: one, from: c, modbus: {{register: 20, type: int16}}}}
cases:
  - {{given: {{asset: two, telemetry: {{a: 1}}}}, expect: {{X2/A: 2}}}}
  - {{given: {{asset: one, telemetry: {{c: 1}}}}, expect: {{Y/P: 1}}}}
"""


def test_forty_problems_are_reported_in_one_run(tmp_path: Path) -> None:
    """Forty mistakes give forty lines in reading order."""
    table = table_of_points(
        *(
            f"tag: X, point: P{index}, modbus: {{register: {index}, type: int16, order: CDAB}}"
            for index in range(10)
        ),
        *(f"tag: X, point: Q{index}, clamp: true" for index in range(5)),
        *(f"tag: X, point: R{index}, gian: 2, clamp: true" for index in range(5)),
        *(f"tag: X, point: S{index}, mqtt: {{to: [nobody]}}" for index in range(5)),
        *(f"tag: X, point: T{index}, decimals: many, unit: 5" for index in range(3)),
        *(f"tag: X, point: U{index}, modbus: {{register: 0, type: int16}}" for index in range(4)),
    )
    table += "assets:\n" + "".join(
        f"  - {{id: a{index}, tag: A{index}, use: nothing}}\n" for index in range(5)
    )
    _, problems = load_tables(tmp_path, table)
    assert len(problems) == 40
    lines = [int(problem.split(":")[1]) for problem in problems]
    assert lines == sorted(lines)
    assert sum("gian: unknown key, did you mean `gain`?" in problem for problem in problems) == 5
    assert sum("there is no template of this name" in problem for problem in problems) == 5
    assert sum("overlaps X/P0 at a.yaml:5:5" in problem for problem in problems) == 4
    assert not any("R0" in problem or "points[15].clamp" in problem for problem in problems)


@pytest.mark.parametrize(
    ("written", "wrong", "problem"),
    [
        ("id: one,", "id: one, auto: yes,", "assets[0].auto: unknown key"),
        ("id: two,", "id: 2,", "assets[1].id: text is expected"),
        ("id: two,", "idd: two,", "assets[1].idd: unknown key, did you mean `id`?"),
        ("use: t, base: 10", "uses: t, base: 10", "assets[1].uses: unknown key, did you mean `use`?"),
        (
            "{asset: one, telem",
            "{aset: one, telem",
            "cases[1].given.aset: unknown key, did you mean `asset`?",
        ),
        ("site: hq", "sit: hq", "sit: unknown key, did you mean `site`?"),
        ("{gain: 2}", "{gian: 2}", "assets[1].points.A.gian: unknown key, did you mean `gain`?"),
        ("{from: a, ", "{form: a, ", "templates.t.points.A.form: unknown key, did you mean `from`?"),
        ("  t:\n", "  t:\n    strid: 4\n", "templates.t.strid: unknown key, did you mean `stride`?"),
        ("templates:", "templats:", "templats: unknown key, did you mean `templates`?"),
        ("assets:", "assests:", "assests: unknown key, did you mean `assets`?"),
        ("points:\n  -", "point:\n  -", "point: unknown key, did you mean `points`?"),
        ("defaults:", "default:", "default: unknown key, did you mean `defaults`?"),
        ("table: input", "tabel: input", "defaults.modbus.tabel: unknown key, did you mean `table`?"),
        ("defaults: {", "defaults: {stale_after: 5, ", "defaults.stale_after: never is expected"),
        ("defaults: {", "defaults: {stal: 5, ", "defaults.stal: unknown key"),
        ("site: hq", "site: h/q", "site: becomes part of a topic"),
        ("site: hq\n", "", "site: this key is required"),
        ("points/1", "points/2", "schema: gateway.points/1 is expected"),
        ("from: c, ", "from: c, decimals: x, ", "points[0].decimals: a whole number is expected"),
        ("expect: {Y/P: 1}", "expect: {}", "cases[1].expect: needs 1 or more entries"),
        ("base: 10, ", "base: , ", "assets[1].base: is empty: write a value, or leave the key out (null)"),
        ("{gain: 2}", "{range: null}", "assets[1].points.A.range: is empty"),
        ("from: c, ", "from: c, stale_after: ~, ", "points[0].stale_after: is empty"),
        ("register: 20, ", "register: 20, unit: , ", "points[0].modbus.unit: is empty"),
        ("table: input", "table: input, order: ", "defaults.modbus.order: is empty"),
        ("  t:\n", "  t:\n    match: {model: }\n", "templates.t.match.model: is empty"),
        ("base: 10, ", "base: 10, base: 11, ", "assets[1].base: this key is given twice"),
        ("points:\n  -", "cases: []\npoints:\n  -", "cases: this key is given twice"),
    ],
)
def test_one_mistake_is_one_message(tmp_path: Path, written: str, wrong: str, problem: str) -> None:
    """A part that is left out because of a mistake causes no further message."""
    assert TABLE.count(written) == 1
    _, problems = load_tables(tmp_path, TABLE.replace(written, wrong))
    assert len(problems) == 1, problems
    assert problem in problems[0]


def test_a_mistake_hides_no_other_mistake_beside_it(tmp_path: Path) -> None:
    """Repeated and unknown names are reported in the same run as a wrong key beside them."""
    table = f"""{HEAD}
templates:
  t:
    stride: 2
    points:
      A: {{from: a, gian: 2, source_unit: K, modbus: {{register: 0, type: int16}}}}
      B: {{from: b, decimals: x, modbus: {{register: 0, type: int16}}}}
      C: {{from: c, unit: 5, clamp: true, modbus: {{register: 2, type: int16}}}}
assets:
  - {{id: one, tag: X1, use: t, base: 0}}
  - {{id: one, tag: X1, use: t, base: 99999}}
  - {{id: two, tag: X2, use: tt, auto: yes}}
  - {{id: three, tag: X2, use: t, base: 10, points: {{A: {{gain: 0}}, D: {{gain: 2}}}}}}
points:
  - {{tag: X1, point: A, asset: one, from: c, zz: 1}}
cases:
  - {{given: {{asset: one, telemetry: {{a: 1}}}}, expect: {{X1/A: 2}}}}
"""
    _, problems = load_tables(tmp_path, table)
    assert [problem.partition(": ")[2].partition(" (")[0].split(";")[0] for problem in problems] == [
        "templates.t.points.A.gian: unknown key, did you mean `gain`?",
        "templates.t.points.B.decimals: a whole number is expected",
        (
            "templates.t.points.B.modbus: input register 0 of unit 1 on regs for X1/B overlaps X1/A at"
            " a.yaml:9:10"
        ),
        "templates.t.points.C.unit: text is expected",
        "templates.t.points.C.modbus.register: ends at register 2, beyond the template's stride of 2",
        "assets[1].id: this asset is already at a.yaml:13:5",
        "assets[1].tag: this tag is already at a.yaml:13:5",
        "assets[1].base: must be at most 65535",
        "assets[2].use: there is no template of this name, did you mean `t`?",
        "assets[2].auto: unknown key",
        "assets[3].tag: this tag is already at a.yaml:15:5",
        "assets[3].points.A.gain: must not be 0, it would make every value 0",
        "assets[3].points.D: there is no point of this name",
        "points[0].point: a point named X1/A is already at a.yaml:13:5",
        "points[0].zz: unknown key",
    ]


def test_null_is_allowed_where_it_means_no_value(tmp_path: Path) -> None:
    """Null is allowed in maps, in `on_stale`, and in readings and expectations of cases."""
    table = TABLE.replace("from: c, ", "from: c, map: {x: null}, on_stale: {value: null}, ").replace(
        "telemetry: {c: 1}}, expect: {Y/P: 1}",
        "telemetry: {c: null}}, expect: {Y/P: {value: null, quality: bad}}",
    )
    _, problems = load_tables(tmp_path, table.replace("expect: {X2/A: 2}", "expect: {X2/A: null}"))
    assert problems == []


@pytest.mark.parametrize("section", ["templates", "assets", "points", "cases", "system", "defaults"])
def test_a_section_that_is_written_twice_is_one_problem(tmp_path: Path, section: str) -> None:
    """A repeated section is reported at its second place."""
    table = f"{HEAD}system: {{}}\n{TABLE.removeprefix(HEAD)}"
    for empty in ("{}", "[]"):
        _, problems = load_tables(tmp_path, f"{table}{section}: {empty}\n")
        assert len(problems) == 1, problems
        assert f"{section}: this key is given twice, first on line" in problems[0]


def test_all_points_of_a_template_may_be_wrong(tmp_path: Path) -> None:
    """A template whose points are all wrong is not reported as empty, too."""
    _, problems = load_tables(tmp_path, TABLE.replace("from: a,", "form: a,").replace("from: b,", "form: b,"))
    assert [problem.split(": ")[1] for problem in problems] == [
        "templates.t.points.A.form", "templates.t.points.B.form"
    ]  # fmt: skip


def test_places_are_those_of_the_file(tmp_path: Path) -> None:
    """After an entry that was left out, paths and lines are still those of the file."""
    table = TABLE.replace("id: one,", "id: one, zz: 1,").replace("base: 10", "base: 20")
    table = table.replace("X2/A: 2}}", "X2/A: 2}, zz: 1}").replace("use: t, base: 20", "use: tt, base: 20")
    table += "  - {given: {asset: nobody, telemetry: {c: 1}}, expect: {Y/P: 1}}\n"
    _, problems = load_tables(tmp_path, table)
    assert [problem.split(" (")[0] for problem in problems] == [
        "a.yaml:11:15: assets[0].zz: unknown key; known here: points, id, tag, use, base",
        "a.yaml:12:29: assets[1].use: there is no template of this name, did you mean `t`?",
        "a.yaml:16:65: cases[0].zz: unknown key; known here: expect, given",
    ]


def test_cases_are_checked_where_all_points_are_known(tmp_path: Path) -> None:
    """A wrong case hides no other wrong case."""
    table = TABLE.replace("X2/A: 2}}", "X2/A: 2}, zz: 1}").replace("expect: {Y/P", "expect: {Y/Q")
    _, problems = load_tables(tmp_path, table)
    assert [problem.split(" (")[0] for problem in problems] == [
        "a.yaml:16:65: cases[0].zz: unknown key; known here: expect, given",
        "a.yaml:17:60: cases[1].expect.Y/Q: there is no point of this name, did you mean `Y/P`?",
    ]


def test_nothing_is_guessed_about_other_files(tmp_path: Path) -> None:
    """A template that was left out of one file is not reported as missing or unused."""
    template = "points: {A: {from: a}}"
    templates = f"{HEAD}templates:\n  t: {{strid: 1, {template}}}\n  u: {{{template}}}\n"
    assets = (
        "schema: gateway.points/1\nsite: hq\nassets: [{id: a, tag: X, use: t}, {id: b, tag: Y, used: u}]\n"
    )
    _, problems = load_tables(tmp_path, templates, assets)
    assert [problem.split(":")[0] for problem in problems] == ["a.yaml", "b.yaml"]
    assert warnings_of(tmp_path, templates, assets) == []


NAMES = (
    "templates",
    "assets",
    "points",
    "cases",
    "defaults",
    "system",
    "site",
    "schema",
    "A",
    "t",
    "modbus",
    "x",
)
KEYS = st.sampled_from(
    (*NAMES, "from", "id", "tag", "use", "base", "given", "expect", "asset", "telemetry", "point")
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-1, 3) | st.sampled_from(("t", "A", "a", "hq", "gateway.points/1", "90s", "/")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
PATHS = st.lists(KEYS | st.integers(0, 2), min_size=1, max_size=5)
WHOLE: dict[str, Any] = {
    "schema": "gateway.points/1",
    "site": "hq",
    "defaults": {},
    "templates": {"t": {"points": {"A": {"from": "a"}}}},
    "assets": [{"id": "a", "tag": "X", "use": "t"}, {"id": "b", "tag": "Y", "use": "t", "points": {"A": {}}}],
    "points": [{"tag": "X", "point": "P", "asset": "a", "from": "k"}],
    "cases": [{"given": {"asset": "a", "telemetry": {"k": 1}}, "expect": {"X/P": 1}}],
}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(PATHS, VALUES), max_size=4))
def test_no_table_breaks_the_compiler(tmp_path: Path, changes: list[tuple[list[str | int], Any]]) -> None:
    """Any change of a table gives either points or problems that can be printed."""
    table = orjson.loads(orjson.dumps(WHOLE))
    for path, value in changes:
        node = table
        for step in path[:-1]:
            inner = node.get(step) if isinstance(node, dict) else None
            if isinstance(node, list) and isinstance(step, int) and step < len(node):
                inner = node[step]
            node = inner if isinstance(inner, dict | list) else node
        if isinstance(node, dict):
            node[str(path[-1])] = value
        else:
            node.append(value)
    (tmp_path / "a.yaml").write_bytes(orjson.dumps(table))
    compiled = load_point_map(TableInputs(tmp_path, {}))
    assert (compiled.point_map is None) == bool(compiled.problems)
    assert all("\n" not in str(problem) for problem in compiled.problems)
