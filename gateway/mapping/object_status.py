"""What a BACnet object shows of its point: the value, and what it is worth."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, cast

from gateway.config.problems import show
from gateway.mapping.object_types import object_error
from gateway.model import ObjectType, Quality

if TYPE_CHECKING:
    from gateway.model import BacnetObject, Scalar, Update

_DIGITS = {ObjectType.ANALOG_INPUT: 7, ObjectType.LARGE_ANALOG_VALUE: 15}  # what REAL and Double hold
_TRUSTED = frozenset({Quality.GOOD, Quality.FORCED})
_NO_VALUE: dict[ObjectType, float | str] = {
    ObjectType.ANALOG_INPUT: math.nan,  # never 0, which would be a temperature
    ObjectType.BINARY_INPUT: False,
    ObjectType.MULTI_STATE_INPUT: 1,
    ObjectType.CHARACTERSTRING_VALUE: "",
    ObjectType.LARGE_ANALOG_VALUE: math.nan,
}


class Reliability(IntEnum):
    """Why a value cannot be trusted (BACnetReliability, ANSI/ASHRAE 135, clause 21)."""

    NO_FAULT_DETECTED = 0
    NO_SENSOR = 1
    OVER_RANGE = 2
    UNDER_RANGE = 3
    UNRELIABLE_OTHER = 7
    COMMUNICATION_FAILURE = 12


class StatusFlags(NamedTuple):
    """The Status_Flags of an object (clause 12).

    The standard ties the first two: an Event_State that is not normal is an alarm, a Reliability other than
    no-fault-detected is a fault.
    """

    in_alarm: bool = False
    fault: bool = False
    overridden: bool = False
    out_of_service: bool = False


NO_FLAGS = StatusFlags()
OVERRIDDEN = StatusFlags(overridden=True)
FAULT = StatusFlags(in_alarm=True, fault=True)


class ObjectStatus(NamedTuple):
    """What an object shows.

    `present_value` is a number of an analog object, a boolean (True: active) of a binary one, a state from 1
    of a multi-state one, or text. `refusal`: why the object cannot hold the value of the update, or None.
    """

    present_value: float | str
    reliability: Reliability
    flags: StatusFlags
    refusal: str | None = None


def object_status(update: Update | None, bacnet_object: BacnetObject, *, last_good: Scalar) -> ObjectStatus:
    """Return what an object shows for its point's newest update (None: there is none yet).

    Present_Value is the value of the update; without one, or if the object cannot hold it, the last good
    value; without that, NaN, inactive, empty text, and of states the one for no value or the first.
    """
    value = None if update is None else update.value
    refusal = object_error(bacnet_object, value)
    if value is None or refusal:
        value = None if object_error(bacnet_object, last_good) else last_good
    reliability = Reliability.UNRELIABLE_OTHER if refusal else _reliability(update, value)
    is_forced = update is not None and update.quality is Quality.FORCED
    flags = FAULT if reliability else OVERRIDDEN if is_forced else NO_FLAGS
    shown = _present_value(value, bacnet_object.type, bacnet_object.values)
    return ObjectStatus(shown, reliability, flags, refusal)


def _reliability(update: Update | None, shown: Scalar) -> Reliability:
    """Return what is wrong with a value; `shown` is that of the update, or the last good one."""
    if update is None:
        return Reliability.NO_SENSOR
    is_bad = update.quality is Quality.BAD
    if shown is None:
        is_unusable = is_bad and update.raw is not None
        return Reliability.UNRELIABLE_OTHER if is_unusable else Reliability.NO_SENSOR
    if not is_bad:
        is_trusted = update.quality in _TRUSTED
        return Reliability.NO_FAULT_DETECTED if is_trusted else Reliability.COMMUNICATION_FAILURE
    limits, value = update.point.conversion.range, update.value
    if limits is None or not isinstance(value, int | float) or limits[0] <= value <= limits[1]:
        return Reliability.UNRELIABLE_OTHER
    return Reliability.UNDER_RANGE if value < limits[0] else Reliability.OVER_RANGE


def _present_value(value: Scalar, kind: ObjectType, states: tuple[Scalar, ...]) -> float | str:
    """Return the Present_Value for a point's value, which the object can hold."""
    if value is None and None not in states:
        return _NO_VALUE[kind]
    if kind is ObjectType.MULTI_STATE_INPUT:
        return states.index(value) + 1
    if kind is ObjectType.CHARACTERSTRING_VALUE:
        return str(value).lower() if isinstance(value, bool) else str(value)
    number = cast("float", value)
    return bool(number) if kind is ObjectType.BINARY_INPUT else number


def value_text(value: float | str, shown: BacnetObject) -> str:
    """Return a Present_Value for people, with the digits that the object holds and the text of a state."""
    if (digits := _DIGITS.get(shown.type)) is not None:
        return "NaN" if math.isnan(float(value)) else f"{float(value):.{digits}g}"
    if shown.type is ObjectType.CHARACTERSTRING_VALUE:
        return show(value)
    state = int(value)
    if shown.type is ObjectType.BINARY_INPUT:
        name, index = ("inactive", "active")[state], state
    else:
        name, index = str(state), state - 1
    return f"{name} ({shown.texts[index]})" if shown.texts else name


def status_text(status: ObjectStatus) -> str:
    """Return Status_Flags and Reliability for people: `in-alarm, fault, no-sensor`, or `no flags`."""
    flags = [name for name, is_set in status.flags._asdict().items() if is_set]
    reason = [status.reliability.name.lower()] if status.reliability else []
    return ", ".join([*flags, *reason]).replace("_", "-") or "no flags"
