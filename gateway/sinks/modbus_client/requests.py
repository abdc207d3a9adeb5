"""Writes blocks of registers: joined if possible, in halves if one of them spoils a request.

Requests and answers are bytes from the function code on. Values are bytes: two a register, one a coil.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import TransientError
from gateway.model import RegisterTable
from gateway.sinks.modbus_client.desired_registers import WRITE_ONE
from gateway.sinks.modbus_client.link import NoAnswerError

if TYPE_CHECKING:
    from gateway.sinks.modbus_client.desired_registers import Block, Unit
    from gateway.sinks.modbus_client.link import Link

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
_ILLEGAL_FUNCTION: Final = 1
_PERMANENT: Final = frozenset({1, 2, 3})
_OF_ONE_REGISTER: Final = _PERMANENT | {4}  # some controllers always answer 4 for a certain register
_OF_A_SILENT_UNIT: Final = frozenset({10, 11})  # from a Modbus gateway in front of it


class BusyError(TransientError):
    """The unit cannot accept this now. `is_silent`: a Modbus gateway reports that it does not answer."""

    def __init__(self, reason: str, *, is_silent: bool) -> None:
        super().__init__(reason)
        self.is_silent = is_silent


@dataclass(frozen=True, slots=True)
class _Failure:
    """A block that was not accepted as sent, and the reason."""

    block: Block
    sent: list[bytes]
    reason: str
    is_permanent: bool


class Writer:
    """Writes to the units behind one connection. `verify`: everything is read back."""

    def __init__(self, link: Link, *, verify: bool) -> None:
        self._link = link
        self._verify = verify

    async def write(self, unit: Unit, block: Block) -> None:
        """Write a block; what the unit refuses for good is marked as refused there.

        Values that spoil a joined block are written by themselves from then on. If every value is refused,
        nothing is learnt: the table, the unit or the moment is wrong, not a register. Raises `BusyError`
        after everything else in the block is written, `NoAnswerError`, or `TransientError` if the link is
        lost.
        """
        failures = await self._write_parts(unit, block)
        if failures and len(failures) < block.end - block.first:
            unit.isolate(failure.block.first for failure in failures)
        for failure in sorted(failures, key=lambda failure: not failure.is_permanent):
            if not failure.is_permanent:
                raise BusyError(failure.reason, is_silent=False)
            unit.refuse(failure.block, failure.sent, failure.reason)

    async def _write_parts(self, unit: Unit, block: Block) -> list[_Failure]:
        """Write a block, or its halves if it is refused; return what was refused by itself.

        If nothing was, the block was too long for the unit, and requests are shorter from then on.
        """
        failure = await self._attempt(unit, block)
        if failure is None:
            return []
        if not block.is_joined:
            return [failure]
        middle = (block.first + block.end) // 2
        halves = unit.block(block.first, middle), unit.block(middle, block.end)
        failures = [each for half in halves for each in await self._write_parts(unit, half)]
        if not failures and failure.is_permanent:
            unit.most[block.table] = min(unit.most[block.table], max(half.size for half in halves))
        return failures

    async def _attempt(self, unit: Unit, block: Block, *, is_again: bool = False) -> _Failure | None:
        """Write one block; return why it was not accepted, if so."""
        sent = unit.values_to_send(block)
        request = write_request(block, sent)
        answer = await self._ask(unit, block, request)
        code = exception_in(answer, request)
        if not code and answer != request[:_ECHOED]:
            raise _no_answer(block)
        self._link.has_answered = True
        if not code or code in _PERMANENT:
            unit.count_answer(is_accepted=not code)
        if code:
            return _failure(block, sent, code, f"for {block}{_advice(code, block)}")
        if self._verify:
            return await self._read_back(unit, block, sent, is_again=is_again)
        unit.acknowledge(block, sent)
        return None

    async def _read_back(
        self, unit: Unit, block: Block, sent: list[bytes], *, is_again: bool
    ) -> _Failure | None:
        """Acknowledge a block that reads back as sent; a single value is written once more if it does not."""
        request = struct.pack(">BHH", _READ[block.table], block.address, block.size)
        answer = await self._ask(unit, block, request)
        code = exception_in(answer, request)
        if code:
            return _failure(block, sent, code, f"when reading back {block}")
        found, wrote = read_values(answer, block), b"".join(sent)
        if found is None:
            raise _no_answer(block)
        if found == wrote:
            unit.acknowledge(block, sent)
            return None
        if not (block.is_joined or is_again):
            return await self._attempt(unit, block, is_again=True)
        reason = f"{block} reads back 0x{found.hex().upper()} after 0x{wrote.hex().upper()} was written"
        return _Failure(block, sent, reason, is_permanent=not block.is_joined)

    async def _ask(self, unit: Unit, block: Block, request: bytes) -> bytes:
        """Send a request and return the answer.

        If the link is lost, that may be because of this request, or because the controller closes the
        connection after each answer.
        """
        try:
            return await self._link.ask(request, block, is_trial=unit.silent is not None)
        except NoAnswerError:
            raise
        except TransientError:
            if self._link.has_answered:
                unit.retry_next(block)
            raise


def write_request(block: Block, values: list[bytes]) -> bytes:
    """Return the request that writes the values of a block."""
    data = b"".join(values)
    is_coil = block.table is RegisterTable.COIL
    if block.function == WRITE_ONE[block.table]:
        if is_coil:
            data = _COIL_ON if any(data) else _COIL_OFF
        return struct.pack(">BH", block.function, block.address) + data
    if is_coil:  # eight a byte, the first one the lowest bit of the first byte
        number = sum(coil << position for position, coil in enumerate(data))
        data = number.to_bytes((len(data) + 7) // 8, "little")
    return struct.pack(">BHHB", block.function, block.address, block.size, len(data)) + data


def read_values(answer: bytes, block: Block) -> bytes | None:
    """Return the values of a block that was read; None if it is no such answer."""
    is_coil = block.table is RegisterTable.COIL
    count = (block.size + 7) // 8 if is_coil else 2 * block.size
    if answer[:2] != bytes((_READ[block.table], count)) or len(answer) != 2 + count:
        return None
    if not is_coil:
        return answer[2:]
    return bytes(answer[2 + coil // 8] >> coil % 8 & 1 for coil in range(block.size))


def exception_in(answer: bytes, request: bytes) -> int:
    """Return the exception code of an answer, 0 if it is none."""
    return answer[1] if len(answer) > 1 and answer[0] == request[0] | _EXCEPTION else 0


def _failure(block: Block, sent: list[bytes], code: int, context: str) -> _Failure:
    """Return the failure of an exception; raise `BusyError` if it is not for one of the registers."""
    reason = f"exception {code} ({_MEANINGS.get(code, 'of no known meaning')}) {context}"
    if code not in _OF_ONE_REGISTER:
        raise BusyError(reason, is_silent=code in _OF_A_SILENT_UNIT)
    return _Failure(block, sent, reason, is_permanent=code in _PERMANENT)


def _advice(code: int, block: Block) -> str:
    """Return what helps if a single register or coil is refused by a function for several."""
    if code != _ILLEGAL_FUNCTION or block.size > 1 or block.function == WRITE_ONE[block.table]:
        return ""
    return f"; perhaps it has no function {block.function}: set `functions: [5, 6]`"


def _no_answer(block: Block) -> NoAnswerError:
    return NoAnswerError(f"something that is no answer came from {block}")
