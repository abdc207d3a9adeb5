"""BACnet objects in `gateway explain`: what each object of a point shows of an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.mapping.engineering_units import NO_UNITS, unit_of_point
from gateway.mapping.object_status import object_status
from gateway.model import ObjectType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.mapping.object_status import ObjectStatus
    from gateway.model import BacnetObject, Scalar, Update

_DIGITS = {ObjectType.ANALOG_INPUT: 7, ObjectType.LARGE_ANALOG_VALUE: 15}  # what REAL and Double hold
_UNKNOWN = "Present_Value keeps the last good value, which is not known here"


def object_rows(update: Update, last_good: Scalar) -> Iterator[list[str]]:
    """Yield a row for each object of the point: type, instance, Present_Value, Status_Flags, Reliability."""
    unit = unit_of_point(update.point)
    for shown in update.point.objects:
        status = object_status(update, shown, last_good=last_good)
        value = _value_text(status.present_value, shown)
        if shown.type in _DIGITS and unit != NO_UNITS:
            value += f" {unit.name}"
        yield [f"bacnet {shown.sink}", f"{shown.type} {shown.instance}  {value}  {_status_text(status)}"]
        if last_good is None and (update.value is None or status.refusal):
            yield ["", _UNKNOWN]
        if status.refusal:
            yield ["", f"becomes a dead letter: {status.refusal}"]


def _value_text(value: float | str, shown: BacnetObject) -> str:
    if shown.type in _DIGITS:
        number = f"{float(value):.{_DIGITS[shown.type]}g}"
        return "NaN" if number == "nan" else number
    if shown.type is ObjectType.CHARACTERSTRING_VALUE:
        return show(value)
    state = int(value)
    if shown.type is ObjectType.BINARY_INPUT:
        name, index = ("inactive", "active")[state], state
    else:
        name, index = str(state), state - 1
    return f"{name} ({shown.texts[index]})" if shown.texts else name


def _status_text(status: ObjectStatus) -> str:
    flags = [name for name, is_set in status.flags._asdict().items() if is_set]
    reason = [status.reliability.name.lower()] if status.reliability else []
    return ", ".join([*flags, *reason]).replace("_", "-") or "no flags"
