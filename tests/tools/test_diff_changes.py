"""What a change of point tables does to a BMS: every kind of change, and nothing without a change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.point_tables import HEAD, SINKS, TOPICS

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.topics import TopicScheme
from gateway.model import BacnetObject, ObjectType, Register, RegisterTable
from gateway.tools.diff import Inventory, PointEntry, compare, inventory_of
from gateway.tools.diff_report import CHANGE_FORMATS, Change, ChangeKind, summary

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap

CLOUD = {"cloud": TopicScheme(prefix="site")}
TWO_SINKS = SINKS | {"cloud": "mqtt", "ahu": "modbus_client"}
BASIC = "tag: T, point: P, from: t, asset: a"


def load(folder: Path, text: str, *, sinks: dict[str, str] | None = None) -> PointMap:
    """Compile one table."""
    (folder / "a.yaml").write_text(text)
    topics = TOPICS | (CLOUD if sinks and "cloud" in sinks else {})
    compiled = load_point_map(TableInputs(folder, sinks or TWO_SINKS, topics=topics))
    assert compiled.problems == []
    assert compiled.point_map is not None
    return compiled.point_map


def inventory(folder: Path, *points: str) -> Inventory:
    """Return the inventory of a table of single points, with one MQTT and two Modbus sinks."""
    text = HEAD + "points:\n" + "".join(f"  - {{{keys}}}\n" for keys in points)
    return inventory_of(load(folder, text), topics=TOPICS, sinks={name: {} for name in TWO_SINKS})


def kinds_of(changes: list[Change]) -> list[tuple[ChangeKind, str]]:
    """Return the kind and subject of each change."""
    return [(change.kind, change.subject) for change in changes]


BREAKING = [
    (
        ChangeKind.REGISTER_MOVED,
        "modbus: {register: 0, type: int16}",
        [
            "modbus: {register: 1, type: int16}",
            "modbus: {unit: 2, register: 0, type: int16}",
            "modbus: {table: holding, register: 0, type: int16}",
            "modbus: {to: ahu, table: holding, register: 0, type: int16}",
        ],
    ),
    (
        ChangeKind.REGISTER_FORM,
        "modbus: {register: 0, type: float32}",
        [
            "modbus: {register: 0, type: uint16}",
            "modbus: {register: 0, type: int16, scale: 10}",
            "modbus: {register: 0, type: float32, order: CDAB}",
            "modbus: {register: 0, type: string(6)}",
        ],
    ),
    (ChangeKind.REGISTER_FORM, "modbus: {register: 0, bit: 1}", ["modbus: {register: 0, bit: 2}"]),
    (
        ChangeKind.REGISTER_GONE,
        "modbus: [{register: 0, type: int16}, {table: holding, register: 0, type: int16}]",
        ["description: none", "modbus: {register: 0, type: int16}"],
    ),
    (
        ChangeKind.REGISTER_MOVED,
        "modbus: {register: 0, type: int16}, quality: {register: 1}",
        ["modbus: {register: 0, type: int16}, quality: {register: 2}"],
    ),
    (
        ChangeKind.REGISTER_FORM,
        "modbus: {register: 0, type: uint16}",
        ["quality: {register: 0}", "modbus: {register: 1, type: uint16}, quality: {register: 0}"],
    ),
    (ChangeKind.REGISTER_GONE, "modbus: {register: 0, type: int16}", ["quality: {register: 1}"]),
    (ChangeKind.TOPIC_MOVED, "mqtt: true", ["mqtt: {topic: x/y}"]),
    (ChangeKind.TOPIC_GONE, "mqtt: true", ["mqtt: false"]),
    (ChangeKind.MEANING, "unit: degC", ["unit: degF"]),
    (ChangeKind.MEANING, "from: t", ["from: u", "from: $.data.object.t", "from: [t, u]", "from: t, bits: 3"]),
    (ChangeKind.MEANING, "asset: a", ["asset: b"]),
    (ChangeKind.MEANING, "map: {x: 0, y: 1}", ["map: {x: 1, y: 0}", "map: {x: 0}", "unit: degC"]),
    (ChangeKind.MEANING, "gain: 1", ["gain: 0.001", "gain: -1", "offset: 273.15"]),
    (ChangeKind.MEANING, "range: [0, 10]", ["range: [0, 10], offset: 2"]),
    (ChangeKind.MEANING, "mqtt: true", ["cov: 1"]),
]
HARMLESS = [
    (ChangeKind.NEW_REGISTER, "mqtt: true", ["modbus: {register: 0, type: string(4)}"]),
    (ChangeKind.NEW_REGISTER, "mqtt: true", ["quality: {register: 0}"]),
    (ChangeKind.NEW_TOPIC, "mqtt: false", ["mqtt: true"]),
    (ChangeKind.DETAIL, "unit: degC", ["unit: degC, offset: -0.4"]),
    (ChangeKind.DETAIL, "gain: 0.001", ["gain: 0.00102"]),
    (ChangeKind.DETAIL, "range: [0, 1000]", ["range: [0, 1000], offset: 50", "range: [0, 999]"]),
    (ChangeKind.DETAIL, "map: {x: 0}", ["map: {x: 0, y: 1}"]),
    (ChangeKind.DETAIL, "gain: 10", ["gain: 10, unit: degC"]),
    (ChangeKind.DETAIL, "description: one", ["description: two"]),
    (ChangeKind.DETAIL, "cov: 1", ["cov: 2", "cov: {delta: 1, every: 10s}", "gain: 1, unit: m"]),
    (ChangeKind.DETAIL, "range: [0, 9]", ["range: [0, 9], clamp: true"]),
    (ChangeKind.DETAIL, "unit: degC, decimals: 1", ["unit: degC, decimals: 2"]),
    (ChangeKind.DETAIL, "stale_after: 10m", ["stale_after: never"]),
    (ChangeKind.DETAIL, "on_stale: hold", ["on_stale: {value: 5}"]),
    (ChangeKind.DETAIL, "refill: newest", ["refill: history"]),
    (ChangeKind.DETAIL, "mqtt: true", ["tags: {brick: Sensor}"]),
]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [(kind, before, after) for kind, before, all_after in (*BREAKING, *HARMLESS) for after in all_after],
)
def test_each_kind_of_change_is_reported(tmp_path: Path, kind: ChangeKind, before: str, after: str) -> None:
    """A point that changed in one way is reported with this kind, which breaks a BMS database or does not."""
    keys = BASIC.replace(f", {before}", "")
    changes = compare(inventory(tmp_path, f"{keys}, {before}"), inventory(tmp_path, f"{keys}, {after}"))
    assert (kind, "T/P") in kinds_of(changes)
    assert any(change.kind.breaks for change in changes) == kind.breaks


def test_a_gone_point_breaks_and_a_new_one_does_not(tmp_path: Path) -> None:
    """A removed point breaks a BMS database; a new one does not."""
    less = inventory(tmp_path, "tag: T, point: P, from: t, asset: a, modbus: {register: 0, type: int16}")
    more = inventory(
        tmp_path,
        "tag: T, point: P, from: t, asset: a, modbus: {register: 0, type: int16}",
        "tag: T, point: Q, from: u, asset: a, modbus: {register: 4, type: int16}",
    )
    assert kinds_of(compare(less, more)) == [(ChangeKind.NEW_POINT, "T/Q")]
    assert kinds_of(compare(more, less)) == [(ChangeKind.POINT_GONE, "T/Q")]


def test_swapped_registers_come_first(tmp_path: Path) -> None:
    """Swapped registers are the most dangerous change: both are listed first, with both names."""
    first = "tag: A, point: P, from: t, asset: a, modbus: {register: 0, type: float32}"
    second = "tag: B, point: P, from: t, asset: b, modbus: {register: 2, type: float32}"
    swapped = [first.replace("register: 0", "register: 2"), second.replace("register: 2", "register: 0")]
    changes = compare(inventory(tmp_path, first, second), inventory(tmp_path, *swapped))
    assert [(change.kind, change.subject, change.other) for change in changes[:2]] == [
        (ChangeKind.REGISTER_TAKEN, "A/P", "B/P"),
        (ChangeKind.REGISTER_TAKEN, "B/P", "A/P"),
    ]
    assert kinds_of(changes[2:]) == [(ChangeKind.REGISTER_MOVED, "A/P"), (ChangeKind.REGISTER_MOVED, "B/P")]
    line = CHANGE_FORMATS["text"](changes).splitlines()[3]
    place = "regs unit 1 input 0-1 30001 float32 ABCD"
    expected = f"A/P {place} -> B/P {place}"
    assert " ".join(line.split()) == expected


@pytest.mark.parametrize(
    ("before", "after", "is_taken"),
    [
        ("register: 0, type: float32", "register: 1, type: int16", True),
        ("register: 1, type: int16", "register: 0, type: float64", True),
        ("register: 0, type: float32", "register: 2, type: int16", False),
        ("register: 0, bit: 1", "register: 0, bit: 1", True),
        ("register: 0, bit: 1", "register: 0, bit: 2", False),
        ("register: 0, bit: 1", "register: 0, type: int16", True),
        ("register: 0, type: int16", "table: holding, register: 0, type: int16", False),
        ("register: 0, type: int16", "unit: 2, register: 0, type: int16", False),
        ("register: 0, type: int16", "to: ahu, table: holding, register: 0, type: int16", False),
    ],
)
def test_one_shared_word_or_bit_is_taken(tmp_path: Path, before: str, after: str, *, is_taken: bool) -> None:
    """A register is taken if any of its words, or its bit, belongs to another point now."""
    changes = compare(
        inventory(tmp_path, f"tag: A, point: P, from: t, asset: a, modbus: {{{before}}}"),
        inventory(tmp_path, f"tag: B, point: P, from: t, asset: b, modbus: {{{after}}}"),
    )
    assert any(change.kind is ChangeKind.REGISTER_TAKEN for change in changes) == is_taken


def test_a_topic_of_another_point_names_both(tmp_path: Path) -> None:
    """A topic that belongs to another point now is listed with both names."""
    changes = compare(
        inventory(tmp_path, "tag: A, point: P, from: t, asset: a, mqtt: {topic: x}"),
        inventory(tmp_path, "tag: B, point: P, from: u, asset: a, mqtt: {topic: x}"),
    )
    assert (changes[0].kind, changes[0].subject, changes[0].other) == (ChangeKind.TOPIC_TAKEN, "A/P", "B/P")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("mqtt: false, modbus: {register: 0, type: int16}", [(ChangeKind.RENAMED, "B/P")]),
        ("mqtt: {topic: x}", [(ChangeKind.RENAMED, "B/P")]),
        (
            "modbus: {register: 0, type: int16}",
            [(ChangeKind.TOPIC_MOVED, "B/P"), (ChangeKind.RENAMED, "B/P")],
        ),
    ],
)
def test_a_renamed_point_is_no_other_point(
    tmp_path: Path, keys: str, expected: list[tuple[ChangeKind, str]]
) -> None:
    """The same reading in the same place under another name is renamed."""
    before = inventory(tmp_path, f"tag: A, point: P, from: t, asset: a, {keys}")
    after = inventory(tmp_path, f"tag: B, point: P, from: t, asset: a, {keys}")
    assert kinds_of(compare(before, after)) == expected


def test_another_asset_in_the_same_register_is_not_renamed(tmp_path: Path) -> None:
    """A new name with another asset behind the register is a taken register."""
    keys = "point: P, from: t, mqtt: false, modbus: {register: 0, type: int16}"
    before, after = (
        inventory(tmp_path, f"tag: A, asset: a, {keys}"),
        inventory(tmp_path, f"tag: B, asset: b, {keys}"),
    )
    assert [kind for kind, _ in kinds_of(compare(before, after))] == [
        ChangeKind.REGISTER_TAKEN,
        ChangeKind.POINT_GONE,
        ChangeKind.NEW_POINT,
    ]


@pytest.mark.parametrize(("every", "kind"), [("60s", ChangeKind.MEANING), ("5s", ChangeKind.DETAIL)])
def test_a_slower_heartbeat_breaks_watchdogs(tmp_path: Path, every: str, kind: ChangeKind) -> None:
    """A watchdog in the BMS trips at a slower heartbeat, not at a faster one."""
    beat = HEAD + "system: {heartbeat: {every: 10s, modbus: {register: 0, type: uint16}}}\n"
    before = inventory_of(load(tmp_path, beat), topics=TOPICS, sinks={})
    after = inventory_of(load(tmp_path, beat.replace("10s", every)), topics=TOPICS, sinks={})
    assert kinds_of(compare(before, after)) == [(kind, "$gateway/heartbeat")]


def test_a_removed_sink_is_one_change(tmp_path: Path) -> None:
    """A removed sink is one line, not one line for each of its points."""
    table = (
        HEAD
        + "points:\n"
        + "".join(f"  - {{tag: T, point: P{number}, from: t, asset: a}}\n" for number in range(30))
    )
    both = load(tmp_path, table, sinks=TWO_SINKS)
    one = load(tmp_path, table, sinks=SINKS)
    before = inventory_of(both, topics=TOPICS | CLOUD, sinks={"bms": {}, "cloud": {"url": "mqtt://a"}})
    after = inventory_of(one, topics=TOPICS, sinks={"bms": {}})
    (change,) = compare(before, after)
    assert (change.kind, change.subject) == (ChangeKind.SINK_GONE, "cloud")
    assert ChangeKind.NEW_SINK in dict(kinds_of(compare(after, before)))


def test_another_address_of_a_sink_breaks(tmp_path: Path) -> None:
    """Another port of a sink breaks an existing BMS database."""
    points = load(tmp_path, HEAD)
    before = inventory_of(points, topics={}, sinks={"regs": {"listen": "127.0.0.1:502", "type": "m"}})
    after = inventory_of(points, topics={}, sinks={"regs": {"listen": "127.0.0.1:5020", "type": "m"}})
    (change,) = compare(before, after)
    assert change == Change(
        kind=ChangeKind.SINK_CHANGED, subject="regs", old="127.0.0.1:502", new="127.0.0.1:5020", what="listen"
    )
    assert change.kind.breaks


def test_kinds_that_break_come_first() -> None:
    """Every kind has a title of its own, and those that break something come first."""
    assert len({kind.title for kind in ChangeKind}) == len(ChangeKind)
    assert [kind.breaks for kind in ChangeKind] == sorted((kind.breaks for kind in ChangeKind), reverse=True)


registers = st.builds(
    Register,
    sink=st.just("regs"),
    unit=st.just(1),
    table=st.sampled_from([RegisterTable.INPUT, RegisterTable.HOLDING]),
    address=st.integers(0, 3),
    type=st.just("int16"),
    words=st.just(1),
)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Return a few points that often share names, topics, registers and assets with another's."""
    names = draw(st.lists(st.sampled_from("ABCDE"), unique=True, max_size=4))
    topics = draw(st.permutations(["t1", "t2", "t3", "t4", "t5"]))
    places = draw(st.lists(registers, unique=True, min_size=len(names), max_size=len(names)))
    instances = draw(st.permutations(range(5)))
    points = {}
    for name, topic, place, number in zip(names, topics, places, instances, strict=False):
        facts = {"asset": draw(st.sampled_from("xy")), "from": "t"}
        points[name] = PointEntry(
            name=name,
            topics=frozenset([("bms", topic)]) if draw(st.booleans()) else frozenset(),
            registers=(place,) if draw(st.booleans()) else (),
            objects=(BacnetObject("bac", ObjectType.ANALOG_INPUT, number),) if draw(st.booleans()) else (),
            facts=facts,
        )
    return Inventory(points=points, sinks={"bms": {}, "regs": {}})


GONE = {ChangeKind.POINT_GONE, ChangeKind.POINT_UNSEEN}


@settings(max_examples=60, deadline=None)
@given(inventories(), inventories())
def test_swapping_old_and_new_mirrors_the_result(old: Inventory, new: Inventory) -> None:
    """With old and new swapped, removed points are new ones, and moves and new names go the other way."""
    there, back = compare(old, new), compare(new, old)

    def subjects(changes: list[Change], *of_kind: ChangeKind) -> set[str]:
        return {change.subject for change in changes if change.kind in of_kind}

    def pairs(changes: list[Change], kind: ChangeKind) -> set[tuple[object, object]]:
        return {(change.old, change.new) for change in changes if change.kind is kind}

    assert subjects(there, *GONE) == subjects(back, ChangeKind.NEW_POINT)
    assert subjects(back, *GONE) == subjects(there, ChangeKind.NEW_POINT)
    moves = (ChangeKind.REGISTER_MOVED, ChangeKind.OBJECT_MOVED, ChangeKind.TOPIC_MOVED)
    for kind in (ChangeKind.RENAMED, *moves, ChangeKind.MEANING):
        assert pairs(there, kind) == {(new_side, old_side) for old_side, new_side in pairs(back, kind)}
    assert len([change for change in there if change.kind is ChangeKind.REGISTER_TAKEN]) == len(
        [change for change in back if change.kind is ChangeKind.REGISTER_TAKEN]
    )


@settings(max_examples=25, deadline=None)
@given(inventories())
def test_equal_inventories_have_no_difference(same: Inventory) -> None:
    """An inventory compared with itself has no difference."""
    assert compare(same, same) == []
    assert CHANGE_FORMATS["text"]([]) == "no difference\n"


def test_reports_have_the_same_changes(tmp_path: Path) -> None:
    """Text, Markdown and JSON have the same changes; JSON has registers as numbers."""
    changes = compare(
        inventory(tmp_path, f"{BASIC}, description: a|b, modbus: {{register: 0, type: float32}}"),
        inventory(tmp_path, f"{BASIC}, modbus: {{register: 9999, type: float32, order: CDAB}}"),
    )
    assert summary(changes) == "2 changes: 1 would break an existing BMS database, 1 harmless"
    for form in ("text", "md"):
        assert summary(changes) in CHANGE_FORMATS[form](changes)
    assert "input 0-1 30001 float32 ABCD | regs unit 1 input 9999-10000 310000 float32 CDAB" in (
        CHANGE_FORMATS["md"](changes)
    )
    assert "a\\|b" in CHANGE_FORMATS["md"](changes)
    document = json.loads(CHANGE_FORMATS["json"](changes))
    assert (document["breaking"], document["harmless"]) == (1, 1)
    moved = document["changes"][0]
    assert (moved["kind"], moved["point"], moved["breaks"]) == ("register_moved", "T/P", True)
    assert (moved["old"]["address"], moved["old"]["modicon"]) == (0, "30001")
    assert (moved["new"]["order"], moved["new"]["words"]) == ("CDAB", 2)
