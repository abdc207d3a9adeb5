"""Automatic assets have the points of the template that matches them, and no table names them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD
from support.registers_lock import assign, known, load, write_slots, write_tables

from gateway.records import AutoTag, KnownAsset

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = f"""{HEAD}templates:
  iaq:
    match: {{asset_type: at-iaq}}
    auto: true
    stride: 4
    points:
      T: {{from: t, modbus: {{register: 0, type: float32}}}}
      Q: {{from: $quality, mqtt: false, modbus: {{register: 2, type: uint16}}}}
"""
ROOM = KnownAsset(id="ast-0001", name="Room 1", asset_type="at-iaq")
OTHER = KnownAsset(id="ast-0002", name="Room 2", asset_type="at-iaq")
PUMP = KnownAsset(id="ast-0003", name="Pump", asset_type="at-pump")


def test_a_matching_asset_has_the_points(tmp_path: Path) -> None:
    """A matching asset has registers by its slot, and topics; another asset has no points."""
    lock = "  - {asset: ast-0001, template: iaq, base: 100, stride: 4}\n"
    found = load(tmp_path, TEMPLATE, lock=lock, snapshot=known(ROOM, PUMP))
    assert (found.problems, found.warnings) == ([], [])
    assert found.point_map is not None
    assert list(found.point_map.by_name) == ["Room 1/T", "Room 1/Q"]
    assert [point.site for point in found.point_map.points] == ["hq", "hq"]
    assert found.bases() == {"ast-0001": 100}
    assert set(found.point_map.by_asset) == {"ast-0001"}


def test_without_a_snapshot_nothing_is_automatic(tmp_path: Path) -> None:
    """Without an answer of the API, there are only the points of the tables."""
    found = load(tmp_path, TEMPLATE)
    assert (found.problems, found.warnings, found.tags()) == ([], [], {})


def test_an_asset_without_a_slot_is_on_mqtt_only(tmp_path: Path) -> None:
    """Points that only have registers are left out; one warning names all such assets and the command."""
    found = load(tmp_path, TEMPLATE, snapshot=known(ROOM, OTHER))
    assert found.point_map is not None
    assert list(found.point_map.by_name) == ["Room 1/T", "Room 2/T"]
    assert found.bases() == {}
    assert found.warnings == [
        (
            "a.yaml:7:11: templates.iaq.auto: not on Modbus, without a slot in registers.lock: ast-0001,"
            " ast-0002; run `gateway lock -c …` (with `--replace OLD=NEW` for a sensor in the place of an old"
            " one) (true)"
        )
    ]


def test_lock_gives_slots_to_automatic_assets_after_the_listed(tmp_path: Path) -> None:
    """Listed assets come first, in table order, then automatic ones by id, each with its tag in its slot."""
    listed = "assets:\n  - {id: z, tag: Z, use: iaq}\n"
    write_tables(tmp_path, TEMPLATE + listed)
    snapshot = known(OTHER, ROOM, PUMP)
    assert assign(tmp_path, snapshot=snapshot) == ({"z": 0, "ast-0001": 4, "ast-0002": 8}, [])
    write_slots(tmp_path, snapshot=snapshot)
    assert (tmp_path / "registers.lock").read_text().splitlines()[-3:] == [
        "  - {asset: z, template: iaq, base: 0, stride: 4}",
        '  - {asset: ast-0001, template: iaq, base: 4, stride: 4, tag: "Room 1"}',
        '  - {asset: ast-0002, template: iaq, base: 8, stride: 4, tag: "Room 2"}',
    ]


def test_a_tag_in_a_slot_stays(tmp_path: Path) -> None:
    """A new name in Infodeck, or another asset of the same name, changes no topic of an asset with a slot."""
    write_tables(tmp_path, TEMPLATE)
    write_slots(tmp_path, snapshot=known(ROOM))
    renamed = KnownAsset(id=ROOM.id, name="Lobby", asset_type="at-iaq")
    namesake = KnownAsset(id="ast-0000", name="Room 1", asset_type="at-iaq")
    assert load(tmp_path, snapshot=known(renamed, namesake)).tags() == {
        "ast-0001": "Room 1",
        "ast-0000": "Room 1-0000",
    }


def test_a_published_tag_stays(tmp_path: Path) -> None:
    """A published tag stays, whatever Infodeck calls the asset; tables and registers.lock take precedence."""
    write_tables(tmp_path, TEMPLATE)
    renamed = KnownAsset(id=ROOM.id, name="Lobby", asset_type="at-iaq")
    namesake = KnownAsset(id="ast-0000", name="Room 1", asset_type="at-iaq")
    snapshot = replace(known(renamed, namesake), tags={ROOM.id: AutoTag("{name}", "Room 1")})
    kept = {"ast-0001": "Room 1", "ast-0000": "Room 1-0000"}
    assert load(tmp_path, snapshot=snapshot).tags() == kept
    write_slots(tmp_path, snapshot=snapshot)
    (tmp_path / "a.yaml").write_text(TEMPLATE.replace("auto: true", 'auto: true\n    tag: "{id}"'))
    assert load(tmp_path, snapshot=snapshot).tags() == kept
    (tmp_path / "registers.lock").unlink()
    assert load(tmp_path, snapshot=snapshot).tags() == {"ast-0001": "ast-0001", "ast-0000": "ast-0000"}
    listed = "assets:\n  - {id: z, tag: Room 1, use: iaq, base: 0}\n"
    assert load(tmp_path, TEMPLATE + listed, snapshot=snapshot).tags() == {
        "z": "Room 1",
        "ast-0001": "Lobby",
        "ast-0000": "Room 1-0000",
    }


def test_tables_take_precedence_over_automatic_templates(tmp_path: Path) -> None:
    """An asset that a table names, also in a single point, is not added again, and keeps its tag."""
    listed = "assets:\n  - {id: ast-0001, tag: Room 2, use: iaq, base: 0}\n"
    listed += "points:\n  - {tag: P, point: X, asset: ast-0003, from: x}\n"
    pump = KnownAsset(id="ast-0003", asset_type="at-iaq")
    found = load(tmp_path, TEMPLATE + listed, snapshot=known(ROOM, OTHER, pump))
    assert found.tags() == {"ast-0001": "Room 2", "ast-0003": "P", "ast-0002": "Room 2-0002"}


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("asset_type: at-iaq", True),
        ("asset_type: AT-IAQ", False),
        ("model: am319", True),
        ("manufacturer: MILESIGHT", True),
        ('name: "iaq *"', True),
        ('name: "IAQ"', False),
        ('name: "IAQ ?"', False),
        ('name: "* 1[0-9]"', True),
        ('asset_type: at-iaq, name: "x*"', False),
        ('asset_type: at-iaq, model: AM319, manufacturer: Milesight, name: "IAQ 12"', True),
    ],
)
def test_all_criteria_must_match(tmp_path: Path, match: str, *, fits: bool) -> None:
    """Asset types are compared exactly; names are patterns; other criteria ignore capitals."""
    asset = KnownAsset(
        id="ast-1", name="IAQ 12", asset_type="at-iaq", model="AM319", manufacturer="Milesight"
    )
    bare = KnownAsset(id="ast-2")
    found = load(tmp_path, TEMPLATE.replace("asset_type: at-iaq", match), snapshot=known(asset, bare))
    assert set(found.tags()) == ({"ast-1"} if fits else set())


def test_an_asset_that_two_templates_match_is_left_out(tmp_path: Path) -> None:
    """A warning names both templates: a new device must not break a running table."""
    second = TEMPLATE.replace("iaq:", "air:").replace("asset_type: at-iaq", 'name: "Room*"')
    found = load(tmp_path, TEMPLATE, second, snapshot=known(ROOM))
    assert (found.problems, found.tags()) == ([], {})
    assert found.warnings == [
        (
            "b.yaml:6:12: templates.air.match: matches ast-0001, and so does iaq at a.yaml:6:5, so neither"
            " template is used for them: narrow one `match`, or list these assets in a table"
        )
    ]


def test_an_asset_whose_topic_is_taken_is_left_out(tmp_path: Path) -> None:
    """Another point may already have the topic of an automatic one; this is a warning."""
    single = 'points:\n  - {tag: Y, point: P, asset: y, from: t, mqtt: {topic: "gw/v1/hq/Room 1/T"}}\n'
    found = load(tmp_path, TEMPLATE + single, snapshot=known(ROOM, KnownAsset(id="y")))
    assert (found.problems, found.tags()) == ([], {"y": "Y"})
    assert "ast-0001 is left out: Y/P has the topic of Room 1/T" in "".join(found.warnings)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("    match: {asset_type: at-iaq}\n", ""), "iaq.auto: needs `match` beside it"),
        (("{asset_type: at-iaq}", "{}"), "iaq.auto: needs `match` beside it"),
        (("    stride: 4\n", ""), "iaq.auto: needs `stride` beside it"),
        (("auto: true", "tag: x"), "iaq.tag: needs {name} or {id}"),
        (("auto: true", 'tag: "{name}"'), "iaq.tag: is for automatic assets: write `auto: true`"),
        (
            ("auto: true", 'auto: true\n    tag: "{nam}"'),
            "iaq.tag: braces stand in pairs, around one of {name}",
        ),
        (("auto: true", 'auto: true\n    tag: "{name"'), "iaq.tag: braces stand in pairs"),
        (("auto: true", 'auto: true\n    tag: "{name!r}"'), "iaq.tag: braces stand in pairs, around"),
        (("auto: true", 'auto: true\n    tag: "a/{id}"'), "iaq.tag: becomes part of a topic"),
        (("register: 0,", "modicon: 30001,"), "points.T.modbus: must be relative with `auto`"),
        (("from: t,", "from: t, mqtt: {topic: x},"), "points.T.mqtt.topic: would be the same for every"),
        (
            ("register: 2", "register: 1"),
            "points.Q.modbus: input register 1 of unit 1 on regs for {iaq}/Q",
        ),
    ],
)
def test_a_template_that_cannot_be_automatic_is_refused(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    """The problem is reported when the table is written, not when the first device appears."""
    (reported,) = load(tmp_path, TEMPLATE.replace(*change)).problems
    assert problem in reported


def test_a_slot_that_does_not_fit_an_automatic_asset_only_warns(tmp_path: Path) -> None:
    """Its type may change in Infodeck at any time, so the asset stays on MQTT without registers."""
    lock = "  - {asset: ast-0001, template: iaq, base: 0, stride: 2}\n"
    found = load(tmp_path, TEMPLATE, lock=lock, snapshot=known(ROOM))
    assert (found.problems, found.bases(), found.tags()) == ([], {}, {"ast-0001": "Room 1"})
    assert "the template iaq needs 3 registers now" in found.warnings[0]
    assert "Until then it is not on Modbus" in found.warnings[0]


def test_cases_ignore_automatic_assets(tmp_path: Path) -> None:
    """Cases compile to the same with and without assets from the API."""
    case = "cases: [{given: {asset: ast-0001, telemetry: {t: 1}}, expect: {Room 1/T: 1}}]\n"
    reported = load(tmp_path, TEMPLATE + case, snapshot=known(ROOM)).problems
    assert reported == load(tmp_path, TEMPLATE + case).problems != []


def test_unknown_assets_are_warned_of(tmp_path: Path) -> None:
    """Each asset that Infodeck does not have is named once."""
    listed = "assets:\n  - {id: ast-001, tag: A, use: iaq, base: 0}\n"
    listed += "points:\n"
    listed += "".join(f"  - {{tag: P, point: {name}, asset: nobody, from: x}}\n" for name in "XY")
    found = load(tmp_path, TEMPLATE + listed, snapshot=known(PUMP))
    assert found.problems == []
    assert found.warnings == [
        (
            "a.yaml:13:10: assets[0].id: no asset of this id in Infodeck as of 2026-11-24 08:00 UTC"
            ' ("ast-001")'
        ),
        (
            "a.yaml:15:31: points[0].asset: no asset of this id in Infodeck as of 2026-11-24 08:00 UTC"
            ' ("nobody")'
        ),
    ]


def test_warnings_of_unknown_assets_are_bounded(tmp_path: Path) -> None:
    """With the key of another organization no asset is known; there are 20 warnings, not thousands."""
    points = "".join(f"  - {{tag: P, point: X{n}, asset: ast-{n}, from: x}}\n" for n in range(30))
    found = load(tmp_path, f"{HEAD}points:\n{points}", snapshot=known())
    assert len(found.warnings) == 20


def test_a_listed_asset_of_another_type_is_warned_of(tmp_path: Path) -> None:
    """A listed asset that contradicts the `match` of its template causes a warning."""
    table = TEMPLATE.replace("    auto: true\n", "").replace("at-iaq}", "at-iaq, model: AM319}")
    table += "assets:\n  - {id: ast-0003, tag: A, use: iaq, base: 0}\n"
    table += "  - {id: ast-0001, tag: B, use: iaq, base: 4}\n"
    found = load(tmp_path, table, snapshot=known(PUMP, ROOM))
    assert found.problems == []
    assert found.warnings == [
        (
            "a.yaml:12:33: assets[0].use: its asset_type is at-pump in Infodeck, not at-iaq, as the"
            " template iaq"
            ' expects ("iaq")'
        )
    ]
