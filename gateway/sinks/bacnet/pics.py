"""The Protocol Implementation Conformance Statement (ANSI/ASHRAE 135, annex A), from the tables of the code.

`python -m gateway.sinks.bacnet.pics > docs/pics.md` writes it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from gateway.sinks.bacnet.device import DEVICE_PROPERTIES, MODEL_NAME, PROTOCOL_REVISION, VENDOR_NAME
from gateway.sinks.bacnet.frames import MAX_APDU
from gateway.sinks.bacnet.objects import PROPERTIES
from gateway.sinks.bacnet.segmentation import WINDOW
from gateway.sinks.bacnet.services import EXECUTED_SERVICES, UNCONFIRMED_BITS_FROM
from gateway.sinks.bacnet.standard import ConfirmedService, Property, UnconfirmedService

if TYPE_CHECKING:
    from gateway.sinks.bacnet.objects import PropertyTable

_UPPER = frozenset({"apdu", "cov"})
_SERVICES = {  # by the numbers of BACnetServicesSupported: the name, and the building block (annex K)
    ConfirmedService.READ_PROPERTY: ("ReadProperty", "DS-RP-B"),
    ConfirmedService.READ_PROPERTY_MULTIPLE: ("ReadPropertyMultiple", "DS-RPM-B"),
    ConfirmedService.SUBSCRIBE_COV: ("SubscribeCOV", "DS-COV-B"),
    UNCONFIRMED_BITS_FROM + UnconfirmedService.WHO_IS: ("Who-Is", "DM-DDB-B"),
    UNCONFIRMED_BITS_FROM + UnconfirmedService.WHO_HAS: ("Who-Has", "DM-DOB-B"),
}
_STATEMENT: Final = """\
# BACnet Protocol Implementation Conformance Statement

What a sink `type: bacnet` supports, in the form of ANSI/ASHRAE 135, annex A. BTL has not tested it.
`python -m gateway.sinks.bacnet.pics > docs/pics.md` writes this file from the tables of the code.

| | |
|---|---|
| Vendor name | {vendor} |
| Vendor identifier | `vendor_id` of the sink; 999, which is assigned to nobody, if it is not written |
| Product and model name | {model} |
| Product description | Shows telemetry that Infodeck sends by webhooks as read-only objects |
| BACnet protocol revision | {revision} |
| Device profile (annex L) | B-SS (BACnet Smart Sensor) |
| Interoperability building blocks (annex K) | {blocks} |
| Services executed | {executed} |
| Services initiated | ConfirmedCOVNotification, UnconfirmedCOVNotification, I-Am, I-Have |
| Segmented messages | transmits, window {window}; does not receive |
| Longest APDU | {max_apdu} bytes |
| Data link | BACnet/IP (annex J); registers as a foreign device where `foreign_device` is written |
| BBMD, router, static device address binding | no |
| Character set | ISO 10646 (UTF-8) |
| Network security | none; `allow` names the networks that are answered |

The profile B-GW (BACnet Gateway) is not claimed: it requires DS-WP-B and DM-DCC-B, and clients can neither
write nor silence this device. WriteProperty and WritePropertyMultiple get the error write-access-denied,
other confirmed services the reject unrecognized-service.

## Object types

Clients cannot create or delete objects. No property is writable or proprietary. COV is for all objects
but the device; notifications have Present_Value and Status_Flags.

| object type | required properties | optional properties |
|---|---|---|
{objects}
"""


def conformance_statement() -> str:
    """Return the statement as Markdown."""
    services = [service for number, service in _SERVICES.items() if number in EXECUTED_SERVICES]
    tables = [("device", DEVICE_PROPERTIES), *PROPERTIES.items()]
    return _STATEMENT.format(
        vendor=VENDOR_NAME,
        model=MODEL_NAME,
        revision=PROTOCOL_REVISION,
        blocks=", ".join(block for _, block in services),
        executed=", ".join(name for name, _ in services),
        window=WINDOW,
        max_apdu=MAX_APDU,
        objects="\n".join(_object_row(kind, table) for kind, table in tables),
    )


def _object_row(kind: str, table: PropertyTable) -> str:
    required = [_property_name(number) for number, each in table.items() if each.is_required]
    optional = [_property_name(number) for number, each in table.items() if not each.is_required]
    return f"| {kind} | {', '.join(required)} | {', '.join(optional)} |"


def _property_name(number: int) -> str:
    words = Property(number).name.lower().split("_")
    return "_".join(word.upper() if word in _UPPER else word.capitalize() for word in words)


if __name__ == "__main__":
    sys.stdout.write(conformance_statement())
