"""The answers of the Modbus server: reads, device identification, exceptions for all else. No I/O.

Source of the identification: MODBUS Application Protocol Specification V1.1b3, 6.21.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic.dataclasses import dataclass
from pymodbus.constants import ExcCodes

import gateway
from gateway.config.decode import STRICT
from gateway.sinks.modbus_server.connection import (
    BODY,
    FUNCTION,
    UNIT,
    answer_requests,
    data_answer,
    exception_answer,
)

if TYPE_CHECKING:
    from gateway.sinks.modbus_server.connection import Answered
    from gateway.sinks.modbus_server.register_image import RegisterImage

_MOST: Final = {1: 2000, 2: 2000, 3: 125, 4: 125}  # bits or registers in one read, by function code
_IDENTIFY: Final = 0x2B
_RANGE = struct.Struct(">HH")  # first address, count
_MOST_KNOWN = 1024  # reads whose answers are cached; a building's controllers use far fewer

_READ_DEVICE_IDENTIFICATION: Final = 14  # the MEI type
_IDENTIFY_BYTES: Final = 3  # MEI type, what is asked for, object id
_LAST_OF_STREAM: Final = {1: 0x02, 2: 0x7F, 3: 0xFF}  # basic, regular, extended, by what is asked for
_SINGLE: Final = 4
_CONFORMITY: Final = 0x82  # regular, as a stream and one by one
_MORE, _NO_MORE = 0xFF, 0x00
_ROOM_BYTES: Final = 253 - 7  # for objects in one PDU, after the seven bytes before them
_LONGEST_TEXT: Final = 64  # so that any client can show it
_TEXT: Final = f"[ -~]{{1,{_LONGEST_TEXT}}}"


def _check_text(text: str) -> str:
    if not re.fullmatch(_TEXT, text):
        raise ValueError(f"printable ASCII characters, 1 to {_LONGEST_TEXT}, are expected")
    return text


IdentityText = Annotated[
    str, AfterValidator(_check_text), WithJsonSchema({"type": "string", "pattern": f"^{_TEXT}$"})
]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusIdentity:
    """The identification of the server. The version is always the gateway's own."""

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


class Answers:
    """Answers requests from a register image. Answers to reads are cached until the registers change.

    Controllers repeat the same few reads all day, several times between two changes.
    """

    def __init__(self, image: RegisterImage, identity: ModbusIdentity, *, application: str) -> None:
        """`application` is the identity's if the settings have none."""
        self._image = image
        self._objects = _identity_objects(identity, application)
        self._known: dict[bytes, bytes] = {}

    def use_image(self, image: RegisterImage) -> None:
        """Answer from other registers from now on."""
        self._image = image
        self.clear_cache()

    def clear_cache(self) -> None:
        """Forget cached answers: the registers have changed."""
        self._known.clear()

    def answer_all(self, received: bytes) -> Answered:
        """Answer all complete requests at the start of `received`."""
        return answer_requests(received, self._answer, self._known)

    def _answer(self, request: bytes) -> bytes:
        function = request[FUNCTION]
        if function in _MOST:
            return self._read(request, _MOST[function])
        if function == _IDENTIFY:
            return self._identify(request)
        return exception_answer(request, ExcCodes.ILLEGAL_FUNCTION)

    def _read(self, request: bytes, most: int) -> bytes:
        if len(request) != BODY + _RANGE.size:
            return exception_answer(request, ExcCodes.ILLEGAL_VALUE)
        address, count = _RANGE.unpack_from(request, BODY)
        if not 1 <= count <= most:
            return exception_answer(request, ExcCodes.ILLEGAL_VALUE)
        data = self._image.read(request[UNIT], request[FUNCTION], address, count)
        if isinstance(data, ExcCodes):
            return exception_answer(request, data)
        answer = data_answer(request, bytes((len(data),)) + data)
        if len(self._known) >= _MOST_KNOWN:
            self.clear_cache()
        self._known[request] = answer
        return answer

    def _identify(self, request: bytes) -> bytes:
        if not self._image.has_unit(request[UNIT]):
            return exception_answer(request, ExcCodes.GATEWAY_NO_RESPONSE)
        found = self._identification(request[BODY:])
        return (
            exception_answer(request, found) if isinstance(found, ExcCodes) else data_answer(request, found)
        )

    def _identification(self, asked: bytes) -> bytes | ExcCodes:
        """Return what follows the function code in the answer, or the exception code."""
        if asked[:1] != bytes((_READ_DEVICE_IDENTIFICATION,)):
            return ExcCodes.ILLEGAL_FUNCTION
        if len(asked) != _IDENTIFY_BYTES:
            return ExcCodes.ILLEGAL_VALUE
        _, what, first = asked
        if what == _SINGLE:
            found = self._objects.get(first)
            return ExcCodes.ILLEGAL_ADDRESS if found is None else _identify_answer(what, [found])
        last = _LAST_OF_STREAM.get(what)
        return ExcCodes.ILLEGAL_VALUE if last is None else self._object_stream(what, first, last)

    def _object_stream(self, what: int, first: int, last: int) -> bytes:
        """Return the objects that fit, from `first` on, or from the beginning if there is no such object."""
        numbers = [number for number in self._objects if number <= last]
        rest = numbers[numbers.index(first) :] if first in numbers else numbers
        fitting: list[bytes] = []
        room_bytes = _ROOM_BYTES
        for number in rest:
            room_bytes -= len(self._objects[number])
            if room_bytes < 0:
                return _identify_answer(what, fitting, next_number=number)
            fitting.append(self._objects[number])
        return _identify_answer(what, fitting)


def _identity_objects(config: ModbusIdentity, application: str) -> dict[int, bytes]:
    """Return the encoded objects by their numbers."""
    texts = {
        0x00: config.vendor,
        0x01: config.product_code,
        0x02: gateway.__version__,
        0x03: config.vendor_url,
        0x04: config.product_name,
        0x05: config.model,
        0x06: config.application or application,
    }
    encoded = {
        number: text.encode("ascii", "replace")[:_LONGEST_TEXT]
        for number, text in texts.items()
        if text is not None
    }
    return {number: bytes((number, len(raw))) + raw for number, raw in encoded.items()}


def _identify_answer(what: int, objects: list[bytes], *, next_number: int | None = None) -> bytes:
    more, following = (_NO_MORE, 0) if next_number is None else (_MORE, next_number)
    head = (_READ_DEVICE_IDENTIFICATION, what, _CONFORMITY, more, following, len(objects))
    return bytes(head) + b"".join(objects)
