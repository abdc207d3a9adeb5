"""The values of a point table: the type of each, with its check and its JSON Schema for editors."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from gateway.config.decode import FieldError
from gateway.mapping.paths import compile_path
from gateway.mapping.registers import HIGHEST_ADDRESS, HIGHEST_BIT, TYPE_NAMES, parse_type
from gateway.mapping.topics import TOPIC_PATTERN, check_level, check_tag_pattern, check_topic
from gateway.model import PSEUDO_SOURCES

_SCHEMA = "gateway.points/1"
_LEVEL = r"(?![$\s])[^/+#]*[^/+#\s]"
_STRING_TYPE = r"^string\(([1-9][0-9]?|1[0-9]{2}|2[0-3][0-9]|24[0-6])\)$"
_TAG_PART = r"([^/+#{}]|\{\{|\}\}|\{(name|id|location|model)\})*"


def _check_schema(text: str) -> str:
    if text != _SCHEMA:
        raise FieldError(f"this version reads {_SCHEMA}", value=text)
    return text


def _check_source(text: str) -> str:
    if text.startswith(("$.", "$[")):
        compile_path(text)
    elif text.startswith("$") and text not in PSEUDO_SOURCES:
        raise ValueError(f"unknown; known are a telemetry key, $.data.object…, {', '.join(PSEUDO_SOURCES)}")
    return text


def _check_type(text: str) -> str:
    parse_type(text)
    return text


def _check_factor(number: float) -> float:
    if number == 0:
        raise ValueError("must not be 0, it would make every value 0")
    return number


def _check_range(limits: tuple[int | float, int | float]) -> tuple[int | float, int | float]:
    if limits[0] >= limits[1]:
        raise ValueError(f"is [lowest, highest], but {limits[0]} is not less than {limits[1]}")
    return limits


def _check_reserve(registers: tuple[int, int]) -> tuple[int, int]:
    if registers[0] > registers[1]:
        raise ValueError(f"is [first, last], but {registers[0]} is more than {registers[1]}")
    return registers


def _pattern(pattern: str, *words: str) -> WithJsonSchema:
    """Return a JSON Schema for editors: a pattern, and words to complete."""
    by_pattern = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [{"enum": words}, by_pattern]} if words else by_pattern)


SchemaName = Annotated[str, AfterValidator(_check_schema), WithJsonSchema({"const": _SCHEMA})]
Text = Annotated[str, Field(min_length=1)]
Level = Annotated[str, AfterValidator(check_level), _pattern(f"^{_LEVEL}$")]
Topic = Annotated[str, AfterValidator(check_topic), _pattern(TOPIC_PATTERN)]
Source = Annotated[Text, AfterValidator(_check_source), _pattern(r"^([^$]|\$[.\[])", *PSEUDO_SOURCES)]
Type = Annotated[str, AfterValidator(_check_type), _pattern(_STRING_TYPE, *TYPE_NAMES)]
Number = int | float
Factor = Annotated[
    Number, AfterValidator(_check_factor), WithJsonSchema({"type": "number", "not": {"const": 0}})
]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]
Value = bool | int | float | str | None
Tag = bool | int | float | Text | Annotated[tuple[Text, ...], Field(min_length=1)]
Address = Annotated[int, Field(ge=0, le=HIGHEST_ADDRESS)]
Modicon = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 465536},
                {"type": "string", "pattern": "^[0134][0-9]{4,5}$"},
            ]
        }
    ),
]
BitPosition = Annotated[int, Field(ge=0, le=HIGHEST_BIT)]
UnitId = Annotated[int, Field(ge=0, le=255)]
Stride = Annotated[int, Field(ge=1, le=HIGHEST_ADDRESS + 1)]
Reserve = Annotated[tuple[Address, Address], AfterValidator(_check_reserve)]
TagPattern = Annotated[
    Text, AfterValidator(check_tag_pattern), _pattern(rf"^(?!\$){_TAG_PART}\{{(name|id)\}}{_TAG_PART}$")
]
