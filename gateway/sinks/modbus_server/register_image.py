"""The registers of a Modbus server: which ones are mapped, and their values. No I/O."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, encoding_errors, sentinel
from gateway.model import Quality, Refusal, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.model import Point, Register, Scalar, Update

_FUNCTION: Final = {
    RegisterTable.COIL: 1,
    RegisterTable.DISCRETE: 2,
    RegisterTable.HOLDING: 3,
    RegisterTable.INPUT: 4,
}
_DEVICE_UNITS = (0, 255)  # unit ids that Modbus TCP reserves for the connected device itself


class ExceptionCode(IntEnum):
    """What the server answers to a request that it refuses. pymodbus's own would load all of pymodbus."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    GATEWAY_NO_RESPONSE = 11


class _Words:
    """The holding or input registers of one unit: two bytes each, and which of them are mapped."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._mapped = bytearray()

    def add(self, register: Register) -> None:
        """Map a register, which shows its sentinel at first."""
        end = register.address + register.words
        missing = max(0, end - len(self._mapped))
        self._mapped += bytes(missing)
        self._data += bytes(2 * missing)
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

    def __init__(self) -> None:
        self._digits = bytearray()

    def add(self, register: Register) -> None:
        """Map a bit, which is 0 at first."""
        self._digits += bytes(max(0, register.address + 1 - len(self._digits)))
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


class _ImageCell(NamedTuple):
    """A register of a point, its encoder, and the table that it is written to."""

    register: Register
    encode: Callable[[Scalar], bytes]
    table: _Words | _Bits

    def __str__(self) -> str:
        return f"unit {self.register.unit}, {self.register.table} {self.register.address}"


class RegisterImage:
    """All registers of one sink. It never awaits, so polls see complete writes only.

    Unit ids 0 and 255 mean the device itself: the unit mapped there, otherwise the only mapped unit. If
    several units are mapped, 0 and 255 answer but have no registers.
    """

    def __init__(self, points: Iterable[Point], *, sink: str) -> None:
        self._tables: dict[int, dict[int, _Words | _Bits]] = {}  # by unit and function code
        self._cells: dict[Point, list[_ImageCell]] = {}
        self._quality_cells: dict[Point, list[_ImageCell]] = {}
        for point in points:
            for register in point.registers:
                if register.sink == sink:
                    cells = self._quality_cells if register.shows_quality else self._cells
                    cells.setdefault(point, []).append(self._map(register))
        mapped = [self._tables[unit] for unit in _DEVICE_UNITS if unit in self._tables]
        candidates = mapped or list(self._tables.values())
        for unit in _DEVICE_UNITS:
            self._tables.setdefault(unit, candidates[0] if len(candidates) == 1 else {})

    def _map(self, register: Register) -> _ImageCell:
        tables, function = self._tables.setdefault(register.unit, {}), _FUNCTION[register.table]
        if function not in tables:
            tables[function] = _Bits() if function in {1, 2} else _Words()
        tables[function].add(register)
        return _ImageCell(register, encoder(register), tables[function])

    def write(self, updates: Iterable[Update]) -> list[Refusal]:
        """Write the updates' safe values and qualities; return values that a register cannot hold.

        A measured value that does not fit is returned as well: its quality is bad, a sentinel is shown.
        """
        refusals = []
        for update in updates:
            cells = self._cells.get(update.point, ())
            if cells and update.quality is Quality.BAD:
                misfits = dict(encoding_errors(update.point, update.value))
                refusals += [
                    Refusal(update, f"{cell}: {misfits[cell.register]}")
                    for cell in cells
                    if cell.register in misfits
                ]
            for cell in cells:
                try:
                    raw = cell.encode(update.safe_value)
                except EncodingError as error:
                    raw = sentinel(cell.register)
                    refusals.append(Refusal(update, f"{cell}: {error}"))
                cell.table.set(cell.register, raw)
            if self._quality_cells:
                for cell in self._quality_cells.get(update.point, ()):
                    cell.table.set(cell.register, cell.encode(update.quality))
        return refusals

    def has_unit(self, unit: int) -> bool:
        """Return whether a unit id answers."""
        return unit in self._tables

    def read(self, unit: int, function: int, address: int, count: int) -> bytes | bytearray | ExceptionCode:
        """Return the data bytes of one of the functions 1 to 4, or the exception code."""
        tables = self._tables.get(unit)
        if tables is None:
            return ExceptionCode.GATEWAY_NO_RESPONSE
        table = tables.get(function)
        data = table.get(address, count) if table is not None else None
        return ExceptionCode.ILLEGAL_ADDRESS if data is None else data
