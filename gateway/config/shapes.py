"""What the shape of a file knows about its keys, read from the schema that pydantic checks against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def known_keys(schema: Any, loc: Sequence[str | int]) -> list[str]:
    """Return the keys that stand beside the last step of `loc`, a place as pydantic's errors have it.

    Empty where the shape does not list its keys.
    """
    definitions: dict[str, Any] = {}
    for fields in _mappings_at(schema, list(loc[:-1]), definitions):
        return [_key(field) for field in fields]
    return []


def _mappings_at(
    schema: Any, steps: list[str | int], definitions: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the fields of every dataclass that `steps` can lead to."""
    if schema["type"] == "dataclass-args" and not steps:
        yield schema["fields"]
    for inner in _unwrapped(schema, definitions):
        yield from _mappings_at(inner, steps, definitions)
    for inner in _next(schema, steps[0]) if steps else ():
        yield from _mappings_at(inner, steps[1:], definitions)


def _unwrapped(schema: Any, definitions: dict[str, Any]) -> list[Any]:
    """Return what stands at the same place in the file, one layer further in."""
    match schema:
        case {"type": "definitions", "schema": inner}:
            definitions |= {definition["ref"]: definition for definition in schema["definitions"]}
            return [inner]
        case {"type": "definition-ref", "schema_ref": reference}:
            return [definitions[reference]]
        case {"type": "json-or-python", "json_schema": inner}:
            return [inner]
        case {"schema": inner}:  # a default, None allowed, validators, the dataclass around its keys
            return [inner]
    return []


def _next(schema: Any, step: str | int) -> list[Any]:
    """Return what one step of a `loc` leads to: a key, an index, or the label of an alternative."""
    match schema:
        case {"type": "dataclass-args", "fields": fields}:
            return [field["schema"] for field in fields if step in {field["name"], _key(field)}]
        case {"type": "tuple", "items_schema": choices}:
            return list(choices)
        case {"values_schema": inner} | {"items_schema": inner}:  # dict, list, set
            return [inner]
        case {"type": "union"}:
            return _choices(schema, step)
        case {"type": "tagged-union", "choices": choices}:
            return [choices[step]] if step in choices else []
    return []


def _choices(schema: Any, label: str | int) -> list[Any]:
    """Return the choices of a union that `label` can mean, dataclasses by their name."""
    choices = [choice[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]]
    return [choice for choice in choices if _class_name(choice) == label] or choices


def _class_name(schema: Any) -> str | None:
    return schema["cls"].__name__ if schema["type"] == "dataclass" else None


def _key(field: dict[str, Any]) -> str:
    return str(field.get("validation_alias", field["name"]))
