"""Who-Is and Who-Has, and their answers (clauses 16.9 and 16.10). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.codec import MalformedError, TagReader
from gateway.sinks.bacnet.device import SEGMENTATION
from gateway.sinks.bacnet.standard import RejectReason, UnconfirmedService

if TYPE_CHECKING:
    from gateway.sinks.bacnet.device import Device


def i_am(device: Device) -> bytes:
    """Return the message that says which device this is."""
    body = (
        b"\xc4" + device.identifier,
        codec.unsigned(frames.MAX_APDU),
        codec.enumerated(SEGMENTATION),
        codec.unsigned(device.vendor_id),
    )
    return frames.unconfirmed_request(UnconfirmedService.I_AM, b"".join(body))


def answer_who_is(device: Device, body: bytes) -> bytes | None:
    """Return I-Am if this device is asked for; raise MalformedError."""
    reader = TagReader(body)
    is_asked = _is_in_range(device, reader)
    reader.end()
    return i_am(device) if is_asked else None


def answer_who_has(device: Device, body: bytes) -> bytes | None:
    """Return I-Have if this device has the object that is asked for; raise MalformedError."""
    reader = TagReader(body)
    is_asked = _is_in_range(device, reader)
    identifier = reader.optional_object_identifier(2)
    if identifier is not None:
        served = device.find(codec.object_data(*identifier))
    else:
        served = device.find_name(reader.character_string(3) or "")
    reader.end()
    if served is None or not is_asked:
        return None
    parts = (b"\xc4" + device.identifier, b"\xc4" + served.identifier, codec.character_string(served.name))
    return frames.unconfirmed_request(UnconfirmedService.I_HAVE, b"".join(parts))


def _is_in_range(device: Device, reader: TagReader) -> bool:
    """Read the limits, if there are any; return whether the device's instance is within them."""
    lowest, highest = reader.optional_unsigned(0), reader.optional_unsigned(1)
    if lowest is None and highest is None:
        return True
    if lowest is None or highest is None:
        raise MalformedError(RejectReason.MISSING_REQUIRED_PARAMETER)
    return lowest <= device.instance <= highest
