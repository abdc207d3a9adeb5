"""bacnet.lock: instances of BACnet objects, which never move and are never given twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.bacnet_lock import assign_objects, instances, load_objects, lock_objects
from support.point_tables import table_of_points
from support.registers_lock import known

from gateway.config.decode import read_document
from gateway.errors import CommandError
from gateway.mapping.compile.object_lock import (
    LockedObject,
    ObjectLock,
    ObjectLockFile,
    add_objects,
    read_object_lock,
)
from gateway.model import ObjectType
from gateway.records import KnownAsset

AUTOMATIC = """\
schema: gateway.points/1
site: hq
templates:
  iaq:
    auto: true
    match: {model: x}
    points: {T: {from: t}, OCC: {from: occ, map: {vacant: 0, occupied: 1}}}
assets:
  - {id: two, tag: B, use: iaq}
  - {id: one, tag: A, use: iaq}
points:
  - {tag: ROOF, point: OA-T, asset: roof, from: t}
"""
LOCK = "  - {point: GONE/P, object: analog-input, instance: 1}\n"
ROOM = KnownAsset(id="auto", name="Hall", model="x")


def test_instances_are_given_in_the_order_of_the_tables_then_to_automatic_assets(tmp_path: Path) -> None:
    """From 1 on for each type; the same on a second run, which adds nothing."""
    load_objects(tmp_path, AUTOMATIC)
    lock_objects(tmp_path, snapshot=known(ROOM))
    found = load_objects(tmp_path, AUTOMATIC, snapshot=known(ROOM))
    assert instances(found) == {
        "B/T": "analog-input 1",
        "B/OCC": "binary-input 1",
        "A/T": "analog-input 2",
        "A/OCC": "binary-input 2",
        "ROOF/OA-T": "analog-input 3",
        "Hall/T": "analog-input 4",
        "Hall/OCC": "binary-input 3",
    }
    assert (tmp_path / "bacnet.lock").read_text().splitlines()[3:7] == [
        "schema: gateway.objects/1",
        "objects:",
        "  - {point: B/T, object: analog-input, instance: 1}",
        "  - {point: B/OCC, object: binary-input, instance: 1}",
    ]
    assert assign_objects(tmp_path, snapshot=known(ROOM)).objects == []


def test_points_without_an_instance_are_one_problem(tmp_path: Path) -> None:
    """It names a few, their number and the command."""
    found = load_objects(tmp_path, table_of_points(*(f"tag: A, point: P{n}" for n in range(9))))
    assert found.problems == [
        (
            "a.yaml:5:5: points[0]: no BACnet instance in bacnet.lock for 9 points (A/P0, A/P1, A/P2, A/P3,"
            " A/P4 and 4 more): run `gateway lock -c …`"
        )
    ]


def test_a_renamed_point_can_keep_its_instance(tmp_path: Path) -> None:
    """Where bacnet.lock has points that are in no table, the message says how."""
    (reported,) = load_objects(tmp_path, table_of_points("tag: NEW, point: P"), lock=LOCK).problems
    assert "; if points were renamed, write their new names there first, or they get new" in reported
    found = load_objects(tmp_path, lock=LOCK.replace("GONE", "NEW"))
    assert instances(found) == {"NEW/P": "analog-input 1"}


def test_new_instances_are_above_those_of_bacnet_lock(tmp_path: Path) -> None:
    """Free ones below may have been other points'; those in tables are skipped, but do not move others up."""
    load_objects(
        tmp_path,
        table_of_points(
            *(f"tag: A, point: P{n}" for n in range(3)),
            *(f"tag: B, point: P{n}, bacnet: {{instance: {n}}}" for n in (2, 8, 4001)),
            "tag: A, point: ON, bits: 1",
        ),
        lock=LOCK.replace("instance: 1", "instance: 6"),
    )
    assert [(one.point, one.instance) for one in assign_objects(tmp_path).objects] == [
        ("A/P0", 7),
        ("A/P1", 9),
        ("A/P2", 10),
        ("A/ON", 1),
        ("B/P2", 2),
        ("B/P8", 8),
        ("B/P4001", 4001),
    ]


def test_an_instance_that_was_in_a_table_is_given_to_no_other_point(tmp_path: Path) -> None:
    """`gateway lock` reserves it, so that it is skipped for good; the sequence goes on where it was."""
    load_objects(tmp_path, table_of_points("tag: A, point: P, bacnet: {instance: 2}", "tag: B, point: P"))
    lock_objects(tmp_path)
    assert (tmp_path / "bacnet.lock").read_text().splitlines()[-2:] == [
        "  - {point: B/P, object: analog-input, instance: 1}",
        "  - {point: A/P, object: analog-input, instance: 2, reserved: true}",
    ]
    assert assign_objects(tmp_path).objects == []
    found = load_objects(tmp_path, table_of_points(*(f"tag: {tag}, point: P" for tag in "BCA")))
    (reported,) = found.problems
    assert "for 2 points (C/P, A/P): run `gateway lock -c …`; the table had an `instance` for A/P" in reported
    lock_objects(tmp_path)
    assert instances(load_objects(tmp_path)) == {
        "B/P": "analog-input 1",
        "C/P": "analog-input 3",
        "A/P": "analog-input 4",
    }


def test_a_type_without_further_instances_is_refused(tmp_path: Path) -> None:
    """The message names a point and what to write."""
    load_objects(tmp_path, table_of_points("tag: A, point: P"), lock=LOCK.replace(": 1}", ": 4194302}"))
    with pytest.raises(CommandError, match=r"A/P: bacnet\.lock has the last instance of analog-input, 41"):
        assign_objects(tmp_path)


@pytest.mark.parametrize(
    ("keys", "lock", "problem"),
    [
        (
            "bacnet: {instance: 1}",
            LOCK,
            "a.yaml:5:62: points[0].bacnet.instance: analog-input 1 belongs to GONE/P at bacnet.lock:3:5: ",
        ),
        (
            "bacnet: false",
            LOCK + LOCK.replace("instance: 1", "instance: 2"),
            "bacnet.lock:4:13: objects[1].point: this point has an instance as analog-input already at",
        ),
        (
            "bacnet: false",
            LOCK + LOCK.replace("GONE", "A"),
            "bacnet.lock:4:50: objects[1].instance: analog-input 1 belongs to GONE/P at bacnet.lock:3:5 (1)",
        ),
        (
            "cov: 1",  # its missing instance is not reported: the line may be the one with the problem
            LOCK.replace("analog-input", "analog-imput"),
            "bacnet.lock:3:29: objects[0].object: one of analog-input, binary-input, multi-state-input, char",
        ),
    ],
)
def test_entries_and_tables_that_contradict_are_refused(
    tmp_path: Path, keys: str, lock: str, problem: str
) -> None:
    """Each problem has its place, also in bacnet.lock, and nothing is given while there is one."""
    found = load_objects(
        tmp_path, table_of_points(f"tag: A, point: P, {keys}", "tag: A, point: Q"), lock=lock
    )
    assert found.problems[0].startswith(problem)
    assert assign_objects(tmp_path).objects == []


KINDS = {
    "": "",
    "map": "map: {a: 1, b: 2}",
    "large": "bacnet: {object: large-analog-value}",
    "own": "bacnet: {instance: 3}",
    "off": "bacnet: false",
}
TABLES = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(list(KINDS)), min_size=1),
    min_size=1,
    max_size=5,
)


@given(tables=TABLES)
@example(tables=[{"a": "own"}, dict.fromkeys("bcd", "")])
@settings(max_examples=40, deadline=None)
def test_instances_never_move_and_are_never_given_twice(tables: list[dict[str, str]]) -> None:
    """Whatever is added, removed or changed of type: an entry stays, and no other point has its object."""
    given_to: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table in tables:
            own = [point for point, kind in table.items() if kind == "own"]
            kinds = {point: "" if point in own[1:] else kind for point, kind in table.items()}
            text = table_of_points(
                *(
                    f"tag: {point.upper()}, point: P, {KINDS[kind]}".rstrip(", ")
                    for point, kind in kinds.items()
                )
            )
            load_objects(folder, text)
            if any(
                ": analog-input 3 belongs to" in problem for problem in load_objects(folder, text).problems
            ):
                continue  # it is given to another point already
            lock_objects(folder)
            found = load_objects(folder, text)
            assert found.problems == []
            shown = instances(found)
            assert (
                len(set(shown.values()))
                == len(shown)
                == len([kind for kind in kinds.values() if kind != "off"])
            )
            for point, instance in shown.items():
                is_own = kinds[point[0].lower()] == "own"
                if not is_own or instance not in given_to:  # a table may state what another one stated
                    assert given_to.setdefault(instance, point) == point
                if not is_own:
                    assert given_to.setdefault(f"{point} {instance.split()[0]}", instance) == instance


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6) | st.sampled_from(
    [
        "A/T",
        "no",
        "null",
        "1",
        "1.5",
        "~",
        'a"b',
        "a\\b",
        "a, b",
        "a: b",
        "a #b",
        "Büro 1/T",
        "\ufeffx",
        "x\u2028y",
    ]
)
ENTRIES = st.builds(
    LockedObject,
    point=NAMES,
    object=st.sampled_from(ObjectType),
    instance=st.integers(0, 3),
    reserved=st.booleans(),
)
EDITS = st.sampled_from(
    ["", " ", "\n", "#", '"', "9", "-", "x", "}", ",", "\t", "\r", "\u00a0", "\ufeff", "instance: 1"]
)


@given(entries=st.lists(ENTRIES, max_size=4), edit=EDITS, at=st.integers(0, 400), cut=st.integers(0, 2))
def test_lines_mean_the_same_as_in_yaml(entries: list[LockedObject], edit: str, at: int, cut: int) -> None:
    """Whatever a file has, also after an edit by hand, its values, places and problems are those of YAML."""
    text = add_objects(None, entries)
    at = max(0, len(text) - at)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "bacnet.lock"
        file.write_text(text[:at] + edit + text[at + cut :], encoding="utf-8", newline="")
        found, document = read_object_lock(file), read_document(file, ObjectLockFile)
    expected = ObjectLock()
    objects = (document.value and document.value.objects) or ()
    clashes = [
        expected.add(entry, document.location(("objects", n))) is not None for n, entry in enumerate(objects)
    ]
    assert found.problems[: len(document.problems)] == document.problems
    if not document.problems:
        assert len(found.problems) == sum(clashes)
        assert (found.instances, found.holders, found.reserved) == (
            expected.instances, expected.holders, expected.reserved,
        )  # fmt: skip
