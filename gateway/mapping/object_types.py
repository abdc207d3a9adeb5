"""BACnet objects: the type that a point has, its states, and values that an object cannot hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.convert import compile_conversion
from gateway.model import PSEUDO_SOURCES, ObjectType, Quality, ValueKind
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


_GATEWAY_STATES: dict[str, dict[Scalar, str]] = {  # of what the gateway makes itself
    "$quality": {**{quality.value: quality.name.lower() for quality in Quality}, None: "no reading"},
    "$online": {0: "offline", 1: "online"},
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
    is_number = is_measure or conversion.calculates or isinstance(conversion.bits, tuple)
    of_map = {} if source in PSEUDO_SOURCES else _map_states(conversion)  # to which no map applies
    states = _GATEWAY_STATES.get(source, of_map)
    is_of_gateway = source in _GATEWAY_STATES
    if is_of_gateway or (states and (not is_number or _has_text(states))):
        usual = ObjectType.BINARY_INPUT if states.keys() == _BINARY else ObjectType.MULTI_STATE_INPUT
    elif is_number or source == "$age":
        usual = ObjectType.ANALOG_INPUT
    else:
        usual = ObjectType.BINARY_INPUT if is_boolean else _type_of_registers(conversion, registers)
    if written is None or written is usual:
        return _with_states(usual, states)
    if problem := _type_problem(written, of_map, conversion, is_number=is_number or is_of_gateway):
        raise ValueError(f"{written} {problem}; write {usual}, or leave it out")
    return _with_states(written, of_map)


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


def _type_of_registers(conversion: Conversion, registers: Iterable[Register]) -> ObjectType:
    types = {register.type for register in registers}
    if conversion.kind is ValueKind.SWITCH or conversion.bits is not None or "bit" in types:
        return ObjectType.BINARY_INPUT
    return ObjectType.CHARACTERSTRING_VALUE if "string" in types else ObjectType.ANALOG_INPUT


def _with_states(kind: ObjectType, states: dict[Scalar, str]) -> ObjectShape:
    """Return the shape of an object, with the states that its type shows: all, or inactive and active."""
    if kind is ObjectType.BINARY_INPUT and states.keys() == _BINARY:
        return ObjectShape(kind, (0, 1), (states[0], states[1]))
    if kind is ObjectType.MULTI_STATE_INPUT:
        return ObjectShape(kind, tuple(states), tuple(states.values()))
    return ObjectShape(kind)


def _has_text(states: Iterable[Scalar]) -> bool:
    return any(isinstance(value, str) for value in states)


def _type_problem(
    written: ObjectType, states: dict[Scalar, str], conversion: Conversion, *, is_number: bool
) -> str | None:
    """Return why a point cannot be an object of another type than its usual one, or None if it can."""
    if written in NUMBERS:
        return "shows numbers, but `map` gives text" if _has_text(states) else None
    if written is ObjectType.MULTI_STATE_INPUT:
        return None if states else "needs a `map`, whose values on the right are its states"
    if written is ObjectType.BINARY_INPUT:
        if states and not states.keys() <= _BINARY:
            values = short_list([str(value) for value in states])
            return f"shows 0 and 1, or false and true, but `map` gives {values}"
        return "shows 0 and 1, but the point shows numbers" if is_number and not states else None
    may_be_text = not (states or is_number) and conversion.kind is ValueKind.ANY
    return None if may_be_text or _has_text(states) else "shows text, but the point shows none"


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
    held = f"characterstring-value holds {_LONGEST_TEXT:,} bytes of text, not {size:,}"
    return f"{held}: if that is usual, write `bacnet: false`"


def _state_error(states: Sequence[Scalar], value: Scalar) -> str:
    known = short_list([str(each) for each in states])
    return f"{value!r} is no state of its multi-state-input, which has {known}: write it into `map`"


def _binary_error(value: Scalar) -> str:
    other = "characterstring-value" if isinstance(value, str) else "analog-input"
    advice = f"write a `map` to 0 and 1, or `bacnet: {{object: {other}}}`"
    return f"binary-input holds 0, 1, true or false, not {value!r}: {advice}"


def _number_error(kind: ObjectType, value: str | float) -> str | None:
    if isinstance(value, str):
        advice = "write a `map`, or `bacnet: {object: characterstring-value}`"
        return f"{kind} holds numbers, not the text {value!r}: {advice}"
    if kind is ObjectType.ANALOG_INPUT and not abs(value) <= _HIGHEST_REAL:
        return f"{value!r} is beyond analog-input: write `bacnet: {{object: large-analog-value}}`"
    return None
