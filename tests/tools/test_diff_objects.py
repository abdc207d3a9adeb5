"""What a change of point tables does to the objects that a BMS reads over BACnet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.mapping.plan import PointMap
from gateway.model import BacnetObject, ObjectType, OnStale, Point, StalePolicy
from gateway.tools.diff import Inventory, compare, inventory_of
from gateway.tools.diff_report import CHANGE_FORMATS, ChangeKind

NUMBER = BacnetObject("bac", ObjectType.ANALOG_INPUT, 4)
STATES = BacnetObject("bac", ObjectType.MULTI_STATE_INPUT, 5, (0, 1), ("off", "on"))


def inventory(*points: tuple[str, BacnetObject | None], sinks: tuple[str, ...] = ("bac",)) -> Inventory:
    """Return the inventory of points of tag X, which are on no other sink."""
    made = [
        Point(
            "hq", "X", name, "ast-1", f"key {name[0]}", None, None, OnStale(StalePolicy.HOLD), mqtt=None,
            objects=() if shown is None else (shown,),
        )
        for name, shown in points
    ]  # fmt: skip
    return inventory_of(PointMap(tuple(made), {}), topics={}, sinks={name: {} for name in sinks})


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (ChangeKind.OBJECT_MOVED, NUMBER, replace(NUMBER, instance=5)),
        (ChangeKind.OBJECT_MOVED, NUMBER, replace(NUMBER, type=ObjectType.LARGE_ANALOG_VALUE)),
        (ChangeKind.OBJECT_GONE, NUMBER, None),
        (ChangeKind.NEW_OBJECT, None, NUMBER),
        (ChangeKind.OBJECT_STATES, STATES, replace(STATES, values=(1, 0), texts=("on", "off"))),
        (ChangeKind.OBJECT_STATES, STATES, replace(STATES, values=(2, 0, 1), texts=("auto", "off", "on"))),
        (ChangeKind.OBJECT_STATES, STATES, replace(STATES, values=(0,), texts=("off",))),
        (ChangeKind.OBJECT_STATES, STATES, replace(STATES, values=(0, 2), texts=("off", "auto"))),
        (ChangeKind.NEW_STATES, STATES, replace(STATES, values=(0, 1, 2), texts=("off", "on", "auto"))),
        (ChangeKind.NEW_STATES, STATES, replace(STATES, texts=("Aus", "Ein"))),
    ],
)
def test_a_change_of_an_object_is_reported(
    kind: ChangeKind, before: BacnetObject | None, after: BacnetObject | None
) -> None:
    """A BMS database breaks where type, instance or the number of a state changes, not by more states."""
    (change,) = compare(inventory(("P", before)), inventory(("P", after)))
    assert (change.kind, change.subject) == (kind, "X/P")


def test_an_object_of_another_point_is_reported() -> None:
    """An instance that now shows another point is the worst that can happen to a BMS."""
    changes = compare(inventory(("P", NUMBER), ("Q", None)), inventory(("P", None), ("Q", NUMBER)))
    assert [(each.kind, each.subject, each.other) for each in changes] == [
        (ChangeKind.OBJECT_TAKEN, "X/P", "X/Q"),
        (ChangeKind.OBJECT_GONE, "X/P", None),
        (ChangeKind.NEW_OBJECT, "X/Q", None),
    ]


def test_a_new_name_is_reported() -> None:
    """A point that keeps its object under a new name has another Object_Name on each sink."""
    changes = compare(inventory(("P1", NUMBER)), inventory(("P2", NUMBER)))
    assert [(each.kind, each.what, each.old, each.new) for each in changes] == [
        (ChangeKind.OBJECT_RENAMED, "bac", "X/P1", "X/P2"),
        (ChangeKind.RENAMED, None, "X/P1", "X/P2"),
    ]


def test_points_and_sinks_that_come_and_go() -> None:
    """A point that only BACnet shows is missed; the objects of a sink that is gone are one change."""
    gone = compare(inventory(("P", NUMBER), ("Q", STATES)), inventory(("P", NUMBER)))
    assert [(each.kind, each.old) for each in gone] == [(ChangeKind.POINT_GONE, STATES)]
    assert [each.kind for each in compare(inventory(("P", NUMBER)), inventory(("P", None), sinks=()))] == [
        ChangeKind.SINK_GONE
    ]


def test_reports_show_objects() -> None:
    """Text shows sink, type and instance, and states with their numbers; JSON has them as values."""
    more = replace(STATES, values=(1, 0), texts=("on", "off"))
    changes = compare(
        inventory(("P", NUMBER), ("Q", STATES)), inventory(("P", replace(NUMBER, instance=9)), ("Q", more))
    )
    text = CHANGE_FORMATS["text"](changes)
    assert "X/P  bac analog-input 4  ->  bac analog-input 9" in text
    assert "X/Q  bac  1 off, 2 on  ->  1 on, 2 off" in text
    moved = json.loads(CHANGE_FORMATS["json"](changes))["changes"][0]
    assert moved["old"] == {"sink": "bac", "object_type": "analog-input", "object_instance": 4}
