"""What a point table wants a controller to hold: its points' values as the bytes of its units. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, encoding_errors, sentinel
from gateway.model import Quality, Refusal, RegisterTable
from gateway.sinks.modbus_client.blocks import Span, can_write, place_text
from gateway.sinks.modbus_client.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Point, Register, Scalar, Update, WriteLimits
    from gateway.ports import LatestValues

_OFF, _ON = b"\0", b"\1"


class _Cell(NamedTuple):
    """Where one register of a point is written, and how; `bit` None: it has the whole span.

    The unit's lists stand beside it, for they are looked up with each value.
    """

    encode: Callable[[Scalar], bytes]
    position: int  # of its span in the lists
    wanted: list[bytes | None]
    held: list[bytes | None]
    owed: bytearray
    bit: int | None
    empty: bytes
    unit: Unit


_Put = Callable[["Scalar"], "str | None"]
"""Wants a value in all registers of a point; returns what of it can't be written, and why."""


class Desired:
    """The registers and coils of one point table in one controller. What may not be written is not in it.

    A word with bits is the gateway's as a whole: bits of it that no point has, or whose point has had no
    reading yet, are 0.
    """

    def __init__(self, points: Iterable[Point], *, sink: str, limits: WriteLimits) -> None:
        owned = {
            point: registers
            for point in points
            if (registers := [each for each in point.registers if _is_written(each, sink, limits)])
        }
        self._owned = owned
        self._heartbeats = [point for point in owned if point.source == "$heartbeat"]
        spans: dict[int, dict[Span, None]] = {}
        for registers in owned.values():
            for register in registers:
                spans.setdefault(register.unit, {})[_span(register)] = None
        self.units = {
            number: Unit(number, found, functions=limits.functions) for number, found in spans.items()
        }
        indexes = {
            (number, span): index
            for number, unit in self.units.items()
            for index, span in enumerate(unit.layout.spans)
        }
        self._cells = {
            point: tuple(
                _cell(each, self.units[each.unit], indexes[each.unit, _span(each)]) for each in registers
            )
            for point, registers in owned.items()
        }
        self._puts = {point: _put(cells, point.conversion.range) for point, cells in self._cells.items()}
        self._open: dict[Point, Update] = {}  # taken, and owed when that was asked last

    @property
    def silent(self) -> str | None:
        """Why nothing gets through to any unit; None where something does, or there is nothing to write."""
        reasons = [unit.silent for unit in self.units.values() if unit.silent is not None]
        if not reasons or any(unit.silent is None and unit.is_used for unit in self.units.values()):
            return None
        return "; ".join(reasons)

    def take(
        self, updates: Iterable[Update], *, is_newest: Callable[[Update], bool] = lambda _: True
    ) -> tuple[list[Update], dict[Point, str]]:
        """Want what the newest updates show; return those with a place here, and why some can't be written.

        In the place of what can't be written, the sentinel is: an old value must not look fresh.
        """
        taken: list[Update] = []
        reasons: dict[Point, str] = {}
        find = self._puts.get
        for update in updates:
            point = update.point
            put = find(point)
            if put is None or not is_newest(update):
                continue
            taken.append(update)
            problem = put(update.safe_value)
            if update.quality is Quality.BAD and problem is None:
                problem = self._misfit(update)
            if problem is not None:
                reasons[point] = problem
            elif reasons:
                reasons.pop(point, None)
        return taken, reasons

    def _misfit(self, update: Update) -> str | None:
        """Return why what was measured cannot be written: it is bad then, and something else is wanted."""
        found = [
            f"{place_text(register.unit, register.table, register.address, register.words)}: {error}"
            for register, error in encoding_errors(update.point, update.value)
            if register in self._owned[update.point]
        ]
        return "; ".join(found) or None

    def is_awaited(self, taken: Iterable[Update]) -> bool:
        """Say whether something of `taken` is owed to a unit that gets along."""
        if not any(unit.is_awaited for unit in self.units.values()):
            return False
        cells = (cell for update in taken for cell in self._cells[update.point])
        return any(cell.owed[cell.position] and cell.unit.is_awaited for cell in cells)

    @property
    def has_open(self) -> bool:
        """Say whether something that was taken was still owed when `refusals` was asked last."""
        return bool(self._open)

    def refusals(self, taken: Iterable[Update], reasons: dict[Point, str]) -> list[Refusal]:
        """Return what became of `take`: the last update of each point that is refused, with all reasons.

        What is still owed is looked at again the next time, for it may be refused later.
        """
        units = self.units.values()
        if not (reasons or self._open or any(unit.refused or 1 in unit.owed for unit in units)):
            return []
        asked = {**self._open, **{update.point: update for update in taken}}
        self._open = {}
        found = []
        for point, update in asked.items():
            cells = self._cells[point]
            words = [reasons.get(point), *(cell.unit.refusal(cell.position) for cell in cells)]
            if any(words):
                found.append(Refusal(update, "; ".join(dict.fromkeys(filter(None, words)))))
            elif any(cell.owed[cell.position] for cell in cells):
                self._open[point] = update
        return found

    def refresh(self, latest: LatestValues) -> None:
        """Want the newest values of all points."""
        self.take(update for point in self._cells if (update := latest.latest(point)) is not None)

    def beat(self, latest: LatestValues) -> None:
        """Want the present heartbeat, which waits for no batch."""
        self.take(update for point in self._heartbeats if (update := latest.latest(point)) is not None)

    def forget(self) -> None:
        """Take nothing for held: the controller may have lost it. All that is wanted is owed."""
        for unit in self.units.values():
            unit.forget()

    def forget_silent(self) -> None:
        """Take nothing for held by the units in trouble; one of the others is to show that the line lives."""
        known = [unit for unit in self.units.values() if unit.is_known]
        if not known:
            return self.forget()
        for unit in self.units.values():
            if unit.due_s is not None:
                unit.forget()
        return min(known, key=lambda unit: unit.tried_s).doubt()

    def learn(self, before: Desired) -> None:
        """Take over what another point table knows of the same registers: only changes are written."""
        for number, unit in self.units.items():
            if number in before.units:
                unit.take_over(before.units[number])

    def refused(self) -> dict[str, str]:
        """Return the places that are refused now, each with the reason."""
        return {
            unit.place(index): reason
            for unit in self.units.values()
            for index in unit.refused
            if (reason := unit.refusal(index)) is not None
        }


def _is_written(register: Register, sink: str, limits: WriteLimits) -> bool:
    return (
        register.sink == sink
        and limits.allow_unit(register.unit)
        and can_write(register.table, register.words, functions=limits.functions)
    )


def _span(register: Register) -> Span:
    return Span(register.table, register.address, register.words)


def _cell(register: Register, unit: Unit, index: int) -> _Cell:
    encode, empty = encoder(register), sentinel(register)
    lists = unit.wanted, unit.held, unit.owed
    if register.table is RegisterTable.COIL:
        return _Cell(lambda value: _ON if any(encode(value)) else _OFF, index, *lists, None, _OFF, unit)
    return _Cell(encode, index, *lists, register.bit, empty, unit)


def _put(cells: tuple[_Cell, ...], limits: tuple[float, float] | None) -> _Put:
    """Return how a point's values are wanted: most points have one register, by a shorter way."""

    def put_each(value: Scalar) -> str | None:
        problem = _outside(value, limits) if limits is not None else None
        if problem is not None:
            value = None
        for encode, position, wanted, held, owed, bit, empty, unit in cells:
            try:
                raw = encode(value)
            except EncodingError as error:
                raw = empty
                text = f"{unit.place(position)}: {error}"
                problem = text if problem is None else f"{problem}; {text}"
            if bit is not None:
                raw = _with_bit(wanted[position], raw, bit)
            wanted[position] = raw
            owed[position] = raw != held[position]
        return problem

    if len(cells) > 1 or cells[0].bit is not None:
        return put_each
    encode, position, wanted, held, owed = cells[0][:5]

    def put(value: Scalar) -> str | None:
        try:
            if limits is not None and not (value is None or limits[0] <= value <= limits[1]):  # type: ignore[operator]  # text raises TypeError
                return put_each(value)
            wanted[position] = raw = encode(value)
        except (EncodingError, TypeError):
            return put_each(value)
        owed[position] = raw != held[position]
        return None

    return put


def _with_bit(word: bytes | None, raw: bytes, bit: int) -> bytes:
    """Return a word with one bit taken from `raw`, all others as they are."""
    others = int.from_bytes(word or bytes(2), "big") & ~(1 << bit)
    return (others | int.from_bytes(raw, "big")).to_bytes(2, "big")


def _outside(value: Scalar, limits: tuple[float, float]) -> str | None:
    """Say that a value is outside of its point's range; no value is not."""
    low, high = limits
    if value is None or (not isinstance(value, str) and low <= value <= high):
        return None
    return f"{value!r} is outside of the point's range, {low:g} to {high:g}"
