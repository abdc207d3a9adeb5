"""Commands on settings with a controller that is written into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.commands import gateway

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
infodeck: {organization: o-1}
intake: {signing_secrets: [{env: S}]}
sinks:
  ahu: {type: modbus_client, host: 192.0.2.10, port: 502}
  line: {type: modbus_client, serial: {port: /dev/ttyUSB0}, functions: [6, 16], units: [7]}
mappings: mappings
"""
TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {table: holding}}
points:
  - {tag: C, point: T, asset: a, from: t, modbus: {to: ahu, unit: 3, register: 40, type: int16}}
  - {tag: C, point: R, asset: a, from: r, modbus: {to: line, unit: 7, register: 0, type: float32}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return settings with a table."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "a.yaml").write_text(TABLE, encoding="utf-8")
    (tmp_path / "gateway.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path / "gateway.yaml"


def test_a_table_for_controllers_is_good(config: Path) -> None:
    """The least that a client needs is its host."""
    checked = gateway("check", "-c", config)
    assert (checked.returncode, checked.stdout, checked.stderr) == (
        0,
        "ok: 1 asset, 2 points, 2 with a register\n",
        "",
    )


def test_check_counts_points_with_registers_and_not_registers(config: Path) -> None:
    """A point with two registers is one."""
    second = "[{to: ahu, unit: 3, register: 40, type: int16}, {to: ahu, unit: 3, register: 41, type: int16}]"
    table = TABLE.replace("{to: ahu, unit: 3, register: 40, type: int16}", second)
    (config.parent / "mappings" / "a.yaml").write_text(table, encoding="utf-8")
    assert gateway("check", "-c", config).stdout == "ok: 1 asset, 2 points, 2 with a register\n"


def test_check_knows_what_the_settings_allow(config: Path) -> None:
    """Units and functions of the settings count for the tables, each mistake at its place."""
    table = config.parent / "mappings" / "a.yaml"
    table.write_text(TABLE.replace("unit: 7", "unit: 8").replace("register: 40", "modicon: 30041"))
    checked = gateway("check", "-c", config)
    assert checked.returncode == 1
    one, other = checked.stderr.splitlines()
    assert one.startswith(f"{table}:5:79: points[0].modbus.modicon: input registers can only be read: write")
    text = "points[1].modbus.unit: unit 8 may not be written to; line allows 7 (8)"
    assert other == f"{table}:6:68: {text}"
    config.write_text(SETTINGS.replace("502", "0"))
    with_another = gateway("check", "-c", config).stderr.splitlines()
    assert with_another[1:] == checked.stderr.splitlines()
    assert with_another[0].startswith(f"{config}:4:54: sinks.ahu.port: ")
    config.write_text(SETTINGS)
    for command in ("lock", "test", "points"):
        refused = gateway(command, "-c", config)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "unit 8 may not be written to" in refused.stderr


def test_a_sheet_is_checked_by_what_the_settings_allow(config: Path) -> None:
    """`gateway import` tells it by row and column."""
    sheet = config.parent / "sheet.csv"
    sheet.write_text("tag,point,asset,from,type,address,table,unit,sink\nA,B,a,t,int16,4,holding,9,line\n")
    imported = gateway("import", sheet, "-c", config, "--site", "hq")
    assert imported.returncode == 1
    assert "row 2, column unit: unit 9 may not be written to; line allows 7" in imported.stderr


def test_the_document_says_how_controllers_are_written_to(config: Path) -> None:
    """Where, by which protocol and functions, and which registers."""
    document = gateway("points", "-c", config, "--format", "md").stdout
    assert (
        "The gateway writes into the controller at 192.0.2.10:502 (Modbus TCP, functions 15, 16)" in document
    )
    line = "Modbus RTU, 19200 baud, parity even, 1 stop bit, functions 06, 16"
    assert f"The gateway writes into the controller at /dev/ttyUSB0 ({line})" in document
    assert "no register that is not listed here" in document
    assert "### Unit 3, holding registers\n" in document
