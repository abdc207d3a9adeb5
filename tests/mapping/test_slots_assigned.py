"""`gateway lock` assigns free registers in a fixed order and changes no line of the file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.point_tables import HEAD
from support.registers_lock import assign, assign_files, load, write_slots, write_tables

from gateway.mapping.compile.lock_file import add_slots

POINTS = """    points:
      T: {from: t, modbus: {register: 0, type: float32}}
      H: {from: h, modbus: {register: 2, type: int16}}
"""


def template(name: str, *keys: str) -> str:
    """Return a template with a stride of 4 and further keys."""
    return f"  {name}:\n    stride: 4\n" + "".join(f"    {key}\n" for key in keys) + POINTS


def assets(*entries: str) -> str:
    """Return the assets of a table, each written as `id template` or `id template base`."""
    lines = []
    for entry in entries:
        asset, used, *base = entry.split()
        lines.append(
            f"  - {{id: {asset}, tag: T-{asset}, use: {used}{f', base: {base[0]}' if base else ''}}}\n"
        )
    return "assets:\n" + "".join(lines)


IAQ = f"{HEAD}templates:\n{template('iaq')}"
RESERVED = f"{HEAD}templates:\n{template('iaq', 'reserve: [10, 29]')}"


def test_slots_follow_the_order_of_the_tables(tmp_path: Path) -> None:
    """Without a reserve, bases are multiples of the stride, file by file and line by line."""
    write_tables(tmp_path, IAQ + assets("z iaq", "a iaq"), HEAD + assets("m iaq", "b iaq"))
    found, problems = assign(tmp_path)
    assert problems == []
    assert list(found.items()) == [("z", 0), ("a", 4), ("m", 8), ("b", 12)]


def test_used_registers_are_avoided(tmp_path: Path) -> None:
    """The heartbeat, single points, the stride of each base, and all slots are avoided."""
    rest = "points:\n  - {tag: Y, point: P, asset: y, from: t, modbus: {register: 7, type: int16}}\n"
    rest += "system: {heartbeat: {every: 1s, modbus: {register: 0, type: uint16}}}\n"
    lock = "  - {asset: gone, template: iaq, base: 17, stride: 2}\n"
    write_tables(tmp_path, IAQ + assets("a iaq", "b iaq 9", "c iaq", "d iaq") + rest, lock=lock)
    assert assign(tmp_path) == ({"a": 20, "c": 24, "d": 28}, [])


def test_slots_of_registers_that_only_assets_add_are_avoided(tmp_path: Path) -> None:
    """A slot of a template without registers, whose assets add them, is no reserve of that template."""
    table = f"{HEAD}templates: {{t: {{stride: 4, points: {{A: {{from: a}}}}}}}}\nassets:\n" + "".join(
        f"  - {{id: {name}, tag: {name}, use: t, points: {{A: {{modbus: {{register: 0, type: int16}}}}}}}}\n"
        for name in "xyz"
    )
    write_tables(tmp_path, table, lock="  - {asset: x, template: t, base: 4, stride: 4}\n")
    assert assign(tmp_path) == ({"y": 0, "z": 8}, [])


def test_another_unit_does_not_matter(tmp_path: Path) -> None:
    """Only registers in the same table of the same unit and sink are avoided."""
    other = IAQ.replace("iaq", "co2").replace("table: input", "table: holding")
    write_tables(tmp_path, IAQ + assets("a iaq", "b iaq 4"), other + assets("c co2", "d co2"))
    assert assign(tmp_path) == ({"a": 0, "c": 0, "d": 4}, [])


def test_slots_lie_in_the_reserve(tmp_path: Path) -> None:
    """Slots start at the first register of the reserve and avoid bases in it."""
    write_tables(tmp_path, RESERVED + assets("a iaq", "b iaq 15", "c iaq"))
    assert assign(tmp_path) == ({"a": 10, "c": 22}, [])


def test_slots_of_other_templates_avoid_a_reserve(tmp_path: Path) -> None:
    """The slots of a template without reserve skip reserves of others."""
    table = f"{RESERVED}{template('co2')}"
    write_tables(tmp_path, table + assets("a co2", "b co2", "c co2", "d iaq"))
    assert assign(tmp_path) == ({"a": 0, "b": 4, "c": 32, "d": 10}, [])


def test_a_full_reserve_is_reported(tmp_path: Path) -> None:
    """The message has the reserve and the remaining assets; nothing is assigned."""
    write_tables(tmp_path, RESERVED + assets(*(f"a{number} iaq" for number in range(8))))
    assert assign(tmp_path) == (
        {},
        [
            (
                "a.yaml:7:14: templates.iaq.reserve: is full: a5, a6, a7 would need slots of 4"
                " registers: widen"
                " it, or write a `base` for them, or delete lines of registers.lock that no BMS reads"
                " any more"
            )
        ],
    )


def test_a_full_unit_is_reported(tmp_path: Path) -> None:
    """Without a reserve, all registers of the unit may be used."""
    table = IAQ.replace("stride: 4", "stride: 40000")
    write_tables(tmp_path, table + assets("a iaq", "b iaq"))
    found, problems = assign(tmp_path)
    assert found == {}
    assert problems == [
        (
            "a.yaml:6:13: templates.iaq.stride: no 40000 free registers in a row are left for b among"
            " the input"
            " registers of unit 1 on regs: use another unit, or a smaller `stride` (40000)"
        )
    ]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            RESERVED + template("co2") + assets("a iaq 10", "b co2 26"),
            (
                "assets[1].base: input register 26-27 of unit 1 on regs for T-b/T is inside the reserve"
                " of the"
                " template iaq at a.yaml:7:14 (26)"
            ),
        ),
        (
            RESERVED
            + "points:\n  - {tag: Y, point: P, asset: y, from: t, modbus: {register: 29, type: int16}}\n",
            "points[0].modbus: input register 29 of unit 1 on regs for Y/P is inside the reserve of the",
        ),
        (
            RESERVED + template("co2", "reserve: [29, 40]"),
            (
                "templates.co2.reserve: 29-40 of the input registers of unit 1 on regs overlap the"
                " reserve of the"
                " template iaq at a.yaml:7:14"
            ),
        ),
        (RESERVED.replace("    stride: 4\n", ""), "templates.iaq: `stride` is required with `reserve`"),
        (RESERVED.replace("[10, 29]", "[29, 10]"), "reserve: is [first, last], but 29 is more than 10"),
        (RESERVED.replace("[10, 29]", "[10]"), "templates.iaq.reserve"),
    ],
)
def test_a_reserve_is_kept_for_its_template(tmp_path: Path, table: str, problem: str) -> None:
    """Other points in a reserve, and an invalid reserve, are refused."""
    (reported,) = load(tmp_path, table).problems
    assert problem in reported


def test_a_slot_in_the_reserve_of_another_template_is_refused(tmp_path: Path) -> None:
    """A later reserve cannot include existing slots, because slots never move."""
    lock = "  - {asset: b, template: co2, base: 28, stride: 4}\n"
    table = f"{RESERVED}{template('co2')}"
    (reported,) = load(tmp_path, table + assets("b co2"), lock=lock).problems
    assert reported == (
        "registers.lock:3:37: slots[0].base: 28-31 of the input registers of unit 1 on regs overlap the"
        " reserve of the template iaq at a.yaml:7:14 (28)"
    )


def test_a_reserve_is_kept_across_files(tmp_path: Path) -> None:
    """Assets, single points and the heartbeat of other files are reported with both places."""
    other = f"{HEAD}templates:\n{template('co2')}{assets('b co2 28')}points:\n"
    other += "  - {tag: Y, point: P, asset: y, from: t, modbus: {modicon: 30011, type: int16}}\n"
    other += "system: {heartbeat: {every: 1s, modbus: {register: 12, type: uint16}}}\n"
    problems = load(tmp_path, RESERVED, other).problems
    assert [problem.split(": input")[0] for problem in problems] == [
        "b.yaml:11:39: assets[0].base",
        "b.yaml:13:51: points[0].modbus",
        "b.yaml:14:41: system.heartbeat.modbus",
    ]
    assert all("is inside the reserve of the template iaq at a.yaml:7:14" in problem for problem in problems)


def test_lines_and_comments_stay(tmp_path: Path) -> None:
    """New lines are below the old ones, which stay as they are."""
    lock = """    # the lobby
    - {asset: x, template: iaq, base: 4, stride: 4}   # an old one

    # far away
    - asset: y
      template: iaq
      base: 12
      stride: 4
# the end
"""
    write_tables(tmp_path, IAQ + assets("y iaq", "a iaq", "b iaq", "x iaq", "c iaq"), lock=lock)
    write_slots(tmp_path)
    assert (tmp_path / "registers.lock").read_text() == (
        f"schema: gateway.registers/1\nslots:\n{lock}"
        "    - {asset: a, template: iaq, base: 0, stride: 4}\n"
        "    - {asset: b, template: iaq, base: 8, stride: 4}\n"
        "    - {asset: c, template: iaq, base: 16, stride: 4}\n"
    )
    assert load(tmp_path).problems == []


@pytest.mark.parametrize("empty", ["slots: []", "slots:", "slots: null"])
def test_an_empty_file_is_filled(tmp_path: Path, empty: str) -> None:
    """Slots are added to every form of an empty list."""
    write_tables(tmp_path, IAQ + assets("'1e3' iaq", "'null' iaq"))
    (tmp_path / "registers.lock").write_text(f"# mine\nschema: gateway.registers/1\n{empty}\n")
    write_slots(tmp_path)
    assert load(tmp_path).problems == []
    assert (
        (tmp_path / "registers.lock").read_text().startswith("# mine\nschema: gateway.registers/1\nslots:\n")
    )


@st.composite
def buildings(draw: st.DrawFn) -> list[str]:
    """Return the assets of a table: each has one template for ever, and a distant base or none."""
    numbers = draw(st.lists(st.integers(0, 40), unique=True, max_size=12))
    bases = [draw(st.sampled_from(["", "", str(400 + 8 * number)])) for number in numbers]
    kinds = ("iaq", "co2", "pm")
    return [f"a{number} {kinds[number % 3]} {base}" for number, base in zip(numbers, bases, strict=True)]


@settings(max_examples=25, deadline=None)
@given(st.lists(buildings(), min_size=1, max_size=4))
def test_a_slot_never_moves(phases: list[list[str]]) -> None:
    """Whatever assets come and go, tables with slots have no problem, and existing lines stay."""
    pm = template("pm").replace("stride: 4", "stride: 7")
    head = f"{RESERVED.replace('29', '129')}{template('co2')}{pm}"
    with TemporaryDirectory() as name:
        folder, lines = Path(name), set[str]()
        for phase in phases:
            write_tables(folder, head + assets(*phase) if phase else head)
            write_slots(folder)
            file = folder / "registers.lock"
            found = load(folder)
            assert found.problems == []
            assert len(found.bases()) == len(phase)
            assert assign(folder) == ({}, [])
            if file.exists():
                now = set(file.read_text().splitlines())
                assert lines <= now
                lines = now


def test_the_same_files_give_the_same_slots(tmp_path: Path) -> None:
    """Two runs on the same files give the same text."""
    write_tables(tmp_path, IAQ + assets("a iaq", "b iaq"))
    texts = set()
    for _ in range(2):
        found = assign_files(tmp_path)
        texts.add(add_slots(None, found.added))
    (text,) = texts
    assert text.startswith("# Registers of assets that have no `base`. Written by `gateway lock`;")
