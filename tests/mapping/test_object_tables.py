"""BACnet in point tables: which sinks a point is on, as what, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.bacnet_lock import instances, load_objects, lock_objects
from support.point_tables import load_good_tables, table_of_points
from support.registers_lock import known

from gateway.records import KnownAsset

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Point

TEMPLATE = """\
schema: gateway.points/1
site: hq
templates:
  iaq:
    points:
      T: {from: t, unit: degC, bacnet: {object: large-analog-value, instance: 7}}
assets:
  - {id: one, tag: A, use: iaq}
"""


def point(folder: Path, keys: str, *, defaults: str = "{}") -> Point:
    """Return the point of a table with these keys; its instance is 1 unless they say otherwise."""
    table = f"schema: gateway.points/1\nsite: hq\ndefaults: {defaults}\n"
    table += f"points:\n  - {{tag: A, point: P, asset: a, from: t{keys}}}\n"
    kinds = ("analog-input", "binary-input", "multi-state-input", "large-analog-value")
    lock = "".join(f"  - {{point: A/P, object: {kind}, instance: 1}}\n" for kind in kinds)
    found = load_objects(folder, table, lock=lock)
    assert found.point_map is not None, found.problems
    return found.point_map.by_name["A/P"]


@pytest.mark.parametrize(
    ("defaults", "keys", "sinks"),
    [
        ("{}", "", ["bac", "bac2"]),
        ("{}", ", bacnet: false", []),
        ("{}", ", bacnet: {to: [bac2]}", ["bac2"]),
        ("{bacnet: false}", "", []),
        ("{bacnet: false}", ", bacnet: true", ["bac", "bac2"]),
        ("{bacnet: false}", ", bacnet: {instance: 5}", ["bac", "bac2"]),
        ("{bacnet: {to: [bac]}}", "", ["bac"]),
        ("{bacnet: {to: [bac]}}", ", bacnet: true", ["bac", "bac2"]),
        ("{bacnet: {to: [bac]}}", ", bacnet: {instance: 5}", ["bac"]),
        ("{bacnet: {to: [bac]}}", ", bacnet: {to: [bac2]}", ["bac2"]),
    ],
)
def test_a_point_is_on_the_sinks_that_it_or_its_defaults_name(
    tmp_path: Path, defaults: str, keys: str, sinks: list[str]
) -> None:
    """Without a key a point is on every BACnet sink; its own key replaces that of the defaults."""
    assert [one.sink for one in point(tmp_path, keys, defaults=defaults).objects] == sinks


def test_an_object_has_type_instance_and_states(tmp_path: Path) -> None:
    """The same for every sink; a table's own type and instance replace the usual ones."""
    (shown, other) = point(tmp_path, ", map: {heat: 1, cool: 2}").objects
    assert (shown.type, shown.instance) == ("multi-state-input", 1)
    assert (shown.values, shown.texts) == ((1, 2), ("heat", "cool"))
    assert (other.sink, other.type, other.instance) == ("bac2", shown.type, shown.instance)
    (shown, _) = point(tmp_path, ", bacnet: {object: large-analog-value, instance: 4194302}").objects
    assert (shown.type, shown.instance) == ("large-analog-value", 4_194_302)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ('expr: "T > .5"', "binary-input"),
        ('expr: "18 < T <= 21.5 and not Zone temp"', "binary-input"),
        ('expr: "(not ZN-T) if T > 1e3 else\n      (T or 1ST.FLOW)"', "binary-input"),
        ('expr: "T == 1", modbus: {to: regs, table: input, register: 0, type: uint16}', "binary-input"),
        ("any: {of: A/T}, modbus: {to: regs, table: input, register: 0, type: uint16}", "binary-input"),
        ("all: {of: A/T}", "binary-input"),
        ('expr: "T > 3", map: {"true": 5, "false": 7}', "multi-state-input"),
        ('expr: "T > 3", unit: percent', "analog-input"),
        ('expr: "T > 3", bacnet: {object: analog-input}', "analog-input"),
        ('expr: "T if T > 3 else not T"', "analog-input"),
        ('expr: "2 * (T > 3)"', "analog-input"),
        ('expr: "max(T > 3, T)"', "analog-input"),
        ('expr: "-(T > 3)"', "analog-input"),
        ('expr: "T-or-B"', "analog-input"),
        ("sum: {of: A/T}", "analog-input"),
    ],
)
def test_a_computed_point_that_is_true_or_false_is_binary(tmp_path: Path, keys: str, kind: str) -> None:
    """A comparison, `and`, `or`, `not`, a choice of these, `any` and `all`."""
    names = ("T", "Zone temp", "ZN-T", "1ST.FLOW", "T-or-B")
    members = "".join(f"  - {{tag: A, point: {name}, asset: a, from: t, bacnet: false}}\n" for name in names)
    table = f"schema: gateway.points/1\nsite: hq\npoints:\n{members}  - {{tag: A, point: P, {keys}}}\n"
    load_objects(tmp_path, table)
    lock_objects(tmp_path)
    assert instances(load_objects(tmp_path)) == {"A/P": f"{kind} 1"}


def test_an_asset_overrides_the_object_of_a_template_key_by_key(tmp_path: Path) -> None:
    """Another instance keeps the template's object type."""
    table = TEMPLATE.replace("use: iaq}", "use: iaq, points: {T: {bacnet: {instance: 8}}}}")
    assert instances(load_objects(tmp_path, table)) == {"A/T": "large-analog-value 8"}


def test_an_install_without_bacnet_sinks_has_no_objects(tmp_path: Path) -> None:
    """Nothing is required of its tables, and bacnet.lock is not read."""
    (tmp_path / "bacnet.lock").write_text("not a lock file")
    assert load_good_tables(tmp_path, table_of_points("tag: A, point: P")).by_name["A/P"].objects == ()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            "bacnet: {to: [bas]}",
            "57: points[0].bacnet.to[0]: there is no sink of this name, did you mean `bac`?",
        ),
        (
            "bacnet: {to: [regs]}",
            "57: points[0].bacnet.to[0]: this sink is of type modbus_server, not bacnet",
        ),
        ("bacnet: {instance: 4194303}", "62: points[0].bacnet.instance: must be at most 4194302"),
        ("bacnet: {instance: -1}", "62: points[0].bacnet.instance: must be at least 0"),
        (
            "bacnet: {object: analog-output}",
            "60: points[0].bacnet.object: one of analog-input, binary-input, multi",
        ),
        (
            "map: {a: 0, b: 1, c: 2}, bacnet: {object: binary-input}",
            "85: points[0].bacnet.object: binary-input shows 0 and 1, or false and true, but `map` gives 0",
        ),
        (
            "map: {a: low}, bacnet: {object: analog-input}",
            "75: points[0].bacnet.object: analog-input shows numbers, but `map` gives text; write multi-",
        ),
        (
            "unit: K, bacnet: {object: characterstring-value}",
            "69: points[0].bacnet.object: characterstring-value shows text, but the point shows none; write",
        ),
        (
            "map: {a: 1, b: 2}, on_stale: {value: 0}",
            "80: points[0].on_stale.value: 0 is no state of its multi-state-input, which has 1, 2: write it",
        ),
        ("map: {a: low, b: 1}, gain: 2", "52: points[0].map.a: is text, but gain, offset, range, decimals"),
        (
            "on_stale: {value: n/a}",
            "61: points[0].on_stale.value: analog-input holds numbers, not the text 'n/a'",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path: Path, keys: str, problem: str) -> None:
    """Each problem has its place, what is wrong and what to write."""
    kinds = ("multi-state-input", "analog-input")
    lock = "".join(f"  - {{point: A/P, object: {kind}, instance: 1}}\n" for kind in kinds)
    found = load_objects(tmp_path, table_of_points(f"tag: A, point: P, {keys}"), lock=lock)
    (reported,) = found.problems
    assert reported.startswith(f"a.yaml:5:{problem}"), reported


def test_wrong_names_under_defaults_are_reported_once(tmp_path: Path) -> None:
    """At the defaults, not at each point."""
    table = TEMPLATE.replace("    points:", "    defaults: {bacnet: {to: [bas]}}\n    points:")
    (reported,) = load_objects(tmp_path, table).problems
    assert reported.startswith("a.yaml:5:30: templates.iaq.defaults.bacnet.to[0]: there is no sink of this")


def test_a_range_beyond_exact_numbers_is_warned_of(tmp_path: Path) -> None:
    """An analog-input shows whole numbers up to 16,777,216; large-analog-value is named."""
    keys = "range: [0, 20000000]"
    points = [
        f"tag: A, point: P{n}, {keys}, bacnet: {{instance: {n}{kind}}}"
        for n, kind in enumerate(("", ", object: large-analog-value"))
    ]
    (warning,) = load_objects(tmp_path, table_of_points(*points)).warnings
    assert warning.startswith(
        "a.yaml:5:55: points[0].range[1]: analog-input skips whole numbers beyond 16,777,216"
    )
    assert "write `bacnet: {object: large-analog-value}`" in warning


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (
            "tag: B, point: P, bacnet: {instance: 5}",
            "a.yaml:6:62: points[1].bacnet.instance: analog-input 5 for B/P on bac",
        ),
        (
            "tag: B, point: P, bacnet: {instance: 5, to: [bac2]}",
            "a.yaml:6:62: points[1].bacnet.instance: analog-input 5 for B/P on bac2",
        ),
    ],
)
def test_two_points_with_one_instance_are_refused(tmp_path: Path, second: str, problem: str) -> None:
    """On one sink; the message names both places."""
    found = load_objects(tmp_path, table_of_points("tag: A, point: P, bacnet: {instance: 5}", second))
    assert found.problems == [f"{problem} already belongs to A/P at a.yaml:5:5 (5)"]


@pytest.mark.parametrize(
    "second", ["bacnet: {instance: 5, to: [bac2]}", "bacnet: {instance: 5, object: large-analog-value}"]
)
def test_the_same_instance_of_another_sink_or_type_is_no_clash(tmp_path: Path, second: str) -> None:
    """An object is identified by type and instance, on its own device."""
    table = table_of_points(
        "tag: A, point: P, bacnet: {instance: 5, to: [bac]}", f"tag: B, point: P, {second}"
    )
    assert load_objects(tmp_path, table).problems == []


def test_an_instance_in_a_template_of_two_assets_is_refused(tmp_path: Path) -> None:
    """It is one mistake, at the key of the template, and the message says where to write it instead."""
    found = load_objects(
        tmp_path, TEMPLATE + "  - {id: two, tag: B, use: iaq}\n  - {id: three, tag: C, use: iaq}\n"
    )
    assert found.problems == [
        (
            "a.yaml:6:79: templates.iaq.points.T.bacnet.instance: large-analog-value 7 for B/T on bac already"
            " belongs to A/T at a.yaml:8:5; this key is the same for every asset of the template: write it at"
            " each asset instead, `points: {T: {bacnet: {instance: …}}}` (7)"
        )
    ]


def test_an_instance_of_automatic_assets_is_refused(tmp_path: Path) -> None:
    """Before there is a second one."""
    table = TEMPLATE.replace("    points:", "    auto: true\n    match: {model: x}\n    points:")
    (reported,) = load_objects(tmp_path, table).problems
    assert "templates.iaq.points.T.bacnet.instance: would be the same for every asset with `auto`" in reported


def test_automatic_assets_are_off_bacnet_until_locked(tmp_path: Path) -> None:
    """They are on MQTT, with one warning for all."""
    table = TEMPLATE.replace(", instance: 7", "").replace(
        "    points:", "    auto: true\n    match: {model: x}\n    points:"
    )
    snapshot = known(
        *(KnownAsset(id=f"auto{n}", name=f"Room {n}", model="x") for n in range(2)), KnownAsset(id="one")
    )
    lock = "  - {point: A/T, object: large-analog-value, instance: 3}\n"
    found = load_objects(tmp_path, table, lock=lock, snapshot=snapshot)
    assert instances(found) == {"A/T": "large-analog-value 3"}
    assert found.warnings == [
        (
            "a.yaml:5:11: templates.iaq.auto: not on BACnet, without an instance in bacnet.lock: 2 points"
            " (Room 0/T, Room 1/T); run `gateway lock -c …` (true)"
        )
    ]


@pytest.mark.parametrize("source", ["$age", "$quality"])
def test_a_map_that_does_not_apply_is_one_problem(tmp_path: Path, source: str) -> None:
    """What its values would be as an object is nobody's concern."""
    keys = "tag: A, point: P, map: {0: stop, 1: go}, bacnet: {object: analog-input, instance: 1}"
    found = load_objects(tmp_path, table_of_points(keys).replace("from: t", f"from: {source}"))
    assert [problem.partition(": ")[2] for problem in found.problems] == [
        f"points[0].map: does not apply to {source}, which the gateway makes itself"
    ]
