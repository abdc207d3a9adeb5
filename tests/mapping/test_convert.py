"""From readings to values: numbers, text, booleans, maps, arithmetic, range."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mapping.convert import compile_conversion
from gateway.mapping.paths import NOT_FOUND, compile_path
from gateway.model import Conversion, Quality, ValueKind

if TYPE_CHECKING:
    from gateway.model import Scalar

GOOD, BAD = Quality.GOOD, Quality.BAD
NUMBER = Conversion(kind=ValueKind.NUMBER)
SWITCH = Conversion(kind=ValueKind.SWITCH)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=30)


@pytest.mark.parametrize(
    ("conversion", "value", "expected"),
    [
        (Conversion(), 21.5, 21.5),
        (Conversion(), "cooling", "cooling"),
        (Conversion(), True, True),
        (Conversion(), "21.5", "21.5"),
        (NUMBER, 21.5, 21.5),
        (NUMBER, "21.5", 21.5),
        (NUMBER, " 640 ", 640),
        (NUMBER, "-1e3", -1000),
        (NUMBER, True, 1),
        (NUMBER, False, 0),
        (NUMBER, "18446744073709551615", 18446744073709551615),
        (SWITCH, True, True),
        (SWITCH, "False", False),
        (SWITCH, "1", 1),
        (Conversion(kind=ValueKind.NUMBER, gain=0.1), 215, 21.5),
        (Conversion(kind=ValueKind.NUMBER, offset=-0.4), 21.8, 21.4),
        (Conversion(kind=ValueKind.NUMBER, gain=1.8, offset=32), 21.5, 70.7),
        (Conversion(kind=ValueKind.NUMBER, gain=2, offset=1), 9007199254740993, 18014398509481987),
        (Conversion(kind=ValueKind.NUMBER, gain=10), True, 10),
        (Conversion(kind=ValueKind.NUMBER, decimals=1), 21.45, 21.5),
        (Conversion(kind=ValueKind.NUMBER, decimals=1), -21.45, -21.5),
        (Conversion(kind=ValueKind.NUMBER, decimals=2), 1e300, 1e300),
        (Conversion(kind=ValueKind.NUMBER, range=(0, 50), clamp=True), 99.5, 50),
        (Conversion(kind=ValueKind.NUMBER, range=(0, 50), clamp=True), -3, 0),
        (Conversion(kind=ValueKind.NUMBER, range=(0, 0.25), clamp=True, decimals=1), 0.25, 0.25),
        (Conversion(kind=ValueKind.NUMBER, range=(0, 50)), 50, 50),
        (Conversion(kind=ValueKind.NUMBER, gain=10, range=(0, 50)), 5, 50),
    ],
)
def test_readings_become_values(conversion: Conversion, value: Scalar, expected: Scalar) -> None:
    """A usable reading gives a value of good quality and of the expected type."""
    converted, quality = compile_conversion(conversion)(value)
    assert (converted, quality) == (expected, GOOD)
    assert isinstance(converted, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(
    "value", [None, math.nan, math.inf, "n/a", "21,5", "", "nan", "inf", "1_000", "٣", "1e999"]
)
@pytest.mark.parametrize(
    "conversion", [NUMBER, SWITCH, Conversion(kind=ValueKind.NUMBER, gain=2, range=(0, 1))]
)
def test_what_is_no_number_is_bad(conversion: Conversion, value: Scalar) -> None:
    """If a number is needed, null, NaN, infinity and other text give no value and bad quality."""
    assert compile_conversion(conversion)(value) == (None, BAD)


@pytest.mark.parametrize("value", [None, math.nan, -math.inf])
def test_null_nan_and_infinity_are_bad(value: Scalar) -> None:
    """Null, NaN and infinity are no value, also for a point that accepts anything."""
    assert compile_conversion(Conversion())(value) == (None, BAD)


def test_outside_the_range_the_value_is_kept_and_bad() -> None:
    """A reading outside `range` is kept, rounded, with bad quality."""
    convert = compile_conversion(Conversion(kind=ValueKind.NUMBER, range=(-20, 60), decimals=1))
    assert convert(85.04) == (85.0, BAD)
    assert convert(-20.01) == (-20.0, BAD)


def test_arithmetic_beyond_floats_is_bad() -> None:
    """A product that is too large for a float is no value."""
    assert compile_conversion(Conversion(kind=ValueKind.NUMBER, gain=1e10))(1e300) == (None, BAD)


@given(whole=st.integers(-(2**53), 2**53), decimals=st.integers(0, 9))
def test_decimals_leave_whole_numbers_as_they_are(whole: int, decimals: int) -> None:
    """Rounding does not change a whole number, however large."""
    value, _ = compile_conversion(Conversion(kind=ValueKind.NUMBER, decimals=decimals))(float(whole))
    assert value == whole


@pytest.mark.parametrize(
    ("gain", "value", "expected"),
    [(0.001, 1_795_507_200_123, 1_795_507_200.123), (0.001, 12_345_678_901_234, 12_345_678_901.234)],
)
def test_gain_keeps_the_digits_of_counters_and_clocks(gain: float, value: int, expected: float) -> None:
    """A gain loses no digit of milliseconds since 1970 or of a large counter."""
    assert compile_conversion(Conversion(kind=ValueKind.NUMBER, gain=gain))(value) == (expected, GOOD)


def test_no_decimals_give_a_whole_number() -> None:
    """`decimals: 0` shows 400, not 400.0."""
    value, _ = compile_conversion(Conversion(kind=ValueKind.NUMBER, gain=1000, decimals=0))(0.4)
    assert repr(value) == "400"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("vacant", (0, GOOD)),
        ("Vacant", (None, BAD)),
        (True, ("yes", GOOD)),
        (False, ("zero", GOOD)),
        ("true", ("yes", GOOD)),
        (1, ("one", GOOD)),
        (1.0, ("one", GOOD)),
        ("1", ("one", GOOD)),
        ("1.0", ("one", GOOD)),
        (2, (None, BAD)),
        ("off", (None, BAD)),
        (None, (None, BAD)),
        (math.nan, (None, BAD)),
    ],
)
def test_a_map_is_looked_up_by_text_number_and_boolean(
    value: Scalar, expected: tuple[Scalar, Quality]
) -> None:
    """Text is looked up as text, numbers by value, booleans as true and false or as 1 and 0."""
    table: dict[str, Scalar] = {"vacant": 0, "true": "yes", "1": "one", "0": "zero", "off": None}
    assert compile_conversion(Conversion(map=table))(value) == expected


def test_gain_and_range_apply_to_mapped_values() -> None:
    """A value from the map is calculated with like a reading."""
    convert = compile_conversion(
        Conversion(kind=ValueKind.NUMBER, map={"low": 1, "high": 9}, gain=10, offset=5, range=(0, 50))
    )
    assert convert("low") == (15, GOOD)
    assert convert("high") == (95, BAD)


@given(word=st.integers(0, 2**64 - 1), first=st.integers(0, 62), width=st.integers(2, 64))
def test_bits_are_picked_from_whole_numbers(word: int, first: int, width: int) -> None:
    """One bit is true or false, several are a number; text counts as the number that it is."""
    last = min(63, first + width - 1)
    digits = f"{word:064b}"[::-1]
    for raw in (word, str(word)):
        one = compile_conversion(Conversion(bits=first, kind=ValueKind.SWITCH))(raw)
        assert one == (digits[first] == "1", GOOD)
        assert isinstance(one[0], bool)
        several = compile_conversion(Conversion(bits=(first, last), kind=ValueKind.NUMBER))(raw)
        assert several == (int(digits[first : last + 1][::-1], 2), GOOD)


@pytest.mark.parametrize("raw", [21.5, -1, -0.5, 2.0**53, True, "on", "1.5", "", None, math.nan, math.inf])
def test_what_is_no_whole_number_from_0_on_has_no_bits(raw: Scalar) -> None:
    """Bits of anything else are no value: a negative number has as many as its register, which is unknown."""
    assert compile_conversion(Conversion(bits=0))(raw) == (None, BAD)


@pytest.mark.parametrize(
    ("bits", "table", "expected"),
    [
        (3, {"0": "ok", "1": "fault"}, "fault"),
        (3, {"false": "ok", "true": "fault"}, "fault"),
        ((2, 3), {"0": "off", "2": "heating"}, "heating"),
    ],
)
def test_bits_are_looked_up_in_a_map(bits: int | tuple[int, int], table: Any, expected: str) -> None:
    """A map applies to the bits, not to the whole reading."""
    assert compile_conversion(Conversion(bits=bits, map=table))(0b1001) == (expected, GOOD)


conversions = st.builds(
    Conversion,
    bits=st.none() | st.integers(0, 63) | st.just((4, 7)),
    kind=st.sampled_from(ValueKind),
    gain=st.sampled_from([1, -1, 0.1, 1000, 1e300]),
    offset=st.sampled_from([0, -0.4, 1e300]),
    range=st.none() | st.just((-20, 60)),
    clamp=st.booleans(),
    decimals=st.none() | st.integers(0, 9),
).filter(lambda conversion: conversion.kind is not ValueKind.ANY or not conversion.calculates)


@given(value=scalars, conversion=conversions)
def test_no_reading_breaks_a_conversion(value: Scalar, conversion: Conversion) -> None:
    """Any reading gives a finite value or none; a good value is inside the range."""
    converted, quality = compile_conversion(conversion)(value)
    if isinstance(converted, float):
        assert math.isfinite(converted)
    assert (converted is None) <= (quality is BAD)
    if conversion.range and quality is GOOD:
        assert isinstance(converted, float | int)
        assert conversion.range[0] <= converted <= conversion.range[1]


@given(tenths=st.integers(-10_000, 10_000), offset=st.integers(-100, 100))
def test_arithmetic_leaves_no_noise(tenths: int, offset: int) -> None:
    """Sums are those of decimal arithmetic: 21.8 - 0.4 is 21.4."""
    convert = compile_conversion(Conversion(kind=ValueKind.NUMBER, offset=offset / 10))
    value, _ = convert(tenths / 10)
    assert Decimal(repr(value)) == (Decimal(tenths) + Decimal(offset)) / 10


@given(value=finite)
def test_numbers_are_unchanged_without_arithmetic(value: float) -> None:
    """Without a calculation, a number is passed on exactly."""
    assert compile_conversion(NUMBER)(value) == (value, GOOD)


BODY = {"data": {"object": {"a": [{"b": 1.5}, None], "name": "x", "x-y": True}}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.data.object.a[0].b", 1.5),
        ("$.data.object.x-y", True),
        ("$.data.object.a[1]", None),
        ("$.data.object.a[2]", NOT_FOUND),
        ("$.data.object.a.b", NOT_FOUND),
        ("$.data.object.name[0]", NOT_FOUND),
        ("$.data.object.name.b", NOT_FOUND),
        ("$.data[0]", NOT_FOUND),
        ("$.data.object.a[1].b", NOT_FOUND),
        ("$.nothing", NOT_FOUND),
        ("$.data.object.a", None),
        ("$.data.object", None),
    ],
)
def test_paths_lead_to_values(path: str, expected: object) -> None:
    """A path finds a value; an object or a list is no usable value; a missing one is no reading."""
    assert compile_path(path)(BODY) is expected or compile_path(path)(BODY) == expected


@given(
    scalars | st.integers().map(str),
    st.sampled_from(
        [
            NUMBER,
            SWITCH,
            Conversion(kind=ValueKind.NUMBER, decimals=0),
            Conversion(kind=ValueKind.NUMBER, gain=1000.0),
        ]
    ),
)
@example("99999999999999999999", NUMBER)
@example(1e30, Conversion(kind=ValueKind.NUMBER, decimals=0))
def test_every_value_can_be_written_as_json(value: Scalar, conversion: Conversion) -> None:
    """No reading becomes a number that JSON cannot hold."""
    converted, _ = compile_conversion(conversion)(value)
    assert orjson.loads(orjson.dumps(converted)) == converted


@pytest.mark.parametrize("path", ["$", "$.", "$..a", "$.a[x]", "$.a[-1]", "$.a b", "$.a[", "a.b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    """The message for an invalid path has an example."""
    with pytest.raises(ValueError, match=r"written like \$\.data"):
        compile_path(path)
