"""Computed points in `test`, `explain`, `diff`, the register map and spreadsheets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.computed_table import COMPUTED
from support.point_tables import SINKS, TOPICS, load_good_tables

from gateway.cli.points_document import handover_document
from gateway.events import parse_event
from gateway.mapping.compiler import TableInputs
from gateway.records import LastValue, OnlineState, Override, StoredState
from gateway.sinks.mqtt.config import MqttConfig
from gateway.tools.diff import compare, inventory_from_csv, inventory_of
from gateway.tools.diff_report import ChangeKind
from gateway.tools.explain import explain, traces_text
from gateway.tools.import_table import import_points
from gateway.tools.register_map import csv_text, register_map, screen_table
from gateway.tools.run_cases import run_cases
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.tools.diff import Inventory

NOW_S = 1_780_000_000
NOW_MS = NOW_S * 1000
FIRST = "{asset: ast-1, telemetry: {temperature: 20, humidity: 50}}"
OUT_OF_RANGE = "{asset: ast-2, telemetry: {temperature: 99}}"


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        (
            f"{FIRST}, {{asset: ast-2, telemetry: {{temperature: 22}}}}",
            "FLOOR-3/ZN-T-AVG: 69.8, L03-RM1/DEWPT: 9.3, FLOOR-3/ZN-T-LOW: 20, FLOOR-3/SPREAD: 2",
        ),
        (
            "{asset: ast-1, telemetry: {temperature: 20}}",
            "FLOOR-3/ZN-T-AVG: {value: null, quality: stale}, L03-RM1/DEWPT: {value: null, quality: bad}",
        ),
        (
            f"{FIRST}, {OUT_OF_RANGE}, {{asset: ast-3, telemetry: {{temperature: 21}}}}",
            "FLOOR-3/ZN-T-AVG: 68.9, FLOOR-3/ZN-T-LOW: {value: null, quality: stale}",
        ),
        (
            "{asset: ast-m, telemetry: {energy: 990}}, {asset: ast-m, telemetry: {energy: 0}, after: 30m}",
            "MAIN/KW: 20",
        ),
        (
            "{asset: ast-a, telemetry: {fan: true}}, {asset: ast-a, telemetry: {fan: false}, after: 1h}",
            "AHU-1/RUNTIME: 60",
        ),
    ],
)
def test_cases_expect_computed_points(tmp_path: Path, given: str, expect: str) -> None:
    """A case can expect what is computed from the readings of several assets, and over time."""
    table = f"{COMPUTED}cases:\n  - given: [{given}]\n    expect: {{{expect}}}\n"
    assert run_cases(load_good_tables(tmp_path, table)) == []


def test_a_computed_point_that_nothing_leads_to(tmp_path: Path) -> None:
    """A case that expects a computed point of other assets fails, and states what it got."""
    case = "  - given: {asset: ast-m, telemetry: {energy: 1}}\n    expect: {FLOOR-3/SPREAD: 1}\n"
    (failure,) = run_cases(load_good_tables(tmp_path, f"{COMPUTED}cases:\n{case}"))
    assert "expect.FLOOR-3/SPREAD: expected 1, but no given reading leads here" in failure


def explained(point_map: PointMap, asset: str, readings: dict[str, Any], stored: StoredState) -> str:
    """Return the text about an event that is received when it is created."""
    thing = {"id": asset, "telemetry": readings}
    document = {"id": "evt_1", "type": "asset.telemetry.updated", "created": NOW_S, "data": {"object": thing}}
    event = parse_event(json.dumps(document).encode(), received_ms=NOW_MS)
    explanation = explain(point_map, event, seq=7, stored=lambda: stored)
    return traces_text(explanation, lambda output: [("bms", str(output.update.value))])


def last_value(asset: str, tag: str, source: str, value: float, *, age_ms: int) -> LastValue:
    """Return a stored reading."""
    return LastValue(f"{tag}/{source}", asset, source, value, value, NOW_MS - age_ms, 5, "evt_0")


def lines_of(text: str, name: str) -> list[str]:
    """Return the lines about a point, without the spaces between their columns."""
    (block,) = (part for part in text.split("\n\n") if part.startswith(f"{name}  "))
    return [" ".join(line.split()) for line in block.splitlines()]


def test_explain_shows_members_and_which_are_not_used(tmp_path: Path) -> None:
    """Members have the values of the journal, those of the event first; what is not used has its reason."""
    point_map = load_good_tables(tmp_path, COMPUTED)
    stored = StoredState(
        last_values=[
            last_value("ast-2", "L03-RM2", "temperature", 22, age_ms=60_000),
            last_value("ast-3", "L03-RM3", "temperature", 30, age_ms=5_400_001),
            last_value("ast-1", "L03-RM1", "humidity", 50, age_ms=-60_000),
        ]
    )
    text = explained(point_map, "ast-1", {"temperature": 20}, stored)
    assert lines_of(text, "FLOOR-3/ZN-T-AVG") == [
        "FLOOR-3/ZN-T-AVG mean of L03-*/ZN-T, at least 50%",
        "L03-RM1/ZN-T 20 degC good from this event",
        "L03-RM3/ZN-T no value stale not used: older than 90m",
        "L03-RM2/ZN-T 22 degC good of 2026-05-28T20:25:40Z",
        "2 of 3 points used, 2 needed",
        "value 69.8 degF good",
        "mqtt bms 69.8",
    ]
    assert "value 9.3 degC good" in lines_of(text, "L03-RM1/DEWPT")
    assert "modbus regs unit 1 input 1008-1009 31009 float32 ABCD 4114 CCCD = 9.3" in lines_of(
        text, "L03-RM1/DEWPT"
    )
    assert "value 2.0 K good" in lines_of(text, "FLOOR-3/SPREAD")
    assert "MAIN/KW" not in text


def test_explain_computes_members_of_other_assets(tmp_path: Path) -> None:
    """A member that is computed from assets without this event has the value that it has in the gateway."""
    table = f"{COMPUTED}  - {{tag: B, point: P, expr: 'MAIN/KWH * FLOOR-3/ZN-T-LOW'}}\n"
    temperatures = [
        last_value(f"ast-{number}", f"L03-RM{number}", "temperature", 20 + number, age_ms=60_000)
        for number in (1, 2)
    ]
    text = explained(
        load_good_tables(tmp_path, table), "ast-m", {"energy": 2}, StoredState(last_values=temperatures)
    )
    assert lines_of(text, "B/P")[1:4] == [
        "MAIN/KWH 2 kWh good from this event",
        "FLOOR-3/ZN-T-LOW 21 degC good of 2026-05-28T20:25:40Z",
        "value 42.0 good",
    ]


def test_explain_names_a_member_that_is_text(tmp_path: Path) -> None:
    """Text is not used, and the list states it."""
    text = explained(load_good_tables(tmp_path, COMPUTED), "ast-a", {"fan": "off"}, StoredState())
    assert 'AHU-1/SF-S "off" good not used: it is text, not a number' in lines_of(text, "AHU-1/RUNTIME")


def test_explain_names_every_reason_not_to_use_a_member(tmp_path: Path) -> None:
    """No reading, a reading that is out of range, a device that is offline, and a forced one that is used."""
    point_map = load_good_tables(tmp_path, COMPUTED)
    stored = StoredState(
        last_values=[
            last_value("ast-2", "L03-RM2", "temperature", 22, age_ms=60_000),
            last_value("ast-3", "L03-RM3", "temperature", 99, age_ms=60_000),
        ],
        online=[OnlineState("ast-2", online=False, at_ms=NOW_MS - 1000)],
    )
    lines = lines_of(explained(point_map, "ast-1", {"temperature": 20}, stored), "FLOOR-3/ZN-T-AVG")
    assert "L03-RM2/ZN-T no value offline not used: the device is not connected" in lines
    assert "L03-RM3/ZN-T 99 degC bad not used: 99 is outside its range, -20 to 60" in lines
    assert "value no value stale" in lines
    forced = StoredState(overrides=[Override("L03-RM2/ZN-T", 30, NOW_MS - 1000, NOW_MS + 60_000)])
    lines = lines_of(explained(point_map, "ast-1", {"temperature": 20}, forced), "FLOOR-3/ZN-T-AVG")
    assert "L03-RM3/ZN-T no value not used: no reading yet" in lines
    assert any(line.startswith("L03-RM2/ZN-T 30 degC forced of ") for line in lines)
    assert "value 77.0 degF good" in lines


def test_explain_lists_twenty_members(tmp_path: Path) -> None:
    """Of many members, those that matter are listed."""
    assets = "".join(
        f"  - {{id: ast-x{n}, tag: L03-X{n}, use: iaq, base: {2000 + 16 * n}}}\n" for n in range(40)
    )
    point_map = load_good_tables(
        tmp_path, COMPUTED.replace("points:\n  - {tag: FLOOR", f"{assets}points:\n  - {{tag: FLOOR")
    )
    lines = lines_of(explained(point_map, "ast-x7", {"temperature": 20}, StoredState()), "FLOOR-3/ZN-T-AVG")
    assert lines[1] == "L03-X7/ZN-T 20 degC good from this event"
    assert lines[21:23] == ["… 23 more, 0 of them used", "1 of 43 points used, 22 needed"]


def inventory(folder: Path, table: str) -> Inventory:
    """Return the inventory of a table."""
    return inventory_of(load_good_tables(folder, table), topics=TOPICS, sinks={name: {} for name in SINKS})


@pytest.mark.parametrize(
    ("old", "new", "subject", "what"),
    [
        ("dewpoint(ZN-T, ZN-RH)", "dewpoint(ZN-T, 50)", "L03-RM1/DEWPT", "from"),
        ("at_least: 50%", "at_least: 60%", "FLOOR-3/ZN-T-AVG", "from"),
        ("rollover: 1000", "rollover: 65536", "MAIN/KW", "from"),
        ("tag: L03-RM3", "tag: L04-RM3", "FLOOR-3/ZN-T-AVG", "members"),
    ],
)
def test_another_computation_is_another_meaning(
    tmp_path: Path, old: str, new: str, subject: str, what: str
) -> None:
    """A changed expression, or a change of the members, breaks what the BMS shows."""
    before, after = inventory(tmp_path, COMPUTED), inventory(tmp_path, COMPUTED.replace(old, new))
    found = [
        change
        for change in compare(before, after)
        if change.kind is ChangeKind.MEANING and change.subject == subject
    ]
    assert what in {change.what for change in found}
    assert compare(before, before) == []


def test_changed_members_are_named(tmp_path: Path) -> None:
    """The report has the number of members, and those that are gone or new."""
    before = inventory(tmp_path, COMPUTED)
    after = inventory(tmp_path, COMPUTED.replace("{id: ast-3, tag: L03-RM3", "{id: ast-9, tag: L03-RM4"))
    (change,) = (each for each in compare(before, after) if each.what == "members")
    assert change.old == "3 points"
    assert change.new == "3 points, without L03-RM3/ZN-T, with L03-RM4/ZN-T"


def test_a_renamed_member_is_the_same(tmp_path: Path) -> None:
    """A member with another name in the same place is no other member."""
    before, after = inventory(tmp_path, COMPUTED), inventory(tmp_path, COMPUTED.replace("L03-RM3", "L03-RM9"))
    assert [change for change in compare(before, after) if change.what == "members"] == []


def test_lists_for_people_name_the_computation(tmp_path: Path) -> None:
    """The table on the screen and the document to hand over say how a point is computed."""
    point_map = load_good_tables(tmp_path, COMPUTED)
    lines = screen_table(register_map(point_map, topics=TOPICS)).splitlines()
    assert any(
        line.startswith("FLOOR-3/ZN-T-AVG ") and line.endswith("mean of L03-*/ZN-T, at least 50%")
        for line in lines
    )
    assert any(
        line.startswith("L03-RM1/DEWPT ") and line.endswith(" dewpoint(ZN-T, ZN-RH)") for line in lines
    )
    sinks = {"bms": MqttConfig(type="mqtt", url="mqtt://127.0.0.1")}  # type: ignore[arg-type]  # parsed from text
    document = handover_document(point_map, gateway="edge-1", sinks=sinks)
    assert "| degC | null | computed: dewpoint(ZN-T, ZN-RH) |" in document


def test_a_list_with_computed_points_is_imported_again(tmp_path: Path) -> None:
    """The CSV of a table with every kind of computed point makes the same points."""
    point_map = load_good_tables(tmp_path, COMPUTED)
    written = csv_text(register_map(point_map, topics=TOPICS))
    imported = import_points(
        read_sheet(written.encode()), name="points.csv", inputs=TableInputs(tmp_path, SINKS, topics=TOPICS)
    )
    again = load_good_tables(tmp_path, imported.text)
    assert csv_text(register_map(again, topics=TOPICS)) == written
    members = {each.point.name: [member.name for member in each.members] for each in point_map.computed}
    assert {each.point.name: [member.name for member in each.members] for each in again.computed} == members
    changed = inventory(tmp_path, COMPUTED.replace("register: 8", "register: 10"))
    changes = compare(inventory_from_csv(written.encode(), file="p.csv"), changed)
    moved = [change.subject for change in changes if change.kind is ChangeKind.REGISTER_MOVED]
    assert moved == ["L03-RM1/DEWPT", "L03-RM2/DEWPT", "L03-RM3/DEWPT"]


def test_a_template_and_its_list_mean_the_same(tmp_path: Path) -> None:
    """Rates and runtimes of a template go on when its points are imported as single points."""
    table = """\
schema: gateway.points/1
site: hq
templates:
  meter: {points: {KWH: {from: e}, KW: {rate: {of: KWH, per: 1h}}, ON: {runtime: {of: KWH}}}}
assets: [{id: ast-1, tag: M-1, use: meter}]
"""
    point_map = load_good_tables(tmp_path, table)
    written = csv_text(register_map(point_map, topics=TOPICS)).encode()
    inputs = TableInputs(tmp_path, SINKS, topics=TOPICS)
    imported = import_points(read_sheet(written), name="points.csv", inputs=inputs)
    again = load_good_tables(tmp_path, imported.text)
    assert [point.source for point in again.points] == [point.source for point in point_map.points]
