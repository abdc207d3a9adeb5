"""One Modbus unit: what it is to hold, what it is known to hold, and how it takes it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gateway.backoff import Backoff
from gateway.sinks.modbus_client.blocks import Layout, place_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.sinks.modbus_client.blocks import Block, Span

_Bytes = list["bytes | None"]


class Unit:
    """Lists by span: `wanted` bytes (two a register, one a coil), None while nothing is known; `held` ones.

    What is held is what the unit is known to hold since this connection, None: not known. `owed` has a 1
    where both differ and something can be done about it; `refused` says why nothing can, until something
    is wanted anew. These lists stay the same ones. `due_s` is the event loop's time before which the unit is
    left alone, None while it gets along; `silent` says why nothing gets through to it, None: something does.

    What is owed is written in rounds, and in turns with a round what is wanted anew meanwhile. What was not
    taken has its turn in the next round.
    """

    def __init__(self, number: int, spans: Iterable[Span], *, functions: Collection[int]) -> None:
        self.number = number
        self.layout = Layout(spans, unit=number, functions=functions)
        count = len(self.layout.spans)
        self.wanted: _Bytes = [None] * count
        self.held: _Bytes = [None] * count
        self.owed = bytearray(count)
        self.refused: dict[int, str] = {}
        self._coming = bytearray(count)  # 1: still to come in this round
        self._put_off = bytearray(count)  # 1: not before the next round
        self._place = self._next_place = 0  # where this round has got to, and where the next one begins
        self._is_turn_of_new = False
        self.due_s: float | None = None
        self.silent: str | None = None
        self.tried_s = 0.0
        self.answers = 0  # in this round, since it was left alone last
        self._doubts = 0
        self._backoff = Backoff()

    @property
    def is_known(self) -> bool:
        """Say whether it gets along, and is known to hold anything."""
        return self.due_s is None and any(raw is not None for raw in self.held)

    @property
    def is_used(self) -> bool:
        """Say whether there is anything to write, owed or not."""
        return any(raw is not None for raw in self.wanted)

    def is_due(self, now_s: float) -> bool:
        """Say whether something can be written now."""
        return 1 in self.owed and (self.due_s is None or self.due_s <= now_s)

    @property
    def is_awaited(self) -> bool:
        """Say whether it is owed something and gets along, as far as is known."""
        return self.due_s is None and 1 in self.owed

    def answered(self, *, is_taken: bool) -> None:
        """Note that a request got through to it. Pauses begin anew only where it took what was written."""
        self.answers += 1
        self.silent = None
        self.due_s = None
        if is_taken:
            self._backoff.reset()

    def wait(self, reason: str, *, now_s: float, is_silent: bool) -> None:
        """Leave it alone for a while."""
        self.answers = 0
        self.silent = reason if is_silent else None
        self.due_s = now_s + self._backoff.next_s()

    def next_block(self) -> Block | None:
        """Return the request that has its turn, None: nothing is owed."""
        block = self.layout.next_block(self._choice(), start=self._place)
        if block is not None:
            self._place = block.end
            self._coming[block.first : block.end] = bytes(block.end - block.first)
        return block

    def _choice(self) -> bytes | bytearray:
        """Return a 1 for all that may have its turn."""
        if self.owed == self._coming and 1 in self.owed:
            return self.owed
        owed, coming = int.from_bytes(self.owed), int.from_bytes(self._coming)
        if not owed & coming:
            self._begin_round()
            return self.owed
        new = owed & ~(coming | int.from_bytes(self._put_off))
        self._is_turn_of_new = bool(new) and not self._is_turn_of_new
        return (new if self._is_turn_of_new else owed & coming).to_bytes(len(self.owed))

    def _begin_round(self) -> None:
        self._coming[:] = self.owed
        self._put_off[:] = bytes(len(self.owed))
        self._place, self._next_place = self._next_place, 0
        self.answers = 0

    def put_off(self, block: Block) -> None:
        """Let all others come first: this one was not taken."""
        self._put_off[block.first : block.end] = b"\1" * (block.end - block.first)
        self._next_place = block.end

    def come_back_to(self, block: Block) -> None:
        """Let the next round begin with this one: it is not to blame for not being taken."""
        self._next_place = block.first

    def send(self, block: Block) -> list[bytes]:
        """Return what a request is to carry; until it is known what came of it, nothing counts as held."""
        first, end = block.first, block.end
        self.held[first:end] = [None] * (end - first)
        return cast("list[bytes]", self.wanted[first:end])  # what is not known is not owed, nor in a block

    def hold(self, block: Block, sent: list[bytes]) -> None:
        """Note that a block was taken as sent; something newer may be wanted by now."""
        first, end = block.first, block.end
        self.held[first:end] = sent
        if self.wanted[first:end] == sent:
            self.owed[first:end] = bytes(end - first)
        else:
            self._owe(range(first, end))
        for index in range(first, end) if self.refused else ():
            self.refused.pop(index, None)

    def refuse(self, block: Block, sent: list[bytes], reason: str) -> None:
        """Note that a block is not taken as sent."""
        for index, raw in zip(range(block.first, block.end), sent, strict=True):
            if self.wanted[index] == raw:
                self.refused[index] = reason
                self.owed[index] = 0

    def refusal(self, index: int) -> str | None:
        """Return why a span is not taken, None: it is, or has not been tried since it was wanted anew."""
        return None if self.owed[index] else self.refused.get(index)

    def forget(self) -> None:
        """Take nothing for held: the unit may have lost it. All that is wanted is owed."""
        self.refused.clear()
        self.held[:] = [None] * len(self.held)
        self._coming[:] = bytes(len(self.owed))  # another round begins
        self._owe(range(len(self.owed)))

    def doubt(self) -> None:
        """Owe one of the values that it is known to hold, another one each time: to see that it answers."""
        known = [index for index, raw in enumerate(self.held) if raw is not None]
        index = known[self._doubts % len(known)]
        self._doubts += 1
        self.held[index] = None
        self._owe([index])

    def take_over(self, before: Unit) -> None:
        """Go on with what was learnt of the unit by another point table."""
        self.due_s, self.silent, self.tried_s = before.due_s, before.silent, before.tried_s
        self._backoff = before._backoff
        known = {span: index for index, span in enumerate(before.layout.spans)}
        pairs = [(index, known.get(span)) for index, span in enumerate(self.layout.spans)]
        self.layout.isolate(index for index, former in pairs if former in before.layout.alone)
        self.layout.most = before.layout.most
        for index, former in pairs:
            if former is not None:
                self.held[index] = before.held[former]
        self._owe(range(len(self.owed)))

    def place(self, index: int) -> str:
        """Return `unit 3, holding 40-41`."""
        span = self.layout.spans[index]
        return place_text(self.number, span.table, span.address, span.size)

    def _owe(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            raw = self.wanted[index]
            self.owed[index] = raw is not None and raw != self.held[index]
