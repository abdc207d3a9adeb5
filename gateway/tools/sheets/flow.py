"""Values as one line of YAML, written so that every reader of YAML understands what we mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.config.yaml_tree import resolve

_PLAIN = re.compile(r"[A-Za-z$_°µ](?:[\w$./()%°+*-]|(?<!\s) (?=\S))*")
_DURATION = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h|d)")
_NUMBER_KEY = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
_WORDS_OF_OLD = frozenset(
    {"y", "n", "yes", "no", "on", "off"}
)  # booleans in YAML 1.1, which editors may read
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONGEST_SHORT_ESCAPE, _LONGEST_MEDIUM_ESCAPE = 0xFF, 0xFFFF


def flow(value: Any) -> str:
    """Return a scalar, list or mapping in flow style. Numbers keep their type: 1 and 1.0 differ."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else text(str(value))


def text(value: str) -> str:
    """Return text plain where it would be read as just that text, otherwise in double quotes."""
    is_plain = _PLAIN.fullmatch(value) and value.isprintable() and value.lower() not in _WORDS_OF_OLD
    if _DURATION.fullmatch(value) or (is_plain and isinstance(resolve(value), str)):
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _key(key: str) -> str:
    """Keys are text whatever they look like, so numbers and booleans need no quotes there."""
    return key if _NUMBER_KEY.fullmatch(key) or key in {"true", "false"} else text(key)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code <= _LONGEST_SHORT_ESCAPE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _LONGEST_MEDIUM_ESCAPE else f"\\U{code:08x}"
