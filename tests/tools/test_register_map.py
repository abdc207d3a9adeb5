"""The register map as rows, table, CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from support.point_tables import EXAMPLES, HEAD, SINKS, TOPICS, load_good_tables

from gateway.cli.points_document import handover_document
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.plan import PointMap
from gateway.mapping.topics import TopicScheme
from gateway.model import BacnetObject, ObjectType, OnStale, Point, StalePolicy
from gateway.records import AssetSnapshot, KnownAsset
from gateway.settings import load_settings
from gateway.tools.import_table import import_points
from gateway.tools.register_map import COLUMNS, MapRow, csv_text, json_text, register_map, screen_table
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    from pathlib import Path

TABLE = f"""{HEAD}points:
  - {{tag: X, point: T, asset: a, from: t, unit: degC, range: [0, 50], description: "A | B, C"}}
  - {{tag: X, point: S, asset: a, from: $.data.s, mqtt: false, modbus: {{modicon: 410001, type: string(5)}}}}
  - tag: X
    point: F
    asset: b
    from: f
    mqtt: {{topic: f}}
    on_stale: hold
    modbus: {{register: 9, type: int32, scale: 2}}
  - {{tag: X, point: B, asset: b, from: f, modbus: [{{register: 8, bit: 4}}, {{table: coil, register: 99}}]}}
"""
MQTT = "sinks: {bms: {type: mqtt, url: 'mqtt://10.0.0.5:1883'"


def document_of(folder: Path, point_map: PointMap, *, mqtt: str = "") -> str:
    """Return the document of a gateway with one server, and one broker with the further keys `mqtt`."""
    file = folder / "settings"
    file.write_text(
        "name: edge_1\ninfodeck: {organization: o-1}\nintake: {signing_secrets: [{env: S}]}\nmappings: .\n"
        f"{MQTT}{mqtt}}}, regs: {{type: modbus_server, listen: '10.0.0.2:502'}}}}\n"
    )
    return handover_document(point_map, gateway="edge_1", sinks=load_settings(file).require().sinks)


def rows_of(folder: Path, table: str = TABLE) -> list[MapRow]:
    """Return the rows of one table."""
    return register_map(load_good_tables(folder, table), topics=TOPICS)


def test_every_register_has_a_row(tmp_path: Path) -> None:
    """A row has a register's PDU address, 1-based number and modicon number, and the point's topic."""
    rows = rows_of(tmp_path)
    shown = [
        (row["name"], row["topic"], row["address"], row["number"], row["modicon"], row["type"], row["words"])
        for row in rows
    ]
    assert shown == [
        ("X/T", "gw/v1/hq/X/T", None, None, None, None, None),
        ("X/S", None, 10000, 10001, "410001", "string(6)", 3),
        ("X/F", "f", 9, 10, "30010", "int32", 2),
        ("X/B", "gw/v1/hq/X/B", 8, 9, "30009", "bit", 1),
        ("X/B", "gw/v1/hq/X/B", 99, 100, "00100", "bit", 1),
    ]
    assert [(row["order"], row["scale"], row["bit"], row["sentinel"]) for row in rows[2:]] == [
        ("ABCD", 2, None, "0x80000000"), (None, None, 4, "0"), (None, None, None, "0"),
    ]  # fmt: skip


def test_a_row_has_the_keys_of_its_point(tmp_path: Path) -> None:
    """A row has conversion, staleness, COV and MQTT; cells of unused keys are empty."""
    table = f"""{HEAD}points:
  - {{tag: X, point: M, asset: a, from: m, map: {{on: 1}}, on_stale: {{value: 0}}, stale_after: 48h,
     mqtt: {{to: [bms]}}}}
  - {{tag: X, point: G, asset: a, from: g, gain: 2.0, offset: 1, decimals: 1, cov: 0.5, range: [-1, 2.5],
     clamp: true}}
system: {{heartbeat: {{every: 10s, modbus: {{register: 0, type: uint16}}}}}}
"""
    mapped, measured, heartbeat = rows_of(tmp_path, table)
    assert (mapped["map"], mapped["on_stale"], mapped["stale_after"], mapped["mqtt"], mapped["gain"]) == (
        {"on": 1}, {"value": 0}, "2d", ["bms"], None,
    )  # fmt: skip
    columns = (
        "gain",
        "offset",
        "decimals",
        "cov",
        "cov_every",
        "range_low",
        "range_high",
        "clamp",
        "on_stale",
    )
    assert [repr(measured[column]) for column in columns] == [
        "2.0", "1", "1", "0.5", "'45m'", "-1", "2.5", "True", "'sentinel'",
    ]  # fmt: skip
    assert (heartbeat["name"], heartbeat["every"], heartbeat["mqtt"]) == ("$gateway/heartbeat", "10s", False)


def test_a_row_has_the_object_of_its_point() -> None:
    """A row has type, instance, unit and states of the object, and its sinks if these are not all."""
    number = BacnetObject("b1", ObjectType.ANALOG_INPUT, 4)
    states = BacnetObject("b1", ObjectType.MULTI_STATE_INPUT, 5, (0, 1), ("Off", "On"))
    binary = BacnetObject("b1", ObjectType.BINARY_INPUT, 5, (0, 1), ("Off", "On"))
    points = [
        Point("hq", "X", str(index), "a", "t", "degC", None, OnStale(StalePolicy.HOLD), objects=objects)
        for index, objects in enumerate([(number, replace(number, sink="b2")), (states,), (binary,), ()])
    ]
    rows = register_map(PointMap(tuple(points), {}), topics={}, bacnet=["b1", "b2"])
    columns = ("object_type", "object_instance", "object_unit", "object_states", "bacnet")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("analog-input", 4, "degrees-celsius", None, None),
        ("multi-state-input", 5, None, "1 Off, 2 On", ["b1"]),
        ("binary-input", 5, None, "0 Off, 1 On", ["b1"]),
        (None, None, None, None, False),
    ]
    assert screen_table(rows).splitlines()[1].split() == ["X/0", "degC", "analog-input", "4"]


def test_each_form_has_the_same_rows(tmp_path: Path) -> None:
    """Table, CSV and JSON have every row; CSV and JSON have every column."""
    rows = rows_of(tmp_path)
    assert json.loads(json_text(rows)) == rows
    parsed = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert tuple(parsed[0]) == COLUMNS
    assert [(row["modicon"], row["description"]) for row in parsed][:2] == [("", "A | B, C"), ("410001", "")]
    table = screen_table(rows).splitlines()
    assert table[0].split() == [
        "point", "in", "sink", "unit", "table", "PDU", "modicon", "type", "empty", "topic",
    ]  # fmt: skip
    assert len(table) == 6
    assert "int32 ABCD x2" in table[3]
    assert "bit 4" in table[4]


def test_rows_have_names_and_places_of_infodeck(tmp_path: Path) -> None:
    """Names and places are those that Infodeck's API listed; `import` ignores them."""
    (tmp_path / "a.yaml").write_text(TABLE)
    room = KnownAsset(id="a", name="Room | 1", location="Level 3", location_path=("HQ", "Level 3"))
    hall = KnownAsset(id="b", location="loc-9")
    snapshot = AssetSnapshot(0, {"a": room, "b": hall})
    point_map = load_point_map(TableInputs(tmp_path, SINKS, topics=TOPICS, snapshot=snapshot)).point_map
    assert point_map is not None
    rows = register_map(point_map, topics=TOPICS)
    assert [(row["asset_name"], row["location"]) for row in rows[1:3]] == [
        ("Room | 1", "HQ / Level 3"), (None, "loc-9"),
    ]  # fmt: skip
    assert screen_table(rows).splitlines()[1].endswith("Room | 1     HQ / Level 3")
    lines = "| tag | asset | name | where |\n| --- | --- | --- | --- |\n"
    lines += "| X | a | Room \\| 1 | HQ / Level 3 |\n| X | b |  | loc-9 |\n"
    assert f"## Assets in Infodeck\n\n{lines}" in document_of(tmp_path, point_map)
    assert "## Assets" not in document_of(tmp_path, load_good_tables(tmp_path, TABLE))
    bare = import_points(read_sheet(csv_text(rows_of(tmp_path)).encode()), name="points.csv").text
    assert import_points(read_sheet(csv_text(rows).encode()), name="points.csv").text == bare


def test_the_table_fits_a_screen() -> None:
    """All columns but the last, the topic, take at most 100 characters for the shipped tables."""
    point_map = load_point_map(TableInputs(EXAMPLES, SINKS)).point_map
    assert point_map is not None
    lines = screen_table(register_map(point_map, topics=TOPICS)).splitlines()
    assert lines[0].index("topic") <= 100


def test_csv_for_excel(tmp_path: Path) -> None:
    """CSV for Excel has a byte order mark, and with decimal commas semicolons between cells."""
    rows = rows_of(tmp_path, f"{HEAD}points:\n  - {{tag: X, point: T, asset: a, from: t, gain: 0.5}}\n")
    assert csv_text(rows, excel="point").startswith("\ufefftag,point,")
    text = csv_text(rows, excel="comma")
    assert text.startswith("\ufefftag;point;")
    assert ";0,5;" in text
    assert text.count("\r\n") == 2


def test_no_text_becomes_a_formula(tmp_path: Path) -> None:
    """Text that a spreadsheet would run as a formula gets a ' in front; negative numbers do not."""
    keys = "tag: -X, point: '@P', asset: =a, from: '+t', description: \"=cmd|' /C calc'!A1\", offset: -5"
    (row,) = rows_of(tmp_path, f"{HEAD}points:\n  - {{{keys}}}\n")
    (parsed,) = csv.DictReader(io.StringIO(csv_text([row])))
    assert [parsed[column] for column in ("tag", "point", "asset", "from", "description", "offset")] == [
        "'-X", "'@P", "'=a", "'+t", "'=cmd|' /C calc'!A1", "-5",
    ]  # fmt: skip


def test_the_document_explains_registers_and_topics(tmp_path: Path) -> None:
    """The document explains numbers, sentinels, orders and qualities, and lists points by sink."""
    points = load_good_tables(
        tmp_path, f"{TABLE}system: {{heartbeat: {{every: 10s, modbus: {{register: 0, type: uint16}}}}}}\n"
    )
    document = document_of(tmp_path, points)
    assert document.startswith(
        "# Points of gateway edge\\_1\n\nSite hq: 5 points under 1 tag, 5 Modbus registers.\n"
    )
    for part in (
        "int32 0x80000000, uint16 0xFFFF",
        "Order ABCD: high word first",
        "Heartbeat: input 0 (30001) of unit 1 on regs counts up every 10s",
        "| 2 | stale |",
        "## MQTT: bms\n\nThe broker is mqtt://10.0.0.5:1883.",
        "`gw/v1/$gateway/edge\\_1/status`",
        "| gw/v1/hq/X/T | degC | null | A \\| B, C |",
        "## Modbus: regs\n\nThe gateway is a Modbus TCP server at 10.0.0.2:502, for clients",
        "### Unit 1, coils (function 01)",
        "### Unit 1, input registers (function 04)",
    ):
        assert part in document
    assert "| 9 | 10 | 30010 | 2 | int32 | ABCD | 2 |  | X/F | last value |" in document


BOTH = TopicScheme(prefix="gw/v1", assets="{prefix}/{site}/{tag}")
ASSETS = TopicScheme(prefix="gw/v1", points=None, assets="{prefix}/{tag}")


def test_rows_have_the_topics_of_asset_messages(tmp_path: Path) -> None:
    """A row has its asset's topic; with assets only, a point with an own topic has both."""
    point_map = load_good_tables(tmp_path, TABLE)
    found = {}
    for scheme in (BOTH, ASSETS):
        rows = register_map(point_map, topics={"bms": scheme})
        found[scheme.prefix, scheme.points] = {
            str(row["name"]): (row["topic"], row["asset_topic"]) for row in rows
        }
    assert list(found.values()) == [
        {
            "X/T": ("gw/v1/hq/X/T", "gw/v1/hq/X"),
            "X/S": (None, None),
            "X/F": ("f", "gw/v1/hq/X"),
            "X/B": ("gw/v1/hq/X/B", "gw/v1/hq/X"),
        },
        {
            "X/T": (None, "gw/v1/X"),
            "X/S": (None, None),
            "X/F": ("f", "gw/v1/X"),
            "X/B": (None, "gw/v1/X"),
        },
    ]


def test_the_document_lists_points_by_asset_topic(tmp_path: Path) -> None:
    """Each point has a line under its asset's topic, and the form of a message is shown."""
    points = load_good_tables(tmp_path, TABLE)
    for payload, form in (("json", '{"ts": "…", "event": "…", "points": {'), ("value", '{"ZN-T": 21.5}')):
        keys = f", layout: asset, asset_topic: '{{prefix}}/{{tag}}', payload: {payload}"
        document = document_of(tmp_path, points, mqtt=keys)
        assert form in document
        assert "| f | last value |" in document
        assert "| gw/v1/X | T | degC | null | A \\| B, C |" in document
        assert "| gw/v1/X | F |" in document


def test_markdown_in_names_is_escaped(tmp_path: Path) -> None:
    """Every row of a table has as many cells as its heading, whatever names contain."""
    keys = "tag: X, point: T, asset: a, from: t, description: \"a|b\\nc `d` *e* <f>\", map: {'|': 1, on: 0}"
    document = document_of(tmp_path, load_good_tables(tmp_path, f"{HEAD}points:\n  - {{{keys}}}\n"))
    (line,) = (line for line in document.splitlines() if "gw/v1/hq/X/T" in line)
    assert line == ("| gw/v1/hq/X/T | null | a\\|b c \\`d\\` \\*e\\* \\<f\\>; 1 = \\|, 0 = on |")
