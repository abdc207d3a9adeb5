"""How registers and conversions are written for people: 31001, `input 1000-1001`, `float32 ABCD`, `x 0.1`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.mapping.registers import HIGHEST_ADDRESS, is_orderable
from gateway.model import RegisterTable

if TYPE_CHECKING:
    from gateway.model import Register

BIT_TABLES = frozenset({RegisterTable.COIL, RegisterTable.DISCRETE})
_MODICON_DIGITS = {
    "0": RegisterTable.COIL,
    "1": RegisterTable.DISCRETE,
    "3": RegisterTable.INPUT,
    "4": RegisterTable.HOLDING,
}
_LAST_OF_FIVE_DIGITS = 9999


def parse_modicon(written: int | str) -> tuple[RegisterTable, int]:
    """Return the table and the 0-based PDU address of a 3xxxx number: 31001 is (input, 1000).

    Five digits reach 9999, six reach 65536. An integer has lost its leading zeros, so a short one is a coil.
    """
    text = str(written).zfill(5) if isinstance(written, int) else written
    match = re.fullmatch(r"([0134])(\d{4}|\d{5})", text)
    if match is None or not 1 <= int(match[2]) <= HIGHEST_ADDRESS + 1:
        raise ValueError(
            "has 5 or 6 digits: 0 coil, 1 discrete, 3 input, 4 holding; then 0001 to 9999 or 00001 to 65536"
        )
    return _MODICON_DIGITS[match[1]], int(match[2]) - 1


def modicon_text(table: RegisterTable, address: int) -> str:
    """Return the 3xxxx number of a PDU address; six digits only where five are too few."""
    digit = next(digit for digit, of_table in _MODICON_DIGITS.items() if of_table is table)
    number = address + 1
    return f"{digit}{number:04d}" if number <= _LAST_OF_FIVE_DIGITS else f"{digit}{number:05d}"


def address_text(register: Register) -> str:
    """Return the PDU addresses of a register: `input 1000-1001`, `holding 4 bit 3`."""
    return f"{register.table} {_words(register)}"


def register_text(register: Register) -> str:
    """Return a register with its unit and sink: `input register 4-5 of unit 1 on regs`."""
    what = register.table if register.table in BIT_TABLES else f"{register.table} register"
    return f"{what} {_words(register)} of unit {register.unit} on {register.sink}"


def _words(register: Register) -> str:
    last = register.address + register.words - 1
    words = f"{register.address}" if last == register.address else f"{register.address}-{last}"
    return words if register.bit is None else f"{words} bit {register.bit}"


def format_text(register: Register) -> str:
    """Return how a register encodes its value: `float32 ABCD`, `uint16 scale 10`."""
    parts = [type_text(register)]
    if is_orderable(register.type):
        parts.append(register.order)
    if register.scale != 1:
        parts.append(f"scale {register.scale:.12g}")
    return " ".join(parts)


def type_text(register: Register) -> str:
    """Return the type of a register as a point table writes it: `uint16`, `string(8)`."""
    return f"string({2 * register.words})" if register.type == "string" else register.type


def calculation_text(gain: float, offset: float, *, of: str) -> str:
    """Return a gain and an offset as arithmetic: `reading x 0.001 - 0.4`."""
    parts = [of if gain == 1 else f"{of} x {gain:.12g}"]
    if offset:
        parts.append(f"{'-' if offset < 0 else '+'} {abs(offset):.12g}")
    return " ".join(parts)
