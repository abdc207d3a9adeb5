"""registers.lock: the registers of assets without a base, which are reserved for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.point_tables import HEAD, table_of_points
from support.registers_lock import assign, load, write_slots, write_tables

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = f"""{HEAD}templates:
  iaq:
    stride: 4
    points:
      T: {{from: t, modbus: {{register: 0, type: float32}}}}
      H: {{from: h, modbus: {{register: 2, type: int16}}}}
assets:
  - {{id: one, tag: X1, use: iaq}}
"""
SLOT = "  - {asset: one, template: iaq, base: 100, stride: 4}\n"
RETIRED = "  - {asset: gone, template: iaq, base: 100, stride: 4}\n"


def test_a_slot_gives_the_base(tmp_path: Path) -> None:
    """An asset without `base` has that of its slot; others keep their own base."""
    found = load(tmp_path, TEMPLATE + "  - {id: two, tag: X2, use: iaq, base: 40}\n", lock=SLOT)
    assert (found.problems, found.warnings) == ([], [])
    assert found.bases() == {"one": 100, "two": 40}


def test_an_asset_without_base_and_slot_is_reported(tmp_path: Path) -> None:
    """The message names the command, and cases of the asset cause no second message."""
    case = "cases: [{given: {asset: one, telemetry: {t: 1}}, expect: {X1/T: 1}}]\n"
    assert load(tmp_path, TEMPLATE + case).problems == [
        (
            "a.yaml:11:5: assets[0]: no `base` and no slot in registers.lock for one: write a base, or run"
            " `gateway lock -c …` (with `--replace OLD=NEW` for a sensor in the place of an old one)"
        )
    ]


def test_many_assets_without_slots_are_one_message(tmp_path: Path) -> None:
    """One command gives slots to all assets of a template, so one message names them."""
    assets = "".join(f"  - {{id: more{index}, tag: Y{index}, use: iaq}}\n" for index in range(200))
    assert load(tmp_path, TEMPLATE + assets + "  - {id: z, tag: Z, use: iaqq}\n").problems == [
        (
            "a.yaml:11:5: assets[0]: no `base` and no slot in registers.lock for one, more0, more1, more2,"
            " more3 and 196 more: write a base, or run `gateway lock -c …` (with `--replace OLD=NEW` for a"
            " sensor in the place of an old one)"
        ),
        'a.yaml:212:26: assets[201].use: there is no template of this name, did you mean `iaq`? ("iaqq")',
    ]


def test_an_asset_on_mqtt_only_needs_neither_base_nor_slot(tmp_path: Path) -> None:
    """An asset without relative registers needs no registers."""
    table = TEMPLATE.replace(", modbus: {register: 0, type: float32}", "").replace(
        "register: 2", "register: 2, table: holding"
    )
    mqtt_only = table.replace(", modbus: {register: 2, table: holding, type: int16}", "")
    found = load(tmp_path, mqtt_only)
    assert (found.problems, found.bases()) == ([], {})
    assert assign(tmp_path) == ({}, [])


def test_a_slot_needs_a_stride(tmp_path: Path) -> None:
    """Loading and `gateway lock` both report a template without `stride`."""
    write_tables(tmp_path, TEMPLATE.replace("    stride: 4\n", ""))
    expected = [
        (
            "a.yaml:10:5: assets[0]: no `base`: write one, or give the template iaq a `stride` and run"
            " `gateway lock -c …` (with `--replace OLD=NEW` for a sensor in the place of an old one)"
        )
    ]
    assert assign(tmp_path) == ({}, expected)
    assert load(tmp_path).problems == expected


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (SLOT + SLOT, "4:13: slots[1].asset: this asset has a slot already at registers.lock:3:5"),
        (
            SLOT + SLOT.replace("one", "two").replace("100", "103"),
            (
                "4:39: slots[1].base: 103-106 of the input registers of unit 1 on regs overlap the slot"
                " of one"
                " at registers.lock:3:39 (103)"
            ),
        ),
        (
            SLOT.replace("100", "65533"),
            "3:39: slots[0].base: the slot would end at register 65536, the last is 65535 (65533)",
        ),
        (SLOT.replace("stride: 4", "stride: 4, tags: x"), "tags: unknown key, did you mean `tag`?"),
        (
            SLOT.replace("stride: 4", "stride: 2"),
            (
                "3:52: slots[0].stride: the template iaq needs 3 registers now, and a slot cannot grow:"
                " keep its"
                " points within 2 registers, put what is new into another template, or delete this line when"
            ),
        ),
        (
            SLOT.replace("iaq", "co2"),
            (
                "3:28: slots[0].template: these registers mean co2 to the BMS, but one uses the"
                " template iaq now:"
                " if that one was only renamed, rename it here; otherwise"
            ),
        ),
    ],
)
def test_a_wrong_slot_is_reported_where_it_is_written(tmp_path: Path, lock: str, problem: str) -> None:
    """A problem of registers.lock is reported once, at its place, and `gateway lock` adds nothing."""
    (reported,) = load(tmp_path, TEMPLATE, lock=lock).problems
    assert reported.startswith("registers.lock:")
    assert problem in reported
    assert assign(tmp_path) == ({}, [reported])


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """A file with another schema is refused."""
    write_tables(tmp_path, TEMPLATE)
    (tmp_path / "registers.lock").write_text("schema: gateway.registers/2\nslots: []\n")
    assert load(tmp_path).problems == [
        'registers.lock:1:9: schema: gateway.registers/1 is expected ("gateway.registers/2")'
    ]


def test_slots_of_different_units_may_have_the_same_numbers(tmp_path: Path) -> None:
    """Registers of different units, tables and sinks do not overlap."""
    other = TEMPLATE.replace("iaq", "co2").replace("id: one, tag: X1", "id: two, tag: X2")
    other = other.replace("table: input", "table: holding")
    lock = SLOT + "  - {asset: two, template: co2, base: 100, stride: 4}\n"
    found = load(tmp_path, TEMPLATE, other, lock=lock)
    assert (found.problems, found.bases()) == ([], {"one": 100, "two": 100})


@pytest.mark.parametrize(
    ("addition", "place", "what"),
    [
        (
            "  - {id: two, tag: X2, use: iaq, base: 98}\n",
            "a.yaml:12:40: assets[1].base",
            "register 100 of unit 1 on regs for X2/H",
        ),
        (
            "points:\n  - {tag: Y, point: P, asset: y, from: t, modbus: {register: 103, type: int16}}\n",
            "a.yaml:13:51: points[0].modbus",
            "register 103 of unit 1 on regs for Y/P",
        ),
        (
            "points:\n  - {tag: Y, point: P, asset: gone, from: t, modbus: {register: 101, bit: 3}}\n",
            "a.yaml:13:54: points[0].modbus",
            "register 101 bit 3 of unit 1 on regs for Y/P",
        ),
        (
            "system: {heartbeat: {every: 1s, modbus: {register: 102, type: uint16}}}\n",
            "a.yaml:12:41: system.heartbeat.modbus",
            "register 102 of unit 1 on regs for $gateway/heartbeat",
        ),
    ],
)
def test_the_slot_of_a_removed_asset_stays_reserved(
    tmp_path: Path, addition: str, place: str, what: str
) -> None:
    """A point in it is one problem with both places."""
    table = TEMPLATE.replace("use: iaq}", "use: iaq, base: 0}")
    (reported,) = load(tmp_path, table + addition, lock=RETIRED).problems
    assert reported.startswith(f"{place}: input {what} is inside the slot of gone at registers.lock:3:40")


def test_an_overlap_with_a_live_slot_is_reported_once(tmp_path: Path) -> None:
    """A point that overlaps the asset is not reported again for its slot."""
    (reported,) = load(
        tmp_path, TEMPLATE + "  - {id: two, tag: X2, use: iaq, base: 98}\n", lock=SLOT
    ).problems
    assert "overlaps X1/T at a.yaml:11:5" in reported


def test_unused_registers_of_a_slot_are_reserved(tmp_path: Path) -> None:
    """Registers that the template does not use yet belong to the asset, across files."""
    single = table_of_points("tag: Y, point: P, modbus: {register: 103, type: int16}")
    (reported,) = load(tmp_path, TEMPLATE, single, lock=SLOT).problems
    assert reported.startswith("b.yaml:5:51: points[0].modbus: input register 103")
    assert "is inside the slot of one at registers.lock:3:39" in reported


def test_a_bit_of_another_point_in_a_slot_is_refused(tmp_path: Path) -> None:
    """Bits share words, but no word of a slot."""
    table = TEMPLATE.replace("register: 2, type: int16", "register: 2, bit: 0")
    single = "points:\n  - {tag: Y, point: P, asset: y, from: t, modbus: {register: 102, bit: 5}}\n"
    (reported,) = load(tmp_path, table + single, lock=SLOT).problems
    assert "input register 102 bit 5 of unit 1 on regs for Y/P is inside the slot of one" in reported


def test_a_base_takes_precedence_over_a_slot(tmp_path: Path) -> None:
    """The base is used, and the slot is kept."""
    found = load(tmp_path, TEMPLATE.replace("use: iaq}", "use: iaq, base: 98}"), lock=SLOT)
    assert (found.problems, found.bases()) == ([], {"one": 98})


def test_new_slots_avoid_slots_of_unknown_templates(tmp_path: Path) -> None:
    """Such a slot is avoided in all areas, with a warning."""
    lock = "  - {asset: gone, template: co2, base: 1, stride: 2}\n"
    found = load(tmp_path, TEMPLATE.replace("use: iaq}", "use: iaq, base: 100}"), lock=lock)
    assert found.problems == []
    assert found.warnings[0].startswith("registers.lock:3:29: slots[0].template: there is no template of")
    write_tables(tmp_path, TEMPLATE)
    assert assign(tmp_path) == ({"one": 4}, [])


def test_slots_stay_valid_with_a_larger_stride(tmp_path: Path) -> None:
    """A slot that holds all points stays valid; new slots have the new stride."""
    write_tables(tmp_path, TEMPLATE)
    write_slots(tmp_path)
    grown = TEMPLATE.replace("stride: 4", "stride: 8") + "  - {id: two, tag: X2, use: iaq}\n"
    write_tables(tmp_path, grown)
    write_slots(tmp_path)
    found = load(tmp_path)
    assert (found.problems, found.bases()) == ([], {"one": 0, "two": 8})


def test_a_dead_link_is_a_problem(tmp_path: Path) -> None:
    """A dead link is reported, unlike a missing file."""
    (tmp_path / "registers.lock").symlink_to(tmp_path / "nowhere")
    assert load(tmp_path, TEMPLATE).problems == [
        "registers.lock:1:1: cannot be read: No such file or directory"
    ]


def test_a_broken_lock_file_is_one_problem(tmp_path: Path) -> None:
    """Assets without base are not reported while their slots cannot be read."""
    table = TEMPLATE + "  - {id: two, tag: X2, use: iaq}\n"
    (reported,) = load(
        tmp_path, table, lock="  - {asset: one, template: iaq, base: 100, stride: x}\n"
    ).problems
    assert reported.startswith("registers.lock:3:52: slots[0].stride: a whole number")
