"""What the Modbus server answers: reads, identification, and an exception to all else. Knows no network."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pymodbus.constants import ExcCodes

from gateway.sinks.modbus_server.framing import (
    BODY,
    FUNCTION,
    UNIT,
    answer_requests,
    data_answer,
    exception_answer,
)

if TYPE_CHECKING:
    from gateway.sinks.modbus_server.framing import Answered
    from gateway.sinks.modbus_server.identity import DeviceIdentity
    from gateway.sinks.modbus_server.registers import RegisterImage

_MOST: Final = {1: 2000, 2: 2000, 3: 125, 4: 125}  # bits or registers in one read, by function code
_IDENTIFY = 0x2B
_RANGE = struct.Struct(">HH")  # first address, count
_MOST_KNOWN = 1024  # reads whose answers are kept; a building's controllers ask far fewer


class Answers:
    """Answers requests from `image`; a read that is asked again is answered from memory until `forget`.

    Controllers ask the same few questions all day, several times between two changes.
    """

    def __init__(self, image: RegisterImage, identity: DeviceIdentity) -> None:
        self._image = image
        self._identity = identity
        self._known: dict[bytes, bytes] = {}

    def show(self, image: RegisterImage) -> None:
        """Answer from other registers from now on."""
        self._image = image
        self.forget()

    def forget(self) -> None:
        """Look at the registers anew: they have changed."""
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
            self.forget()
        self._known[request] = answer
        return answer

    def _identify(self, request: bytes) -> bytes:
        if not self._image.has_unit(request[UNIT]):
            return exception_answer(request, ExcCodes.GATEWAY_NO_RESPONSE)
        answer = self._identity.answer(request[BODY:])
        if isinstance(answer, ExcCodes):
            return exception_answer(request, answer)
        return data_answer(request, answer)


class NothingAllowed:
    """Answers everything with exception 1, for a client whose certificate lets it read nothing."""

    def answer_all(self, received: bytes) -> Answered:
        """Refuse all complete requests at the start of `received`."""
        return answer_requests(received, _forbid, {})


def _forbid(request: bytes) -> bytes:
    return exception_answer(request, ExcCodes.ILLEGAL_FUNCTION)
