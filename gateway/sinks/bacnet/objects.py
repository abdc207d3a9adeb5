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
from gateway.model import ObjectType, Refusal
from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.standard import Property

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import BacnetObject, Point, Scalar, Update
    from gateway.ports import LatestValues

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


def optional(encode: Callable[[Any], bytes | list[bytes]], *, is_array: bool = False) -> ServedProperty:
    """Return a property that the standard does not require."""
    return ServedProperty(encode, is_required=False, is_array=is_array)


PropertyTable = Mapping[int, ServedProperty]


class HasProperties(Protocol):
    """What a client can read: the device, or the object of a point."""

    identifier: bytes
    """Type and instance in four bytes, without a tag."""
    name: str
    properties: PropertyTable


class ServedObject:
    """The object of one point.

    `identifier`, `present_value`, `status_flags` and `reliability` are encoded; the identifier without a tag.
    `value` is Present_Value, a number not rounded to a REAL; it changes for clients by `cov_increment`.
    """

    __slots__ = (
        "cov_increment",
        "identifier",
        "last_held",
        "name",
        "point",
        "present_value",
        "properties",
        "reliability",
        "shape",
        "status_flags",
        "value",
    )

    value: Any

    def __init__(self, point: Point, shape: BacnetObject) -> None:
        self.name = point.name
        self.point = point
        self.shape = shape
        is_without_texts = shape.type is ObjectType.BINARY_INPUT and not shape.texts
        self.properties: PropertyTable = _WITHOUT_TEXTS if is_without_texts else PROPERTIES[shape.type]
        self.identifier = codec.object_data(shape.type.number, shape.instance)
        self.cov_increment = cov_increment(point, shape.type)
        self.last_held: Scalar = None  # the last good value that the object can hold
        self.apply(None, None)

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
        self.value = status.present_value
        self.present_value = _ENCODERS[self.shape.type](self.value)
        self.status_flags = _STATUS_FLAGS[status.flags]
        self.reliability = _RELIABILITIES[status.reliability]
        return status.refusal


_ENCODERS: dict[ObjectType, Callable[[Any], bytes]] = {
    ObjectType.ANALOG_INPUT: lambda number: codec.real(float(number)),
    ObjectType.LARGE_ANALOG_VALUE: lambda number: codec.double(float(number)),
    ObjectType.BINARY_INPUT: lambda is_active: codec.enumerated(int(is_active)),
    ObjectType.MULTI_STATE_INPUT: codec.unsigned,
    ObjectType.CHARACTERSTRING_VALUE: codec.character_string,
}
"""How Present_Value is encoded."""


class ObjectTable:
    """The objects of one point table on one sink, by identifier (four bytes without a tag) and by name.

    `listed` are their encoded identifiers in the order of the point table, for Object_List.
    """

    def __init__(self, points: Iterable[Point], *, sink: str) -> None:
        self._by_point = {
            point: ServedObject(point, shape)
            for point in points
            for shape in point.objects
            if shape.sink == sink
        }
        self.by_identifier = {served.identifier: served for served in self._by_point.values()}
        self.by_name = {served.name: served for served in self._by_point.values()}
        self.listed = [codec.object_identifier(identifier) for identifier in self.by_identifier]

    def has_same_objects(self, other: ObjectTable) -> bool:
        """Return whether another table has the same identifiers with the same names."""
        return {name: served.identifier for name, served in self.by_name.items()} == {
            name: served.identifier for name, served in other.by_name.items()
        }

    def write(
        self, updates: Iterable[Update], latest: LatestValues
    ) -> tuple[list[ServedObject], list[Refusal]]:
        """Show the updates; those of points without an object are ignored.

        Return the objects that clients see changed, and the updates whose value an object cannot hold.
        """
        changed, refusals = [], []
        for update in updates:
            served = self._by_point.get(update.point)
            if served is None:
                continue
            before = served.present_value, served.status_flags
            reason = served.apply(update, latest.last_good(update.point))
            if reason is not None:
                refusals.append(Refusal(update, reason))
            if (served.present_value, served.status_flags) != before:
                changed.append(served)
        return changed, refusals


@lru_cache(256)
def _encoded_texts(texts: tuple[str, ...]) -> list[bytes]:
    return [codec.character_string(text) for text in texts]


def _event_state(served: ServedObject) -> bytes:
    return _NORMAL if served.reliability == _RELIABILITIES[Reliability.NO_FAULT_DETECTED] else _FAULT


_NOT_LISTED = frozenset(  # clause 12.2.18
    {Property.OBJECT_IDENTIFIER, Property.OBJECT_NAME, Property.OBJECT_TYPE, Property.PROPERTY_LIST}
)


def property_list(served: HasProperties) -> list[bytes]:
    """Return the elements of an object's Property_List."""
    return [codec.enumerated(number) for number in served.properties if number not in _NOT_LISTED]


_ALL_HAVE: dict[int, ServedProperty] = {
    Property.OBJECT_IDENTIFIER: ServedProperty(lambda served: codec.object_identifier(served.identifier)),
    Property.OBJECT_NAME: ServedProperty(lambda served: codec.character_string(served.name)),
    Property.OBJECT_TYPE: ServedProperty(lambda served: codec.enumerated(served.shape.type.number)),
    Property.PRESENT_VALUE: ServedProperty(lambda served: served.present_value),
    Property.DESCRIPTION: optional(lambda served: codec.character_string(served.point.description or "")),
    Property.STATUS_FLAGS: ServedProperty(lambda served: served.status_flags),
    Property.RELIABILITY: optional(lambda served: served.reliability),
    Property.PROPERTY_LIST: ServedProperty(property_list, is_array=True),
}
_INPUTS_HAVE: dict[int, ServedProperty] = {
    Property.EVENT_STATE: ServedProperty(_event_state),
    Property.OUT_OF_SERVICE: ServedProperty(lambda _: codec.FALSE),
}
_VALUES_HAVE = {number: optional(each.encode) for number, each in _INPUTS_HAVE.items()}
_UNITS: dict[int, ServedProperty] = {
    Property.UNITS: ServedProperty(lambda served: codec.enumerated(unit_of_point(served.point).number))
}

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
        Property.COV_INCREMENT: optional(lambda served: codec.real(served.cov_increment)),
    },
    ObjectType.BINARY_INPUT: {
        **_WITHOUT_TEXTS,
        Property.INACTIVE_TEXT: optional(lambda served: _encoded_texts(served.shape.texts)[0]),
        Property.ACTIVE_TEXT: optional(lambda served: _encoded_texts(served.shape.texts)[1]),
    },
    ObjectType.MULTI_STATE_INPUT: {
        **_ALL_HAVE,
        **_INPUTS_HAVE,
        Property.NUMBER_OF_STATES: ServedProperty(lambda served: codec.unsigned(len(served.shape.values))),
        Property.STATE_TEXT: optional(lambda served: _encoded_texts(served.shape.texts), is_array=True),
    },
    ObjectType.CHARACTERSTRING_VALUE: {**_ALL_HAVE, **_VALUES_HAVE},
    ObjectType.LARGE_ANALOG_VALUE: {
        **_ALL_HAVE,
        **_VALUES_HAVE,
        **_UNITS,
        Property.COV_INCREMENT: optional(lambda served: codec.double(served.cov_increment)),
    },
}
"""What the objects of each type have."""
