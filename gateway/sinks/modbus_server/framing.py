"""Modbus TCP on the wire, for the Modbus server: requests cut out of a stream, each with its answer.

A request is handed on, and its answer comes back, from the header's protocol id on: its transaction id, the
two bytes before that, only travels with it. So the same question is the same bytes each time it is asked.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pymodbus.constants import ExcCodes

_HEADER = struct.Struct(">HHHBB")  # transaction, protocol (0), bytes from the unit on, unit, function
_ANSWER = struct.Struct(">HHBB")  # the same without its transaction
_ID_BYTES = 2  # the transaction id
_COUNTED_FROM = 6  # the header's length counts the bytes from the unit on
_SHORTEST, _LONGEST = 2, 254  # what that length can be
READ_BYTES: Final = 12  # a whole read, with its transaction id

UNIT, FUNCTION, BODY = 4, 5, 6
"""Where in a request these are; the body is what follows the function code."""


class Answered(NamedTuple):
    """What became of received bytes: the answers, how many bytes those requests were, and how many requests.

    `is_modbus` is false where something else follows them.
    """

    answers: bytes
    used: int
    requests: int
    is_modbus: bool


def answer_requests(
    received: bytes, answer: Callable[[bytes], bytes], known: Mapping[bytes, bytes]
) -> Answered:
    """Answer all complete requests at the start of `received`, in order; `known` has some answers already."""
    end, start = len(received), 0
    parts: list[bytes] = []
    is_modbus = True
    while end - start >= _HEADER.size:
        stop = start + READ_BYTES
        answered = known.get(received[start + _ID_BYTES : stop])
        if answered is None:
            _, protocol, length, _, _ = _HEADER.unpack_from(received, start)
            is_modbus = protocol == 0 and _SHORTEST <= length <= _LONGEST
            stop = start + _COUNTED_FROM + length
            if not is_modbus or stop > end:
                break
            answered = answer(received[start + _ID_BYTES : stop])
        parts += (received[start : start + _ID_BYTES], answered)
        start = stop
    return Answered(b"".join(parts), start, len(parts) // 2, is_modbus)


def data_answer(request: bytes, pdu_rest: bytes) -> bytes:
    """Return the answer to a request: what follows the function code of its PDU."""
    return _ANSWER.pack(0, len(pdu_rest) + 2, request[UNIT], request[FUNCTION]) + pdu_rest


def exception_answer(request: bytes, code: ExcCodes) -> bytes:
    """Return the answer that refuses a request."""
    return _ANSWER.pack(0, 3, request[UNIT], request[FUNCTION] | 0x80) + bytes((code,))
