"""Keys laid over others: of one asset over its template's point, a template's defaults over its file's."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.mapping.notation import parse_modicon
from gateway.mapping.table import Defaults, PointKeys
from gateway.mapping.table_outputs import ModbusDefaults, ModbusKeys

if TYPE_CHECKING:
    from gateway.model import RegisterTable

Keys = TypeVar("Keys", PointKeys, ModbusKeys, Defaults, ModbusDefaults)


def merge_point(point: PointKeys, override: PointKeys) -> PointKeys:
    """Return the point with every key that the override writes in place of its own.

    Two single register blocks are merged key by key, and so are tags; a list of blocks replaces whatever
    was there.
    """
    given = _written(override, PointKeys)
    if isinstance(point.modbus, ModbusKeys) and isinstance(override.modbus, ModbusKeys):
        given["modbus"] = _merge_block(point.modbus, override.modbus)
    if point.tags and override.tags:
        given["tags"] = point.tags | override.tags
    return _with(point, given)


def merge_defaults(defaults: Defaults, override: Defaults) -> Defaults:
    """Return the defaults with every key that the override writes in place of their own."""
    modbus = _with(defaults.modbus, _written(override.modbus, ModbusDefaults))
    return _with(defaults, _written(override, Defaults) | {"modbus": modbus})


def _merge_block(block: ModbusKeys, override: ModbusKeys) -> ModbusKeys:
    """Merge key by key; an address written in one way displaces one written in the other.

    The table that a displaced `modicon` said stays.
    """
    given = _written(override, ModbusKeys)
    if "modicon" in given:
        given = {"register": None, "table": None} | given
    elif "register" in given:
        given = {"modicon": None, "table": block.table or _said_by(block.modicon)} | given
    return _with(block, given)


def _said_by(number: int | str | None) -> RegisterTable | None:
    """Return the table of a modicon number; None where it is none, which is reported at its own place."""
    try:
        return None if number is None else parse_modicon(number)[0]
    except ValueError:
        return None


def _written(keys: Any, shape: type[Keys]) -> dict[str, Any]:
    given = {field.name: getattr(keys, field.name) for field in fields(shape)}
    return {name: value for name, value in given.items() if value is not None}


def _with(keys: Keys, changes: dict[str, Any]) -> Keys:
    """Change a copy: both sides were checked when they were read, so nothing is checked again."""
    merged = copy.copy(keys)
    for name, value in changes.items():
        object.__setattr__(merged, name, value)
    return merged
