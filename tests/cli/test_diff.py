"""`gateway diff` as a user or a script runs it: what it compares, what it prints, how it exits."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from support.commands import gateway
from support.daemon import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """Return a copy of the shipped tables in which one room moved by two registers."""
    folder = tmp_path / "mappings"
    shutil.copytree(REPOSITORY / "mappings", folder)
    table = folder / "hq-iaq.yaml"
    table.write_text(table.read_text().replace("base: 1032", "base: 1100"))
    return folder


def test_the_same_tables_have_no_difference() -> None:
    """Tables equal themselves, given as a folder or by gateway.yaml: one line, exit code 0."""
    done = gateway("diff", "mappings", "config/gateway.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no difference\n", "")


def test_a_moved_register_is_reported_side_by_side(edited: Path) -> None:
    """Old and new address are on one line, as PDU and 3xxxx numbers; the exit code is 1."""
    done = gateway("diff", "mappings", edited)
    assert (done.returncode, done.stderr) == (1, "")
    line = next(line for line in done.stdout.splitlines() if line.startswith("  L03-RM316/ZN-T "))
    assert " ".join(line.split()) == (
        "L03-RM316/ZN-T regs unit 1 input 1032-1033 31033 float32 ABCD"
        " -> regs unit 1 input 1100-1101 31101 float32 ABCD"
    )
    assert done.stdout.endswith("8 changes: 8 would break an existing BMS database, 0 harmless\n")
    assert len(done.stdout.splitlines()) < 24


def test_a_harmless_change_exits_with_0(edited: Path) -> None:
    """A new description breaks nothing: the exit code is 0."""
    shutil.copytree(REPOSITORY / "mappings", edited, dirs_exist_ok=True)
    table = edited / "hq-iaq.yaml"
    table.write_text(table.read_text().replace("Zone temperature", "Room temperature"))
    done = gateway("diff", "mappings", edited)
    assert done.returncode == 0
    assert "nothing breaks an existing BMS database, 4 harmless" in done.stdout


def test_a_csv_is_compared_with_tables(edited: Path, tmp_path: Path) -> None:
    """A CSV that `gateway points` printed is compared with the present tables."""
    handed_out = tmp_path / "handed-out.csv"
    handed_out.write_text(gateway("points", "--format", "csv").stdout)
    assert gateway("diff", handed_out, "mappings").stdout == "no difference\n"
    done = gateway("diff", handed_out, edited, "--format", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["breaking"] == 8
    assert {change["kind"] for change in report["changes"]} == {"register_moved"}


def test_another_prefix_moves_topics(tmp_path: Path) -> None:
    """Two settings are compared: another prefix or port is reported although no table changed."""
    settings = (REPOSITORY / "config" / "gateway.yaml").read_text()
    changed = tmp_path / "gateway.yaml"
    changed.write_text(
        settings.replace("prefix: gw/v1", "prefix: gw/v2")
        .replace("127.0.0.1:5020", "127.0.0.1:502")
        .replace("../mappings", str(REPOSITORY / "mappings"))
    )
    done = gateway("diff", "config/gateway.yaml", changed)
    assert done.returncode == 1
    printed = " ".join(done.stdout.split())
    assert "regs listen 127.0.0.1:5020 -> 127.0.0.1:502" in printed
    assert re.search(r"L03-RM312/ZN-T bms gw/v1/\S+ -> gw/v2/\S+", printed)


@pytest.mark.parametrize("name", ["none", "none.csv", "LICENSE", "mappings/hq-iaq.yaml", "tests"])
def test_what_cannot_be_compared_exits_with_2(name: str) -> None:
    """Unusable input has the exit code 2, apart from that of a breaking change."""
    done = gateway("diff", name, "mappings")
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_tables_are_reported_with_their_places(edited: Path) -> None:
    """Problems of a table are printed as by `gateway check`; the exit code is 2."""
    (edited / "hq-iaq.yaml").write_text("schema: gateway.points/1\nsite: hq\nasets: []\n")
    done = gateway("diff", "mappings", edited)
    assert done.returncode == 2
    assert "hq-iaq.yaml:3:" in done.stderr
    assert f"1 problem in config/gateway.yaml and the point tables of {edited}" in done.stderr


def test_help_lists_the_exit_codes() -> None:
    """`--help` lists the exit codes, for scripts."""
    assert "2: OLD or NEW" in " ".join(gateway("diff", "--help").stdout.split())
