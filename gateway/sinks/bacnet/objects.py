"""The BACnet objects of points: what a client reads of each, from one property table per object type. No I/O.

Sources: ANSI/ASHRAE 135, clauses 12.2, 12.6, 12.18, 12.37 and 12.42.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from gateway.mapping.engineering_units import unit_of_point
from gateway.mapping.object_status import FAULT, NO_FLAGS, OVERRIDDEN, Reliability, object_status
from gateway.mapping.object_types import cov_increment, object_error
from gateway.model import ObjectType
from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.standard import Property

if TYPE_CHECKING:
    from gateway.model import BacnetObject, Point, Scalar, Update

_NORMAL, _FAULT = codec.enumerated(0), codec.enumerated(1)  # BACnetEventState
_NORMAL_POLARITY = codec.enumerated(0)
_RELIABILITIES: Final = {reliability: codec.enumerated(reliability) for reliability in Reliability}
_STATUS_FLAGS: Final = {flags: codec.bit_string(flags) for flags in (NO_FLAGS, OVERRIDDEN, FAULT)}


class ServedProperty(NamedTuple):
    """One property of an object type: how it is encoded, and whether the standard requires it.

    `encode` gets the object. That of an array returns a list of its elements.
    """

    encode: Callable[[Any], bytes | list[bytes]]
    is_required: bool = True
    is_array: bool = False


PropertyTable = Mapping[int, ServedProperty]


class HasProperties(Protocol):
    """What a client can read: the device, or the object of a point."""

    identifier: bytes
    """Type and instance in four bytes, without a tag."""

    @property
    def name(self) -> str:
        """The Object_Name."""

    @property
    def properties(self) -> PropertyTable:
        """All properties that such an object may have."""


class ServedObject:
    """The object of one point.

    `identifier`, `present_value`, `status_flags` and `reliability` are encoded; the identifier without a tag.
    `number` is Present_Value as a number, not rounded to a REAL, None for text; a number changes for clients
    by `cov_increment`.
    """

    __slots__ = (
        "cov_increment",
        "identifier",
        "last_held",
        "number",
        "point",
        "present_value",
        "properties",
        "reliability",
        "shape",
        "status_flags",
    )

    present_value: bytes
    status_flags: bytes
    reliability: bytes
    number: float | None

    def __init__(self, point: Point, shape: BacnetObject) -> None:
        self.point = point
        self.shape = shape
        is_without_texts = shape.type is ObjectType.BINARY_INPUT and not shape.texts
        self.properties = _WITHOUT_TEXTS if is_without_texts else PROPERTIES[shape.type]
        self.identifier = codec.object_data(shape.type.number, shape.instance)
        self.cov_increment = cov_increment(point, shape.type)
        self.last_held: Scalar = None  # the last good value that the object can hold
        self.apply(None, None)

    @property
    def name(self) -> str:
        """The Object_Name."""
        return self.point.name

    def apply(self, update: Update | None, last_good: Scalar) -> str | None:
        """Show an update, None if the point has none; return the reason if the object cannot hold its value.

        `last_good` is shown if the update has no value, or one that the object cannot hold; and if it cannot
        hold that either, the good value before it.
        """
        is_of_update = update is not None and update.value is last_good  # which object_status() checks
        if not is_of_update and object_error(self.shape, last_good) is None:
            self.last_held = last_good
        status = object_status(update, self.shape, last_good=self.last_held)
        if is_of_update and status.refusal is None:
            self.last_held = last_good
        self.present_value, self.number = _ENCODERS[self.shape.type](status.present_value)
        self.status_flags = _STATUS_FLAGS[status.flags]
        self.reliability = _RELIABILITIES[status.reliability]
        return status.refusal


def _analog(value: Any) -> tuple[bytes, float]:
    return codec.real(codec.as_real(float(value))), float(value)


def _large_analog(value: Any) -> tuple[bytes, float]:
    return codec.double(float(value)), float(value)


def _binary(value: Any) -> tuple[bytes, float]:
    return codec.enumerated(int(value)), int(value)


def _multi_state(state: Any) -> tuple[bytes, float]:
    return codec.unsigned(state), state


def _text(text: Any) -> tuple[bytes, None]:
    return codec.character_string(text), None


_ENCODERS: dict[ObjectType, Callable[[Any], tuple[bytes, float | None]]] = {
    ObjectType.ANALOG_INPUT: _analog,
    ObjectType.LARGE_ANALOG_VALUE: _large_analog,
    ObjectType.BINARY_INPUT: _binary,
    ObjectType.MULTI_STATE_INPUT: _multi_state,
    ObjectType.CHARACTERSTRING_VALUE: _text,
}


@lru_cache(256)
def _state_texts(texts: tuple[str, ...]) -> list[bytes]:
    return [codec.character_string(text) for text in texts]


def _event_state(served: ServedObject) -> bytes:
    return _NORMAL if served.reliability == _RELIABILITIES[Reliability.NO_FAULT_DETECTED] else _FAULT


def _units(served: ServedObject) -> bytes:
    return codec.enumerated(unit_of_point(served.point).number)


_NOT_LISTED = frozenset(  # clause 12.2.18
    {Property.OBJECT_IDENTIFIER, Property.OBJECT_NAME, Property.OBJECT_TYPE, Property.PROPERTY_LIST}
)


def property_list(served: HasProperties) -> list[bytes]:
    """Return the elements of an object's Property_List."""
    return [codec.enumerated(number) for number in served.properties if number not in _NOT_LISTED]


_ALL_HAVE: dict[int, ServedProperty] = {
    Property.OBJECT_IDENTIFIER: ServedProperty(lambda served: b"\xc4" + served.identifier),
    Property.OBJECT_NAME: ServedProperty(lambda served: codec.character_string(served.name)),
    Property.OBJECT_TYPE: ServedProperty(lambda served: codec.enumerated(served.shape.type.number)),
    Property.PRESENT_VALUE: ServedProperty(lambda served: served.present_value),
    Property.DESCRIPTION: ServedProperty(
        lambda served: codec.character_string(served.point.description or ""), is_required=False
    ),
    Property.STATUS_FLAGS: ServedProperty(lambda served: served.status_flags),
    Property.RELIABILITY: ServedProperty(lambda served: served.reliability, is_required=False),
    Property.PROPERTY_LIST: ServedProperty(property_list, is_array=True),
}
_INPUTS_HAVE: dict[int, ServedProperty] = {
    Property.EVENT_STATE: ServedProperty(_event_state),
    Property.OUT_OF_SERVICE: ServedProperty(lambda _: codec.FALSE),
}
_VALUES_HAVE = {number: each._replace(is_required=False) for number, each in _INPUTS_HAVE.items()}
_UNITS: dict[int, ServedProperty] = {Property.UNITS: ServedProperty(_units)}

_WITHOUT_TEXTS: PropertyTable = {
    **_ALL_HAVE,
    **_INPUTS_HAVE,
    Property.POLARITY: ServedProperty(lambda _: _NORMAL_POLARITY),
}

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
        **_WITHOUT_TEXTS,
        Property.INACTIVE_TEXT: ServedProperty(
            lambda served: _state_texts(served.shape.texts)[0], is_required=False
        ),
        Property.ACTIVE_TEXT: ServedProperty(
            lambda served: _state_texts(served.shape.texts)[1], is_required=False
        ),
    },
    ObjectType.MULTI_STATE_INPUT: {
        **_ALL_HAVE,
        **_INPUTS_HAVE,
        Property.NUMBER_OF_STATES: ServedProperty(lambda served: codec.unsigned(len(served.shape.values))),
        Property.STATE_TEXT: ServedProperty(
            lambda served: _state_texts(served.shape.texts), is_required=False, is_array=True
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
