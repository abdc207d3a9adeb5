"""`gateway import` and `gateway points` as a user types them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import run_gateway

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

SETTINGS = """\
infodeck: {organization: o-1}
intake: {signing_secrets: [{env: S}]}
sinks:
  bms: {type: mqtt, url: "mqtt://10.0.0.5:1883"}
  plc: {type: modbus_server, listen: "127.0.0.1:5020"}
mappings: mappings
"""
SHEET = "tag,point,asset,from,type,address\nA,B,ast-1,t,int16,4\n"


def gateway(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `gateway` in a folder."""
    return run_gateway(*arguments, folder=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with settings, no tables and a sheet."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "gateway.yaml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "sheet.csv").write_text(SHEET, encoding="utf-8")
    return tmp_path


def test_a_list_is_the_same_after_its_import(folder: Path) -> None:
    """A list that is imported again lists the same."""
    arguments = ("import", "sheet.csv", "-c", "gateway.yaml", "-o", "mappings/a.yaml")
    done = gateway(folder, *arguments, "--site", "hq")
    assert (done.returncode, done.stdout) == (0, "mappings/a.yaml: 1 point\n")
    assert [*(folder / "mappings").iterdir()] == [folder / "mappings" / "a.yaml"]
    checked = gateway(folder, "check", "-c", "gateway.yaml")
    assert checked.stdout == "ok: 1 asset, 1 point, 1 with a register\n"
    listed = gateway(folder, "points", "-c", "gateway.yaml", "--format", "csv", "--excel", "comma").stdout
    assert ";plc;1;input;4;5;30005;" in listed
    (folder / "sheet.csv").write_text(listed, encoding="utf-8")
    shown = gateway(folder, *arguments, "--force").stderr
    assert shown == "headings in row 1, 1 row with points\n  others  as they are named: 48 columns\n\n"
    again = gateway(folder, "points", "-c", "gateway.yaml", "--format", "csv", "--excel", "comma").stdout
    assert again == listed


def test_a_table_is_not_replaced_by_accident(folder: Path) -> None:
    """An existing file is replaced with `--force` only, and never by a sheet with problems."""
    table = folder / "mappings" / "a.yaml"
    table.write_text("mine", encoding="utf-8")
    arguments = ("import", "sheet.csv", "--site", "hq", "-o", "mappings/a.yaml")
    refused = gateway(folder, *arguments)
    assert (refused.returncode, table.read_text(encoding="utf-8")) == (1, "mine")
    assert "mappings/a.yaml is there already; take another name, or replace it with --force" in refused.stderr
    (folder / "sheet.csv").write_text(SHEET.replace("int16", "int17"), encoding="utf-8")
    assert gateway(folder, *arguments, "--force").returncode == 1
    assert table.read_text(encoding="utf-8") == "mine"
    (folder / "sheet.csv").write_text(SHEET, encoding="utf-8")
    assert gateway(folder, *arguments, "--force").returncode == 0
    assert "schema: gateway.points/1" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.csv",), "gateway: none.csv: cannot be read: No such file or directory"),
        (("sheet.csv", "--site", "hq", "-o", "a.yml"), "a.yml: would not be read"),
        (("sheet.csv", "--site", "hq", "-o", "no/a.yaml"), "no/a.yaml: there is no folder no; make it"),
        (("sheet.csv",), "sheet.csv: the site is not known: add a column `site`, or say --site NAME"),
        (("sheet.csv", "--site", "hq", "-c", "none.yaml"), "none.yaml:1:1: cannot be read"),
        (("other.csv", "--site", "hq", "-c", "gateway.yaml"), "row 2, column sink: there is no sink"),
    ],
)  # fmt: skip
def test_unusable_arguments_are_reported(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """Missing files, names that would not be read and unknown sinks are one message each."""
    (folder / "other.csv").write_text(
        SHEET.replace(",address\n", ",address,sink\n").replace(",4\n", ",4,regs\n")
    )
    done = gateway(folder, "import", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_document_names_the_gateways_sinks(folder: Path) -> None:
    """`points --format md` names the addresses of broker and server."""
    gateway(folder, "import", "sheet.csv", "-c", "gateway.yaml", "--site", "hq", "-o", "mappings/a.yaml")
    document = gateway(folder, "points", "-c", "gateway.yaml", "--format", "md").stdout
    assert "The broker is mqtt://10.0.0.5:1883." in document
    assert "The gateway is a Modbus TCP server at 127.0.0.1:5020" in document


def test_excel_needs_csv(folder: Path) -> None:
    """`--excel` with another format than CSV is refused."""
    done = gateway(folder, "points", "-c", "gateway.yaml", "--excel", "comma")
    assert done.returncode == 1
    assert "--excel is about --format csv" in done.stderr
