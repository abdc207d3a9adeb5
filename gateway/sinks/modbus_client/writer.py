"""Writes what one unit is owed: joined where that works, value by value where one of them spoils it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import TransientError
from gateway.sinks.modbus_client.blocks import WRITE_ONE
from gateway.sinks.modbus_client.link import NoAnswerError
from gateway.sinks.modbus_client.pdu import (
    confirms,
    exception_in,
    exception_text,
    read_request,
    values_in,
    write_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.modbus_client.blocks import Block
    from gateway.sinks.modbus_client.link import Link
    from gateway.sinks.modbus_client.unit import Unit

_ILLEGAL_FUNCTION: Final = 1
_PERMANENT: Final = frozenset({1, 2, 3})
_OF_ONE_REGISTER: Final = _PERMANENT | {4}  # some controllers answer 4 for a single register, and for good
_OF_A_SILENT_UNIT: Final = frozenset({10, 11})  # said by a gateway before it
_TURN_S: Final = 0.1  # other units have theirs after it
_DIFFERS: Final = 0  # the code of what reads back as something else


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a block was not written as it was sent."""

    block: Block
    sent: list[bytes]
    code: int
    text: str

    @property
    def is_permanent(self) -> bool:
        return self.code == _DIFFERS or self.code in _PERMANENT


class _NotNowError(Exception):
    """The unit answered that it cannot take this now."""

    def __init__(self, failure: _Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Writer:
    """Writes to the units of one controller. `verify`: reads everything back."""

    def __init__(self, link: Link, *, verify: bool) -> None:
        self._link = link
        self._verify = verify

    async def write_owed(self, unit: Unit, *, goes_on: Callable[[], bool]) -> str | None:
        """Write what `unit` is owed, for one turn and while `goes_on`.

        Return why the rest has to wait for the unit, None: it has not. The unit is silent where nothing at
        all got through in this round. Raises `TransientError` where the link is lost, and `NoAnswerError`
        where the unit let a request go unanswered; then it has to wait, too.
        """
        loop = asyncio.get_running_loop()
        unit.tried_s = loop.time()
        try:
            while goes_on() and (block := unit.next_block()) is not None:
                await self._write(unit, block)
                if loop.time() - unit.tried_s >= _TURN_S:
                    break
        except _NotNowError as error:
            failure = error.failure
            is_silent = failure.code in _OF_A_SILENT_UNIT and not unit.answers
            unit.wait(failure.text, now_s=loop.time(), is_silent=is_silent)
            return failure.text
        except NoAnswerError as error:
            unit.wait(str(error), now_s=loop.time(), is_silent=not unit.answers)
            raise
        return None

    async def _write(self, unit: Unit, block: Block) -> None:
        failure = await self._attempt(unit, block)
        if failure is None:
            return
        if block.is_joined and failure.code in _OF_ONE_REGISTER:
            await self._take_apart(unit, failure)
        else:
            self._give_up(unit, failure)

    async def _take_apart(self, unit: Unit, refusal: _Failure) -> None:
        """Find out which values spoil a block, and write the others.

        From then on these are written by themselves. Where none does, it is too long for the unit, whose
        requests are shorter from then on. Nothing is learnt where every value is refused: then the table,
        the unit or the moment is wrong, not a register.
        """
        block, failures = refusal.block, list[_Failure]()
        most = await self._write_halves(unit, block, failures)
        if not failures and refusal.is_permanent:
            unit.layout.limit(block.table, most)
        elif len(failures) < block.end - block.first:
            unit.layout.isolate(failure.block.first for failure in failures)
        for failure in sorted(failures, key=lambda failure: not failure.is_permanent):
            self._give_up(unit, failure)

    async def _write_halves(self, unit: Unit, block: Block, failures: list[_Failure]) -> int:
        """Write both halves of a block, and halves of these where they are refused.

        Return how many registers or coils were taken at once; add single values that are not.
        """
        most, middle = 0, (block.first + block.end) // 2
        for part in (unit.layout.block(block.first, middle), unit.layout.block(middle, block.end)):
            failure = await self._attempt(unit, part)
            if failure is None:
                most = max(most, part.size)
            elif failure.code not in _OF_ONE_REGISTER:
                self._give_up(unit, failure)
            elif part.is_joined:
                most = max(most, await self._write_halves(unit, part, failures))
            else:
                failures.append(failure)
        return most

    def _give_up(self, unit: Unit, failure: _Failure) -> None:
        """Take a refusal for what it is, or have the unit wait and other values go first next time."""
        if failure.is_permanent:
            unit.refuse(failure.block, failure.sent, failure.text)
            return
        unit.put_off(failure.block)
        raise _NotNowError(failure)

    async def _attempt(self, unit: Unit, block: Block, *, is_again: bool = False) -> _Failure | None:
        """Write one block, and hold what was taken; return why it was not."""
        sent = unit.send(block)
        request = write_request(block, sent)
        answer = await self._ask(unit, block, request)
        code = exception_in(answer, request)
        if not code and not confirms(answer, request):
            raise _stray(block)
        self._link.has_answered = True
        if not code or code in _PERMANENT:
            unit.answered(is_taken=not code)
        if code:
            return _Failure(block, sent, code, f"{exception_text(code)} for {block}{_advice(code, block)}")
        if self._verify:
            return await self._read_back(unit, block, sent, is_again=is_again)
        unit.hold(block, sent)
        return None

    async def _ask(self, unit: Unit, block: Block, request: bytes) -> bytes:
        """Ask; where nothing comes back, others come first next time.

        Where the link is lost, that may be for this request, or because some controllers hang up after each.
        """
        try:
            return await self._link.ask(request, block, is_trial=unit.silent is not None)
        except NoAnswerError:
            unit.put_off(block)
            raise
        except TransientError:
            if self._link.has_answered:
                unit.come_back_to(block)
            else:
                unit.put_off(block)
            raise

    async def _read_back(
        self, unit: Unit, block: Block, sent: list[bytes], *, is_again: bool
    ) -> _Failure | None:
        """Hold what reads back as sent; write once more, by itself, what does not."""
        request = read_request(block)
        answer = await self._ask(unit, block, request)
        code = exception_in(answer, request)
        if code:
            return _Failure(block, sent, code, f"{exception_text(code)} when reading back {block}")
        sizes = [span.size for span in unit.layout.spans[block.first : block.end]]
        found = values_in(answer, block, sizes)
        if found is None:
            raise _stray(block)
        for index, wrote, read in zip(range(block.first, block.end), sent, found, strict=True):
            one = unit.layout.block(index, index + 1)
            if read == wrote:
                unit.hold(one, [wrote])
            elif is_again:
                text = f"{one} reads back {_hex(read)} after {_hex(wrote)} was written"
                return _Failure(one, [wrote], _DIFFERS, text)
            elif (failure := await self._attempt(unit, one, is_again=True)) is not None:
                self._give_up(unit, failure)
        return None


def _advice(code: int, block: Block) -> str:
    """Return what helps where a single register or coil is refused by a function for several."""
    if code != _ILLEGAL_FUNCTION or block.size > 1 or block.function == WRITE_ONE[block.table]:
        return ""
    return f"; perhaps it has no function {block.function}: set `functions: [5, 6]`"


def _stray(block: Block) -> NoAnswerError:
    return NoAnswerError(f"something that is no answer came from {block}")


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex().upper()}"
