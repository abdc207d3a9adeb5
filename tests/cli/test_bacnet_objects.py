"""BACnet objects in what commands print and write, from real tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.processes import run_gateway

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
name: edge-1
infodeck: {organization: o-1}
intake: {signing_secrets: [{env: S}]}
journal: {url: "sqlite:////nowhere/journal.db"}
mappings: mappings
sinks:
  bac: {type: bacnet, listen: 192.0.2.10:47808, device: 3101, allow: [192.0.2.0/24]}
  two: {type: bacnet, listen: 192.0.2.11:47808, device: 3102, device_name: West wing}
"""
TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: ZN-T, asset: ast-1, from: t, unit: °C, cov: 0.2, range: [0, 50], description: Zone,
     bacnet: {instance: 7}}
  - {tag: R, point: MODE, asset: ast-1, from: m, map: {off: 0, on: 1, auto: 2},
     bacnet: {instance: 8, to: [bac]}}
  - {tag: R, point: LEAK, asset: ast-1, from: l, map: {dry: 0, wet: 1}, bacnet: false}
"""


@pytest.fixture
def building(tmp_path: Path) -> Path:
    """Write the settings and tables of a gateway with two BACnet devices; return the settings file."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "a.yaml").write_text(TABLE)
    (tmp_path / "gateway.yaml").write_text(SETTINGS)
    return tmp_path / "gateway.yaml"


def printed(*arguments: object, code: int = 0) -> str:
    """Run a command and return what it prints."""
    done = run_gateway(*map(str, arguments))
    assert (done.returncode, done.stderr) == (code, "")
    return done.stdout


def test_ede_files_of_each_device(building: Path) -> None:
    """Each device has its four files, with the objects that it has."""
    names = printed("points", "-c", building, "--format", "ede", "--to", building.parent / "ede").split()
    assert [name.removeprefix(f"{building.parent}/ede/") for name in names] == [
        f"edge-1-{sink}{end}.csv"
        for sink in ("bac", "two")
        for end in ("_EDE", "_StateTexts", "_ObjTypes", "_Units")
    ]
    objects = {
        sink: [
            line.split(";")
            for line in (building.parent / "ede" / f"edge-1-{sink}_EDE.csv").read_text().split("\n")
        ]
        for sink in ("bac", "two")
    }
    assert [row[1:5] for row in objects["bac"][8:-1]] == [
        ["3101", "edge-1/bac", "8", "3101"],
        ["3101", "R/ZN-T", "0", "7"],
        ["3101", "R/MODE", "13", "8"],
    ]
    assert [row[1:5] for row in objects["two"][8:-1]] == [
        ["3102", "West wing", "8", "3102"],
        ["3102", "R/ZN-T", "0", "7"],
    ]


def test_the_document_has_each_device(building: Path) -> None:
    """The BMS engineer finds address, device instance and every object with unit, states and increment."""
    age = "points: [{tag: R, point: AGE, asset: ast-1, from: $age, unit: s, bacnet: {instance: 9}}]\n"
    (building.parent / "mappings" / "b.yaml").write_text(f"schema: gateway.points/1\nsite: hq\n{age}")
    sections = dict(
        part.split("\n", 1) for part in printed("points", "-c", building, "--format", "md").split("\n## ")
    )
    bac = sections["BACnet: bac"]
    assert "device at 192.0.2.10:47808, for clients from 192.0.2.0/24. Device instance: 3101," in bac
    assert "| analog-input | 7 | R/ZN-T | degrees-celsius |  | 0.2 | Zone |" in bac
    assert "| analog-input | 9 | R/AGE | seconds |  | 60 | Seconds since the last reading" in bac
    assert "| multi-state-input | 8 | R/MODE |  | 1 off, 2 on, 3 auto |  |  |" in bac
    assert "R/MODE" not in sections["BACnet: two"]


def test_the_table_has_objects(building: Path) -> None:
    """The table has type and instance, empty for a point that is on no BACnet sink."""
    lines = [line.split() for line in printed("points", "-c", building).splitlines()]
    assert lines == [
        ["point", "in", "BACnet", "object", "instance"],
        ["R/ZN-T", "°C", "analog-input", "7"],
        ["R/MODE", "multi-state-input", "8"],
        ["R/LEAK"],
    ]


@pytest.mark.parametrize("has_list", [False, True])
def test_a_moved_object_breaks_a_bms(building: Path, has_list: bool) -> None:  # noqa: FBT001 - a case
    """Another instance, and a state with another number, are reported, also against a list."""
    old = building.parent / ("old.csv" if has_list else "old")
    if has_list:
        old.write_text(printed("points", "-c", building, "--format", "csv"))
    else:
        old.mkdir()
        (old / "a.yaml").write_text(TABLE)
    changed = TABLE.replace("instance: 7", "instance: 9").replace("off: 0, on: 1", "on: 1, off: 0")
    (building.parent / "mappings" / "a.yaml").write_text(changed)
    report = printed("diff", old, building.parent / "mappings", "-c", building, code=1)
    assert "analog-input 7  ->" in report
    assert "1 off, 2 on, 3 auto  ->  1 on, 2 off, 3 auto" in report


def test_tables_from_before_bacnet_can_be_compared(building: Path) -> None:
    """Old tables without instances have no objects, and new objects break nothing."""
    (building.parent / "old").mkdir()
    (building.parent / "old" / "a.yaml").write_text(TABLE.replace("bacnet: {instance: 7}", "bacnet: true"))
    report = printed("diff", building.parent / "old", building.parent / "mappings", "-c", building)
    assert "new object of a known point" in report
    assert "bac analog-input 7" in report


def test_an_event_is_explained_down_to_its_objects(building: Path) -> None:
    """A reading out of range shows with the flags and the reliability that a client reads."""
    event = {"id": "evt_1", "type": "asset.telemetry.updated", "created": 1_780_000_000}
    thing = {"id": "ast-1", "telemetry": {"t": 70, "m": "auto"}}
    (building.parent / "event.json").write_text(json.dumps(event | {"data": {"object": thing}}))
    report = printed("explain", "-c", building, building.parent / "event.json")
    assert "analog-input 7  70 degrees-celsius  in-alarm, fault, over-range" in report
    assert "multi-state-input 8  3 (auto)  no flags" in report


def test_what_cannot_be_written_is_refused(building: Path) -> None:
    """A missing folder, `--to` without EDE files, and EDE files without a device are errors."""
    refused = [
        (
            ["--format", "ede", "--to", building.parent / "no" / "ne"],
            "ne/edge-1-bac_EDE.csv: cannot be written",
        ),
        (["--to", building.parent], "--to is about --format ede"),
    ]
    for arguments, message in refused:
        done = run_gateway("points", "-c", str(building), *map(str, arguments))
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    building.write_text(
        SETTINGS.partition("sinks:")[0] + "sinks: {m: {type: mqtt, url: 'mqtt://127.0.0.1'}}\n"
    )
    (building.parent / "mappings" / "a.yaml").write_text("schema: gateway.points/1\nsite: hq\npoints: []\n")
    done = run_gateway("points", "-c", str(building), "--format", "ede")
    assert "no sink of `type: bacnet`" in done.stderr
