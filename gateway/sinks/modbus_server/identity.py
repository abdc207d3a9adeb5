"""Read Device Identification (function 43, MEI type 14), by which a controller sees what it is connected to.

Source: MODBUS Application Protocol Specification V1.1b3, 6.21.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic.dataclasses import dataclass
from pymodbus.constants import ExcCodes

import gateway
from gateway.config.decode import STRICT


def _check_text(text: str) -> str:
    if not re.fullmatch(_TEXT, text):
        raise ValueError(f"printable ASCII characters, 1 to {_LONGEST_TEXT}, are expected")
    return text


_LONGEST_TEXT = 64  # so that any client can show it
_TEXT = f"[ -~]{{1,{_LONGEST_TEXT}}}"
IdentityText = Annotated[
    str, AfterValidator(_check_text), WithJsonSchema({"type": "string", "pattern": f"^{_TEXT}$"})
]

_READ_DEVICE_IDENTIFICATION = 14
_REQUEST_BYTES = 3  # MEI type, what is asked for, object id
_LAST_OF_STREAM: Final = {1: 0x02, 2: 0x7F, 3: 0xFF}  # basic, regular, extended, by what is asked for
_SINGLE = 4
_CONFORMITY = 0x82  # regular, as a stream and one by one
_MORE, _NO_MORE = 0xFF, 0x00
_ROOM_BYTES = 253 - 7  # for objects in one PDU, after the seven bytes before them


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusIdentity:
    """What the server says of itself. The version is always the gateway's own."""

    vendor: IdentityText = "Building gateway"
    """The name of the vendor (object 0)."""
    product_code: IdentityText = "building-gateway"
    """The product code (object 1)."""
    vendor_url: IdentityText | None = None
    """The vendor's web site (object 3); the object is left out if not written."""
    product_name: IdentityText = "Building telemetry gateway"
    """The name of the product (object 4)."""
    model: IdentityText = "Modbus TCP server"
    """The name of the model (object 5)."""
    application: IdentityText | None = None
    """The name of this one (object 6); names of gateway and sink if not written."""


class DeviceIdentity:
    """Answers function 43 of one server."""

    def __init__(self, config: ModbusIdentity, *, application: str) -> None:
        texts = {
            0x00: config.vendor,
            0x01: config.product_code,
            0x02: gateway.__version__,
            0x03: config.vendor_url,
            0x04: config.product_name,
            0x05: config.model,
            0x06: config.application or application,
        }
        self._objects = {number: _object(number, text) for number, text in texts.items() if text is not None}

    def answer(self, asked: bytes) -> bytes | ExcCodes:
        """Answer what follows the function code with what follows it there, or with an exception code."""
        if asked[:1] != bytes((_READ_DEVICE_IDENTIFICATION,)):
            return ExcCodes.ILLEGAL_FUNCTION
        if len(asked) != _REQUEST_BYTES:
            return ExcCodes.ILLEGAL_VALUE
        _, what, first = asked
        if what == _SINGLE:
            return self._single(first)
        last = _LAST_OF_STREAM.get(what)
        return ExcCodes.ILLEGAL_VALUE if last is None else self._stream(what, first, last)

    def _single(self, number: int) -> bytes | ExcCodes:
        found = self._objects.get(number)
        return ExcCodes.ILLEGAL_ADDRESS if found is None else _answer(_SINGLE, [found])

    def _stream(self, what: int, first: int, last: int) -> bytes:
        """Return as many objects as there is room for; an unknown first one means: from the beginning."""
        numbers = [number for number in self._objects if number <= last]
        rest = numbers[numbers.index(first) :] if first in numbers else numbers
        fitting: list[bytes] = []
        room_bytes = _ROOM_BYTES
        for number in rest:
            room_bytes -= len(self._objects[number])
            if room_bytes < 0:
                return _answer(what, fitting, next_number=number)
            fitting.append(self._objects[number])
        return _answer(what, fitting)


def _object(number: int, text: str) -> bytes:
    raw = text.encode("ascii", "replace")[:_LONGEST_TEXT]
    return bytes((number, len(raw))) + raw


def _answer(what: int, objects: list[bytes], *, next_number: int | None = None) -> bytes:
    more, following = (_NO_MORE, 0) if next_number is None else (_MORE, next_number)
    head = (_READ_DEVICE_IDENTIFICATION, what, _CONFORMITY, more, following, len(objects))
    return bytes(head) + b"".join(objects)
