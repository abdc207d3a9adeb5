"""`gateway lock` as a user runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.lock_settings import gateway, store_assets, write_files

from gateway.records import KnownAsset

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
templates:
  iaq:
    match: {asset_type: at-iaq}
    auto: true
    stride: 4
    points:
      T: {from: t, modbus: {register: 0, type: float32}}
assets:
  - {id: ast-b, tag: X1, use: iaq}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return settings with one table beside them."""
    return write_files(tmp_path, a=TABLE)


async def test_slots_are_written_once_and_then_stay(config: Path) -> None:
    """Listed and automatic assets have slots after the first run; a second run changes nothing."""
    await store_assets(
        config.parent,
        KnownAsset(id="ast-b", asset_type="at-iaq"),
        KnownAsset(id="ast-a", name="Hall", asset_type="at-iaq"),
    )
    file = config.parent / "mappings" / "registers.lock"
    assert gateway(config, "check").returncode == 1
    tried = gateway(config, "lock", "--dry-run")
    assert (tried.returncode, tried.stderr, file.exists()) == (0, "", False)
    assert f"would change 2 slots in {file}; nothing was written" in tried.stdout
    done = gateway(config, "lock")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ast-b  X1    iaq  0-3",
        "ast-a  Hall  iaq  4-7",
        f"changed 2 slots in {file}; commit it together with the tables",
    ]
    text = file.read_text()
    assert text.startswith("# Registers of assets that have no `base`.")
    assert text.endswith("  - {asset: ast-a, template: iaq, base: 4, stride: 4, tag: Hall}\n")
    assert list(file.parent.glob(".*")) == []
    again = gateway(config, "lock")
    assert (again.returncode, file.read_text()) == (0, text)
    assert "nothing to add" in again.stdout
    checked = gateway(config, "check")
    assert (checked.stdout, checked.stderr) == ("ok: 2 assets, 2 points, 2 with a register\n", "")
    assert "Hall/T" in gateway(config, "points").stdout


def test_nothing_is_written_while_there_are_problems(config: Path) -> None:
    """Problems of the tables are printed, and no file is written."""
    (config.parent / "mappings" / "a.yaml").write_text(TABLE.replace("type: float32", "type: float33"))
    done = gateway(config, "lock")
    assert done.returncode == 1
    assert "a.yaml:10:" in done.stderr
    assert "1 problem in" in done.stderr
    assert not (config.parent / "mappings" / "registers.lock").exists()


def test_a_list_on_one_line_is_not_changed(config: Path) -> None:
    """A valid list on one line cannot be extended; the message shows the needed layout."""
    file = config.parent / "mappings" / "registers.lock"
    text = "schema: gateway.registers/1\nslots: [{asset: x, template: iaq, base: 40, stride: 4}]\n"
    file.write_text(text)
    done = gateway(config, "lock")
    assert (done.returncode, done.stdout, file.read_text()) == (1, "", text)
    assert "one slot a line" in done.stderr
    assert [one.name for one in file.parent.iterdir() if one.name.startswith(".")] == []


def test_a_link_stays_a_link(config: Path) -> None:
    """The file behind a link is replaced, and keeps its mode."""
    real = config.parent / "kept.lock"
    real.write_text("schema: gateway.registers/1\nslots: []\n")
    real.chmod(0o640)
    link = config.parent / "mappings" / "registers.lock"
    link.symlink_to(real)
    assert gateway(config, "lock").returncode == 0
    assert link.is_symlink()
    assert "ast-b" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_an_unreadable_journal_is_a_warning(config: Path) -> None:
    """Listed assets have slots; automatic assets are left out."""
    (config.parent / "journal.db").write_bytes(b"no database at all" * 100)
    done = gateway(config, "lock")
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "automatic ones are left out" in done.stderr
    assert "ast-b  X1  iaq  0-3" in done.stdout
