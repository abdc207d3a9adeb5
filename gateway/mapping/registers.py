"""Values to the bytes of 16-bit registers and back.

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
from fractions import Fraction
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
_MOST_FORMATS = 1_000  # cached encoders
_EXACT_TO = 2.0**52  # above it, floats have no decimals
_MOST_NOISE = 0.1
_SAFE = 1 - 1e-12  # times a bound: inside it even after the errors of binary arithmetic
_EXPECTED = f"a type is one of {', '.join(TYPE_NAMES)}, string(N) with N from 1 to {LONGEST_STRING}"


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
        raise ValueError(_EXPECTED)
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
    if register.type.startswith("float"):
        return _float_encoder(register)
    return _integer_encoder(register)


def encoding_errors(point: Point, value: Scalar) -> Iterator[tuple[Register, EncodingError]]:
    """Yield the registers of a point that cannot hold a measured value, each with the reason.

    Yields nothing for a value that is bad in itself: None, or outside the point's range.
    """
    limits = point.conversion.range
    is_outside = limits is not None and isinstance(value, float | int) and not limits[0] <= value <= limits[1]
    for register in () if value is None or is_outside else point.registers:
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
    bounds = [_bounds(register) for register in registers]
    lowest = max((low for low, _ in bounds), default=-math.inf)
    return lowest, min((high for _, high in bounds), default=math.inf), _any_holds(registers)


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


def _bounds(register: Register) -> tuple[float, float]:
    """Return the lowest and highest number that a numeric register certainly holds."""
    if register.type.startswith("float"):
        highest = 3.4e38 if register.type == "float32" else 1.7e308
        lowest = -highest
    else:
        lowest, highest, _ = integer_limits(register.type)
    ends = lowest / register.scale * _SAFE, highest / register.scale * _SAFE
    return min(ends), max(ends)


def decoder(register: Register) -> Callable[[bytes], Scalar]:
    """Return the inverse of the register's encoder. The sentinel gives None, a bit True or False.

    A scaled integer is returned within half a step of its scale.
    """
    if register.type == "bit":
        mask = 1 << (register.bit or 0)
        return lambda raw: bool(int.from_bytes(raw, "big") & mask)
    if register.type == "string":
        return lambda raw: raw.rstrip(b"\0").decode("ascii", "replace") or None
    unpack = _unpacker(register)
    scale = register.scale
    empty = sentinel(register)

    def decode(raw: bytes) -> Scalar:
        number = unpack(raw)
        if number != number or raw == empty:  # noqa: PLR0124 - the quickest test for NaN
            return None
        return number if scale == 1 else number / scale

    return decode


def sentinel(register: Register) -> bytes:
    """Return the bytes for "no value".

    NaN for floats, 0x8000… for signed, 0xFFFF… for unsigned integers, NUL for strings. A bit has no spare
    state: 0.
    """
    size = 2 * register.words
    if register.type.startswith("float"):
        return _packer(register)(math.nan)
    if register.type.startswith("int"):
        return _packer(register)(integer_limits(register.type)[2])
    if register.type.startswith("uint"):
        return b"\xff" * size
    return bytes(size)


def sentinel_text(register: Register) -> str:
    """Return the sentinel as a person reads it from a register."""
    if register.type.startswith("float"):
        return "NaN"
    return str(integer_limits(register.type)[2]) if is_scalable(register.type) else "0"


def integer_limits(kind: str) -> tuple[int, int, int]:
    """Return the lowest and highest value of an integer type without its sentinel, and the sentinel."""
    bits = 16 * _CODES[kind][1]
    if kind.startswith("uint"):
        return 0, (1 << bits) - 2, (1 << bits) - 1
    return 1 - (1 << bits - 1), (1 << bits - 1) - 1, -(1 << bits - 1)


def _packer(register: Register) -> Callable[[float], bytes]:
    """Return the function that packs a number in the register's byte order.

    ABCD is big-endian, DCBA little-endian. BADC and CDAB are these with the bytes of each word swapped: read
    as big-endian words and written as little-endian ones.
    """
    code, words = _CODES[register.type]
    simple = struct.Struct(("<" if register.order in {ByteOrder.DCBA, ByteOrder.CDAB} else ">") + code).pack
    if register.order in {ByteOrder.ABCD, ByteOrder.DCBA}:
        return simple
    read, write = struct.Struct(f">{words}H").unpack, struct.Struct(f"<{words}H").pack
    return lambda number: write(*read(simple(number)))


def _unpacker(register: Register) -> Callable[[bytes], float]:
    """Return the inverse of `_packer`."""
    code, words = _CODES[register.type]
    simple = struct.Struct(("<" if register.order in {ByteOrder.DCBA, ByteOrder.CDAB} else ">") + code).unpack
    if register.order in {ByteOrder.ABCD, ByteOrder.DCBA}:
        return lambda raw: simple(raw)[0]
    read, write = struct.Struct(f">{words}H").unpack, struct.Struct(f"<{words}H").pack
    return lambda raw: simple(write(*read(raw)))[0]


def _whole_scale(register: Register) -> float:
    """Return the scale, as an int if it is whole: integers stay exact beyond 2**53."""
    return int(register.scale) if float(register.scale).is_integer() else register.scale


def _float_encoder(register: Register) -> Callable[[Scalar], bytes]:
    pack, empty, scale = _packer(register), sentinel(register), _whole_scale(register)
    isfinite = math.isfinite

    def encode(value: Scalar) -> bytes:
        if value is None:
            return empty
        if isinstance(value, str):
            raise _not_a_number(register, value)
        try:
            scaled = value * scale
            if isfinite(scaled):
                return pack(scaled)
        except OverflowError:
            raise _does_not_fit(register, value) from None
        raise _does_not_fit(register, value)

    return encode


def _integer_encoder(register: Register) -> Callable[[Scalar], bytes]:
    pack, empty, scale = _packer(register), sentinel(register), _whole_scale(register)
    lowest, highest, _ = integer_limits(register.type)

    def encode(value: Scalar) -> bytes:
        if value is None:
            return empty
        if isinstance(value, str):
            raise _not_a_number(register, value)
        try:
            scaled = value * scale
            if scaled.__class__ is float:
                if value.__class__ is int and not -_EXACT_TO < scaled < _EXACT_TO:
                    scaled = _exact_product(value, scale)
                else:
                    scaled = round_half_away(scaled)
        except (OverflowError, ValueError):  # infinity, NaN
            raise _does_not_fit(register, value) from None
        if lowest <= scaled <= highest:
            return pack(scaled)
        raise _does_not_fit(register, value)

    return encode


def _exact_product(value: float, scale: float) -> int:
    """Return an integer times a decimal scale such as 0.1, without the errors of a float."""
    product = abs(value * Fraction(repr(scale)))
    whole = int(product + Fraction(1, 2))
    return whole if (value < 0) is (scale < 0) else -whole


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
        raw = _text(value).encode("ascii", "replace").replace(b"\0", b"?")
        if len(raw) > size:
            raise EncodingError(f"{value!r} has {len(raw)} characters, the register holds {size}")
        return raw.ljust(size, b"\0")

    return encode


def _text(value: Scalar) -> str:
    """Return a value as in JSON, without quotes."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _not_a_number(register: Register, value: str) -> EncodingError:
    return EncodingError(f"{register.type} holds numbers, not the text {value!r}")


def _does_not_fit(register: Register, value: float) -> EncodingError:
    scaled = "" if register.scale == 1 else f" at scale {register.scale:g}"
    if register.type.startswith("float"):
        return EncodingError(f"{value!r}{scaled} is beyond {register.type}")
    lowest, highest, empty = integer_limits(register.type)
    return EncodingError(
        f"{value!r}{scaled} is beyond {register.type}, {lowest} to {highest} ({empty} means: no value)"
    )
