"""BACnet objects: the type that a point has, its states, and values that an object cannot hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.convert import compile_conversion
from gateway.model import ObjectType, Quality, ValueKind
from gateway.text import short_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import BacnetObject, Conversion, Point, Register, Scalar

HIGHEST_INSTANCE = 4_194_302  # 4,194,303 means any instance (ANSI/ASHRAE 135, clause 20.2.14)
EXACT_TO = 16_777_216
"""Above it, the REAL of an analog-input skips whole numbers (IEEE 754, 24 bits)."""
_LONGEST_TEXT = 1400  # bytes in UTF-8: with it, a notification fits into an APDU and a datagram
_HIGHEST_REAL = 3.4028234663852886e38
NUMBERS = frozenset({ObjectType.ANALOG_INPUT, ObjectType.LARGE_ANALOG_VALUE})
_AGE_INCREMENT_S = 60
"""An age changes every second: without `cov`, subscribers of many assets would be flooded."""
_BINARY = {0, 1}  # equal to False and True


class ObjectShape(NamedTuple):
    """What is the same for the objects of one point on all sinks; `values` and `texts` as in BacnetObject."""

    type: ObjectType
    values: tuple[Scalar, ...] = ()
    texts: tuple[str, ...] = ()


_PSEUDO_SHAPES = {
    "$quality": ObjectShape(
        ObjectType.MULTI_STATE_INPUT,
        (*(quality.value for quality in Quality), None),
        (*(quality.name.lower() for quality in Quality), "no reading"),
    ),
    "$age": ObjectShape(ObjectType.ANALOG_INPUT),
    "$online": ObjectShape(ObjectType.BINARY_INPUT, (0, 1), ("offline", "online")),
}


def object_shape(
    written: ObjectType | None,
    source: str,
    conversion: Conversion,
    registers: Iterable[Register],
    *,
    is_measure: bool,
    is_boolean: bool = False,
) -> ObjectShape:
    """Return type and states of a point's object. `is_measure`: the point has a unit or a deadband.

    `written`: the type that the table states; `is_boolean`: the point is computed, and true or false. Raises
    ValueError if the point cannot be of the written type.
    """
    shows_numbers = is_measure or conversion.calculates or isinstance(conversion.bits, tuple)
    states = _map_states(conversion)
    usual = _PSEUDO_SHAPES.get(source) or _usual_shape(
        conversion, registers, states, shows_numbers=shows_numbers, is_boolean=is_boolean
    )
    if written is None or written is usual.type:
        return usual
    if problem := _type_problem(written, usual, states, conversion, shows_numbers=shows_numbers):
        raise ValueError(f"{written} {problem}")
    if written in {ObjectType.MULTI_STATE_INPUT, ObjectType.BINARY_INPUT}:
        return _with_states(written, states)
    return ObjectShape(written)


def _map_states(conversion: Conversion) -> dict[Scalar, str]:
    """Return the text of each value that a map gives, in the table's order; equal values are one state."""
    convert = compile_conversion(replace(conversion, bits=None))
    states: dict[Scalar, str] = {}
    for key, output in (conversion.map or {}).items():
        if isinstance(output, str) and conversion.calculates:
            continue  # a problem of its own
        value, quality = convert(key)
        if quality is Quality.GOOD:
            states.setdefault(value, output if isinstance(output, str) else key)
    return states


def _usual_shape(
    conversion: Conversion,
    registers: Iterable[Register],
    states: dict[Scalar, str],
    *,
    shows_numbers: bool,
    is_boolean: bool,
) -> ObjectShape:
    if states and (not shows_numbers or _has_text(states)):
        is_binary = states.keys() == _BINARY
        return _with_states(ObjectType.BINARY_INPUT if is_binary else ObjectType.MULTI_STATE_INPUT, states)
    if shows_numbers:
        return ObjectShape(ObjectType.ANALOG_INPUT)
    types = {register.type for register in registers}
    is_switch = conversion.kind is ValueKind.SWITCH or conversion.bits is not None or "bit" in types
    if is_boolean or is_switch:
        return ObjectShape(ObjectType.BINARY_INPUT)
    return ObjectShape(ObjectType.CHARACTERSTRING_VALUE if "string" in types else ObjectType.ANALOG_INPUT)


def _with_states(kind: ObjectType, states: dict[Scalar, str]) -> ObjectShape:
    if kind is ObjectType.BINARY_INPUT:
        if states.keys() != _BINARY:
            return ObjectShape(kind)
        states = {value: states[value] for value in (0, 1)}
    return ObjectShape(kind, tuple(states), tuple(states.values()))


def _has_text(states: Iterable[Scalar]) -> bool:
    return any(isinstance(value, str) for value in states)


def _type_problem(
    written: ObjectType,
    usual: ObjectShape,
    states: dict[Scalar, str],
    conversion: Conversion,
    *,
    shows_numbers: bool,
) -> str | None:
    """Return why a point cannot be an object of another type than its usual one, or None if it can."""
    instead = f"; write {usual.type}, or leave it out"
    if written in NUMBERS:
        return f"shows numbers, but `map` gives text{instead}" if _has_text(states) else None
    if written is ObjectType.MULTI_STATE_INPUT:
        return None if states else f"needs a `map`, whose values on the right are its states{instead}"
    if written is ObjectType.BINARY_INPUT:
        if states and not states.keys() <= _BINARY:
            values = short_list([str(value) for value in states])
            return f"shows 0 and 1, or false and true, but `map` gives {values}{instead}"
        is_number = not states and (shows_numbers or usual.type is ObjectType.MULTI_STATE_INPUT)
        return f"shows 0 and 1, but the point shows numbers{instead}" if is_number else None
    is_text = _has_text(states) or (not states and conversion.kind is ValueKind.ANY and not usual.values)
    return None if is_text else f"shows text, but the point shows none{instead}"


def cov_increment(point: Point, kind: ObjectType) -> float:
    """Return the COV_Increment of a point's object: its deadband, 0 without one, but a minute for an age."""
    if kind not in NUMBERS:
        return 0.0
    if point.cov is not None:
        return point.cov.delta
    return _AGE_INCREMENT_S if point.source == "$age" else 0.0


def object_error(shown: BacnetObject | ObjectShape, value: Scalar) -> str | None:
    """Return why an object cannot hold a point's value, and what to write, or None if it can.

    Every object can show that there is no value (None); a characterstring-value holds everything as text.
    """
    kind = shown.type
    if value is None:
        return None
    if kind is ObjectType.CHARACTERSTRING_VALUE:
        return _text_error(str(value))
    if kind is ObjectType.MULTI_STATE_INPUT:
        return None if value in shown.values else _state_error(shown.values, value)
    if kind is ObjectType.BINARY_INPUT:
        return None if value in _BINARY else _binary_error(value)
    return _number_error(kind, value)


def _text_error(text: str) -> str | None:
    size = len(text.encode("utf-8", "replace"))
    if size <= _LONGEST_TEXT:
        return None
    held = f"{ObjectType.CHARACTERSTRING_VALUE} holds {_LONGEST_TEXT:,} bytes of text, not {size:,}"
    return f"{held}: if that is usual, write `bacnet: false`"


def _state_error(states: Sequence[Scalar], value: Scalar) -> str:
    known = short_list([str(each) for each in states])
    return (
        f"{value!r} is no state of its {ObjectType.MULTI_STATE_INPUT}, which has {known}: write it into `map`"
    )


def _binary_error(value: Scalar) -> str:
    other = ObjectType.CHARACTERSTRING_VALUE if isinstance(value, str) else ObjectType.ANALOG_INPUT
    advice = f"write a `map` to 0 and 1, or `bacnet: {{object: {other}}}`"
    return f"{ObjectType.BINARY_INPUT} holds 0, 1, true or false, not {value!r}: {advice}"


def _number_error(kind: ObjectType, value: str | float) -> str | None:
    if isinstance(value, str):
        advice = f"write a `map`, or `bacnet: {{object: {ObjectType.CHARACTERSTRING_VALUE}}}`"
        return f"{kind} holds numbers, not the text {value!r}: {advice}"
    if kind is ObjectType.ANALOG_INPUT and not abs(value) <= _HIGHEST_REAL:
        return f"{value!r} is beyond {kind}: write `bacnet: {{object: {ObjectType.LARGE_ANALOG_VALUE}}}`"
    return None
