"""What the registers and coils of a controller should hold and have acknowledged. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from gateway.backoff import Backoff
from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, encoding_errors, sentinel
from gateway.model import Quality, Refusal, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gateway.model import Point, Register, Scalar, Update, WriteLimits
    from gateway.ports import LatestValues


WRITE_ONE: Final = {RegisterTable.HOLDING: 6, RegisterTable.COIL: 5}
WRITE_SEVERAL: Final = {RegisterTable.HOLDING: 16, RegisterTable.COIL: 15}
MOST: Final = {RegisterTable.HOLDING: 123, RegisterTable.COIL: 1968}
"""Registers or coils in one request, by the protocol."""
_OFF, _ON = b"\0", b"\1"


class Span(NamedTuple):
    """Registers or coils that are written together: those of one value, or one word of bits."""

    table: RegisterTable
    address: int
    size: int


class Block(NamedTuple):
    """One request: the neighbouring spans of a unit from `first` to before `end`, written by `function`."""

    unit: int
    first: int
    end: int
    table: RegisterTable
    address: int
    size: int
    function: int

    @property
    def is_joined(self) -> bool:
        """Whether it has several spans."""
        return self.end - self.first > 1

    def __str__(self) -> str:
        last = self.address + self.size - 1
        return f"unit {self.unit}, {self.table} {self.address}" + (f"-{last}" if self.size > 1 else "")


class Unit:
    """The state of one unit, in lists by span: bytes as on the wire, two a register, one a coil.

    `wanted` has the newest values, None before the first one. `acknowledged` has what the unit accepted since
    this connection, None if that is unknown. `dirty` has a 1 where both differ and a request can change
    that, `fresh` where that is new in the present round. `refused` has the reason why a value was not
    accepted, until a new one comes. `most` is how many registers or coils the unit accepts in one request.

    `retry_at_s`: the unit is left alone until then, by the event loop's clock; None if all is well. `silent`
    is why no request gets through to it, None if some do.
    """

    def __init__(self, number: int, spans: Iterable[Span], *, functions: Collection[int]) -> None:
        """`functions` are those that the controller supports."""
        self.number = number
        self.spans = sorted(spans)
        self.most = dict(MOST)
        self._functions = functions
        count = len(self.spans)
        self.wanted: list[bytes | None] = [None] * count
        self.acknowledged: list[bytes | None] = [None] * count
        self.dirty = bytearray(count)
        self.fresh = bytearray(count)
        self.refused: dict[int, str] = {}
        self._offsets = list(accumulate((span.size for span in self.spans), initial=0))
        self._isolated: set[int] = set()
        self._next = count  # where the round continues
        self._is_turn_of_fresh = False
        self.retry_at_s: float | None = None
        self.silent: str | None = None
        self.attempted_s = 0.0
        self._has_answered = False  # in this round, since it was left alone last
        self._backoff = Backoff()
        self._find_neighbours()

    @property
    def is_used(self) -> bool:
        """Whether there is anything to write, dirty or not."""
        return any(raw is not None for raw in self.wanted)

    def set_value(self, index: int, raw: bytes) -> None:
        """Set the newest value of a span."""
        self.wanted[index] = raw
        self.dirty[index] = self.fresh[index] = raw != self.acknowledged[index]

    def next_block(self) -> Block | None:
        """Return the next request, None if nothing is dirty.

        What is dirty is written in rounds by address, so that a request that fails keeps no other waiting.
        What becomes dirty meanwhile is written in turns with the round, and does not wait for its end.
        """
        if 1 not in self.dirty:
            self._next = len(self.dirty)
            return None
        if self.dirty.find(1, self._next) < 0:
            self._next, self._has_answered = 0, False
            if self.fresh == self.dirty:
                self.clear_fresh()  # so that what comes next stands out from a large batch
        self._is_turn_of_fresh = 1 in self.fresh and not self._is_turn_of_fresh
        if self._is_turn_of_fresh:
            return self._first_block(self.fresh)
        block = self._first_block(self.dirty)
        self._next = block.end
        return block

    def block(self, first: int, end: int) -> Block:
        """Return the request that writes exactly these neighbours.

        A single register or coil is written by function 6 or 5 if the controller supports it: the shortest
        request, whose answer repeats the value, and which even simple controllers accept.
        """
        span = self.spans[first]
        size = self._offsets[end] - self._offsets[first]
        one = WRITE_ONE[span.table]
        function = one if size == 1 and one in self._functions else WRITE_SEVERAL[span.table]
        return Block(self.number, first, end, span.table, span.address, size, function)

    def clear_fresh(self) -> None:
        """Leave everything dirty to the round."""
        self.fresh[:] = bytes(len(self.fresh))

    def retry_next(self, block: Block) -> None:
        """Begin with this block the next time: it is not to blame for its failure."""
        self._next = block.first

    def isolate(self, indexes: Iterable[int]) -> None:
        """Write these spans by themselves from now on."""
        self._isolated.update(indexes)
        self._find_neighbours()

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
        """Record that a request got through. Only if it was accepted, pauses begin anew."""
        self._has_answered = True
        self.silent = self.retry_at_s = None
        if is_accepted:
            self._backoff.reset()

    def back_off(self, reason: str, *, now_s: float, is_silent: bool) -> None:
        """Leave it alone for a while; it is silent only if nothing got through in this round."""
        self.silent = reason if is_silent and not self._has_answered else None
        self._has_answered = False
        self.retry_at_s = now_s + self._backoff.next_s()

    def mark_all_dirty(self) -> None:
        """Mark everything as dirty: the unit may have lost its values."""
        self.refused.clear()
        self.acknowledged[:] = [None] * len(self.acknowledged)
        self._update_dirty(range(len(self.dirty)))

    def adopt_state(self, before: Unit) -> None:
        """Continue with what another point table's unit of this number has learnt."""
        self.retry_at_s, self.silent, self.attempted_s = before.retry_at_s, before.silent, before.attempted_s
        self._backoff, self.most = before._backoff, before.most
        known = {span: index for index, span in enumerate(before.spans)}
        former = {index: known[span] for index, span in enumerate(self.spans) if span in known}
        self.isolate(index for index, earlier in former.items() if earlier in before._isolated)
        for index, earlier in former.items():
            self.acknowledged[index] = before.acknowledged[earlier]
        self._update_dirty(range(len(self.dirty)))

    def _update_dirty(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            raw = self.wanted[index]
            self.dirty[index] = raw is not None and raw != self.acknowledged[index]

    def _first_block(self, chosen: bytearray) -> Block:
        """Return the next request for spans with a 1 in `chosen`, from `_next` on or from the beginning."""
        first = chosen.find(1, self._next)
        if first < 0:
            first = chosen.index(1)
        most = self.most[self.spans[first].table]
        fits = bisect_right(self._offsets, self._offsets[first] + most) - 1
        ends = (max(fits, first + 1), chosen.find(0, first), self._follows.find(0, first + 1))
        return self.block(first, min(end for end in ends if end > 0))

    def _find_neighbours(self) -> None:
        """Find the spans that can be written together with the one before them."""
        self._follows = bytearray(len(self.spans))
        for index in range(1, len(self.spans)):
            before, span = self.spans[index - 1], self.spans[index]
            self._follows[index] = (
                (before.table, before.address + before.size) == (span.table, span.address)
                and WRITE_SEVERAL[span.table] in self._functions
                and self._isolated.isdisjoint((index - 1, index))
            )


def can_write(table: RegisterTable, size: int, *, functions: Collection[int]) -> bool:
    """Return whether a value of `size` registers or coils can be written by a single request."""
    if table not in MOST:
        return False
    return WRITE_SEVERAL[table] in functions or (size == 1 and WRITE_ONE[table] in functions)


class DesiredState:
    """What one controller should hold, as bytes in its units; without what must not be written there.

    A word with bits belongs to the gateway as a whole: bits without a point, or whose point has had no
    reading yet, are 0.
    """

    def __init__(self, points: Iterable[Point], *, sink: str, limits: WriteLimits) -> None:
        written = [
            (point, register)
            for point in points
            for register in point.registers
            if register.sink == sink and _may_write(register, limits)
        ]
        spans: dict[int, set[Span]] = {}
        for _, register in written:
            spans.setdefault(register.unit, set()).add(_span(register))
        self.units = {
            number: Unit(number, found, functions=limits.functions) for number, found in spans.items()
        }
        places = {
            (number, span): index
            for number, unit in self.units.items()
            for index, span in enumerate(unit.spans)
        }
        self._cells: dict[Point, list[_DesiredCell]] = {}
        for point, register in written:
            unit, index = self.units[register.unit], places[register.unit, _span(register)]
            self._cells.setdefault(point, []).append(_cell(register, unit, index))
        self._heartbeats = [point for point in self._cells if point.source == "$heartbeat"]
        self._unconfirmed: dict[Point, Update] = {}  # applied, and perhaps refused later
        self._misfits: dict[Point, str] = {}  # why values do not fit, until `pop_refusals`

    @property
    def silence(self) -> str | None:
        """Why no request gets through to any unit; None if some do, or if there is nothing to write."""
        used = [unit for unit in self.units.values() if unit.is_used]
        return used[0].silent if used and all(unit.silent is not None for unit in used) else None

    def apply_updates(self, updates: Iterable[Update], latest: LatestValues) -> list[Update]:
        """Set the values of the newest updates; return those with a register here."""
        applied = []
        for update in updates:
            point = update.point
            cells = self._cells.get(point)
            if cells is None or not latest.is_newest(update):
                continue
            applied.append(update)
            self._unconfirmed[point] = update
            misfit = _set_value(cells, update)
            if misfit is not None:
                self._misfits[point] = misfit
            elif self._misfits:
                self._misfits.pop(point, None)
        return applied

    def restore(self, updates: Iterable[Update]) -> None:
        """Set values without a batch that waits for them."""
        for update in updates:
            _set_value(self._cells.get(update.point, ()), update)

    def restore_latest(self, latest: LatestValues) -> None:
        """Set the newest values of all points; none of them goes before the others."""
        self.restore(update for point in self._cells if (update := latest.latest(point)) is not None)
        for unit in self.units.values():
            unit.clear_fresh()

    def restore_heartbeats(self, latest: LatestValues) -> None:
        """Set the present heartbeats, which wait for no batch."""
        self.restore(update for point in self._heartbeats if (update := latest.latest(point)) is not None)

    def is_pending(self, applied: Iterable[Update]) -> bool:
        """Return whether any of these updates is still dirty on a unit that answers."""
        if not any(unit.retry_at_s is None and 1 in unit.dirty for unit in self.units.values()):
            return False
        cells = (cell for update in applied for cell in self._cells[update.point])
        return any(cell.unit.dirty[cell.place] and cell.unit.retry_at_s is None for cell in cells)

    def pop_refusals(self) -> list[Refusal]:
        """Return the applied updates that were refused, each with all reasons.

        Updates that are still dirty are checked again the next time, since they may be refused later.
        """
        applied, self._unconfirmed = self._unconfirmed, {}
        misfits, self._misfits = self._misfits, {}
        units = self.units.values()
        if not (misfits or any(unit.refused or 1 in unit.dirty for unit in units)):
            return []
        found = []
        for point, update in applied.items():
            cells = self._cells[point]
            reasons = [misfits.get(point), *(cell.unit.refusal(cell.place) for cell in cells)]
            if any(reasons):
                found.append(Refusal(update, "; ".join(dict.fromkeys(filter(None, reasons)))))
            elif any(cell.unit.dirty[cell.place] for cell in cells):
                self._unconfirmed[point] = update
        return found

    def mark_all_dirty(self) -> None:
        """Mark everything as dirty: the controller may have lost its values."""
        for unit in self.units.values():
            unit.mark_all_dirty()

    def adopt_state(self, before: DesiredState) -> None:
        """Continue with what another table has learnt of the same registers: only changes are written."""
        for number, unit in self.units.items():
            if number in before.units:
                unit.adopt_state(before.units[number])


class _DesiredCell(NamedTuple):
    """The place of one register of a point, and its encoding; `bit` is None if it has the whole span."""

    encode: Callable[[Scalar], bytes]
    unit: Unit
    place: int  # of its span in the unit's lists
    bit: int | None
    empty: bytes
    register: Register

    def __str__(self) -> str:
        return str(self.unit.block(self.place, self.place + 1))


def _may_write(register: Register, limits: WriteLimits) -> bool:
    is_writable = can_write(register.table, register.words, functions=limits.functions)
    return is_writable and limits.allow_unit(register.unit)


def _span(register: Register) -> Span:
    return Span(register.table, register.address, register.words)


def _cell(register: Register, unit: Unit, index: int) -> _DesiredCell:
    encode = encoder(register)
    if register.table is RegisterTable.COIL:
        return _DesiredCell(
            lambda value: _ON if any(encode(value)) else _OFF, unit, index, None, _OFF, register
        )
    return _DesiredCell(encode, unit, index, register.bit, sentinel(register), register)


def _set_value(cells: Sequence[_DesiredCell], update: Update) -> str | None:
    """Set an update's value or quality in all registers of its point; return why it does not fit, if so.

    A value that does not fit is replaced by the sentinel: an old value must not look fresh.
    """
    value, problems = update.safe_value, []
    limits = update.point.conversion.range
    if limits is not None and value is not None and not _is_within(value, limits):
        problems.append(f"{value!r} is outside of the point's range, {limits[0]:g} to {limits[1]:g}")
        value = None
    for cell in cells:
        encode, unit, place, bit, empty, register = cell
        try:
            raw = encode(update.quality if register.shows_quality else value)
        except EncodingError as error:
            raw = empty
            problems.append(f"{cell}: {error}")
        if bit is not None:
            raw = _with_bit(unit.wanted[place], raw, bit)
        unit.set_value(place, raw)
    if update.quality is Quality.BAD and not problems:  # a measured value that does not fit made it so
        misfits = dict(encoding_errors(update.point, update.value))
        problems = [f"{cell}: {misfits[cell.register]}" for cell in cells if cell.register in misfits]
    return "; ".join(problems) or None


def _is_within(value: Scalar, limits: tuple[float, float]) -> bool:
    return isinstance(value, int | float) and limits[0] <= value <= limits[1]


def _with_bit(word: bytes | None, raw: bytes, bit: int) -> bytes:
    """Return a word with one bit taken from `raw`, all others as they are."""
    others = int.from_bytes(word or bytes(2), "big") & ~(1 << bit)
    return (others | int.from_bytes(raw, "big")).to_bytes(2, "big")
