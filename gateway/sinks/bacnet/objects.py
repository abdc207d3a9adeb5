"""The BACnet objects of points: what a client reads of each, from one property table per object type. No I/O.

Sources: ANSI/ASHRAE 135, clauses 12.2, 12.6, 12.18, 12.37 and 12.42.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from gateway.model import ObjectType, Quality
from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.standard import Property, Reliability

if TYPE_CHECKING:
    from gateway.model import BacnetObject, Point, Scalar, Update

_NO_UNITS = 95
_ANALOG = frozenset({ObjectType.ANALOG_INPUT, ObjectType.LARGE_ANALOG_VALUE})
_NORMAL, _FAULT = codec.enumerated(0), codec.enumerated(1)  # BACnetEventState
_NORMAL_POLARITY = codec.enumerated(0)
_RELIABILITIES: Final = {reliability: codec.enumerated(reliability) for reliability in Reliability}
_STATUS_FLAGS: Final = {  # in-alarm, fault, overridden, out-of-service
    (fault, overridden): codec.bit_string((False, fault, overridden, False))
    for fault in (False, True)
    for overridden in (False, True)
}


class ServedProperty(NamedTuple):
    """One property of an object type: how it is encoded, and whether the standard requires it.

    `encode` gets the object. It returns None if the object does not have the property. An array is returned
    as a list of its elements.
    """

    encode: Callable[[Any], bytes | list[bytes] | None]
    is_required: bool = True


PropertyTable = Mapping[Property, ServedProperty]


class HasProperties(Protocol):
    """What a client can read: the device, or the object of a point."""

    identifier: bytes
    """Type and instance in four bytes, without a tag."""

    @property
    def properties(self) -> PropertyTable:
        """All properties that such an object may have."""


class ServedObject:
    """The object of one point.

    `identifier`, `present_value`, `status_flags` and `reliability` are encoded; the identifier without a tag.
    `number` is Present_Value as a number, None for text; a number changes for clients by `cov_increment`.
    """

    __slots__ = (
        "cov_increment",
        "identifier",
        "number",
        "point",
        "present_value",
        "reliability",
        "shape",
        "status_flags",
    )

    def __init__(self, point: Point, shape: BacnetObject) -> None:
        self.point = point
        self.shape = shape
        self.identifier = codec.object_data(shape.type.number, shape.instance)
        self.cov_increment = point.cov.delta if point.cov is not None and shape.type in _ANALOG else 0.0
        self._show_value(None)
        self.apply(None, None)

    @property
    def properties(self) -> PropertyTable:
        """All properties that an object of its type may have."""
        return PROPERTIES[self.shape.type]

    def apply(self, update: Update | None, last_good: Scalar) -> str | None:
        """Show an update, None if the point has none; return the reason if the object cannot hold its value.

        `last_good` is shown if the update has no value, or one that the object cannot hold.
        """
        value = update.value if update is not None else None
        reason = _misfit(self.shape, value)
        shown = last_good if value is None or reason else value
        self._show_value(None if _misfit(self.shape, shown) else shown)
        reliability = Reliability.UNRELIABLE_OTHER if reason else _reliability(update, shown)
        is_forced = update is not None and update.quality is Quality.FORCED
        self.status_flags = _STATUS_FLAGS[reliability != Reliability.NO_FAULT_DETECTED, is_forced]
        self.reliability = _RELIABILITIES[reliability]
        return reason

    def _show_value(self, value: Scalar) -> None:
        self.present_value, self.number = _ENCODERS[self.shape.type](self.shape, value)


def _reliability(update: Update | None, shown: Scalar) -> Reliability:
    """Return what is wrong with a point's value."""
    if update is None or shown is None:
        return Reliability.NO_SENSOR
    if update.quality in {Quality.GOOD, Quality.FORCED}:
        return Reliability.NO_FAULT_DETECTED
    if update.quality is not Quality.BAD:
        return Reliability.COMMUNICATION_FAILURE
    limits, value = update.point.conversion.range, update.value
    if limits is not None and isinstance(value, int | float):
        if value > limits[1]:
            return Reliability.OVER_RANGE
        if value < limits[0]:
            return Reliability.UNDER_RANGE
    return Reliability.UNRELIABLE_OTHER


def _misfit(shape: BacnetObject, value: Scalar) -> str | None:
    """Return why an object cannot hold a value, or None if it can."""
    if value is None or shape.type is ObjectType.CHARACTERSTRING_VALUE:
        return None
    if shape.type is ObjectType.MULTI_STATE_INPUT:
        is_held = value in shape.values
    elif shape.type is ObjectType.BINARY_INPUT:
        is_held = value in {0, 1}
    else:
        is_held = not isinstance(value, str)
    return None if is_held else f"a {shape.type} cannot hold {value!r}"


def _analog(_: BacnetObject, value: Scalar) -> tuple[bytes, float]:
    number = math.nan if value is None else codec.as_real(float(value))
    return codec.real(number), number


def _large_analog(_: BacnetObject, value: Scalar) -> tuple[bytes, float]:
    number = math.nan if value is None else float(value)
    return codec.double(number), number


def _binary(_: BacnetObject, value: Scalar) -> tuple[bytes, float]:
    return codec.enumerated(1 if value else 0), 1 if value else 0


def _multi_state(shape: BacnetObject, value: Scalar) -> tuple[bytes, float]:
    state = 1 if value is None else shape.values.index(value) + 1
    return codec.unsigned(state), state


def _text(_: BacnetObject, value: Scalar) -> tuple[bytes, None]:
    return codec.character_string("" if value is None else str(value)), None


_ENCODERS: dict[ObjectType, Callable[[BacnetObject, Scalar], tuple[bytes, float | None]]] = {
    ObjectType.ANALOG_INPUT: _analog,
    ObjectType.LARGE_ANALOG_VALUE: _large_analog,
    ObjectType.BINARY_INPUT: _binary,
    ObjectType.MULTI_STATE_INPUT: _multi_state,
    ObjectType.CHARACTERSTRING_VALUE: _text,
}


def _state_text(served: ServedObject, position: int) -> bytes | None:
    texts = served.shape.texts
    return codec.character_string(texts[position]) if texts else None


def _event_state(served: ServedObject) -> bytes:
    return _NORMAL if served.reliability == _RELIABILITIES[Reliability.NO_FAULT_DETECTED] else _FAULT


_NOT_LISTED = frozenset(  # clause 12.2.18
    {Property.OBJECT_IDENTIFIER, Property.OBJECT_NAME, Property.OBJECT_TYPE, Property.PROPERTY_LIST}
)


def property_list(served: HasProperties) -> list[bytes]:
    """Return the elements of an object's Property_List."""
    return [
        codec.enumerated(number)
        for number, each in served.properties.items()
        if number not in _NOT_LISTED and each.encode(served) is not None
    ]


_ALL_HAVE = {
    Property.OBJECT_IDENTIFIER: ServedProperty(lambda served: b"\xc4" + served.identifier),
    Property.OBJECT_NAME: ServedProperty(lambda served: codec.character_string(served.point.name)),
    Property.OBJECT_TYPE: ServedProperty(lambda served: codec.enumerated(served.shape.type.number)),
    Property.PRESENT_VALUE: ServedProperty(lambda served: served.present_value),
    Property.DESCRIPTION: ServedProperty(
        lambda served: codec.character_string(served.point.description or ""), is_required=False
    ),
    Property.STATUS_FLAGS: ServedProperty(lambda served: served.status_flags),
    Property.RELIABILITY: ServedProperty(lambda served: served.reliability, is_required=False),
    Property.PROPERTY_LIST: ServedProperty(property_list),
}
_INPUTS_HAVE = {
    Property.EVENT_STATE: ServedProperty(_event_state),
    Property.OUT_OF_SERVICE: ServedProperty(lambda _: codec.FALSE),
}
_VALUES_HAVE = {number: each._replace(is_required=False) for number, each in _INPUTS_HAVE.items()}
_UNITS = {Property.UNITS: ServedProperty(lambda _: codec.enumerated(_NO_UNITS))}

PROPERTIES: Final[dict[ObjectType, PropertyTable]] = {
    ObjectType.ANALOG_INPUT: {
        **_ALL_HAVE,
        **_INPUTS_HAVE,
        **_UNITS,
        Property.COV_INCREMENT: ServedProperty(
            lambda served: codec.real(codec.as_real(served.cov_increment)), is_required=False
        ),
    },
    ObjectType.BINARY_INPUT: {
        **_ALL_HAVE,
        **_INPUTS_HAVE,
        Property.POLARITY: ServedProperty(lambda _: _NORMAL_POLARITY),
        Property.INACTIVE_TEXT: ServedProperty(lambda served: _state_text(served, 0), is_required=False),
        Property.ACTIVE_TEXT: ServedProperty(lambda served: _state_text(served, 1), is_required=False),
    },
    ObjectType.MULTI_STATE_INPUT: {
        **_ALL_HAVE,
        **_INPUTS_HAVE,
        Property.NUMBER_OF_STATES: ServedProperty(lambda served: codec.unsigned(len(served.shape.values))),
        Property.STATE_TEXT: ServedProperty(
            lambda served: [codec.character_string(text) for text in served.shape.texts], is_required=False
        ),
    },
    ObjectType.CHARACTERSTRING_VALUE: {**_ALL_HAVE, **_VALUES_HAVE},
    ObjectType.LARGE_ANALOG_VALUE: {
        **_ALL_HAVE,
        **_VALUES_HAVE,
        **_UNITS,
        Property.COV_INCREMENT: ServedProperty(
            lambda served: codec.double(served.cov_increment), is_required=False
        ),
    },
}
"""What the objects of each type have."""
