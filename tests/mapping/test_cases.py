"""The users' own test cases, and the commands that run them and print tables."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest
from support.bacnet_lock import load_objects
from support.point_tables import EXAMPLES, HEAD, load_good_tables, load_tables

from gateway.cli import points as points_command
from gateway.cli import test as test_command
from gateway.errors import CommandError
from gateway.tools.run_cases import run_cases

if TYPE_CHECKING:
    from pathlib import Path

SINKS = """{
  bms: {type: mqtt, url: 'mqtt://127.0.0.1:1883'},
  regs: {type: modbus_server, listen: '127.0.0.1:5020'},
}"""
TABLE = f"""{HEAD}points:
  - {{tag: X, point: T, asset: a, from: t, unit: degC, range: [0, 50], description: "A | B, C"}}
  - {{tag: X, point: S, asset: a, from: $.data.s, mqtt: false, modbus: {{modicon: 410001, type: string(5)}}}}
  - tag: X
    point: F
    asset: b
    from: f
    mqtt: {{topic: f}}
    modbus: {{register: 9, type: int32, scale: 2}}
  - {{tag: X, point: B, asset: b, from: f, modbus: [{{register: 8, bit: 4}}, {{table: coil, register: 99}}]}}
"""


def case(asset: str, telemetry: str, expect: str) -> str:
    """Return the table with one case; what it expects is on line 16."""
    given = f"{{asset: {asset}, telemetry: {{{telemetry}}}}}"
    return f"{TABLE}cases:\n  - given: {given}\n    expect: {{{expect}}}\n"


@pytest.mark.parametrize(
    ("telemetry", "expect"),
    [
        ("t: 21.5", "X/T: 21.5"),
        ("t: '21.5'", "X/T: 21.5"),
        ("t: 0.1", "X/T: 0.10000000000000001"),
        ("t: 85", "X/T: {value: 85, quality: bad}"),
        ("t: n/a", "X/T: null"),
        ("t: 21.5", "X/T: {value: 21.5, quality: good}"),
        ("$.data.s: on", "X/S: on"),
        ("t: true", "X/T: true"),
    ],
)
def test_a_met_case_reports_nothing(tmp_path: Path, telemetry: str, expect: str) -> None:
    """Cases can expect values, values with quality, no value, and readings by path."""
    assert run_cases(load_good_tables(tmp_path, case("a", telemetry, expect))) == []


@pytest.mark.parametrize(
    ("telemetry", "expect", "line"),
    [
        ("t: 21.5", "X/T: 21.4", "a.yaml:16:19: cases[0].expect.X/T: expected 21.4 (good), got 21.5 (good)"),
        ("t: 85", "X/T: 85", "cases[0].expect.X/T: expected 85 (good), got 85 (bad)"),
        ("t: 21.5", "X/T: null", "expected no value (bad), got 21.5 (good)"),
        ("t: 21.5", "X/S: on", 'expected "on", but no given reading leads here'),
        (
            "tt: 21.5, t: 1",
            "X/T: 1",
            "a.yaml:15:5: cases[0]: there is no reading of this name, did you mean `t`?",
        ),
    ],
)
def test_a_failed_case_has_its_place(tmp_path: Path, telemetry: str, expect: str, line: str) -> None:
    """Expected and actual value are reported at the place of the expectation."""
    (failure,) = run_cases(load_good_tables(tmp_path, case("a", telemetry, expect)))
    assert line in failure


def cases_in_order(given: str, expect: str) -> str:
    """Return the table with a case of several given readings, which are on line 15."""
    return f"{TABLE}cases:\n  - given: [{given}]\n    expect: {{{expect}}}\n"


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ("{asset: a, telemetry: {t: 21}}, {asset: b, telemetry: {f: 3}}", "X/T: 21, X/F: 3"),
        ("{asset: a, telemetry: {t: 21}}, {asset: a, telemetry: {t: 22}}", "X/T: 22"),
        ("{asset: a, telemetry: {t: 21}}, {asset: b, telemetry: {f: 3}, after: 90m}", "X/T: 21, X/F: 3"),
        (
            "{asset: a, telemetry: {t: 21}}, {asset: b, telemetry: {f: 3}, after: 91m}",
            "X/T: {value: null, quality: stale}, X/F: 3",
        ),
    ],
)
def test_readings_are_given_one_after_the_other(tmp_path: Path, given: str, expect: str) -> None:
    """A case can give readings of several assets, and let time pass, in which values become stale."""
    assert run_cases(load_good_tables(tmp_path, cases_in_order(given, expect))) == []


def test_each_asset_of_a_list_is_checked(tmp_path: Path) -> None:
    """An unknown asset in a list has its place, and a point must belong to one of them."""
    table = cases_in_order("{asset: a, telemetry: {t: 1}}, {asset: bb, telemetry: {f: 1}}", "X/F: 1")
    _, problems = load_tables(tmp_path, table)
    assert any(
        "a.yaml:15:" in line and "cases[0].given[1].asset: there is no asset" in line for line in problems
    )
    assert any("cases[0].expect.X/F: is a point of b, not of a or bb" in line for line in problems)


@pytest.mark.parametrize(
    ("asset", "expect", "problem"),
    [
        ("aa", "X/T: 1", "cases[0].given.asset: there is no asset of this name, did you mean `a`?"),
        ("a", "X/U: 1", "cases[0].expect.X/U: there is no point of this name, did you mean `X/"),
        ("a", "X/F: 1", "cases[0].expect.X/F: is a point of b, not of a"),
        (
            "a",
            "X/T: {value: 1, quality: fine}",
            "cases[0].expect.X/T.quality: one of good, bad, stale or held is expected",
        ),
    ],
)
def test_a_case_with_unknown_names_is_refused(tmp_path: Path, asset: str, expect: str, problem: str) -> None:
    """An unknown asset or point in a case is a problem of the table."""
    _, problems = load_tables(tmp_path, case(asset, "t: 1", expect))
    assert any(problem in line for line in problems)


def write_config(folder: Path, table: str, *, sinks: str = SINKS) -> Path:
    """Write settings beside a folder of one table; return the settings' path."""
    (folder / "mappings").mkdir()
    (folder / "mappings" / "hq.yaml").write_text(table, encoding="utf-8")
    config = folder / "gateway.yaml"
    config.write_text(
        f"infodeck: {{organization: o-1}}\nintake: {{signing_secrets: [{{env: S}}]}}\n"
        f"sinks: {sinks}\nmappings: mappings\n",
        encoding="utf-8",
    )
    return config


def run_command(command: Any, *arguments: str | Path) -> int:
    """Run a command as the program does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    code = command.run(parser.parse_args([str(argument) for argument in arguments]))
    assert isinstance(code, int)
    return code


def test_the_points_command_prints_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`gateway points` prints what the settings and tables say, and exits with 0."""
    config = write_config(tmp_path, TABLE)
    assert run_command(points_command, "-c", config, "--format", "csv") == 0
    assert "X,F,X/F,,,b,,,f,f,regs,1,input,9,10,30010,2,int32,ABCD,2," in capsys.readouterr().out


def test_the_test_command_has_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`gateway test` exits with 0 if every case is met, otherwise with 1 and the places."""
    config = write_config(tmp_path, case("a", "t: 21.5", "X/T: 21.5"))
    assert run_command(test_command, "-c", config) == 0
    assert capsys.readouterr().out == "cases: 1, expectations: 1, failures: 0\n"
    (tmp_path / "mappings" / "hq.yaml").write_text(case("a", "t: 21.5", "X/T: 22"), encoding="utf-8")
    assert run_command(test_command, "-c", config) == 1
    assert "hq.yaml:16:19: cases[0].expect.X/T: expected 22 (good)" in capsys.readouterr().err


def test_commands_report_settings_and_tables_together(tmp_path: Path) -> None:
    """Problems of the settings do not hide problems of the tables."""
    sinks = SINKS.replace("url:", "user: 7, url:")
    config = write_config(
        tmp_path, f"{TABLE}  - {{tag: X, point: Q, asset: a, from: q, gain: 0}}\n", sinks=sinks
    )
    with pytest.raises(CommandError, match="2 problems in") as caught:
        run_command(test_command, "-c", config)
    in_settings, in_tables = caught.value.problems
    assert "gateway.yaml:4:" in in_settings
    assert "hq.yaml:14:" in in_tables


@pytest.mark.parametrize("sinks", ["{bms: {type: mqqt}}", "{bms: {type: []}}", "[]"])
def test_unknown_sink_types_are_the_only_problem(tmp_path: Path, sinks: str) -> None:
    """While the types of the sinks are unknown, no point is reported for its sink."""
    config = write_config(tmp_path, TABLE, sinks=sinks)
    with pytest.raises(CommandError, match="1 problem in") as caught:
        run_command(test_command, "-c", config)
    assert "gateway.yaml:3:" in caught.value.problems[0]


def test_the_shipped_settings_and_examples_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped settings load with the shipped tables, which list every point and meet their cases."""
    config = EXAMPLES.parent / "config" / "gateway.yaml"
    assert run_command(test_command, "-c", config) == 0
    assert run_command(points_command, "-c", config) == 0
    assert "AHU-1/KWH" in capsys.readouterr().out


def test_a_good_value_that_its_bacnet_object_cannot_hold_fails(tmp_path: Path) -> None:
    """A case fails if the value is right but its object cannot show it."""
    table = f"""{HEAD}points:
  - {{tag: X, point: T, asset: a, from: t, bacnet: {{instance: 7, to: [bac]}}}}
cases:
  - given: {{asset: a, telemetry: {{t: idle}}}}
    expect: {{X/T: idle}}
  - given: {{asset: a, telemetry: {{t: 21.5}}}}
    expect: {{X/T: 21.5}}
"""
    found = load_objects(tmp_path, table)
    assert found.point_map is not None
    (failure,) = run_cases(found.point_map)
    assert failure.replace(f"{tmp_path}/", "").startswith(
        'a.yaml:8:19: cases[0].expect.X/T: "idle" is right, but analog-input 7 on bac cannot show it: analog-'
    )


def test_a_good_value_that_its_register_cannot_hold_fails(tmp_path: Path) -> None:
    """A case fails if the value is right but its register cannot show it."""
    table = f"""{HEAD}points:
  - {{tag: X, point: T, asset: a, from: t, modbus: {{register: 0, type: uint16, scale: 10}}}}
  - tag: X
    point: S
    asset: a
    from: s
    modbus: [{{register: 1, type: string(8)}}, {{register: 9, type: string(4)}}]
cases:
  - given: {{asset: a, telemetry: {{t: -5, s: abcde}}}}
    expect: {{X/T: -5, X/S: abcde}}
  - given: {{asset: a, telemetry: {{t: 5, s: abcd}}}}
    expect: {{X/T: 5, X/S: abcd}}
"""
    failures = run_cases(load_good_tables(tmp_path, table))
    assert [failure.replace(f"{tmp_path}/", "") for failure in failures] == [
        (
            "a.yaml:13:19: cases[0].expect.X/T: -5 is right, but input register 0 of unit 1 on regs"
            " cannot show it: -5 at scale 10 is beyond uint16, 0 to 65534 (65535 means: no value)"
        ),
        (
            'a.yaml:13:28: cases[0].expect.X/S: "abcde" is right, but input register 9-10 of unit 1 on regs'
            " cannot show it: 'abcde' has 5 characters, the register holds 4"
        ),
    ]
