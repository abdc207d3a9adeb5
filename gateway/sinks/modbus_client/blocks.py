"""What one Modbus request can write: which registers or coils go together, and which never do. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.model import RegisterTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

WRITE_ONE: Final = {RegisterTable.HOLDING: 6, RegisterTable.COIL: 5}
WRITE_SEVERAL: Final = {RegisterTable.HOLDING: 16, RegisterTable.COIL: 15}
MOST: Final = {RegisterTable.HOLDING: 123, RegisterTable.COIL: 1968}
"""Registers or coils in one request, by the protocol."""
_BESIDE: Final = {RegisterTable.COIL: 0, RegisterTable.HOLDING: 1 << 17}  # so that tables don't touch


@dataclass(frozen=True, slots=True)
class Span:
    """Registers or coils that are written together or not at all: those of one value, or one word of bits."""

    table: RegisterTable
    address: int
    size: int

    @property
    def place(self) -> int:
        """Where it is among all spans of a unit."""
        return _BESIDE[self.table] + self.address


class Block(NamedTuple):
    """One request: the spans of a layout from `first` to before `end`, neighbours, written by `function`."""

    unit: int
    first: int
    end: int
    table: RegisterTable
    address: int
    size: int
    function: int

    @property
    def is_joined(self) -> bool:
        """Say whether it has several spans."""
        return self.end - self.first > 1

    def __str__(self) -> str:
        return place_text(self.unit, self.table, self.address, self.size)


class Layout:
    """All spans of one unit, in the order of their places; none overlaps another."""

    def __init__(self, spans: Iterable[Span], *, unit: int, functions: Collection[int]) -> None:
        """Join neighbours as far as `functions`, those that the controller understands, allow."""
        self.spans = sorted(spans, key=lambda span: span.place)
        self.alone: set[int] = set()
        self.most = dict(MOST)
        self._unit = unit
        self._functions = functions
        self._ends = [span.place + span.size for span in self.spans]
        self._run_ends: list[int] = []
        self._find_runs()

    def isolate(self, indexes: Iterable[int]) -> None:
        """Have these spans written by themselves from now on."""
        self.alone.update(indexes)
        self._find_runs()

    def limit(self, table: RegisterTable, most: int) -> None:
        """Write no more registers or coils than these at once from now on."""
        self.most[table] = most

    def next_block(self, owed: bytes | bytearray, *, start: int) -> Block | None:
        """Return the first request from `start` on, or else of all, that writes spans with a 1 in `owed`.

        It writes no other register. None: there is no 1.
        """
        first = owed.find(1, start)
        if first < 0:
            first = owed.find(1)
        if first < 0:
            return None
        span = self.spans[first]
        stop = owed.find(0, first)
        fits = max(first + 1, bisect_right(self._ends, span.place + self.most[span.table]))
        end = min(stop if stop >= 0 else len(owed), self._run_ends[first], fits)
        return self.block(first, end)

    def block(self, first: int, end: int) -> Block:
        """Return the request that writes just these neighbours.

        A register or coil by itself goes by function 6 or 5 where the controller understands it: the
        shortest request, which has an answer that repeats the value, and which even simple ones take.
        """
        span = self.spans[first]
        size = self._ends[end - 1] - span.place
        one = WRITE_ONE[span.table]
        function = one if size == 1 and one in self._functions else WRITE_SEVERAL[span.table]
        return Block(self._unit, first, end, span.table, span.address, size, function)

    def _find_runs(self) -> None:
        """Note for each span where the neighbours that it can be joined with end."""
        ends = self._run_ends = list(range(1, len(self.spans) + 1))
        for index in range(len(ends) - 2, -1, -1):
            span, after = self.spans[index], self.spans[index + 1]
            if (
                self._ends[index] == after.place
                and WRITE_SEVERAL[span.table] in self._functions
                and index not in self.alone
                and index + 1 not in self.alone
            ):
                ends[index] = ends[index + 1]


def can_write(table: RegisterTable, size: int, *, functions: Collection[int]) -> bool:
    """Say whether a value of `size` registers or coils can be written, and as a whole."""
    if table not in MOST:
        return False
    return WRITE_SEVERAL[table] in functions or (size == 1 and WRITE_ONE[table] in functions)


def place_text(unit: int, table: RegisterTable, address: int, size: int) -> str:
    """Return `unit 3, holding 40-41`."""
    last = address + size - 1
    return f"unit {unit}, {table} {address}" + (f"-{last}" if last > address else "")
