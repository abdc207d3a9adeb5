"""The registers of a Modbus server: which ones are mapped, and their values. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pymodbus.constants import ExcCodes

from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, encoding_errors, sentinel
from gateway.model import Quality, Refusal, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.model import Point, Register, Scalar, Update

_FUNCTION: Final = {
    RegisterTable.COIL: 1,
    RegisterTable.DISCRETE: 2,
    RegisterTable.HOLDING: 3,
    RegisterTable.INPUT: 4,
}
_DEVICE_UNITS = (0, 255)  # unit ids that Modbus TCP reserves for the connected device itself


class _Words:
    """The holding or input registers of one unit: two bytes each, and which of them are mapped."""

    def __init__(self, registers: Sequence[Register]) -> None:
        size = max(register.address + register.words for register in registers)
        self._data = bytearray(2 * size)
        self._mapped = bytearray(size)
        for register in registers:
            end = register.address + register.words
            self._mapped[register.address : end] = b"\1" * register.words
            self._data[2 * register.address : 2 * end] = sentinel(register)

    def set(self, register: Register, raw: bytes) -> None:
        """Write a register's bytes; a bit leaves the others of its word alone."""
        start = 2 * register.address
        end = start + 2 * register.words
        if register.bit is not None:
            others = int.from_bytes(self._data[start:end], "big") & ~(1 << register.bit)
            raw = (others | int.from_bytes(raw, "big")).to_bytes(2, "big")
        self._data[start:end] = raw

    def get(self, address: int, count: int) -> bytearray | None:
        """Return the registers as on the wire, None if one of them is not mapped."""
        end = address + count
        if end > len(self._mapped) or self._mapped.find(0, address, end) >= 0:
            return None
        return self._data[2 * address : 2 * end]


class _Bits:
    """The coils or discrete inputs of one unit: the digit 0 or 1 for each, NUL for one that is not mapped."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self._digits = bytearray(max(register.address for register in registers) + 1)
        for register in registers:
            self._digits[register.address] = ord("0")

    def set(self, register: Register, raw: bytes) -> None:
        """Write one bit: 1 where anything is set in `raw`."""
        self._digits[register.address] = ord("1" if any(raw) else "0")

    def get(self, address: int, count: int) -> bytes | None:
        """Return the bits as on the wire, None if one of them is not mapped."""
        digits = self._digits[address : address + count]
        if len(digits) < count or 0 in digits:
            return None
        digits.reverse()  # the first one is the lowest bit of the first byte
        return int(digits, 2).to_bytes((count + 7) // 8, "little")


@dataclass(frozen=True, slots=True)
class _TableCell:
    """The table that a register of a point is written to, and its encoder."""

    register: Register
    encode: Callable[[Scalar], bytes]
    table: _Words | _Bits


class RegisterImage:
    """All registers of one sink. It never awaits, so polls see complete writes only.

    Unit ids 0 and 255 mean the device itself: the unit mapped there, otherwise the only mapped unit. If
    several units are mapped, 0 and 255 answer but have no registers.
    """

    def __init__(self, points: tuple[Point, ...], *, sink: str) -> None:
        owned = [
            (point, register) for point in points for register in point.registers if register.sink == sink
        ]
        grouped: dict[tuple[int, RegisterTable], list[Register]] = {}
        for _, register in owned:
            grouped.setdefault((register.unit, register.table), []).append(register)
        self._tables: dict[int, dict[int, _Words | _Bits]] = {}  # by unit and function code
        for (unit, table), registers in grouped.items():
            is_bits = table in {RegisterTable.COIL, RegisterTable.DISCRETE}
            values = _Bits(registers) if is_bits else _Words(registers)
            self._tables.setdefault(unit, {})[_FUNCTION[table]] = values
        self._cells: dict[Point, list[_TableCell]] = {}
        for point, register in owned:
            written = self._tables[register.unit][_FUNCTION[register.table]]
            self._cells.setdefault(point, []).append(_TableCell(register, encoder(register), written))
        self._add_device_units()

    def _add_device_units(self) -> None:
        mapped = [self._tables[unit] for unit in _DEVICE_UNITS if unit in self._tables]
        candidates = mapped or list(self._tables.values())
        device = candidates[0] if len(candidates) == 1 else {}
        for unit in _DEVICE_UNITS:
            self._tables.setdefault(unit, device)

    def write(self, updates: Iterable[Update]) -> list[Refusal]:
        """Write the updates' safe values; return those that a register cannot hold, by register.

        A measured value that does not fit is returned as well: its quality is bad, a sentinel is shown.
        """
        refusals = []
        for update in updates:
            cells = self._cells.get(update.point, ())
            if cells and update.quality is Quality.BAD:
                refusals += [
                    Refusal(update, f"{_place(register)}: {error}")
                    for register, error in encoding_errors(update.point, update.value)
                    if any(cell.register is register for cell in cells)
                ]
            for cell in cells:
                try:
                    raw = cell.encode(update.safe_value)
                except EncodingError as error:
                    raw = sentinel(cell.register)
                    refusals.append(Refusal(update, f"{_place(cell.register)}: {error}"))
                cell.table.set(cell.register, raw)
        return refusals

    def has_unit(self, unit: int) -> bool:
        """Return whether a unit id answers."""
        return unit in self._tables

    def read(self, unit: int, function: int, address: int, count: int) -> bytes | bytearray | ExcCodes:
        """Return the data bytes of one of the functions 1 to 4, or the exception code."""
        tables = self._tables.get(unit)
        if tables is None:
            return ExcCodes.GATEWAY_NO_RESPONSE
        table = tables.get(function)
        data = table.get(address, count) if table is not None else None
        return ExcCodes.ILLEGAL_ADDRESS if data is None else data


def _place(register: Register) -> str:
    return f"unit {register.unit}, {register.table} {register.address}"
