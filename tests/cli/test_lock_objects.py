"""`gateway lock` for BACnet objects: instances in bacnet.lock, beside registers.lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.lock_settings import gateway, write_files

if TYPE_CHECKING:
    from pathlib import Path

BACNET = ', bac: {type: bacnet, listen: "127.0.0.2:47808", device: 3101}'
TABLE = """schema: gateway.points/1
site: hq
templates:
  iaq:
    stride: 4
    points:
      T: {from: t, modbus: {to: regs, table: input, register: 0, type: float32}}
      OCC: {from: occ, map: {vacant: 0, occupied: 1}}
assets:
"""
ROOMS = 400


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return settings with a BACnet sink, and one table of many assets."""
    assets = "".join(f"  - {{id: ast-{n}, tag: RM{n}, use: iaq}}\n" for n in range(ROOMS))
    return write_files(tmp_path, sinks=BACNET, a=TABLE + assets)


def test_one_run_writes_registers_and_instances(config: Path) -> None:
    """Objects are shown by type, however many there are; then check has no problem and nothing is to add."""
    folder = config.parent / "mappings"
    checked = gateway(config, "check")
    assert f"no BACnet instance in bacnet.lock for {2 * ROOMS} points (RM0/T, RM0/OCC, R" in checked.stderr
    tried = gateway(config, "lock", "--dry-run")
    assert (tried.returncode, tried.stderr) == (0, "")
    assert sorted(file.name for file in folder.iterdir()) == ["a.yaml"]
    done = gateway(config, "lock")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[ROOMS:] == [
        f"changed {ROOMS} slots in {folder}/registers.lock; commit it together with the tables",
        f"analog-input  1-{ROOMS}  RM0/T, RM1/T, RM2/T, RM3/T, RM4/T and {ROOMS - 5} more",
        f"binary-input  1-{ROOMS}  RM0/OCC, RM1/OCC, RM2/OCC, RM3/OCC, RM4/OCC and {ROOMS - 5} more",
        f"added {2 * ROOMS} objects to {folder}/bacnet.lock; commit it together with the tables",
    ]
    assert [
        line.replace("would change", "changed").replace("would add", "added")
        for line in tried.stdout.splitlines()
    ] == [
        line.replace("commit it together with the tables", "nothing was written")
        for line in done.stdout.splitlines()
    ]
    assert gateway(config, "check").stdout == (
        f"ok: {ROOMS} assets, {2 * ROOMS} points, {ROOMS} with a register, {2 * ROOMS} on BACnet\n"
    )
    written = [(folder / name).read_text() for name in ("registers.lock", "bacnet.lock")]
    again = gateway(config, "lock")
    assert again.stdout.splitlines() == [
        f"nothing to add to {folder}/registers.lock: every asset with registers has a base or a slot",
        f"nothing to add to {folder}/bacnet.lock: every BACnet object has an instance",
    ]
    assert [(folder / name).read_text() for name in ("registers.lock", "bacnet.lock")] == written


def test_only_the_file_that_lacks_something_is_written(tmp_path: Path) -> None:
    """A new point without registers adds to bacnet.lock alone, at its end; what is there stays as it is."""
    config = write_files(
        tmp_path,
        sinks=BACNET,
        a=TABLE.replace("assets:", "points:\n  - {tag: A, point: P, asset: a, from: t}"),
    )
    lock = tmp_path / "mappings" / "bacnet.lock"
    text = "schema: gateway.objects/1\nobjects:\n- {point: X/P, object: analog-input, instance: 1}  # 2024\n"
    lock.write_text(text)
    done = gateway(config, "lock")
    assert (
        done.stdout == f"analog-input  2  A/P\nadded 1 object to {lock}; commit it together with the tables\n"
    )
    assert lock.read_text() == text + "- {point: A/P, object: analog-input, instance: 2}\n"
    assert not (tmp_path / "mappings" / "registers.lock").exists()


def test_instances_of_tables_are_reserved(tmp_path: Path) -> None:
    """They are shown with their points, and added once."""
    points = "".join(
        f"\n  - {{tag: A, point: P{n}, asset: a, from: t, bacnet: {{instance: {4000 + n}}}}}" for n in (1, 2)
    )
    config = write_files(tmp_path, sinks=BACNET, a=TABLE.replace("assets:", f"points:{points}"))
    lock = tmp_path / "mappings" / "bacnet.lock"
    assert gateway(config, "check").returncode == 0
    assert gateway(config, "lock").stdout == (
        "analog-input  reserved  A/P1 (4001), A/P2 (4002)\n"
        f"added 2 objects to {lock}; commit it together with the tables\n"
    )
    assert "nothing to add" in gateway(config, "lock").stdout


def test_a_list_on_one_line_is_not_changed(tmp_path: Path) -> None:
    """The message shows the layout that can be extended."""
    config = write_files(
        tmp_path,
        sinks=BACNET,
        a=TABLE.replace("assets:", "points:\n  - {tag: A, point: P, asset: a, from: t}"),
    )
    lock = tmp_path / "mappings" / "bacnet.lock"
    text = "schema: gateway.objects/1\nobjects: [{point: X/P, object: analog-input, instance: 1}]\n"
    lock.write_text(text)
    done = gateway(config, "lock")
    assert (done.returncode, done.stdout, lock.read_text()) == (1, "", text)
    assert "bacnet.lock is not laid out as this command writes it" in done.stderr
    assert "one object a line" in done.stderr


def test_a_sensor_without_registers_is_replaced_in_its_table(tmp_path: Path) -> None:
    """`--replace` says so; the tag, and with it the instances, stay when the new id is written there."""
    table = TABLE.replace(", modbus: {to: regs, table: input, register: 0, type: float32}", "")
    config = write_files(tmp_path, sinks=BACNET, a=f"{table}  - {{id: ast-old, tag: RM1, use: iaq}}\n")
    assert gateway(config, "lock").returncode == 0
    refused = gateway(config, "lock", "--replace", "ast-old=ast-new")
    assert (
        "ast-old has no slot in registers.lock; write the new id into its table instead: topics and"
        in refused.stderr
    )
    file, lock = tmp_path / "mappings" / "a.yaml", tmp_path / "mappings" / "bacnet.lock"
    text = lock.read_text()
    file.write_text(file.read_text().replace("ast-old", "ast-new"))
    assert gateway(config, "check").returncode == 0
    assert "nothing to add" in gateway(config, "lock").stdout
    assert lock.read_text() == text
