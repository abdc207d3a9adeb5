"""What a BACnet object shows of its point's value and quality."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mapping.object_status import (
    ObjectStatus,
    Reliability,
    StatusFlags,
    object_status,
)
from gateway.mapping.object_types import object_error, object_shape
from gateway.model import BacnetObject, Conversion, ObjectType, OnStale, Point, Quality, StalePolicy, Update

if TYPE_CHECKING:
    from gateway.model import Scalar

ANALOG = BacnetObject("bac", ObjectType.ANALOG_INPUT, 1)
BINARY = BacnetObject("bac", ObjectType.BINARY_INPUT, 1)
TEXT = BacnetObject("bac", ObjectType.CHARACTERSTRING_VALUE, 1)
LARGE = BacnetObject("bac", ObjectType.LARGE_ANALOG_VALUE, 1)
MULTI_STATE = BacnetObject("bac", ObjectType.MULTI_STATE_INPUT, 1, (3, "off", 0), ("three", "off", "zero"))
FAULT = StatusFlags(in_alarm=True, fault=True)


def status(
    value: Scalar, quality: Quality, shown_in: BacnetObject = ANALOG, *, raw: Scalar = 1, good: Scalar = None
) -> ObjectStatus:
    """Return what an object shows of a point with the range 0 to 50."""
    point = Point(
        "hq", "L03", "ZN-T", "ast-1", "t", "degC", None, OnStale(StalePolicy.HOLD), objects=(shown_in,),
        conversion=Conversion(range=(0, 50)),
    )  # fmt: skip
    update = Update(point, value, value, quality, time_ms=0, seq=1, event_id=None, raw=raw)
    return object_status(update, shown_in, last_good=good)


@pytest.mark.parametrize(
    ("value", "quality", "reliability", "flags"),
    [
        (21.5, Quality.GOOD, Reliability.NO_FAULT_DETECTED, StatusFlags()),
        (21.5, Quality.FORCED, Reliability.NO_FAULT_DETECTED, StatusFlags(overridden=True)),
        (21.5, Quality.HELD, Reliability.COMMUNICATION_FAILURE, FAULT),
        (None, Quality.STALE, Reliability.COMMUNICATION_FAILURE, FAULT),
        (None, Quality.OFFLINE, Reliability.COMMUNICATION_FAILURE, FAULT),
        (50.1, Quality.BAD, Reliability.OVER_RANGE, FAULT),
        (-0.1, Quality.BAD, Reliability.UNDER_RANGE, FAULT),
        (49.0, Quality.BAD, Reliability.UNRELIABLE_OTHER, FAULT),
        (None, Quality.BAD, Reliability.UNRELIABLE_OTHER, FAULT),
    ],
)
def test_quality_becomes_flags_and_reliability(
    value: Scalar, quality: Quality, reliability: Reliability, flags: StatusFlags
) -> None:
    """Every quality but good shows in flags; the value is the update's, or else the last good one."""
    shown = status(value, quality, good=20.0)
    assert shown == ObjectStatus(20.0 if value is None else value, reliability, flags)


@pytest.mark.parametrize(
    ("shown_in", "nothing"), [(BINARY, False), (MULTI_STATE, 1), (TEXT, ""), (ANALOG, "nan"), (LARGE, "nan")]
)
@pytest.mark.parametrize("quality", [None, Quality.STALE, Quality.OFFLINE, Quality.BAD])
def test_an_object_without_any_value_has_no_sensor(
    shown_in: BacnetObject, nothing: Scalar, quality: Quality | None
) -> None:
    """Before the first value, numbers are NaN and never 0, and the object is in fault."""
    if quality is None:
        shown = object_status(None, shown_in, last_good=None)
    else:
        shown = status(None, quality, shown_in, raw=None)
    assert (shown.reliability, shown.flags) == (Reliability.NO_SENSOR, FAULT)
    assert shown.present_value == nothing or (nothing == "nan" and math.isnan(float(shown.present_value)))


@pytest.mark.parametrize(
    ("shown_in", "value", "present"),
    [
        (ANALOG, True, 1),
        (BINARY, 1, True),
        (BINARY, 0.0, False),
        (MULTI_STATE, 3, 1),
        (MULTI_STATE, "off", 2),
        (MULTI_STATE, 0.0, 3),
        (TEXT, 21.5, "21.5"),
        (TEXT, True, "true"),
        (LARGE, 2**53 - 1, 2**53 - 1),
    ],
)
def test_values_are_shown_as_their_object_needs_them(
    shown_in: BacnetObject, value: Scalar, present: Scalar
) -> None:
    """States count from 1 in the order of the object; 1 and true are the same."""
    assert status(value, Quality.GOOD, shown_in).present_value == present


@pytest.mark.parametrize(
    ("shown_in", "value", "good"), [(ANALOG, "off", 20.0), (BINARY, 2, True), (MULTI_STATE, 7, "off")]
)
def test_a_value_that_the_object_cannot_hold_is_refused(
    shown_in: BacnetObject, value: Scalar, good: Scalar
) -> None:
    """The last good value stays, marked as unreliable, and there is a reason."""
    shown = status(value, Quality.GOOD, shown_in, good=good)
    present = status(good, Quality.GOOD, shown_in).present_value
    assert shown == (present, Reliability.UNRELIABLE_OTHER, FAULT, object_error(shown_in, value))


@given(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    st.sampled_from(Quality),
    st.sampled_from([ANALOG, BINARY, MULTI_STATE, TEXT, LARGE]),
)
def test_fault_follows_the_reliability(value: Scalar, quality: Quality, shown_in: BacnetObject) -> None:
    """Fault and in-alarm are set exactly with a reliability, as the standard ties them."""
    shown = status(value, quality, shown_in)
    in_fault = shown.reliability is not Reliability.NO_FAULT_DETECTED
    assert shown.flags.fault == shown.flags.in_alarm == in_fault
    assert not shown.flags.out_of_service


def test_a_quality_before_the_first_reading_is_not_good() -> None:
    """A client that ignores the flags of `$quality` reads the state `no reading`, not `good`."""
    shape = object_shape(None, "$quality", Conversion(), (), is_measure=False)
    shown = BacnetObject("bac", shape.type, 1, shape.values, shape.texts)
    state = object_status(None, shown, last_good=None).present_value
    assert shown.texts[int(state) - 1] == "no reading"
