"""`gateway lock --replace`: a new sensor has the registers and the tag of the one that it replaces."""

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
  - {id: ast-new, tag: X1, use: iaq}
"""
LOCK = """# Ours.
schema: gateway.registers/1
slots:
  - {asset: ast-b, template: iaq, base: 96, stride: 4, tag: Hall}
  # the corridor
  - {asset: "ast-old", template: iaq, base: 100, stride: 4}   # since 2024
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return settings with one table and its lock file beside them."""
    file = write_files(tmp_path, a=TABLE)
    (tmp_path / "mappings" / "registers.lock").write_text(LOCK)
    return file


def write_table(config: Path, change: str, by: str) -> None:
    """Write the table with a change."""
    assert change in TABLE
    (config.parent / "mappings" / "a.yaml").write_text(TABLE.replace(change, by))


def lock_text(config: Path) -> str:
    """Return what registers.lock holds."""
    return (config.parent / "mappings" / "registers.lock").read_text()


def test_check_names_the_command(config: Path) -> None:
    """The message about missing registers names `--replace`."""
    checked = gateway(config, "check")
    assert "no `base` and no slot in registers.lock for ast-new: write a base, or run" in checked.stderr
    assert "`gateway lock -c …` (with `--replace OLD=NEW` for a sensor" in checked.stderr


def test_only_the_asset_id_changes_in_the_file(config: Path) -> None:
    """The new sensor has the registers; comments and other lines stay."""
    done = gateway(config, "lock", "--replace", "ast-old=ast-new")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ast-new  X1  iaq  100-103" in done.stdout
    assert lock_text(config) == LOCK.replace('"ast-old"', "ast-new")
    checked = gateway(config, "check")
    assert (checked.stdout, checked.stderr) == ("ok: 1 asset, 1 point, 1 with a register\n", "")
    assert "100" in gateway(config, "points").stdout


def test_a_dry_run_writes_nothing(config: Path) -> None:
    """The change is printed only."""
    done = gateway(config, "lock", "--dry-run", "--replace", "ast-old=ast-new")
    assert (done.returncode, done.stderr, lock_text(config)) == (0, "", LOCK)
    assert "nothing was written" in done.stdout


def test_a_base_in_the_old_slot_is_refused_with_the_command(config: Path) -> None:
    """The message names the command, which works although the base is still there."""
    write_table(config, "use: iaq}", "use: iaq, base: 100}")
    checked = gateway(config, "check")
    assert "is inside the slot of ast-old" in checked.stderr
    advice = "leave `base` out and run `gateway lock -c … --replace ast-old=ast-new`"
    assert advice in checked.stderr
    write_table(config, "ast-new", "ast-new")
    assert gateway(config, "lock", "--replace", "ast-old=ast-new").returncode == 0
    assert gateway(config, "check").returncode == 0


async def test_an_automatic_successor_keeps_the_tag(config: Path) -> None:
    """The topics stay the same, whatever the name in Infodeck."""
    write_table(config, "assets:\n  - {id: ast-new, tag: X1, use: iaq}\n", "")
    await store_assets(config.parent, KnownAsset(id="ast-c", name="Corridor", asset_type="at-iaq"))
    done = gateway(config, "lock", "--replace", "ast-b=ast-c")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ast-c  Hall  iaq  96-99" in done.stdout
    assert "Hall/T" in gateway(config, "points").stdout


@pytest.mark.parametrize(
    ("change", "replace", "reason"),
    [
        (("id: ast-new", "id: ast-old"), "ast-old=ast-new", "a.yaml:12:10: assets[0].id still names ast-old"),
        (("", ""), "ast-oldd=ast-new", "ast-oldd has no slot in registers.lock; did you mean ast-old?"),
        (("", ""), "ast-oldd=ast-new", "ast-old? If not, write the new id into its table instead"),
        (("", ""), "ast-old=ast-knew", "ast-knew is in no table"),
        (("", ""), "ast-old=ast-b", "ast-b has a slot already at"),
        (("", ""), "ast-old", "ast-old: OLD=NEW is expected"),
        (("use: iaq}", "use: iaq, base: 40}"), "ast-old=ast-new", "ast-new has its own base"),
    ],
)
def test_an_impossible_replacement_is_refused(
    config: Path, change: tuple[str, str], replace: str, reason: str
) -> None:
    """The reason is printed, and nothing is written."""
    if change[0]:
        write_table(config, *change)
    done = gateway(config, "lock", "--replace", replace)
    assert (done.returncode, done.stdout, lock_text(config)) in {(1, "", LOCK), (2, "", LOCK)}
    assert reason in done.stderr


def test_all_problems_of_an_edited_lock_file_are_reported(config: Path) -> None:
    """A broken line hides no other problem, also of tables."""
    write_table(config, "assets:", "points: [{tag: P, point: Q, asset: p, from: q, unitt: K}]\nassets:")
    (config.parent / "mappings" / "registers.lock").write_text(
        LOCK
        + "  - {asset: ast-c, template: iaq, base: x, stride: 4}\n"
        + "  - {asset: ast-d, template: iaq, base: 98, stride: 4}\n"
        + "  - {asset: ast-new, template: iaq, base: 200, stride: 4, tag: Y1}\n"
    )
    reported = gateway(config, "check").stderr
    assert "points[0].unitt: unknown key" in reported
    assert "slots[2].base: a whole number is expected" in reported
    assert "slots[3].base: 98-101 of the input registers" in reported
