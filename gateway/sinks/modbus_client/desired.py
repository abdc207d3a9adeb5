"""The values that the points of one table give to the registers and coils of a controller. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, encoding_errors, sentinel
from gateway.model import Quality, Refusal, RegisterTable
from gateway.sinks.modbus_client.unit import Span, Unit, can_write, place_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Point, Register, Scalar, Update, WriteLimits
    from gateway.ports import LatestValues

_OFF, _ON = b"\0", b"\1"


class DesiredState:
    """What one controller should hold, as bytes in its units; without what must not be written there.

    A word with bits belongs to the gateway as a whole: bits without a point, or whose point has had no
    reading yet, are 0.
    """

    def __init__(self, points: Iterable[Point], *, sink: str, limits: WriteLimits) -> None:
        written = {
            point: registers
            for point in points
            if (registers := [each for each in point.registers if _is_written(each, sink, limits)])
        }
        self._registers = written
        self._heartbeats = [point for point in written if point.source == "$heartbeat"]
        spans: dict[int, dict[Span, None]] = {}
        for registers in written.values():
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
            for point, registers in written.items()
        }
        self._setters = {
            point: _setter(cells, point.conversion.range) for point, cells in self._cells.items()
        }
        self._unconfirmed: dict[Point, Update] = {}  # still dirty when `refusals` was called last

    @property
    def silent(self) -> str | None:
        """Why no request gets through to any unit; None if some do, or if there is nothing to write."""
        reasons = [unit.silent for unit in self.units.values() if unit.silent is not None]
        if not reasons or any(unit.silent is None and unit.is_used for unit in self.units.values()):
            return None
        return "; ".join(reasons)

    def apply_updates(
        self, updates: Iterable[Update], *, is_newest: Callable[[Update], bool] = lambda _: True
    ) -> tuple[list[Update], dict[Point, str]]:
        """Set the values of the newest updates; return those with a register here, and why some don't fit.

        A value that does not fit is replaced by the sentinel: an old value must not look fresh.
        """
        applied: list[Update] = []
        reasons: dict[Point, str] = {}
        find = self._setters.get
        for update in updates:
            point = update.point
            set_value = find(point)
            if set_value is None or not is_newest(update):
                continue
            applied.append(update)
            problem = set_value(update.safe_value)
            if update.quality is Quality.BAD and problem is None:
                problem = self._misfit(update)
            if problem is not None:
                reasons[point] = problem
            elif reasons:
                reasons.pop(point, None)
        return applied, reasons

    def apply_latest(self, latest: LatestValues) -> None:
        """Set the newest values of all points; none of them goes before the others."""
        self.apply_updates(update for point in self._cells if (update := latest.latest(point)) is not None)
        for unit in self.units.values():
            unit.clear_fresh()

    def apply_heartbeats(self, latest: LatestValues) -> None:
        """Set the present heartbeats, which wait for no batch."""
        self.apply_updates(
            update for point in self._heartbeats if (update := latest.latest(point)) is not None
        )

    def is_pending(self, updates: Iterable[Update]) -> bool:
        """Return whether any of `updates` is still dirty on a unit that answers."""
        if not any(unit.is_pending for unit in self.units.values()):
            return False
        cells = (cell for update in updates for cell in self._cells[update.point])
        return any(cell.dirty[cell.position] and cell.unit.is_pending for cell in cells)

    @property
    def has_unconfirmed(self) -> bool:
        """Return whether an applied update was still dirty when `refusals` was called last."""
        return bool(self._unconfirmed)

    def refusals(self, applied: Iterable[Update], reasons: dict[Point, str]) -> list[Refusal]:
        """Return the refused updates with all reasons, of those that `apply_updates` returned.

        Updates that are still dirty are checked again the next time, since they may be refused later.
        """
        units = self.units.values()
        if not (reasons or self._unconfirmed or any(unit.refused or 1 in unit.dirty for unit in units)):
            return []
        checked = {**self._unconfirmed, **{update.point: update for update in applied}}
        self._unconfirmed = {}
        found = []
        for point, update in checked.items():
            cells = self._cells[point]
            words = [reasons.get(point), *(cell.unit.refusal(cell.position) for cell in cells)]
            if any(words):
                found.append(Refusal(update, "; ".join(dict.fromkeys(filter(None, words)))))
            elif any(cell.dirty[cell.position] for cell in cells):
                self._unconfirmed[point] = update
        return found

    def refused_places(self) -> dict[str, str]:
        """Return the places that are refused now, each with the reason."""
        return {
            unit.place(index): reason
            for unit in self.units.values()
            for index in unit.refused
            if (reason := unit.refusal(index)) is not None
        }

    def mark_all_dirty(self) -> None:
        """Mark everything as dirty: the controller may have lost its values."""
        for unit in self.units.values():
            unit.mark_all_dirty()

    def adopt_state(self, before: DesiredState) -> None:
        """Continue with what another table has learnt of the same registers: only changes are written."""
        for number, unit in self.units.items():
            if number in before.units:
                unit.adopt_state(before.units[number])

    def _misfit(self, update: Update) -> str | None:
        """Return why a measured value does not fit its registers, so that a sentinel is written."""
        found = [
            f"{place_text(register.unit, register.table, register.address, register.words)}: {error}"
            for register, error in encoding_errors(update.point, update.value)
            if register in self._registers[update.point]
        ]
        return "; ".join(found) or None


class _Cell(NamedTuple):
    """Where one register of a point is written, and how; `bit` is None if it has the whole span.

    The unit's lists are kept here, too, because they are needed for each value.
    """

    encode: Callable[[Scalar], bytes]
    position: int  # of its span in the lists
    wanted: list[bytes | None]
    acknowledged: list[bytes | None]
    dirty: bytearray
    fresh: bytearray
    bit: int | None
    empty: bytes
    unit: Unit


_Setter = Callable[["Scalar"], "str | None"]
"""Sets a value in all registers of a point; returns why it does not fit, if so."""


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
    lists = unit.wanted, unit.acknowledged, unit.dirty, unit.fresh
    if register.table is RegisterTable.COIL:
        return _Cell(lambda value: _ON if any(encode(value)) else _OFF, index, *lists, None, _OFF, unit)
    return _Cell(encode, index, *lists, register.bit, empty, unit)


def _setter(cells: tuple[_Cell, ...], limits: tuple[float, float] | None) -> _Setter:
    """Return the function that sets a point's values; most points have one register, with a shorter way."""

    def set_each(value: Scalar) -> str | None:
        problem = _outside(value, limits) if limits is not None else None
        if problem is not None:
            value = None
        for encode, position, wanted, acknowledged, dirty, fresh, bit, empty, unit in cells:
            try:
                raw = encode(value)
            except EncodingError as error:
                raw = empty
                text = f"{unit.place(position)}: {error}"
                problem = text if problem is None else f"{problem}; {text}"
            if bit is not None:
                raw = _with_bit(wanted[position], raw, bit)
            wanted[position] = raw
            dirty[position] = fresh[position] = raw != acknowledged[position]
        return problem

    if len(cells) > 1 or cells[0].bit is not None:
        return set_each
    encode, position, wanted, acknowledged, dirty, fresh = cells[0][:6]

    def set_one(value: Scalar) -> str | None:
        try:
            if limits is not None and not (value is None or limits[0] <= value <= limits[1]):  # type: ignore[operator]  # text raises TypeError
                return set_each(value)
            wanted[position] = raw = encode(value)
        except (EncodingError, TypeError):
            return set_each(value)
        dirty[position] = fresh[position] = raw != acknowledged[position]
        return None

    return set_one


def _with_bit(word: bytes | None, raw: bytes, bit: int) -> bytes:
    """Return a word with one bit taken from `raw`, all others as they are."""
    others = int.from_bytes(word or bytes(2), "big") & ~(1 << bit)
    return (others | int.from_bytes(raw, "big")).to_bytes(2, "big")


def _outside(value: Scalar, limits: tuple[float, float]) -> str | None:
    """Return the problem of a value outside of its point's range."""
    low, high = limits
    if value is None or (not isinstance(value, str) and low <= value <= high):
        return None
    return f"{value!r} is outside of the point's range, {low:g} to {high:g}"
