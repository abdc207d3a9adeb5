"""BACnet object types: what a point is, which states it has, and which values its object refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mapping.convert import compile_conversion
from gateway.mapping.object_types import ObjectShape, object_error, object_shape
from gateway.model import Conversion, ObjectType, Quality, Register, RegisterTable, Scalar, ValueKind

ANALOG, LARGE = ObjectType.ANALOG_INPUT, ObjectType.LARGE_ANALOG_VALUE
BINARY, MULTI_STATE = ObjectType.BINARY_INPUT, ObjectType.MULTI_STATE_INPUT
TEXT = ObjectType.CHARACTERSTRING_VALUE
NUMBER = ValueKind.NUMBER
DAMPER = {"shut": "closed", "half": 50, "open": "open", "opened": "open", "lost": None}


def register(kind: str) -> Register:
    """Return a register of this type."""
    return Register("regs", 1, RegisterTable.INPUT, 0, kind, 1, bit=0 if kind == "bit" else None)


def shape(
    source: str = "t",
    *types: str,
    written: ObjectType | None = None,
    is_measure: bool = False,
    **keys: object,
) -> ObjectShape:
    """Return the shape of a point with registers of these types and keys of its conversion."""
    conversion = Conversion(**keys)  # type: ignore[arg-type] # keys of all types
    return object_shape(written, source, conversion, map(register, types), is_measure=is_measure)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (shape(), ObjectShape(ANALOG)),
        (shape("t", "float32", kind=NUMBER), ObjectShape(ANALOG)),
        (shape("t", "string"), ObjectShape(TEXT)),
        (shape("t", "bit", kind=ValueKind.SWITCH), ObjectShape(BINARY)),
        (shape(bits=3, kind=ValueKind.SWITCH), ObjectShape(BINARY)),
        (shape("t", "uint16", bits=3, kind=NUMBER), ObjectShape(BINARY)),
        (shape(bits=(0, 3), kind=NUMBER), ObjectShape(ANALOG)),
        (shape(map={"on": 1, "off": 0, "idle": 0}), ObjectShape(BINARY, (0, 1), ("off", "on"))),
        (shape(map={"dry": False, "wet": True}), ObjectShape(BINARY, (False, True), ("dry", "wet"))),
        (shape(map={"vent": 3, "heat": 1}), ObjectShape(MULTI_STATE, (3, 1), ("vent", "heat"))),
        (
            shape(map=DAMPER),
            ObjectShape(MULTI_STATE, ("closed", 50, "open"), ("closed", "half", "open")),
        ),
        (shape(map={"low": 10, "high": 20}, is_measure=True), ObjectShape(ANALOG)),
        (shape(map={"low": 10, "high": 20}, gain=2, kind=NUMBER), ObjectShape(ANALOG)),
        (shape(map={"a": "low"}, is_measure=True), ObjectShape(MULTI_STATE, ("low",), ("low",))),
        (shape("$age"), ObjectShape(ANALOG)),
        (shape("$online"), ObjectShape(BINARY, (0, 1), ("offline", "online"))),
        (
            shape("$quality"),
            ObjectShape(
                MULTI_STATE,
                (0, 1, 2, 3, 4, 5, None),
                ("good", "held", "stale", "bad", "forced", "offline", "no reading"),
            ),
        ),
        (shape(written=LARGE, kind=NUMBER), ObjectShape(LARGE)),
        (shape(written=BINARY), ObjectShape(BINARY)),
        (shape(written=TEXT), ObjectShape(TEXT)),
        (shape(written=TEXT, map={"a": "low"}), ObjectShape(TEXT)),
        (
            shape(written=MULTI_STATE, map={"on": 1, "off": 0}),
            ObjectShape(MULTI_STATE, (1, 0), ("on", "off")),
        ),
        (
            shape(written=MULTI_STATE, map={"low": 1, "high": 2}, gain=10, kind=NUMBER),
            ObjectShape(MULTI_STATE, (10, 20), ("low", "high")),
        ),
        (shape("$quality", written=ANALOG), ObjectShape(ANALOG)),
    ],
)
def test_a_point_has_the_object_type_of_its_values(found: ObjectShape, expected: ObjectShape) -> None:
    """Type and states follow from the keys of the point, or from the written type where it is possible."""
    assert found == expected


@pytest.mark.parametrize(
    ("written", "keys", "reason"),
    [
        (
            BINARY,
            {"map": {"a": 0, "b": 1, "c": 2}},
            "gives 0, 1, 2; write multi-state-input, or leave it out",
        ),
        (BINARY, {"gain": 2.0, "kind": NUMBER}, "the point shows numbers; write analog-input"),
        (BINARY, {"source": "$quality"}, "the point shows numbers; write multi-state-input"),
        (ANALOG, {"map": {"a": "low", "b": "high"}}, "`map` gives text; write multi-state-input"),
        (LARGE, {"map": {"a": "low", "b": 1}}, "`map` gives text; write multi-state-input"),
        (MULTI_STATE, {}, "needs a `map`, whose values on the right are its states; write analog-input"),
        (TEXT, {"kind": NUMBER}, "shows text, but the point shows none; write analog-input"),
        (TEXT, {"map": {"a": 1, "b": 2}}, "the point shows none; write multi-state-input"),
        (TEXT, {"source": "$quality"}, "the point shows none; write multi-state-input"),
    ],
)
def test_a_type_that_cannot_show_the_point_is_refused(
    written: ObjectType, keys: dict[str, object], reason: str
) -> None:
    """The message names the type, the contradiction and the type to write."""
    with pytest.raises(ValueError, match=rf"^{written} .*{reason}"):
        shape(written=written, **keys)  # type: ignore[arg-type] # keys of all types


@pytest.mark.parametrize(
    ("shown", "value", "reason"),
    [
        (ObjectShape(ANALOG), "idle", "analog-input holds numbers, not the text 'idle': write a `map`, or"),
        (ObjectShape(LARGE), "idle", "large-analog-value holds numbers, not the text"),
        (
            ObjectShape(ObjectType.CHARACTERSTRING_VALUE),
            "ä" * 701,
            "holds 1,400 bytes of text, not 1,402: if",
        ),
        (ObjectShape(ANALOG), 1e39, "1e+39 is beyond analog-input: write `bacnet: {object: large-analog-"),
        (ObjectShape(BINARY), 2, "not 2: write a `map` to 0 and 1, or `bacnet: {object: analog-input}`"),
        (ObjectShape(BINARY), "on", "not 'on': write a `map` to 0 and 1, or `bacnet: {object: character"),
        (
            ObjectShape(MULTI_STATE, (1, 2), ("a", "b")),
            3,
            "3 is no state of its multi-state-input, which has 1",
        ),
    ],
)
def test_a_value_that_an_object_cannot_hold_has_a_reason(
    shown: ObjectShape, value: Scalar, reason: str
) -> None:
    """The reason names the value, the object type and what to write."""
    assert reason in (object_error(shown, value) or "")


OUTPUTS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "low", "1"])
READINGS = st.sampled_from(["a", "b", "true", "0", "1", "2", True, False, 0, 1, 2.0, None, "x"])


@given(
    table=st.dictionaries(st.sampled_from(["a", "b", "true", "0", "1", "2"]), OUTPUTS, min_size=1),
    raw=READINGS,
)
def test_every_value_of_a_map_is_held_by_its_object(table: dict[str, Scalar], raw: Scalar) -> None:
    """Whatever a map gives for a reading is a state of the point's object, or a number that it holds."""
    conversion = Conversion(map=table)
    value, quality = compile_conversion(conversion)(raw)
    found = object_shape(None, "t", conversion, (), is_measure=False)
    if quality is Quality.GOOD:
        assert object_error(found, value) is None
        assert not found.values or value in found.values
    assert len(set(found.values)) == len(found.values) == len(found.texts)
