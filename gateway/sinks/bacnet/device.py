"""The device object: what the device is, what it can do, which objects it has (clause 12.11). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gateway
from gateway.sinks.bacnet import codec
from gateway.sinks.bacnet.frames import MAX_APDU
from gateway.sinks.bacnet.notifier import APDU_TIMEOUT_S
from gateway.sinks.bacnet.object_table import ObjectTable
from gateway.sinks.bacnet.objects import PROPERTIES, ServedProperty, property_list
from gateway.sinks.bacnet.segmentation import RETRIES, SEGMENT_TIMEOUT_S
from gateway.sinks.bacnet.standard import ANY_INSTANCE, ObjectKind, Property, Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.sinks.bacnet.config import BacnetConfig
    from gateway.sinks.bacnet.objects import HasProperties, PropertyTable

_OPERATIONAL = 0  # BACnetDeviceStatus
_PROTOCOL_VERSION = 1
PROTOCOL_REVISION: Final = 14
"""That of 135-2012, which requires no Network Port objects."""
VENDOR_NAME: Final = "Building gateway"
MODEL_NAME: Final = "Building telemetry gateway"
_SERVICE_BITS, _TYPE_BITS = 41, 55  # as many as revision 14 of the protocol has
SEGMENTATION: Final = Segmentation.TRANSMIT
"""Answers may come in segments; requests may not."""
_ANY_DEVICE = codec.object_data(ObjectKind.DEVICE, ANY_INSTANCE)


class Device:
    """The device object; it finds all others.

    `services` are the bit numbers of the services that are executed (BACnetServicesSupported).
    `active_subscriptions` returns the encoded Active_COV_Subscriptions.
    """

    def __init__(
        self,
        config: BacnetConfig,
        *,
        name: str,
        services: Iterable[int],
        revision: int,
    ) -> None:
        self.instance = config.device
        self.identifier = codec.object_data(ObjectKind.DEVICE, config.device)
        self.name = name
        self.vendor_id = config.vendor_id
        self.services = frozenset(services)
        self.active_subscriptions: Callable[[], bytes] = bytes
        self.revision = revision
        self.objects = ObjectTable((), sink="")
        self.object_list = [b"\xc4" + self.identifier]

    @property
    def properties(self) -> PropertyTable:
        """All properties of the device."""
        return DEVICE_PROPERTIES

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
        self.object_list = [b"\xc4" + self.identifier, *objects.listed]


def _bits(numbers: Iterable[int], length: int) -> bytes:
    known = frozenset(numbers)
    return codec.bit_string(number in known for number in range(length))


def _milliseconds(seconds: float) -> bytes:
    return codec.unsigned(int(seconds * 1000))


_OBJECT_TYPES = _bits([ObjectKind.DEVICE, *(kind.number for kind in PROPERTIES)], _TYPE_BITS)

DEVICE_PROPERTIES: Final[PropertyTable] = {
    Property.OBJECT_IDENTIFIER: ServedProperty(lambda device: b"\xc4" + device.identifier),
    Property.OBJECT_NAME: ServedProperty(lambda device: codec.character_string(device.name)),
    Property.OBJECT_TYPE: ServedProperty(lambda _: codec.enumerated(ObjectKind.DEVICE)),
    Property.SYSTEM_STATUS: ServedProperty(lambda _: codec.enumerated(_OPERATIONAL)),
    Property.VENDOR_NAME: ServedProperty(lambda _: codec.character_string(VENDOR_NAME)),
    Property.VENDOR_IDENTIFIER: ServedProperty(lambda device: codec.unsigned(device.vendor_id)),
    Property.MODEL_NAME: ServedProperty(lambda _: codec.character_string(MODEL_NAME)),
    Property.FIRMWARE_REVISION: ServedProperty(lambda _: codec.character_string(gateway.__version__)),
    Property.APPLICATION_SOFTWARE_VERSION: ServedProperty(
        lambda _: codec.character_string(gateway.__version__)
    ),
    Property.PROTOCOL_VERSION: ServedProperty(lambda _: codec.unsigned(_PROTOCOL_VERSION)),
    Property.PROTOCOL_REVISION: ServedProperty(lambda _: codec.unsigned(PROTOCOL_REVISION)),
    Property.PROTOCOL_SERVICES_SUPPORTED: ServedProperty(
        lambda device: _bits(device.services, _SERVICE_BITS)
    ),
    Property.PROTOCOL_OBJECT_TYPES_SUPPORTED: ServedProperty(lambda _: _OBJECT_TYPES),
    Property.OBJECT_LIST: ServedProperty(lambda device: device.object_list, is_array=True),
    Property.MAX_APDU_LENGTH_ACCEPTED: ServedProperty(lambda _: codec.unsigned(MAX_APDU)),
    Property.SEGMENTATION_SUPPORTED: ServedProperty(lambda _: codec.enumerated(SEGMENTATION)),
    Property.MAX_SEGMENTS_ACCEPTED: ServedProperty(lambda _: codec.unsigned(1), is_required=False),
    Property.APDU_SEGMENT_TIMEOUT: ServedProperty(
        lambda _: _milliseconds(SEGMENT_TIMEOUT_S), is_required=False
    ),
    Property.APDU_TIMEOUT: ServedProperty(lambda _: _milliseconds(APDU_TIMEOUT_S)),
    Property.NUMBER_OF_APDU_RETRIES: ServedProperty(lambda _: codec.unsigned(RETRIES)),
    Property.DEVICE_ADDRESS_BINDING: ServedProperty(lambda _: b""),
    Property.DATABASE_REVISION: ServedProperty(lambda device: codec.unsigned(device.revision)),
    Property.ACTIVE_COV_SUBSCRIPTIONS: ServedProperty(
        lambda device: device.active_subscriptions(), is_required=False
    ),
    Property.PROPERTY_LIST: ServedProperty(property_list, is_array=True),
}
"""What the device object has."""
