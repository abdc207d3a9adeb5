"""Values to registers and back: known vectors, round trips and refusals."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import EncodingError
from gateway.mapping.registers import decoder, encoder, is_orderable, parse_type, sentinel
from gateway.model import ByteOrder, Register, RegisterTable

if TYPE_CHECKING:
    from gateway.model import Scalar

ORDERS = list(ByteOrder)
INTEGERS = {"int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


def register(
    kind: str, *, order: ByteOrder = ByteOrder.ABCD, scale: float = 1.0, bit: int | None = None
) -> Register:
    """Make a register of a type as it is written in a table."""
    name, words = parse_type(kind)
    table = RegisterTable.INPUT if name != "bit" or bit is not None else RegisterTable.COIL
    return Register(
        sink="regs",
        unit=1,
        table=table,
        address=0,
        type=name,
        words=words,
        order=order,
        scale=scale,
        bit=bit,
    )


@pytest.mark.parametrize(
    ("kind", "value", "by_order"),
    [
        ("float32", 21.5, ("41AC0000", "000041AC", "AC410000", "0000AC41")),
        ("int32", -123456789, ("F8A432EB", "32EBF8A4", "A4F8EB32", "EB32A4F8")),
        ("uint32", 305419896, ("12345678", "56781234", "34127856", "78563412")),
        (
            "float64",
            1234.5,
            ("40934A0000000000", "000000004A004093", "9340004A00000000", "00000000004A9340"),
        ),
        (
            "int64",
            81985529216486895,
            ("0123456789ABCDEF", "CDEF89AB45670123", "23016745AB89EFCD", "EFCDAB8967452301"),
        ),
        (
            "uint64",
            0xFEDCBA9876543210,
            ("FEDCBA9876543210", "32107654BA98FEDC", "DCFE98BA54761032", "1032547698BADCFE"),
        ),
    ],
)
def test_byte_orders_match_known_vectors(kind: str, value: float, by_order: tuple[str, ...]) -> None:
    """The four byte orders match hand-written vectors, also for 64 bits."""
    for order, expected in zip(("ABCD", "CDAB", "BADC", "DCBA"), by_order, strict=True):
        place = register(kind, order=ByteOrder(order))
        assert encoder(place)(value).hex().upper() == expected
        assert decoder(place)(bytes.fromhex(expected)) == value


@pytest.mark.parametrize(
    ("kind", "scale", "value", "expected"),
    [
        ("int16", 10, 21.5, "00D7"),
        ("int16", 10, -21.5, "FF29"),
        ("uint16", 1, 65534, "FFFE"),
        ("uint16", 1, True, "0001"),
        ("uint16", 10, 48, "01E0"),
        ("uint16", 0.1, 12345, "04D3"),
        ("uint64", 1, 2e15, f"{2 * 10**15:016X}"),
        ("uint64", 1, 1_250_000_000_000_000.0, f"{1_250_000_000_000_000:016X}"),
        ("int64", 1, -(2.0**60), f"{2**64 - 2**60:016X}"),
        ("float32", 10, 2.15, "41AC0000"),
        ("float32", 1, False, "00000000"),
        ("string(4)", 1, "AHU1", "41485531"),
        ("string(5)", 1, "AHU1", "414855310000"),
        ("string(4)", 1, "é°", "3F3F0000"),
        ("string(4)", 1, 21.5, "32312E35"),
        ("string(4)", 1, True, "74727565"),
    ],
)
def test_values_match_known_vectors(kind: str, scale: float, value: Scalar, expected: str) -> None:
    """Scaled numbers, booleans and text match known registers."""
    assert encoder(register(kind, scale=scale))(value).hex().upper() == expected


def test_registers_of_one_form_share_one_encoder() -> None:
    """Registers that differ only in their address share an encoder."""
    here = register("float32", order=ByteOrder.CDAB, scale=10)
    there = replace(here, sink="others", unit=7, table=RegisterTable.HOLDING, address=4711)
    assert encoder(here) is encoder(there)
    others = [replace(here, order=ByteOrder.BADC), replace(here, scale=100), register("bit", bit=3)]
    assert len({encoder(each) for each in (here, *others, register("bit", bit=4))}) == 5


def test_a_bit_is_one_bit_of_its_word() -> None:
    """A bit in a word sets that bit only; a coil is the lowest bit; 0 and 1 work like false and true."""
    assert encoder(register("bit", bit=15))(1) == b"\x80\x00"
    assert encoder(register("bit", bit=3))(1) == b"\x00\x08"
    assert encoder(register("bit"))(1.0) == b"\x00\x01"
    assert encoder(register("bit", bit=3))(0) == b"\x00\x00"
    assert decoder(register("bit", bit=3))(b"\x00\x08") is True
    assert decoder(register("bit", bit=3))(b"\xff\xf7") is False


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("int16", "8000"),
        ("uint16", "FFFF"),
        ("int32", "80000000"),
        ("uint32", "FFFFFFFF"),
        ("int64", "8000000000000000"),
        ("uint64", "FFFFFFFFFFFFFFFF"),
        ("float32", "7FC00000"),
        ("float64", "7FF8000000000000"),
        ("string(4)", "00000000"),
        ("bit", "0000"),
    ],
)
def test_no_value_is_the_sentinel(kind: str, expected: str) -> None:
    """Without a value a register shows its type's sentinel, and the sentinel decodes to no value."""
    place = register(kind)
    assert sentinel(place).hex().upper() == expected
    assert encoder(place)(None) == sentinel(place)
    assert decoder(place)(sentinel(place)) is (False if kind == "bit" else None)


def test_the_sentinel_follows_the_order() -> None:
    """A reader that knows the order finds NaN and 0x80000000 in it."""
    assert sentinel(register("float32", order=ByteOrder.CDAB)).hex() == "00007fc0"
    assert sentinel(register("int32", order=ByteOrder.DCBA)).hex() == "00000080"


@pytest.mark.parametrize(
    ("kind", "scale", "value", "reason"),
    [
        ("int16", 1, 32768, "32768 is beyond int16, -32767 to 32767 (-32768 means: no value)"),
        ("int16", 1, -32768, "(-32768 means: no value)"),
        ("int16", 10, 4000, "4000 at scale 10 is beyond int16"),
        ("uint16", 1, 65535, "0 to 65534 (65535 means: no value)"),
        ("uint16", 1, -1, "-1 is beyond uint16"),
        ("uint32", 1, math.nan, "nan is beyond uint32"),
        ("uint32", 1, math.inf, "inf is beyond uint32"),
        ("uint64", 0.5, 10**400, "beyond uint64"),
        ("float32", 1, 1e39, "1e+39 is beyond float32"),
        ("float32", 1, math.nan, "nan is beyond float32"),
        ("float64", 10, 1e308, "1e+308 at scale 10 is beyond float64"),
        ("float64", 1, 10**400, "is beyond float64"),
        ("uint16", 1, "on", "uint16 holds numbers, not the text 'on'"),
        ("float32", 1, "21.5", "float32 holds numbers, not the text '21.5'"),
        ("bit", 1, 2, "a bit holds 0, 1, true or false, not 2"),
        ("bit", 1, "on", "a bit holds 0, 1, true or false, not 'on'"),
        ("string(4)", 1, "AHU-1", "'AHU-1' has 5 characters, the register holds 4"),
    ],
)
def test_a_value_the_type_cannot_hold_is_refused(kind: str, scale: float, value: Scalar, reason: str) -> None:
    """A value that would wrap, be cut off or equal the sentinel is refused with the reason."""
    with pytest.raises(EncodingError) as refused:
        encoder(register(kind, scale=scale))(value)
    assert reason in str(refused.value)


@pytest.mark.parametrize("kind", INTEGERS)
@given(data=st.data(), order=st.sampled_from(ORDERS))
def test_integers_come_back(kind: str, data: st.DataObject, order: ByteOrder) -> None:
    """Every integer that a type can hold comes back exactly, in every order."""
    bits = INTEGERS[kind]
    low, high = (0, (1 << bits) - 2) if kind[0] == "u" else (1 - (1 << bits - 1), (1 << bits - 1) - 1)
    value = data.draw(st.integers(low, high))
    place = register(kind, order=order if is_orderable(kind) else ByteOrder.ABCD)
    raw = encoder(place)(value)
    assert len(raw) == 2 * place.words
    assert decoder(place)(raw) == value


@given(value=st.floats(allow_nan=False, allow_infinity=False), order=st.sampled_from(ORDERS))
def test_float64_comes_back(value: float, order: ByteOrder) -> None:
    """Every finite float64 comes back exactly, in every order."""
    place = register("float64", order=order)
    assert decoder(place)(encoder(place)(value)) == value


@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False), order=st.sampled_from(ORDERS))
def test_float32_comes_back(value: float, order: ByteOrder) -> None:
    """Every finite float32 comes back exactly, in every order."""
    place = register("float32", order=order)
    assert decoder(place)(encoder(place)(value)) == value


@given(
    value=st.decimals(-3000, 3000, places=4),
    scale=st.sampled_from(["0.01", "0.1", "1", "10", "100", "1000"]),
    order=st.sampled_from(ORDERS),
)
def test_scaled_integers_are_rounded_as_a_person_would(value: Decimal, scale: str, order: ByteOrder) -> None:
    """The register holds value * scale as decimal arithmetic gives it, halves away from zero."""
    place = register("int32", order=order, scale=float(scale))
    raw = encoder(place)(float(value))
    expected = (value * Decimal(scale)).quantize(Decimal(1), ROUND_HALF_UP)
    decoded = decoder(place)(raw)
    assert isinstance(decoded, float | int)
    assert math.isclose(decoded, float(expected / Decimal(scale)), abs_tol=1e-9)
    assert abs(decoded - float(value)) <= 0.5000001 / float(scale)


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=16))
def test_strings_come_back(text: str) -> None:
    """Printable ASCII comes back, however much of the string it fills."""
    place = register("string(16)")
    assert decoder(place)(encoder(place)(text)) == text


@given(value=st.booleans(), bit=st.integers(0, 15), others=st.integers(0, 65535))
def test_bits_come_back_beside_their_neighbours(value: bool, bit: int, others: int) -> None:  # noqa: FBT001
    """A bit is read off its word whatever the other bits are."""
    place = register("bit", bit=bit)
    word = others & ~(1 << bit) | int.from_bytes(encoder(place)(value), "big")
    assert decoder(place)(struct.pack(">H", word)) is value


@pytest.mark.parametrize(
    "text", ["float", "string", "string(0)", "string(247)", "string(-1)", "bool", "int8", ""]
)
def test_unknown_types_are_refused_with_the_known_ones(text: str) -> None:
    """The message for an unknown type lists the known types."""
    with pytest.raises(ValueError, match=r"int16, uint16, .*string\(N\) with N from 1 to 246"):
        parse_type(text)
