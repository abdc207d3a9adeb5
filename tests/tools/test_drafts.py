"""What a draft has: points, units, registers, places, tags, and comments on what to check."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from support.discovery_parts import asset_type, compile_with_draft, draft, evidence
from support.point_tables import EXAMPLES, HEAD, SINKS

from gateway.errors import CommandError
from gateway.mapping.topics import TopicScheme
from gateway.records import KnownAsset

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar
    from gateway.tools.discover import Draft

ROOMS = [KnownAsset(id=f"ast-{number}", name=f"Room {number}", asset_type="at-iaq") for number in (3, 2, 1)]
SEEN: dict[str, dict[str, Scalar]] = {"ast-1": {"t": 1}}


def text_of(drafted: Draft) -> str:
    """Return the draft's text."""
    assert drafted.text is not None
    return drafted.text


def drafted_points(
    folder: Path, *properties: tuple[str, str | None, str | None, str | None], **readings: Scalar
) -> str:
    """Return the points of the template of a type with these properties and readings."""
    room = KnownAsset(id="ast-1", name="Room 1", asset_type="at-iaq")
    found = evidence([room], types=[asset_type("at-iaq", *properties)], seen={"ast-1": readings})
    text = text_of(draft(folder, found))
    return dedent(text.partition("    points:\n")[2].partition("\nassets:")[0])


def bases(point_map: PointMap) -> dict[str, tuple[int, int]]:
    """Return unit and lowest register of each asset that has one."""
    lowest: dict[str, tuple[int, int]] = {}
    for point in point_map.points:
        for register in point.registers:
            place = (register.unit, register.address)
            lowest[point.asset] = min(place, lowest.get(point.asset, place))
    return lowest


def test_a_small_draft_as_a_whole(tmp_path: Path) -> None:
    """Types become templates with registers; assets stand in the order of their tags, with their places."""
    rooms = [
        KnownAsset(id=one.id, name=one.name, asset_type="at-iaq", location_path=("HQ", f"Level {one.id[4:]}"))
        for one in ROOMS
    ]
    found = evidence(
        [
            *rooms,
            KnownAsset(id="ast-dead", name="Spare"),
            KnownAsset(id="ast-m", name="Meter", asset_type="at-m"),
        ],
        types=[
            asset_type(
                "at-iaq", ("temperature", "Air temperature", "float", "°C"), ("co2", "CO2", "integer", "ppm")
            ),
            asset_type("at-m", ("Power", "Power", "integer", "W")),
        ],
        seen={"ast-1": {"temperature": 21.5, "co2": 640}},
    )
    drafted = draft(tmp_path, found)
    assert text_of(drafted) == dedent(
        """\
        # yaml-language-server: $schema=../config/schema/points.schema.json
        # Drafted by `gateway discover` from a test.
        # Remove what is not needed, and use the building's own names: no BMS uses these yet.
        # Registers are 0-based PDU addresses from each asset's `base` on.
        # A float32 shows whole numbers exactly up to 16,777,216: larger counters need float64 or uint32.

        schema: gateway.points/1
        site: o-test

        defaults:
          modbus: {to: regs, unit: 1, table: input}

        templates:
          at-iaq:   # Type at-iaq: 3 assets
            match: {asset_type: at-iaq}
            stride: 8
            points:
              TEMPERATURE: {from: temperature, unit: degC, description: Air temperature,
                            modbus: {register: 0, type: float32}}
              CO2: {from: co2, unit: ppm, description: CO2, modbus: {register: 2, type: float32}}
          at-m:   # Type at-m: 1 asset
            match: {asset_type: at-m}
            stride: 8
            points:
              POWER: {from: Power, unit: W, modbus: {register: 0, type: float32}}

        assets:
          # at-iaq
          - {id: ast-1, tag: Room 1, use: at-iaq, base: 0}   # HQ / Level 1
          - {id: ast-2, tag: Room 2, use: at-iaq, base: 8}   # HQ / Level 2
          - {id: ast-3, tag: Room 3, use: at-iaq, base: 16}   # HQ / Level 3
          # at-m
          - {id: ast-m, tag: Meter, use: at-m, base: 24}

        # Left out:
        #   ast-dead: no telemetry key of it is known
        """
    )
    compile_with_draft(tmp_path, drafted)


def test_readings_decide_what_a_key_is(tmp_path: Path) -> None:
    """A value that contradicts the declared type decides, so that no reading is lost."""
    points = drafted_points(
        tmp_path,
        ("occupancy", "Occupied", "boolean", None),
        ("door", None, "boolean", None),
        ("level", None, "boolean", None),
        ("energy", None, "integer", "kWh"),
        ("serial", None, "string", None),
        ("mode", None, "object", None),
        occupancy="vacant",
        door=True,
        level=3,
        energy=20_000_000,
        serial="4711",
        humidity="48.2",
    )
    assert points == dedent(
        """\
        # text, such as vacant: no register, unless by a `map`
        OCCUPANCY: {from: occupancy, description: Occupied}
        DOOR: {from: door, modbus: {register: 0, bit: 0}}
        # no unit known: add one
        LEVEL: {from: level, modbus: {register: 1, type: float32}}
        ENERGY: {from: energy, unit: kWh, modbus: {register: 3, type: float32}}
        # text: no register, unless by a `map`
        SERIAL: {from: serial}
        # never received; text: no register, unless by a `map`
        MODE: {from: mode}
        # not listed by its asset type; no unit known: add one
        HUMIDITY: {from: humidity, modbus: {register: 5, type: float32}}
        """
    )


def test_one_text_among_numbers_makes_a_key_text(tmp_path: Path) -> None:
    """A key that once was `n/a` is drafted without unit and register, so that the text is not lost."""
    room = KnownAsset(id="ast-1", asset_type="at-iaq")
    other = KnownAsset(id="ast-2", asset_type="at-iaq")
    found = evidence([room, other], seen={"ast-1": {"x": 21.5}, "ast-2": {"x": "n/a"}})
    assert "# text, such as n/a: no register, unless by a `map`\n      X: {from: x}" in text_of(
        draft(tmp_path, found)
    )


def test_text_is_text_on_bacnet(tmp_path: Path) -> None:
    """An analog-input would show a fault for each text, and each would be a dead letter."""
    drafted = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"x": "auto"}}), sinks=SINKS | {"bac": "bacnet"})
    assert "X: {from: x, bacnet: {object: characterstring-value}}" in text_of(drafted)


def test_keys_that_differ_in_case_get_points_of_different_names(tmp_path: Path) -> None:
    """Point names are in capitals, so the second one gets a number."""
    points = drafted_points(tmp_path, Temp=1.5, temp=2.5)
    assert "TEMP: {from: Temp, " in points
    assert "TEMP-2: {from: temp, " in points


@pytest.mark.parametrize(
    ("written", "spelled"), [("°C", "degC"), ("% RH", "percent"), ("µg/m³", "ug/m3"), ("people", "people")]
)
def test_units_are_spelled_as_point_tables_do(tmp_path: Path, written: str, spelled: str) -> None:
    """A unit that the units library knows has its spelling; any other word stays as it is."""
    assert f"{{from: x, unit: {spelled}, " in drafted_points(tmp_path, ("x", None, "float", written))


def test_keys_of_the_gateways_own_get_no_point(tmp_path: Path) -> None:
    """`from: $age` reads the gateway's own value, so a telemetry key of that name is left out."""
    room = KnownAsset(id="ast-1", asset_type="at-iaq")
    assert "$age" not in text_of(draft(tmp_path, evidence([room], seen={"ast-1": {"$age": 5, "t": 1}})))
    assert draft(tmp_path, evidence([room], seen={"ast-1": {"$age": 5}})).text is None


def test_registers_follow_all_that_are_used(tmp_path: Path) -> None:
    """Points, slots and reserves of the present tables keep their registers."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}templates:\n"
        "  x: {stride: 4, reserve: [4000, 4099], points: {T: {from: t, modbus: {register: 0, bit: 0}}}}\n"
        "assets:\n  - {id: a, tag: A, use: x, base: 100}\n"
    )
    (tmp_path / "registers.lock").write_text(
        "schema: gateway.registers/1\nslots:\n  - {asset: b, template: x, base: 4000, stride: 4}\n"
    )
    point_map = compile_with_draft(tmp_path, draft(tmp_path, evidence(ROOMS, seen=SEEN)))
    assert bases(point_map) == {"a": (1, 100), "ast-1": (1, 4104), "ast-2": (1, 4112), "ast-3": (1, 4120)}


def test_site_assets_and_tags_of_the_present_tables_stay(tmp_path: Path) -> None:
    """The draft has their site, none of their assets, and no tag that they use."""
    (tmp_path / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: tower\npoints:\n  - {tag: Room 1, point: P, asset: ast-3, from: p}\n"
    )
    drafted = draft(tmp_path, evidence(ROOMS, seen=SEEN))
    text = text_of(drafted)
    assert "\nsite: tower\n" in text
    assert "{id: ast-1, tag: Room 1-st-1, use: at-iaq, base: 0}" in text
    assert "ast-3" not in text
    assert drafted.mapped == 1
    compile_with_draft(tmp_path, drafted)


def test_a_present_template_for_the_type_is_used(tmp_path: Path) -> None:
    """A further room of a mapped type becomes one line, with registers behind the others."""
    for example in EXAMPLES.glob("*.yaml"):
        (tmp_path / example.name).write_text(example.read_text())
    drafted = draft(tmp_path, evidence(ROOMS, seen=SEEN))
    assert "templates:" not in text_of(drafted)
    assert "  - {id: ast-1, tag: Room 1, use: iaq, base: 1072}\n" in text_of(drafted)
    compile_with_draft(tmp_path, drafted)


def test_nothing_is_drafted_into_a_controller(tmp_path: Path) -> None:
    """Only the controller knows its free registers, so a template that writes there is not used."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}templates:\n  x:\n    match: {{asset_type: at-iaq}}\n"
        "    points: {T: {from: t, modbus: {to: ahu, table: holding, register: 0, type: int16}}}\n"
        "assets:\n  - {id: a, tag: A, use: x, base: 0}\n"
    )
    sinks = {**SINKS, "ahu": "modbus_client"}
    drafted = draft(tmp_path, evidence(ROOMS, seen=SEEN), sinks=sinks)
    assert "{id: ast-1, tag: Room 1, use: at-iaq, base: 0}" in text_of(drafted)
    compile_with_draft(tmp_path, drafted, sinks=sinks)


def test_automatic_assets_are_mapped_already(tmp_path: Path) -> None:
    """A template with `auto` leaves nothing to draft."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}templates:\n  x: {{match: {{asset_type: at-iaq}}, auto: true, points: {{T: {{from: t}}}}}}\n"
    )
    found = evidence(ROOMS, seen=SEEN)
    drafted = draft(tmp_path, found, snapshot=found.snapshot)
    assert (drafted.text, drafted.mapped) == (None, 3)


def test_a_full_unit_is_followed_by_an_unused_one(tmp_path: Path) -> None:
    """Assets that need more registers than a unit has get a template for each further unit."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}points:\n"
        "  - {tag: A, point: B, asset: c, from: d, modbus: {unit: 2, register: 0, type: int16}}\n"
        "  - {tag: A, point: C, asset: c, from: d, modbus: {register: 65000, type: int16}}\n"
    )
    many = [KnownAsset(id=f"ast-{number}", asset_type="at-iaq") for number in range(10, 80)]
    drafted = draft(tmp_path, evidence(many, seen={"ast-10": {"t": 1}}))
    text = text_of(drafted)
    assert "  at-iaq:   # 66 assets" in text
    assert (
        "  at-iaq-2:   # 4 assets\n    match: {asset_type: at-iaq}\n    defaults: {modbus: {unit: 3}}" in text
    )
    found = bases(compile_with_draft(tmp_path, drafted))
    assert found["ast-10"] == (1, 65008)
    assert found["ast-75"] == (1, 65528)
    assert [found[f"ast-{number}"] for number in (76, 79)] == [(3, 0), (3, 24)]


def test_without_modbus_or_free_units_there_are_no_registers(tmp_path: Path) -> None:
    """The points are drafted all the same."""
    drafted = draft(tmp_path, evidence(ROOMS, seen=SEEN), sinks={"bms": "mqtt"})
    assert "modbus" not in text_of(drafted)
    assert "use: at-iaq}" in text_of(drafted)
    used = "".join(
        f"  - {{tag: A, point: P{unit}, asset: c, from: d,"
        f" modbus: {{unit: {unit}, register: 65535, type: int16}}}}\n"
        for unit in range(1, 248)
    )
    (tmp_path / "a.yaml").write_text(f"{HEAD}points:\n{used}")
    drafted = draft(tmp_path, evidence(ROOMS, seen=SEEN))
    assert bases(compile_with_draft(tmp_path, drafted)).keys() == {"c"}


def test_assets_without_a_type_share_a_template_if_they_report_the_same(tmp_path: Path) -> None:
    """Without an answer of Infodeck's API, only keys are known."""
    seen: dict[str, dict[str, Scalar]] = {"ast-1": {"t": 1}, "ast-2": {"t": 2, "h": 3}, "ast-3": {"t": 4}}
    drafted = draft(tmp_path, evidence([KnownAsset(id=one) for one in seen], seen=seen))
    assert "  untyped:   # 1 asset\n    stride: 8\n" in text_of(drafted)
    assert "  untyped-2:   # 2 assets\n" in text_of(drafted)
    compile_with_draft(tmp_path, drafted)


def test_a_draft_that_does_not_fit_the_tables_is_refused(tmp_path: Path) -> None:
    """An id with a slash cannot be part of a topic; without that asset the draft compiles."""
    topics = {"bms": TopicScheme(prefix="p", points="{prefix}/{asset}/{point}")}
    odd = KnownAsset(id="ast/9", name="Odd", asset_type="at-iaq")
    found = evidence([*ROOMS, odd], seen=SEEN)
    with pytest.raises(CommandError) as caught:
        draft(tmp_path, found, topics=topics)
    assert "becomes part of a topic" in caught.value.problems[0]
    assert "ast/9" in caught.value.problems[0]
    drafted = draft(tmp_path, found, topics=topics, assets={one.id for one in ROOMS})
    assert len(compile_with_draft(tmp_path, drafted, topics=topics).by_asset) == 3


def test_only_chosen_assets_are_drafted(tmp_path: Path) -> None:
    """Readings of the other assets of the type count, although these are not drafted."""
    text = text_of(draft(tmp_path, evidence(ROOMS, seen=SEEN), assets=frozenset({"ast-2"})))
    assert "{id: ast-2, tag: Room 2, use: at-iaq, base: 0}" in text
    assert "ast-1" not in text


def test_one_of_several_sites_must_be_chosen(tmp_path: Path) -> None:
    """Tables of several sites need --site, so that no topic is under the wrong building."""
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"schema: gateway.points/1\nsite: {name}\n")
    found = evidence(ROOMS, seen=SEEN)
    with pytest.raises(CommandError, match="several sites: choose one with --site, such as a"):
        draft(tmp_path, found)
    assert "\nsite: b\n" in text_of(draft(tmp_path, found, site="b"))


def test_nothing_is_drafted_beside_tables_with_problems(tmp_path: Path) -> None:
    """Which registers they use is unknown until they are corrected."""
    (tmp_path / "a.yaml").write_text("schema: gateway.points/1\nsite: a\npoint: []\n")
    with pytest.raises(CommandError) as caught:
        draft(tmp_path, evidence(ROOMS, seen=SEEN))
    assert "point" in caught.value.problems[0]
