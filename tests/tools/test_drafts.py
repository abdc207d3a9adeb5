"""What a draft looks like: points, units, registers, places and tags, and what its comments say."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from support.discovery_parts import asset_type, draft, evidence, put
from support.point_tables import EXAMPLES, HEAD, SINKS

from gateway.errors import CommandError
from gateway.mapping.topics import TopicScheme
from gateway.records import AssetSnapshot, KnownAsset

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar
    from gateway.tools.discover import Discovery

ROOMS = [KnownAsset(id=f"ast-{number}", name=f"Room {number}", asset_type="at-iaq") for number in (10, 2, 1)]


def text_of(made: Discovery) -> str:
    """Return the draft's text."""
    assert made.text is not None
    return made.text


def points_of(
    tmp_path: Path, *properties: tuple[str, str | None, str | None, str | None], **seen: Scalar
) -> str:
    """Return the points of a type's template."""
    room = KnownAsset(id="ast-1", name="Room 1", asset_type="at-iaq")
    found = evidence([room], types=[asset_type("at-iaq", *properties)], seen={"ast-1": seen})
    text = text_of(draft(tmp_path, found))
    return dedent(text.partition("    points:\n")[2].partition("\nassets:")[0])


def bases(point_map: PointMap) -> dict[str, tuple[int, int]]:
    """Return unit and lowest register of each asset that has one."""
    lowest: dict[str, tuple[int, int]] = {}
    for point in point_map.points:
        for register in point.registers:
            place = (register.unit, register.address)
            lowest[point.asset] = min(place, lowest.get(point.asset, place))
    return lowest


def test_the_whole_of_a_small_draft(tmp_path: Path) -> None:
    """Types and readings become templates with registers; assets stand in order, with their places."""
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
    made = draft(tmp_path, found)
    assert text_of(made) == dedent(
        """\
        # yaml-language-server: $schema=../config/schema/points.schema.json
        # Drafted by `gateway discover` from a test.
        # Remove what is not needed, and use the building's own names: no BMS uses these yet.
        # `range`, `cov`, `map` and points such as `from: $quality` are described in docs/point-tables.md.
        # Registers are 0-based PDU addresses from each asset's `base` on, behind all that are taken.
        # A float32 takes any number, and shows whole ones exactly up to 16,777,216.

        schema: gateway.points/1
        site: o-test   # the organization's id: write the building's name

        defaults:
          modbus: {to: regs, unit: 1, table: input}

        templates:
          at-iaq:   # Type at-iaq: 3 assets
            match: {asset_type: at-iaq}
            stride: 8
            points:
              # unit as Infodeck says: °C
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
          - {id: ast-10, tag: Room 10, use: at-iaq, base: 16}   # HQ / Level 10
          # at-m
          - {id: ast-m, tag: Meter, use: at-m, base: 24}

        # Left out:
        #   ast-dead (Spare): it has never reported, and no type of it is known
        """
    )
    put(tmp_path, made)


def test_readings_decide_what_a_key_is(tmp_path: Path) -> None:
    """What was seen wins over what the type says, so that no reading is lost; with a comment."""
    points = points_of(
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
        # its type says boolean, but text was seen, such as vacant: no register, unless by a `map`
        OCCUPANCY: {from: occupancy, description: Occupied}
        DOOR: {from: door, modbus: {register: 8, bit: 0}}
        # its type says boolean, but a number was seen; no unit known: add one
        LEVEL: {from: level, modbus: {register: 0, type: float32}}
        ENERGY: {from: energy, unit: kWh, modbus: {register: 2, type: float64}}
        # text: no register, unless by a `map`
        SERIAL: {from: serial}
        # in no telemetry yet; no value seen and no type known: no register, no unit
        MODE: {from: mode}
        # seen in telemetry, but its type does not list it; no unit known: add one
        HUMIDITY: {from: humidity, modbus: {register: 6, type: float32}}
        """
    )


def test_text_among_numbers_is_reported(tmp_path: Path) -> None:
    """One `n/a` makes text of a key, so that it is not lost; that numbers came is said, blanks are not."""
    room = KnownAsset(id="ast-1", asset_type="at-iaq")
    found = evidence([room], seen={"ast-1": {"blank": " ", "temperature": "n/a"}})
    for value in (21.5, "", "offline"):
        found.sightings.add("ast-1", "temperature", value)
    text = text_of(draft(tmp_path, found))
    assert "# text, of blanks: no register, unless by a `map`\n      BLANK: {from: blank}" in text
    assert (
        "# text, such as n/a, offline, besides numbers: no register, unless by a `map`\n"
        "      TEMPERATURE: {from: temperature}" in text
    )


def test_names_that_differ_in_case_only_are_kept_apart_or_brought_together(tmp_path: Path) -> None:
    """A key that reports in other case than its type lists it is one point; two that report are two."""
    points = points_of(tmp_path, ("Power", "Active power", "integer", "W"), power=5, Temp=1.5, temp=2.5)
    assert points == dedent(
        """\
        # its type calls it Power
        POWER: {from: power, unit: W, description: Active power, modbus: {register: 0, type: float32}}
        # seen in telemetry, but its type does not list it; no unit known: add one
        TEMP: {from: Temp, modbus: {register: 2, type: float32}}
        # seen in telemetry, but its type does not list it; no unit known: add one
        TEMP-2: {from: temp, modbus: {register: 4, type: float32}}
        """
    )


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("°C", "unit: degC"),
        ("℃", "unit: degC"),
        ("Celsius", "unit: degC"),
        ("%", "unit: percent"),
        ("% RH", "unit: percent"),
        ("Lux", "unit: lx"),
        ("µg/m³", "unit: ug/m3"),
        ("m³/h", "unit: m3/h"),
        ("KWH", "unit: kWh"),
        ("ppm", "unit: ppm"),
        ("people", "unit: people"),
    ],
)
def test_units_are_spelled_as_point_tables_do(tmp_path: Path, written: str, line: str) -> None:
    """What the units library knows can be converted later; any other word stays text, with a comment."""
    points = points_of(tmp_path, ("x", None, "float", written))
    assert f"{{from: x, {line}, " in points
    assert ("cannot be converted" in points) is (written == "people")
    assert (f"unit as Infodeck says: {written}" in points) is (f"unit: {written}" != line)


def test_keys_that_no_point_can_read_are_reported(tmp_path: Path) -> None:
    """`$age` at `from` is the gateway's own, so a telemetry key of that name gets a comment, not a point."""
    room = KnownAsset(id="ast-1", asset_type="at-iaq")
    text = text_of(draft(tmp_path, evidence([room], seen={"ast-1": {"$age": 5, "t": 1}})))
    assert "no point for the key '$age'" in text
    only = draft(tmp_path, evidence([room], seen={"ast-1": {"$age": 5}}))
    assert only.text is None
    assert only.draft is not None
    assert "no point for the key '$age'" in only.draft.left_out[0].reason


def test_registers_come_behind_everything_and_never_overlap(tmp_path: Path) -> None:
    """Points, slots and reserves of the tables that are there keep their registers; new bases are beyond."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}templates:\n"
        "  x: {stride: 4, reserve: [4000, 4099], points: {T: {from: t, modbus: {register: 0, bit: 0}}}}\n"
        "assets:\n  - {id: a, tag: A, use: x, base: 100}\n"
    )
    (tmp_path / "registers.lock").write_text(
        "schema: gateway.registers/1\nslots:\n  - {asset: b, template: x, base: 4000, stride: 4}\n"
    )
    point_map = put(tmp_path, draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}})))
    assert bases(point_map) == {"a": (1, 100), "ast-1": (1, 4104), "ast-2": (1, 4112), "ast-10": (1, 4120)}


def test_the_building_is_written_on_as_it_is(tmp_path: Path) -> None:
    """Site, unit, table and byte order are those that the tables have; their assets and tags stay theirs."""
    (tmp_path / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: tower\n"
        "points:\n  - {tag: Room 1, point: P, asset: ast-10, from: p,"
        " modbus: {to: regs, unit: 7, table: holding, order: CDAB, register: 9, type: float32}}\n"
    )
    made = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}}))
    text = text_of(made)
    assert "\nsite: tower\n" in text
    assert "\n  modbus: {to: regs, unit: 7, table: holding, order: CDAB}\n" in text
    assert "{id: ast-1, tag: Room 1-st-1, use: at-iaq, base: 16}" in text
    assert "ast-10" not in text
    assert made.mapped == 1
    put(tmp_path, made)


def test_a_template_that_is_there_for_the_type_is_used(tmp_path: Path) -> None:
    """A further room of a mapped kind becomes one line, behind the others, with a note of missing points."""
    for example in EXAMPLES.glob("*.yaml"):
        (tmp_path / example.name).write_text(example.read_text())
    made = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"temperature": 21.5, "noise": 40}}))
    text = text_of(made)
    assert "templates:" not in text
    assert "  # iaq: the template at hq-iaq.yaml:24; it has no point for noise\n" in text
    assert "  - {id: ast-1, tag: Room 1, use: iaq, base: 1072}\n" in text
    put(tmp_path, made)


def test_nothing_is_drafted_into_a_controller(tmp_path: Path) -> None:
    """Only the controller knows which of its registers are free: a template that writes there is not used."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}templates:\n  x:\n    match: {{asset_type: at-iaq}}\n"
        "    points: {T: {from: t, modbus: {to: ahu, table: holding, register: 0, type: int16}}}\n"
        "assets:\n  - {id: a, tag: A, use: x, base: 0}\n"
    )
    sinks = {**SINKS, "ahu": "modbus_client"}
    made = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}}), sinks=sinks)
    assert "{id: ast-1, tag: Room 1, use: at-iaq, base: 0}" in text_of(made)
    put(tmp_path, made, sinks=sinks)


def test_assets_that_a_template_takes_by_itself_are_mapped_already(tmp_path: Path) -> None:
    """With `auto`, nothing is to be drafted for what Infodeck knows."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}templates:\n  x: {{match: {{asset_type: at-iaq}}, auto: true, points: {{T: {{from: t}}}}}}\n"
    )
    found = evidence(ROOMS, seen={"ast-1": {"t": 1}})
    made = draft(tmp_path, found, snapshot=AssetSnapshot(1, found.assets))
    assert (made.text, made.mapped) == (None, 3)


def test_alone_everything_is_drafted_anew(tmp_path: Path) -> None:
    """For a folder of its own: the tables that are there say the site and nothing else."""
    (tmp_path / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: tower\npoints:\n  - {tag: Room 1, point: P, asset: ast-1, from: p}\n"
    )
    made = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}}), is_alone=True)
    assert "\nsite: tower\n" in text_of(made)
    assert "{id: ast-1, tag: Room 1, use: at-iaq, base: 0}" in text_of(made)
    (tmp_path / "new").mkdir()
    assert len(put(tmp_path / "new", made).by_asset) == 3


def test_a_full_unit_is_followed_by_the_next_free_one(tmp_path: Path) -> None:
    """10,000 assets need more registers than a unit has: further units get a template of their own."""
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}points:\n"
        "  - {tag: A, point: B, asset: c, from: d, modbus: {unit: 2, register: 0, type: int16}}\n"
        "  - {tag: A, point: C, asset: c, from: d, modbus: {register: 65000, type: int16}}\n"
        "  - {tag: A, point: D, asset: c, from: d, modbus: {register: 64000, type: int16}}\n"
    )
    many = [
        KnownAsset(id=f"ast-{number}", name=f"Room {number}", asset_type="at-iaq") for number in range(70)
    ]
    made = draft(tmp_path, evidence(many, seen={"ast-1": {"t": 1}}))
    text = text_of(made)
    assert "  at-iaq:   # 66 assets" in text
    assert (
        "  at-iaq-unit-3:   # 4 assets\n    match: {asset_type: at-iaq}\n    defaults: {modbus: {unit: 3}}"
        in text
    )
    found = bases(put(tmp_path, made))
    assert found["ast-0"] == (1, 65008)
    assert found["ast-65"] == (1, 65528)
    assert [found[f"ast-{number}"] for number in (66, 69)] == [(3, 0), (3, 24)]


def test_without_room_or_modbus_there_are_no_registers(tmp_path: Path) -> None:
    """Points are drafted all the same; where a server is there, the comment says what is lacking."""
    plain = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}}), sinks={"bms": "mqtt"})
    assert "modbus" not in text_of(plain)
    assert "stride" not in text_of(plain)
    assert "use: at-iaq}" in text_of(plain)
    taken = "".join(
        f"  - {{tag: A, point: P{unit}, asset: c, from: d,"
        f" modbus: {{unit: {unit}, register: 65535, type: int16}}}}\n"
        for unit in range(1, 248)
    )
    (tmp_path / "a.yaml").write_text(f"{HEAD}points:\n{taken}")
    made = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}}))
    assert "    # no registers: regs has no 8 free ones in a row on any unit\n" in text_of(made)
    assert bases(put(tmp_path, made)).keys() == {"c"}


def test_more_points_than_a_unit_has_registers(tmp_path: Path) -> None:
    """What does not fit has no register; the others have."""
    room = KnownAsset(id="ast-1", asset_type="at-iaq")
    made = draft(tmp_path, evidence([room], seen={"ast-1": dict.fromkeys(map(str, range(33_000)), 1)}))
    point_map = put(tmp_path, made)
    assert sum(bool(point.registers) for point in point_map.points) == 32_768
    assert len(point_map.points) == 33_000


def test_assets_without_a_type_share_points_where_they_report_the_same(tmp_path: Path) -> None:
    """Before Infodeck's API was ever asked, keys are all that is known."""
    seen: dict[str, dict[str, Scalar]] = {"ast-1": {"t": 1}, "ast-2": {"t": 2, "h": 3}, "ast-3": {"t": 4}}
    made = draft(tmp_path, evidence([KnownAsset(id=one) for one in seen], seen=seen))
    text = text_of(made)
    assert "  untyped:   # 1 asset\n    stride: 8\n" in text
    assert "  untyped-2:   # 2 assets\n" in text
    put(tmp_path, made)


def test_what_the_topics_of_a_broker_do_not_allow_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """An id with a slash cannot be a level of a topic; the others are drafted."""
    topics = {"bms": TopicScheme(prefix="p", points="{prefix}/{asset}/{point}")}
    odd = KnownAsset(id="ast/9", name="Odd", asset_type="at-iaq")
    made = draft(tmp_path, evidence([*ROOMS, odd], seen={"ast-1": {"t": 1}}), topics=topics)
    assert "# Left out:\n#   ast/9 (Odd): becomes part of a topic, so it cannot" in text_of(made)
    assert len(put(tmp_path, made, topics=topics).by_asset) == 3


def test_only_what_is_wanted_is_drafted(tmp_path: Path) -> None:
    """The evidence of all assets of a type counts, also of those that the draft is not about."""
    found = evidence(ROOMS, seen={"ast-1": {"t": 1}})
    text = text_of(draft(tmp_path, found, assets=frozenset({"ast-2"})))
    assert "{id: ast-2, tag: Room 2, use: at-iaq, base: 0}" in text
    assert "ast-1" not in text


def test_several_sites_must_be_chosen_from(tmp_path: Path) -> None:
    """A topic under the wrong building is worse than a question."""
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"schema: gateway.points/1\nsite: {name}\n")
    found = evidence(ROOMS, seen={"ast-1": {"t": 1}})
    with pytest.raises(CommandError, match="several sites: choose one with --site, such as a"):
        draft(tmp_path, found)
    assert "\nsite: b\n" in text_of(draft(tmp_path, found, site="b"))


def test_tables_with_problems_are_not_built_on(tmp_path: Path) -> None:
    """Nobody knows which registers they will have once they are mended."""
    (tmp_path / "a.yaml").write_text("schema: gateway.points/1\nsite: a\npoint: []\n")
    made = draft(tmp_path, evidence(ROOMS, seen={"ast-1": {"t": 1}}))
    assert made.text is None
    assert "point" in str(made.problems[0])
