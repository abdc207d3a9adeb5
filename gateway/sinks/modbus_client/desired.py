"""The values that the points of one table give to the registers and coils of a controller. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, encoding_errors, sentinel
from gateway.model import Quality, Refusal, RegisterTable
from gateway.sinks.modbus_client.unit import Span, Unit, can_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.model import Point, Register, Scalar, Update, WriteLimits
    from gateway.ports import LatestValues

_OFF, _ON = b"\0", b"\1"


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
        self._cells: dict[Point, list[_Cell]] = {}
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


class _Cell(NamedTuple):
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


def _cell(register: Register, unit: Unit, index: int) -> _Cell:
    encode = encoder(register)
    if register.table is RegisterTable.COIL:
        return _Cell(lambda value: _ON if any(encode(value)) else _OFF, unit, index, None, _OFF, register)
    return _Cell(encode, unit, index, register.bit, sentinel(register), register)


def _set_value(cells: Sequence[_Cell], update: Update) -> str | None:
    """Set an update's value in all registers of its point; return why it does not fit, if so.

    A value that does not fit is replaced by the sentinel: an old value must not look fresh.
    """
    value, problems = update.safe_value, []
    limits = update.point.conversion.range
    if limits is not None and value is not None and not _is_within(value, limits):
        problems.append(f"{value!r} is outside of the point's range, {limits[0]:g} to {limits[1]:g}")
        value = None
    for encode, unit, place, bit, empty, _ in cells:
        try:
            raw = encode(value)
        except EncodingError as error:
            raw = empty
            problems.append(f"{unit.block(place, place + 1)}: {error}")
        if bit is not None:
            raw = _with_bit(unit.wanted[place], raw, bit)
        unit.set_value(place, raw)
    if update.quality is Quality.BAD and not problems:  # a measured value that does not fit made it so
        misfits = {id(register): error for register, error in encoding_errors(update.point, update.value)}
        problems = [f"{cell}: {misfits[id(cell.register)]}" for cell in cells if id(cell.register) in misfits]
    return "; ".join(problems) or None


def _is_within(value: Scalar, limits: tuple[float, float]) -> bool:
    return isinstance(value, int | float) and limits[0] <= value <= limits[1]


def _with_bit(word: bytes | None, raw: bytes, bit: int) -> bytes:
    """Return a word with one bit taken from `raw`, all others as they are."""
    others = int.from_bytes(word or bytes(2), "big") & ~(1 << bit)
    return (others | int.from_bytes(raw, "big")).to_bytes(2, "big")
