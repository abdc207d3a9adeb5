"""Values as YAML text for generated point tables, readable in the same way by YAML 1.1 and 1.2 parsers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gateway.config.yaml_tree import resolve

_UNQUOTED = re.compile(r"[A-Za-z$_°µ](?:[\w$./()%°+*-]|(?<!\s) (?=\S))*")
_DURATION = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h|d)")
_NUMBER_KEY = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
_YAML_1_1_BOOLEANS = frozenset({"y", "n", "yes", "no", "on", "off"})
_LARGEST_SHORT_ESCAPE = 0xFFFF
_WIDEST_LINE = 110


def flow_text(value: Any) -> str:
    """Return a scalar, list or mapping in flow style. Numbers keep their type: 1 and 1.0 differ."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_key_text(str(key))}: {flow_text(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow_text(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else string_text(str(value))


def string_text(value: str) -> str:
    """Return a string, quoted if it would be read as anything else."""
    is_unquoted = (
        _UNQUOTED.fullmatch(value) and value.isprintable() and value.lower() not in _YAML_1_1_BOOLEANS
    )
    if _DURATION.fullmatch(value) or (is_unquoted and isinstance(resolve(value), str)):
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def wrapped_mapping(lead: str, keys: Mapping[str, Any]) -> list[str]:
    """Return the lines of a flow mapping that begins with `lead`, wrapped between its pairs."""
    lines, line = [], f"{lead}{{"
    for index, (key, value) in enumerate(keys.items()):
        pair = f"{key}: {flow_text(value)}" + ("}" if index == len(keys) - 1 else ",")
        is_start = line.endswith("{")
        if not is_start and len(line) + 1 + len(pair) > _WIDEST_LINE:
            lines.append(line)
            line = f"{' ' * (len(lead) + 1)}{pair}"
        else:
            line += pair if is_start else f" {pair}"
    return [*lines, line]


def _key_text(key: str) -> str:
    """Return a key; numbers and booleans need no quotes there, because keys are always strings."""
    return key if _NUMBER_KEY.fullmatch(key) or key in {"true", "false"} else string_text(key)


def _escaped(character: str) -> str:
    if character.isprintable() and character not in '"\\':
        return character
    code = ord(character)
    return json.dumps(character)[1:-1] if code <= _LARGEST_SHORT_ESCAPE else f"\\U{code:08x}"
