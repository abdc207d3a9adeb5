"""What `gateway explain` says of a point's BACnet objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.model import BacnetObject, Conversion, ObjectType, OnStale, Point, Quality, StalePolicy, Update
from gateway.tools.explain import object_rows

if TYPE_CHECKING:
    from gateway.model import Scalar

ANALOG = BacnetObject("bac", ObjectType.ANALOG_INPUT, 12)
BINARY = BacnetObject("bac", ObjectType.BINARY_INPUT, 3, (0, 1), ("shut", "open"))
STATES = BacnetObject("bac", ObjectType.MULTI_STATE_INPUT, 4, (5, 6), ("off", "on"))
TEXT = BacnetObject("bac", ObjectType.CHARACTERSTRING_VALUE, 5)


def rows_of(shown: BacnetObject, value: Scalar, quality: Quality, good: Scalar) -> list[str]:
    """Return the rows of a point in degC with the range 0 to 50."""
    point = Point(
        "hq", "R", "P", "ast-1", "t", "degC", None, OnStale(StalePolicy.HOLD), objects=(shown,),
        conversion=Conversion(range=(0, 50)),
    )  # fmt: skip
    update = Update(point, value, value, quality, time_ms=0, seq=1, event_id=None, raw="abc")
    return [" | ".join(row) for row in object_rows(update, good)]


@pytest.mark.parametrize(
    ("shown", "value", "quality", "row"),
    [
        (ANALOG, 21.55, Quality.GOOD, "analog-input 12  21.55 degrees-celsius  no flags"),
        (ANALOG, 70, Quality.BAD, "analog-input 12  70 degrees-celsius  in-alarm, fault, over-range"),
        (ANALOG, None, Quality.STALE, "analog-input 12  20 degrees-celsius  in-alarm, fault, comm"),
        (BINARY, True, Quality.FORCED, "binary-input 3  active (open)  overridden"),
        (STATES, 6, Quality.GOOD, "multi-state-input 4  2 (on)  no flags"),
        (TEXT, "a b", Quality.GOOD, 'characterstring-value 5  "a b"  no flags'),
    ],
)
def test_an_object_is_shown_as_a_client_reads_it(
    shown: BacnetObject, value: Scalar, quality: Quality, row: str
) -> None:
    """A row has type, instance, Present_Value with its unit or state text, flags and reliability."""
    (got,) = rows_of(shown, value, quality, good=20)
    assert got.startswith(f"bacnet bac | {row}")


def test_an_unusable_value_is_explained() -> None:
    """A value that the object cannot hold is a dead letter, with what to write instead."""
    first, kept, refused = rows_of(ANALOG, "off", Quality.GOOD, good=None)
    assert first.endswith("NaN degrees-celsius  in-alarm, fault, unreliable-other")
    assert kept == " | Present_Value keeps the last good value, which is not known here"
    assert refused.startswith(" | becomes a dead letter: analog-input holds numbers, not the text 'off': ")
