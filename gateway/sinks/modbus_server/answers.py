"""The answers of the Modbus server: Modbus TCP frames, reads, device identification, exceptions. No I/O.

Source of the identification: MODBUS Application Protocol Specification V1.1b3, 6.21.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import AfterValidator, WithJsonSchema
from pydantic.dataclasses import dataclass

import gateway
from gateway.config.decode import STRICT
from gateway.sinks.modbus_server.register_image import ExceptionCode

if TYPE_CHECKING:
    from gateway.sinks.modbus_server.register_image import RegisterImage

_HEADER = struct.Struct(">HHHBB")  # transaction, protocol (0), bytes from the unit on, unit, function
_ANSWER = struct.Struct(">HHBB")  # the same without its transaction
_ID_BYTES = 2  # the transaction id
_COUNTED_FROM = 6  # the header's length counts the bytes from the unit on
_SHORTEST, _LONGEST = 2, 254  # possible lengths
_WHOLE_READ_BYTES: Final = 12  # with its transaction id
_UNIT, _FUNCTION, _BODY = 4, 5, 6  # positions in a request without that id; the body follows the function

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


class Answered(NamedTuple):
    """The answers to received bytes, how many bytes the answered requests were, and how many requests.

    `is_modbus` is false if something else follows them.
    """

    answers: bytes
    used: int
    requests: int
    is_modbus: bool


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

    def answer_all(self, received: bytes, *, may_read: bool = True) -> Answered:
        """Answer all complete requests at the start of `received`, in order.

        A client that may not read gets exception 1. A request is looked up without its transaction id, which
        only has to be returned: so the same question is the same bytes each time.
        """
        end, start = len(received), 0
        parts: list[bytes] = []
        is_modbus, known = True, self._known if may_read else {}
        while end - start >= _HEADER.size:
            stop = start + _WHOLE_READ_BYTES
            answered = known.get(received[start + _ID_BYTES : stop])
            if answered is None:
                _, protocol, length, _, _ = _HEADER.unpack_from(received, start)
                is_modbus = protocol == 0 and _SHORTEST <= length <= _LONGEST
                stop = start + _COUNTED_FROM + length
                if not is_modbus or stop > end:
                    break
                answered = self._answer(received[start + _ID_BYTES : stop], may_read=may_read)
            parts += (received[start : start + _ID_BYTES], answered)
            start = stop
        return Answered(b"".join(parts), start, len(parts) // 2, is_modbus)

    def _answer(self, request: bytes, *, may_read: bool) -> bytes:
        function = request[_FUNCTION]
        if may_read and function in _MOST:
            return self._read(request, _MOST[function])
        if may_read and function == _IDENTIFY:
            return self._identify(request)
        return _exception_answer(request, ExceptionCode.ILLEGAL_FUNCTION)

    def _read(self, request: bytes, most: int) -> bytes:
        if len(request) != _BODY + _RANGE.size:
            return _exception_answer(request, ExceptionCode.ILLEGAL_VALUE)
        address, count = _RANGE.unpack_from(request, _BODY)
        if not 1 <= count <= most:
            return _exception_answer(request, ExceptionCode.ILLEGAL_VALUE)
        data = self._image.read(request[_UNIT], request[_FUNCTION], address, count)
        if isinstance(data, ExceptionCode):
            return _exception_answer(request, data)
        answer = _data_answer(request, bytes((len(data),)) + data)
        if len(self._known) >= _MOST_KNOWN:
            self.clear_cache()
        self._known[request] = answer
        return answer

    def _identify(self, request: bytes) -> bytes:
        if not self._image.has_unit(request[_UNIT]):
            return _exception_answer(request, ExceptionCode.GATEWAY_NO_RESPONSE)
        found = self._identification(request[_BODY:])
        if isinstance(found, ExceptionCode):
            return _exception_answer(request, found)
        return _data_answer(request, found)

    def _identification(self, asked: bytes) -> bytes | ExceptionCode:
        """Return what follows the function code in the answer, or the exception code."""
        if asked[:1] != bytes((_READ_DEVICE_IDENTIFICATION,)):
            return ExceptionCode.ILLEGAL_FUNCTION
        if len(asked) != _IDENTIFY_BYTES:
            return ExceptionCode.ILLEGAL_VALUE
        _, what, first = asked
        if what == _SINGLE:
            found = self._objects.get(first)
            return ExceptionCode.ILLEGAL_ADDRESS if found is None else _identify_answer(what, [found])
        last = _LAST_OF_STREAM.get(what)
        return ExceptionCode.ILLEGAL_VALUE if last is None else self._object_stream(what, first, last)

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


def _data_answer(request: bytes, pdu_rest: bytes) -> bytes:
    """Return the answer to a request: `pdu_rest` follows the function code."""
    return _ANSWER.pack(0, len(pdu_rest) + 2, request[_UNIT], request[_FUNCTION]) + pdu_rest


def _exception_answer(request: bytes, code: ExceptionCode) -> bytes:
    return _ANSWER.pack(0, 3, request[_UNIT], request[_FUNCTION] | 0x80) + bytes((code,))
