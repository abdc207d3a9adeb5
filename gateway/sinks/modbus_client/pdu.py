"""What a Modbus client asks and is answered, as bytes from the function code on. Pure.

Values are bytes: two a register as on the wire, one a coil.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from gateway.model import RegisterTable
from gateway.sinks.modbus_client.blocks import WRITE_ONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sinks.modbus_client.blocks import Block

_READ: Final = {RegisterTable.HOLDING: 3, RegisterTable.COIL: 1}
_EXCEPTION: Final = 0x80
_COIL_ON, _COIL_OFF = b"\xff\0", b"\0\0"
_ECHOED: Final = 5  # bytes of a request that its answer repeats: function, address, count or value
_MEANINGS: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge, still at work",
    6: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}


def write_request(block: Block, values: Sequence[bytes]) -> bytes:
    """Return what writes the values of a block."""
    data = b"".join(values)
    is_coil = block.table is RegisterTable.COIL
    if block.function == WRITE_ONE[block.table]:
        if is_coil:
            data = _COIL_ON if any(data) else _COIL_OFF
        return struct.pack(">BH", block.function, block.address) + data
    if is_coil:
        data = _packed(data)
    return struct.pack(">BHHB", block.function, block.address, block.size, len(data)) + data


def read_request(block: Block) -> bytes:
    """Return what reads a block."""
    return struct.pack(">BHH", _READ[block.table], block.address, block.size)


def exception_in(answer: bytes, request: bytes) -> int:
    """Return the code of the exception that a request is answered with, 0: it is none."""
    return answer[1] if len(answer) > 1 and answer[0] == request[0] | _EXCEPTION else 0


def confirms(answer: bytes, request: bytes) -> bool:
    """Say whether an answer is that of a write request."""
    return answer == request[:_ECHOED]


def values_in(answer: bytes, block: Block, sizes: Sequence[int]) -> list[bytes] | None:
    """Return a read block's values, of so many registers or coils each; None: it is no such answer."""
    count = (block.size + 7) // 8 if block.table is RegisterTable.COIL else 2 * block.size
    if answer[:2] != bytes((_READ[block.table], count)) or len(answer) != 2 + count:
        return None
    data, width = answer[2:], 2
    if block.table is RegisterTable.COIL:
        data, width = bytes(data[coil // 8] >> coil % 8 & 1 for coil in range(block.size)), 1
    values, start = [], 0
    for size in sizes:
        values.append(data[start : start + width * size])
        start += width * size
    return values


def exception_text(code: int) -> str:
    """Return `exception 2 (illegal data address)`."""
    return f"exception {code} ({_MEANINGS.get(code, 'of no known meaning')})"


def _packed(coils: bytes) -> bytes:
    """Return eight coils a byte, the first one the lowest bit of the first byte."""
    number = int("".join("1" if coil else "0" for coil in reversed(coils)), 2)
    return number.to_bytes((len(coils) + 7) // 8, "little")
