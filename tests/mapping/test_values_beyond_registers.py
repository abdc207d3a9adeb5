"""A value is of good quality only if every register of its point can show it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.errors import EncodingError
from gateway.mapping.convert import compile_conversion
from gateway.mapping.registers import TYPE_NAMES, encoder, parse_type
from gateway.model import Conversion, Quality, Register, RegisterTable, ValueKind

if TYPE_CHECKING:
    from gateway.model import Scalar


def register(kind: str, scale: float) -> Register:
    """Return a register of this type."""
    kind, words = parse_type(kind)
    bit = 0 if kind == "bit" else None
    return Register("regs", 1, RegisterTable.INPUT, 0, kind, words, scale=scale, bit=bit)


REGISTERS = st.builds(
    register,
    st.sampled_from([kind for kind in TYPE_NAMES if kind != "bit"]),
    st.sampled_from([1, 10, 0.1, 100, 0.001, -1, 4, 3, 0.3]),
)
EDGES = st.sampled_from(
    [2.0**power + add for power in (15, 16, 31, 32, 63, 64) for add in (-2, -1, -0.5, 0, 1)] + [3.4028235e38]
)
NUMBERS = (
    st.integers(-(2**65), 2**65) | st.integers(-70_000, 70_000) | st.floats(allow_nan=False) | EDGES
).flatmap(lambda number: st.sampled_from([number, -number, number / 10, number / 4, number / 3]))
CONVERSIONS = st.builds(
    Conversion,
    kind=st.just(ValueKind.NUMBER),
    gain=st.sampled_from([1, 0.1, 2]),
    offset=st.sampled_from([0, -0.4, 273.15]),
    range=st.none() | st.sampled_from([(0.0, 100.0), (-4e4, 4e4), (0.0, 0.25)]),
    decimals=st.none() | st.sampled_from([0, 1, 3]),
)


def can_show(registers: list[Register], value: Scalar) -> bool:
    """Return whether all encoders accept the value."""
    try:
        for each in registers:
            encoder(each)(value)
    except EncodingError:
        return False
    return True


@given(conversion=CONVERSIONS, registers=st.lists(REGISTERS, max_size=3), number=NUMBERS)
def test_registers_change_only_the_quality(
    conversion: Conversion, registers: list[Register], number: float
) -> None:
    """The value is the same as without registers; it is good if all of them can show it."""
    value, quality = compile_conversion(conversion)(number)
    shown = can_show(registers, value)
    expected = quality if shown else Quality.BAD
    assert compile_conversion(conversion, registers)(number) == (value, expected)


@given(number=NUMBERS | st.booleans() | st.sampled_from(["1", "2", "on", "", None, "true"]))
def test_a_bit_shows_0_and_1_only(number: Scalar) -> None:
    """Other numbers, such as the fault state 2 of a leak detector, are bad."""
    conversion = Conversion(kind=ValueKind.SWITCH)
    value, quality = compile_conversion(conversion)(number)
    found = compile_conversion(conversion, [register("bit", 1)])(number)
    assert found == (value, quality if value in {0, 1} else Quality.BAD)


@given(text=st.text(max_size=10) | st.integers() | st.none())
def test_a_string_is_never_cut(text: Scalar) -> None:
    """Text that is longer than its register is bad."""
    value, quality = compile_conversion(Conversion())(text)
    assume(value is not None)
    found = compile_conversion(Conversion(), [register("string(6)", 1)])(text)
    assert found == (value, quality if len(str(value)) <= 6 else Quality.BAD)


@given(
    conversion=CONVERSIONS.filter(lambda each: each.range is not None),
    number=NUMBERS,
    decimals=st.none() | st.integers(0, 2),
)
def test_clamped_values_stay_in_range(conversion: Conversion, number: float, decimals: int | None) -> None:
    """Rounding does not move a clamped value out of its range."""
    assume(math.isfinite(number))  # nothing else is a number
    clamped = replace(conversion, clamp=True, decimals=decimals, gain=1, offset=0)
    value, quality = compile_conversion(clamped)(number)
    assert clamped.range is not None
    assert isinstance(value, int | float)
    assert clamped.range[0] <= value <= clamped.range[1]
    assert quality is Quality.GOOD
    assert compile_conversion(clamped, [register("float64", 1)])(number) == (value, quality)
