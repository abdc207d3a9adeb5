"""16-bit registers: their types, values to bytes and back, and how registers are written for people.

An encoder or decoder is made once and called per value. Bytes are in the order of the wire, two per register.
A bit in a word, like a coil, is encoded as a word with only that bit set, so that neighbours can be combined
with `|`. Registers of the same type, order, scale and bit share one encoder: a building has tens of thousands
of registers but few such formats.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import EncodingError
from gateway.model import ByteOrder, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.model import Point, Register, Scalar

HIGHEST_ADDRESS = 65535
HIGHEST_BIT = 15
LONGEST_STRING = 246  # 123 registers, the most that one Modbus request can write
BIT_TABLES = frozenset({RegisterTable.COIL, RegisterTable.DISCRETE})

_CODES = {  # struct code and registers of each numeric type
    "int16": ("h", 1),
    "uint16": ("H", 1),
    "int32": ("i", 2),
    "uint32": ("I", 2),
    "int64": ("q", 4),
    "uint64": ("Q", 4),
    "float32": ("f", 2),
    "float64": ("d", 4),
}
TYPE_NAMES = (*_CODES, "bit")
"""Every type except string(N)."""
_MODICON_TABLES = {
    "0": RegisterTable.COIL,
    "1": RegisterTable.DISCRETE,
    "3": RegisterTable.INPUT,
    "4": RegisterTable.HOLDING,
}
_LAST_OF_FIVE_DIGITS = 9999
_MOST_FORMATS = 1_000  # cached encoders
_MOST_NOISE = 0.1
_SAFE = 1 - 1e-12  # times a bound: inside it even after the errors of binary arithmetic


def parse_type(text: str) -> tuple[str, int]:
    """Return the kind and the number of registers of a type: `string(15)` gives ("string", 8).

    A string of odd length is rounded up to whole registers. Raises ValueError with the known types.
    """
    if text in _CODES:
        return text, _CODES[text][1]
    if text == "bit":
        return text, 1
    match = re.fullmatch(r"string\((\d{1,3})\)", text)
    if match is None or not 1 <= int(match[1]) <= LONGEST_STRING:
        known = ", ".join(TYPE_NAMES)
        raise ValueError(f"a type is one of {known}, string(N) with N from 1 to {LONGEST_STRING}")
    return "string", (int(match[1]) + 1) // 2


def is_orderable(kind: str) -> bool:
    """Return whether a type has a byte order: only numbers wider than one register have one."""
    return kind in _CODES and _CODES[kind][1] > 1


def is_scalable(kind: str) -> bool:
    """Return whether a type has a scale: bits and strings have none."""
    return kind in _CODES


def encoder(register: Register) -> Callable[[Scalar], bytes]:
    """Return the function from a value to the register's `2 * words` bytes.

    None gives the sentinel. It raises EncodingError for a value that the type cannot hold: out of range after
    scaling, equal to the sentinel, not finite, text instead of a number, or too long a string.
    """
    return _encoder(replace(register, sink="", unit=0, table=RegisterTable.INPUT, address=0))


@lru_cache(_MOST_FORMATS)
def _encoder(register: Register) -> Callable[[Scalar], bytes]:
    """Return the encoder of all registers that differ only in their address."""
    if register.type == "bit":
        return _bit_encoder(register)
    if register.type == "string":
        return _string_encoder(register)
    return _number_encoder(register)


def encoding_errors(point: Point, value: Scalar) -> Iterator[tuple[Register, EncodingError]]:
    """Yield the registers of a point that cannot hold a measured value, each with the reason.

    Yields nothing for a value that is bad in itself: None, or outside the point's range.
    """
    limits = point.conversion.range
    is_outside = limits is not None and isinstance(value, float | int) and not limits[0] <= value <= limits[1]
    for register in () if value is None or is_outside else point.value_registers:
        try:
            encoder(register)(value)
        except EncodingError as error:
            yield register, error


def common_limits(registers: Sequence[Register]) -> tuple[float, float, Callable[[Scalar], bool]]:
    """Return the lowest and highest number that all registers certainly hold, and a test for other values.

    If one of them does not hold numbers, the lowest is above the highest.
    """
    if not all(is_scalable(register.type) for register in registers):
        return math.inf, -math.inf, _any_holds(registers)
    lowest, highest = -math.inf, math.inf
    for register in registers:
        ends = [bound / register.scale * _SAFE for bound in _bounds(register.type)]
        lowest, highest = max(lowest, min(ends)), min(highest, max(ends))
    return lowest, highest, _any_holds(registers)


def _any_holds(registers: Sequence[Register]) -> Callable[[Scalar], bool]:
    if registers and all(register.type == "bit" for register in registers):
        return frozenset({0, 1}).__contains__  # True and 1.0 are equal to 1
    encoders = [encoder(register) for register in registers]

    def holds(value: Scalar) -> bool:
        try:
            for encode in encoders:
                encode(value)
        except EncodingError:
            return False
        return True

    return holds


def _bounds(kind: str) -> tuple[float, float]:
    if kind.startswith("float"):
        highest = 3.4e38 if kind == "float32" else 1.7e308
        return -highest, highest
    return integer_limits(kind)[:2]


def decoder(register: Register) -> Callable[[bytes], Scalar]:
    """Return the inverse of the register's encoder. The sentinel gives None, a bit True or False.

    A scaled integer is returned within half a step of its scale.
    """
    if register.type == "bit":
        mask = 1 << (register.bit or 0)
        return lambda raw: bool(int.from_bytes(raw, "big") & mask)
    if register.type == "string":
        return lambda raw: raw.rstrip(b"\0").decode("ascii", "replace") or None
    layout, swap = _layout(register)
    scale, empty = register.scale, sentinel(register)

    def decode(raw: bytes) -> Scalar:
        number: float = layout.unpack(swap(raw))[0]
        if number != number or raw == empty:  # noqa: PLR0124 - the quickest test for NaN
            return None
        return number if scale == 1 else number / scale

    return decode


def sentinel(register: Register) -> bytes:
    """Return the bytes for "no value".

    NaN for floats, 0x8000… for signed, 0xFFFF… for unsigned integers, NUL for strings. A bit has no spare
    state: 0.
    """
    if not is_scalable(register.type):
        return bytes(2 * register.words)
    empty = math.nan if register.type.startswith("float") else integer_limits(register.type)[2]
    layout, swap = _layout(register)
    return swap(layout.pack(empty))


def integer_limits(kind: str) -> tuple[int, int, int]:
    """Return the lowest and highest value of an integer type without its sentinel, and the sentinel."""
    bits = 16 * _CODES[kind][1]
    if kind.startswith("uint"):
        return 0, (1 << bits) - 2, (1 << bits) - 1
    return 1 - (1 << bits - 1), (1 << bits - 1) - 1, -(1 << bits - 1)


def _layout(register: Register) -> tuple[struct.Struct, Callable[[bytes], bytes]]:
    """Return how a number is packed, and the swap between that and the wire.

    ABCD is big-endian, DCBA little-endian. BADC and CDAB are these with the bytes of each word swapped: read
    as big-endian words and written as little-endian ones.
    """
    code, words = _CODES[register.type]
    layout = struct.Struct(("<" if register.order in {ByteOrder.DCBA, ByteOrder.CDAB} else ">") + code)
    if register.order in {ByteOrder.ABCD, ByteOrder.DCBA}:
        return layout, bytes
    read, write = struct.Struct(f">{words}H").unpack, struct.Struct(f"<{words}H").pack
    return layout, lambda raw: write(*read(raw))


def _number_encoder(register: Register) -> Callable[[Scalar], bytes]:
    layout, swap = _layout(register)
    is_float, is_plain = register.type.startswith("float"), swap is bytes
    lowest, highest = (-math.inf, math.inf) if is_float else integer_limits(register.type)[:2]
    empty, pack, isfinite = sentinel(register), layout.pack, math.isfinite
    # Integers times a whole number stay exact beyond 2**53.
    scale = int(register.scale) if float(register.scale).is_integer() else register.scale

    def encode(value: Scalar) -> bytes:
        if value is None:
            return empty
        if isinstance(value, str):
            raise EncodingError(f"{register.type} holds numbers, not the text {value!r}")
        try:
            number = value * scale
            if is_float:
                fits = isfinite(number)
            else:
                if number.__class__ is float:
                    number = round_half_away(number)
                fits = lowest <= number <= highest
            if fits:
                return pack(number) if is_plain else swap(pack(number))
        except (OverflowError, ValueError):  # too large for a float, infinity, NaN
            raise _does_not_fit(register, value) from None
        raise _does_not_fit(register, value)

    return encode


def round_half_away(number: float) -> int:
    """Round halves away from zero: 0.25 at scale 10 is 3, not 2 as by Python's round-half-to-even.

    This is what a person gets who checks a register by hand. A product such as 1.005 * 100 is slightly less
    than the half that was meant, so a number this close counts as a half.
    """
    whole = int(number)
    rest = abs(number - whole)
    if rest and rest >= 0.5 - min(abs(number) * 4e-16, _MOST_NOISE):
        return whole + 1 if number > 0 else whole - 1
    return whole


def _bit_encoder(register: Register) -> Callable[[Scalar], bytes]:
    clear = bytes(2)
    by_value: dict[Scalar, bytes] = {None: clear, 0: clear, 1: (1 << (register.bit or 0)).to_bytes(2, "big")}

    def encode(value: Scalar) -> bytes:
        try:
            return by_value[value]  # False and 0.0 are equal to 0, True and 1.0 to 1
        except KeyError:
            raise EncodingError(f"a bit holds 0, 1, true or false, not {value!r}") from None

    return encode


def _string_encoder(register: Register) -> Callable[[Scalar], bytes]:
    size = 2 * register.words

    def encode(value: Scalar) -> bytes:
        if value is None:
            return bytes(size)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        raw = text.encode("ascii", "replace").replace(b"\0", b"?")
        if len(raw) > size:
            raise EncodingError(f"{value!r} has {len(raw)} characters, the register holds {size}")
        return raw.ljust(size, b"\0")

    return encode


def _does_not_fit(register: Register, value: float) -> EncodingError:
    scaled = "" if register.scale == 1 else f" at scale {register.scale:g}"
    if register.type.startswith("float"):
        return EncodingError(f"{value!r}{scaled} is beyond {register.type}")
    lowest, highest, empty = integer_limits(register.type)
    return EncodingError(
        f"{value!r}{scaled} is beyond {register.type}, {lowest} to {highest} ({empty} means: no value)"
    )


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
    return _MODICON_TABLES[match[1]], int(match[2]) - 1


def modicon_text(table: RegisterTable, address: int) -> str:
    """Return the 3xxxx number of a PDU address; six digits only where five are too few."""
    digit = next(digit for digit, of_table in _MODICON_TABLES.items() if of_table is table)
    number = address + 1
    return f"{digit}{number:04d}" if number <= _LAST_OF_FIVE_DIGITS else f"{digit}{number:05d}"


def address_text(register: Register) -> str:
    """Return the PDU addresses of a register: `input 1000-1001`, `holding 4 bit 3`."""
    last = register.address + register.words - 1
    words = f"{register.address}" if last == register.address else f"{register.address}-{last}"
    return f"{register.table} {words}" + ("" if register.bit is None else f" bit {register.bit}")


def register_text(register: Register) -> str:
    """Return a register with its unit and sink: `input register 4-5 of unit 1 on regs`."""
    words = address_text(register)
    if register.table not in BIT_TABLES:
        words = words.replace(" ", " register ", 1)
    return f"{words} of unit {register.unit} on {register.sink}"


def format_text(register: Register) -> str:
    """Return how a register encodes what it shows: `float32 ABCD`, `uint16 scale 10`, `uint16 quality`."""
    order = f" {register.order}" if is_orderable(register.type) else ""
    scale = f" scale {register.scale:.12g}" if register.scale != 1 else ""
    return f"{type_text(register)}{order}{scale}{' quality' if register.shows_quality else ''}"


def type_text(register: Register) -> str:
    """Return the type of a register as a point table writes it: `uint16`, `string(8)`."""
    return f"string({2 * register.words})" if register.type == "string" else register.type
