"""The device object: what the device is, what it can do, which objects it has (clause 12.11). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gateway
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.notifier import APDU_TIMEOUT_S
from gateway.sinks.bacnet.objects import PROPERTIES, ObjectTable, ServedProperty, optional, property_list
from gateway.sinks.bacnet.segmentation import RETRIES, SEGMENT_TIMEOUT_S
from gateway.sinks.bacnet.services import EXECUTED_SERVICES
from gateway.sinks.bacnet.standard import (
    ANY_INSTANCE,
    SEGMENTED_TRANSMIT,
    ObjectKind,
    Property,
    UnconfirmedService,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.sinks.bacnet.config import BacnetConfig
    from gateway.sinks.bacnet.objects import HasProperties, PropertyTable

PROTOCOL_REVISION: Final = 14
"""That of 135-2012, which requires no Network Port objects."""
VENDOR_NAME: Final = "Building gateway"
MODEL_NAME: Final = "Building telemetry gateway"
_SERVICE_BITS, _TYPE_BITS = 41, 55  # as many as revision 14 of the protocol has
_ANY_DEVICE = codec.object_data(ObjectKind.DEVICE, ANY_INSTANCE)


class Device:
    """The device object; it finds all others.

    `active_subscriptions` returns the encoded Active_COV_Subscriptions.
    """

    def __init__(self, config: BacnetConfig, *, name: str, revision: int) -> None:
        self.instance = config.device
        self.identifier = codec.object_data(ObjectKind.DEVICE, config.device)
        self.name = name
        self.properties = DEVICE_PROPERTIES
        self.vendor_id = config.vendor_id
        self.active_subscriptions: Callable[[], bytes] = bytes
        self.revision = revision
        self.objects = ObjectTable((), sink="")
        self.object_list = [codec.object_identifier(self.identifier)]

    def find(self, identifier: bytes) -> HasProperties | None:
        """Return the object of an identifier; the wildcard stands for this device (clause 15.5.2)."""
        served = self.objects.by_identifier.get(identifier)
        if served is None and identifier in {self.identifier, _ANY_DEVICE}:
            return self
        return served

    def find_name(self, name: str) -> HasProperties | None:
        """Return the object of a name."""
        return self if name == self.name else self.objects.by_name.get(name)

    def adopt(self, objects: ObjectTable, *, revision: int) -> None:
        """Serve another table from now on. `revision` counts where other objects or names come with it."""
        if not self.objects.has_same_objects(objects):
            self.revision = max(self.revision + 1, revision)
        self.objects = objects
        self.object_list = [codec.object_identifier(self.identifier), *objects.listed]

    def i_am(self) -> bytes:
        """Return the message that says which device this is (clause 16.10)."""
        body = (
            codec.object_identifier(self.identifier),
            codec.unsigned(frames.MAX_APDU),
            codec.enumerated(SEGMENTED_TRANSMIT),
            codec.unsigned(self.vendor_id),
        )
        return frames.unconfirmed_request(UnconfirmedService.I_AM, b"".join(body))


def _bits(numbers: Iterable[int], length: int) -> bytes:
    known = frozenset(numbers)
    return codec.bit_string(number in known for number in range(length))


def _always(encoded: bytes) -> ServedProperty:
    return ServedProperty(lambda _: encoded)


def _milliseconds(seconds: float) -> bytes:
    return codec.unsigned(int(seconds * 1000))


_VERSION = codec.character_string(gateway.__version__)
_OBJECT_TYPES = (ObjectKind.DEVICE, *(kind.number for kind in PROPERTIES))

DEVICE_PROPERTIES: Final[PropertyTable] = {
    Property.OBJECT_IDENTIFIER: ServedProperty(lambda device: codec.object_identifier(device.identifier)),
    Property.OBJECT_NAME: ServedProperty(lambda device: codec.character_string(device.name)),
    Property.OBJECT_TYPE: _always(codec.enumerated(ObjectKind.DEVICE)),
    Property.SYSTEM_STATUS: _always(codec.enumerated(0)),  # operational
    Property.VENDOR_NAME: _always(codec.character_string(VENDOR_NAME)),
    Property.VENDOR_IDENTIFIER: ServedProperty(lambda device: codec.unsigned(device.vendor_id)),
    Property.MODEL_NAME: _always(codec.character_string(MODEL_NAME)),
    Property.FIRMWARE_REVISION: _always(_VERSION),
    Property.APPLICATION_SOFTWARE_VERSION: _always(_VERSION),
    Property.PROTOCOL_VERSION: _always(codec.unsigned(1)),
    Property.PROTOCOL_REVISION: _always(codec.unsigned(PROTOCOL_REVISION)),
    Property.PROTOCOL_SERVICES_SUPPORTED: _always(_bits(EXECUTED_SERVICES, _SERVICE_BITS)),
    Property.PROTOCOL_OBJECT_TYPES_SUPPORTED: _always(_bits(_OBJECT_TYPES, _TYPE_BITS)),
    Property.OBJECT_LIST: ServedProperty(lambda device: device.object_list, is_array=True),
    Property.MAX_APDU_LENGTH_ACCEPTED: _always(codec.unsigned(frames.MAX_APDU)),
    Property.SEGMENTATION_SUPPORTED: _always(codec.enumerated(SEGMENTED_TRANSMIT)),
    Property.MAX_SEGMENTS_ACCEPTED: optional(lambda _: codec.unsigned(1)),
    Property.APDU_SEGMENT_TIMEOUT: optional(lambda _: _milliseconds(SEGMENT_TIMEOUT_S)),
    Property.APDU_TIMEOUT: _always(_milliseconds(APDU_TIMEOUT_S)),
    Property.NUMBER_OF_APDU_RETRIES: _always(codec.unsigned(RETRIES)),
    Property.DEVICE_ADDRESS_BINDING: _always(b""),
    Property.DATABASE_REVISION: ServedProperty(lambda device: codec.unsigned(device.revision)),
    Property.ACTIVE_COV_SUBSCRIPTIONS: optional(lambda device: device.active_subscriptions()),
    Property.PROPERTY_LIST: ServedProperty(property_list, is_array=True),
}
"""What the device object has."""
