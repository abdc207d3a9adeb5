"""One Modbus unit: the values that it should have and has acknowledged, the next request. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from gateway.backoff import Backoff
from gateway.model import RegisterTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

WRITE_ONE: Final = {RegisterTable.HOLDING: 6, RegisterTable.COIL: 5}
WRITE_SEVERAL: Final = {RegisterTable.HOLDING: 16, RegisterTable.COIL: 15}
MOST: Final = {RegisterTable.HOLDING: 123, RegisterTable.COIL: 1968}
"""Registers or coils in one request, by the protocol."""
_OFFSET: Final = {RegisterTable.COIL: 0, RegisterTable.HOLDING: 1 << 17}  # so that tables are no neighbours


class Unit:
    """The state of one unit, in lists by span: bytes as on the wire, two a register, one a coil.

    `wanted` has the newest values, None before the first one. `acknowledged` has what the unit took since
    this connection, None if that is unknown. `dirty` has a 1 where both differ and a request can change
    that, `fresh` where that is new in the present round. `refused` has the reason why a value was not
    accepted, until a new one comes. The lists themselves are never replaced.

    `retry_at_s`: the unit is left alone until then, by the event loop's clock; None if all is well. `silent`
    is why no request gets through to it, None if some do.
    """

    def __init__(self, number: int, spans: Iterable[Span], *, functions: Collection[int]) -> None:
        self.number = number
        self.layout = Layout(spans, unit=number, functions=functions)
        count = len(self.layout.spans)
        self.wanted: list[bytes | None] = [None] * count
        self.acknowledged: list[bytes | None] = [None] * count
        self.dirty = bytearray(count)
        self.fresh = bytearray(count)
        self.refused: dict[int, str] = {}
        self._next = count  # where the round continues
        self._is_turn_of_fresh = False
        self.retry_at_s: float | None = None
        self.silent: str | None = None
        self.attempted_s = 0.0
        self.answers = 0  # in this round, since it was left alone last
        self._backoff = Backoff()

    @property
    def is_used(self) -> bool:
        """Return whether there is anything to write, dirty or not."""
        return any(raw is not None for raw in self.wanted)

    @property
    def is_pending(self) -> bool:
        """Return whether it is dirty and will be written to now."""
        return self.retry_at_s is None and 1 in self.dirty

    def is_due(self, now_s: float) -> bool:
        """Return whether it is dirty and may be written to."""
        return 1 in self.dirty and (self.retry_at_s is None or self.retry_at_s <= now_s)

    def next_block(self) -> Block | None:
        """Return the next request, None if nothing is dirty.

        What is dirty is written in rounds by address, so that a request that fails keeps no other waiting.
        What becomes dirty meanwhile is written in turns with the round, and does not wait for its end.
        """
        if 1 not in self.dirty:
            self._next = len(self.dirty)
            return None
        if self.dirty.find(1, self._next) < 0:
            self._begin_round()
        self._is_turn_of_fresh = 1 in self.fresh and not self._is_turn_of_fresh
        if self._is_turn_of_fresh:
            return self.layout.next_block(self.fresh, start=self._next)
        block = self.layout.next_block(self.dirty, start=self._next)
        self._next = block.end
        return block

    def _begin_round(self) -> None:
        self._next = self.answers = 0
        if self.fresh == self.dirty:
            self.clear_fresh()  # so that what comes next stands out from a large batch

    def clear_fresh(self) -> None:
        """Leave everything dirty to the round."""
        self.fresh[:] = bytes(len(self.fresh))

    def retry_next(self, block: Block) -> None:
        """Begin with this block the next time: it is not to blame for its failure."""
        self._next = block.first

    def values_to_send(self, block: Block) -> list[bytes]:
        """Return the values of a request; until its answer, it is unknown what the unit has."""
        first, end = block.first, block.end
        self.fresh[first:end] = bytes(end - first)
        self.acknowledged[first:end] = [None] * (end - first)
        return cast("list[bytes]", self.wanted[first:end])  # dirty values are never None

    def acknowledge(self, block: Block, sent: list[bytes]) -> None:
        """Mark a block as accepted; newer values may be wanted by now."""
        first, end = block.first, block.end
        self.acknowledged[first:end] = sent
        if self.wanted[first:end] == sent:
            self.dirty[first:end] = bytes(end - first)
        else:
            self._update_dirty(range(first, end))
        for index in range(first, end) if self.refused else ():
            self.refused.pop(index, None)

    def refuse(self, block: Block, sent: list[bytes], reason: str) -> None:
        """Mark a block as refused, except for newer values."""
        for index, raw in zip(range(block.first, block.end), sent, strict=True):
            if self.wanted[index] == raw:
                self.refused[index] = reason
                self.dirty[index] = self.fresh[index] = 0

    def refusal(self, index: int) -> str | None:
        """Return why a span was refused, None if it was not, or a newer value is to be tried."""
        return None if self.dirty[index] else self.refused.get(index)

    def count_answer(self, *, is_accepted: bool) -> None:
        """Note that a request got through. Only if it was accepted, pauses begin anew."""
        self.answers += 1
        self.silent = None
        self.retry_at_s = None
        if is_accepted:
            self._backoff.reset()

    def back_off(self, reason: str, *, now_s: float, is_silent: bool) -> None:
        """Leave it alone for a while."""
        self.answers = 0
        self.silent = reason if is_silent else None
        self.retry_at_s = now_s + self._backoff.next_s()

    def mark_all_dirty(self) -> None:
        """Mark everything as dirty: the unit may have lost its values."""
        self.refused.clear()
        self.acknowledged[:] = [None] * len(self.acknowledged)
        self._update_dirty(range(len(self.dirty)))

    def adopt_state(self, before: Unit) -> None:
        """Continue with what another point table's unit of this number has learnt."""
        self.retry_at_s, self.silent, self.attempted_s = before.retry_at_s, before.silent, before.attempted_s
        self._backoff = before._backoff
        known = {span: index for index, span in enumerate(before.layout.spans)}
        pairs = [(index, known.get(span)) for index, span in enumerate(self.layout.spans)]
        self.layout.isolate(index for index, former in pairs if former in before.layout.isolated)
        self.layout.most = before.layout.most
        for index, former in pairs:
            if former is not None:
                self.acknowledged[index] = before.acknowledged[former]
        self._update_dirty(range(len(self.dirty)))

    def place(self, index: int) -> str:
        """Return `unit 3, holding 40-41`."""
        span = self.layout.spans[index]
        return place_text(self.number, span.table, span.address, span.size)

    def _update_dirty(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            raw = self.wanted[index]
            self.dirty[index] = raw is not None and raw != self.acknowledged[index]


@dataclass(frozen=True, slots=True)
class Span:
    """Registers or coils that are written together: those of one value, or one word of bits."""

    table: RegisterTable
    address: int
    size: int

    @property
    def position(self) -> int:
        """Its order among all spans of a unit."""
        return _OFFSET[self.table] + self.address


class Block(NamedTuple):
    """One request: neighbouring spans of a layout, from `first` to before `end`, written by `function`."""

    unit: int
    first: int
    end: int
    table: RegisterTable
    address: int
    size: int
    function: int

    @property
    def is_joined(self) -> bool:
        """Return whether it has several spans."""
        return self.end - self.first > 1

    def __str__(self) -> str:
        return place_text(self.unit, self.table, self.address, self.size)


class Layout:
    """All spans of one unit, sorted; none overlaps another. Neighbours are joined into requests."""

    def __init__(self, spans: Iterable[Span], *, unit: int, functions: Collection[int]) -> None:
        """`functions` are those that the controller supports."""
        self.spans = sorted(spans, key=lambda span: span.position)
        self.isolated: set[int] = set()
        self.most = dict(MOST)
        """Registers or coils that the unit accepts in one request."""
        self._unit = unit
        self._functions = functions
        self._ends = [span.position + span.size for span in self.spans]
        self._run_ends: list[int] = []
        self._find_runs()

    def isolate(self, indexes: Iterable[int]) -> None:
        """Write these spans by themselves from now on."""
        self.isolated.update(indexes)
        self._find_runs()

    def next_block(self, chosen: bytes | bytearray, *, start: int) -> Block:
        """Return the first request that writes spans with a 1 in `chosen`, and no other span.

        It is looked for from `start` on, then from the beginning; there must be a 1.
        """
        first = chosen.find(1, start)
        if first < 0:
            first = chosen.index(1)
        span = self.spans[first]
        stop = chosen.find(0, first)
        fits = max(first + 1, bisect_right(self._ends, span.position + self.most[span.table]))
        end = min(stop if stop >= 0 else len(chosen), self._run_ends[first], fits)
        return self.block(first, end)

    def block(self, first: int, end: int) -> Block:
        """Return the request that writes exactly these neighbours.

        A single register or coil is written by function 6 or 5 if the controller supports it: the shortest
        request, whose answer repeats the value, and which even simple controllers accept.
        """
        span = self.spans[first]
        size = self._ends[end - 1] - span.position
        one = WRITE_ONE[span.table]
        function = one if size == 1 and one in self._functions else WRITE_SEVERAL[span.table]
        return Block(self._unit, first, end, span.table, span.address, size, function)

    def _find_runs(self) -> None:
        """Find for each span the end of the neighbours that it can be joined with."""
        ends = self._run_ends = list(range(1, len(self.spans) + 1))
        for index in range(len(ends) - 2, -1, -1):
            span, after = self.spans[index], self.spans[index + 1]
            if (
                self._ends[index] == after.position
                and WRITE_SEVERAL[span.table] in self._functions
                and self.isolated.isdisjoint((index, index + 1))
            ):
                ends[index] = ends[index + 1]


def can_write(table: RegisterTable, size: int, *, functions: Collection[int]) -> bool:
    """Return whether a value of `size` registers or coils can be written by a single request."""
    if table not in MOST:
        return False
    return WRITE_SEVERAL[table] in functions or (size == 1 and WRITE_ONE[table] in functions)


def place_text(unit: int, table: RegisterTable, address: int, size: int) -> str:
    """Return `unit 3, holding 40-41`."""
    last = address + size - 1
    return f"unit {unit}, {table} {address}" + (f"-{last}" if last > address else "")
