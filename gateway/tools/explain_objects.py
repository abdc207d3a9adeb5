"""BACnet objects in `gateway explain`: what each object of a point shows of an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mapping.engineering_units import NO_UNITS, unit_of_point
from gateway.mapping.object_status import object_status, status_text, value_text
from gateway.mapping.object_types import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.model import Scalar, Update

_UNKNOWN = "Present_Value keeps the last good value, which is not known here"


def object_rows(update: Update, last_good: Scalar) -> Iterator[list[str]]:
    """Yield a row for each object of the point: type, instance, Present_Value, Status_Flags, Reliability."""
    unit = unit_of_point(update.point)
    for shown in update.point.objects:
        status = object_status(update, shown, last_good=last_good)
        value = value_text(status.present_value, shown)
        if shown.type in NUMBERS and unit != NO_UNITS:
            value += f" {unit.name}"
        yield [f"bacnet {shown.sink}", f"{shown.type} {shown.instance}  {value}  {status_text(status)}"]
        if last_good is None and (update.value is None or status.refusal):
            yield ["", _UNKNOWN]
        if status.refusal:
            yield ["", f"becomes a dead letter: {status.refusal}"]
