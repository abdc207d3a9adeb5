"""Writes the dirty values of one unit: joined if possible, one by one if one of them spoils a request.

Requests and answers are bytes from the function code on. Values are bytes: two a register, one a coil.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import TransientError
from gateway.model import RegisterTable
from gateway.sinks.modbus_client.link import NoAnswerError
from gateway.sinks.modbus_client.unit import WRITE_ONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sinks.modbus_client.link import Link
    from gateway.sinks.modbus_client.unit import Block, Unit

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
_DIFFERS: Final = 0  # in place of an exception: another value is read back
_TURN_S: Final = 0.1  # then other units have their turn


class Writer:
    """Writes to the units behind one connection. `verify`: everything is read back."""

    def __init__(self, link: Link, *, verify: bool) -> None:
        self._link = link
        self._verify = verify

    async def write_dirty(self, unit: Unit, *, goes_on: Callable[[], bool]) -> str | None:
        """Write dirty values of `unit`, for one turn and while `goes_on`.

        Return why the unit has to be left alone for a while, None if it does not. It is silent if nothing
        got through in this round. Raises `TransientError` if the link is lost, `NoAnswerError` if a request
        was not answered; the unit is left alone then, too.
        """
        loop = asyncio.get_running_loop()
        unit.attempted_s = loop.time()
        try:
            while goes_on() and (block := unit.next_block()) is not None:
                await self._write(unit, block)
                if loop.time() - unit.attempted_s >= _TURN_S:
                    break
        except _BusyError as error:
            failure = error.failure
            is_silent = failure.code in _OF_A_SILENT_UNIT and not unit.answers
            unit.back_off(failure.reason, now_s=loop.time(), is_silent=is_silent)
            return failure.reason
        except NoAnswerError as error:
            unit.back_off(str(error), now_s=loop.time(), is_silent=not unit.answers)
            raise
        return None

    async def _write(self, unit: Unit, block: Block) -> None:
        failure = await self._attempt(unit, block)
        if failure is None:
            return
        if block.is_joined and failure.code in _OF_ONE_REGISTER:
            await self._split(unit, failure)
        else:
            _apply_failure(unit, failure)

    async def _split(self, unit: Unit, refusal: _Failure) -> None:
        """Find the values that spoil a block, and write the others.

        These are written by themselves from then on. If there is none, the block is too long for the unit,
        and its requests are shorter from then on. If every value is refused, nothing is learnt: the table,
        the unit or the moment is wrong, not a register.
        """
        block, failures = refusal.block, list[_Failure]()
        most = await self._write_halves(unit, block, failures)
        if not failures and refusal.is_permanent:
            unit.layout.most[block.table] = most
        elif len(failures) < block.end - block.first:
            unit.layout.isolate(failure.block.first for failure in failures)
        for failure in sorted(failures, key=lambda failure: not failure.is_permanent):
            _apply_failure(unit, failure)

    async def _write_halves(self, unit: Unit, block: Block, failures: list[_Failure]) -> int:
        """Write both halves of a block, and halves of these if they are refused.

        Return how many registers or coils were accepted at once; `failures` gets the refused single values.
        """
        most, middle = 0, (block.first + block.end) // 2
        for part in (unit.layout.block(block.first, middle), unit.layout.block(middle, block.end)):
            failure = await self._attempt(unit, part)
            if failure is None:
                most = max(most, part.size)
            elif failure.code not in _OF_ONE_REGISTER:
                _apply_failure(unit, failure)
            elif part.is_joined:
                most = max(most, await self._write_halves(unit, part, failures))
            else:
                failures.append(failure)
        return most

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
            return _Failure(block, sent, code, f"{exception_text(code)} for {block}{_advice(code, block)}")
        if self._verify:
            return await self._read_back(unit, block, sent, is_again=is_again)
        unit.acknowledge(block, sent)
        return None

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

    async def _read_back(
        self, unit: Unit, block: Block, sent: list[bytes], *, is_again: bool
    ) -> _Failure | None:
        """Acknowledge what reads back as sent; write the rest once more, one by one."""
        request = read_request(block)
        answer = await self._ask(unit, block, request)
        code = exception_in(answer, request)
        if code:
            return _Failure(block, sent, code, f"{exception_text(code)} when reading back {block}")
        sizes = [span.size for span in unit.layout.spans[block.first : block.end]]
        found = values_in(answer, block, sizes)
        if found is None:
            raise _no_answer(block)
        for index, wrote, read in zip(range(block.first, block.end), sent, found, strict=True):
            one = unit.layout.block(index, index + 1)
            if read == wrote:
                unit.acknowledge(one, [wrote])
            elif is_again:
                text = f"{one} reads back {_hex(read)} after {_hex(wrote)} was written"
                return _Failure(one, [wrote], _DIFFERS, text)
            elif (failure := await self._attempt(unit, one, is_again=True)) is not None:
                _apply_failure(unit, failure)
        return None


@dataclass(frozen=True, slots=True)
class _Failure:
    """A block that was not accepted as sent, with the exception code and the reason."""

    block: Block
    sent: list[bytes]
    code: int
    reason: str

    @property
    def is_permanent(self) -> bool:
        return self.code == _DIFFERS or self.code in _PERMANENT


class _BusyError(Exception):
    """The unit answered that it cannot accept this now."""

    def __init__(self, failure: _Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def _apply_failure(unit: Unit, failure: _Failure) -> None:
    """Mark the block as refused; raises `_BusyError` if it is to be tried again later."""
    if not failure.is_permanent:
        raise _BusyError(failure)
    unit.refuse(failure.block, failure.sent, failure.reason)


def write_request(block: Block, values: Sequence[bytes]) -> bytes:
    """Return the request that writes the values of a block."""
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
    """Return the request that reads a block."""
    return struct.pack(">BHH", _READ[block.table], block.address, block.size)


def exception_in(answer: bytes, request: bytes) -> int:
    """Return the exception code of an answer, 0 if it is none."""
    return answer[1] if len(answer) > 1 and answer[0] == request[0] | _EXCEPTION else 0


def values_in(answer: bytes, block: Block, sizes: Sequence[int]) -> list[bytes] | None:
    """Return the values of a block that was read, by their sizes; None if it is no such answer."""
    is_coil = block.table is RegisterTable.COIL
    count = (block.size + 7) // 8 if is_coil else 2 * block.size
    if answer[:2] != bytes((_READ[block.table], count)) or len(answer) != 2 + count:
        return None
    data, width = answer[2:], 2
    if is_coil:
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


def _advice(code: int, block: Block) -> str:
    """Return what helps if a single register or coil is refused by a function for several."""
    if code != _ILLEGAL_FUNCTION or block.size > 1 or block.function == WRITE_ONE[block.table]:
        return ""
    return f"; perhaps it has no function {block.function}: set `functions: [5, 6]`"


def _no_answer(block: Block) -> NoAnswerError:
    return NoAnswerError(f"something that is no answer came from {block}")


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex().upper()}"
