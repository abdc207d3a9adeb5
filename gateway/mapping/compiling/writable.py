"""Whether a point's registers can be written into the controller that the table names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mapping.notation import BIT_TABLES
from gateway.model import RegisterTable, StalePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.compiling.blocks import Block
    from gateway.mapping.compiling.draft import Draft
    from gateway.model import WriteLimits

_CLIENT = "modbus_client"
_READ_ONLY = {
    RegisterTable.INPUT: "input registers can only be read: write into holding registers",
    RegisterTable.DISCRETE: "discrete inputs can only be read: write into coils",
}


def check_writable(draft: Draft, *, sinks: Mapping[str, str], limits: Mapping[str, WriteLimits]) -> None:
    """Refuse what a Modbus client could never write. `sinks`: name → type; `limits`: of clients, by name."""
    blocks = [block for block in draft.blocks if sinks.get(block.register.sink) == _CLIENT]
    for block in blocks:
        register = block.register
        if register.table in _READ_ONLY:
            message = f"{_READ_ONLY[register.table]}; {register.sink} is a controller"
            _report(draft, block, message, "table", "modicon")
        elif register.sink in limits:
            _check_limits(draft, block, limits[register.sink])
    if blocks:
        _check_stand_in(draft)


def _check_limits(draft: Draft, block: Block, limits: WriteLimits) -> None:
    register = block.register
    if limits.is_serial and register.unit == 0:
        _report(draft, block, "unit 0 is all units of a serial line at once, and none answers", "unit")
    elif not limits.allow_unit(register.unit):
        allowed = ", ".join(map(str, sorted(limits.units or ())))
        message = f"unit {register.unit} may not be written to; `units` of {register.sink} has {allowed}"
        _report(draft, block, message, "unit")
    one, several = (5, 15) if register.table in BIT_TABLES else (6, 16)
    known = f"`functions` of {register.sink} has {', '.join(map(str, sorted(limits.functions)))}"
    if register.words > 1 and several not in limits.functions:
        message = f"has {register.words} registers, which only function {several} writes as a whole; {known}"
        _report(draft, block, message, "type")
    elif not limits.functions & {one, several}:
        what = "coils need" if register.table in BIT_TABLES else "registers need"
        _report(draft, block, f"{what} {one} or {several}; {known}", "table", "modicon")


def _check_stand_in(draft: Draft) -> None:
    """Refuse a value for bad times that the point's own range keeps from being written."""
    limits, value = draft.conversion.range, draft.on_stale.value
    if draft.on_stale.policy is not StalePolicy.VALUE or limits is None or value is None:
        return
    if isinstance(value, str) or not limits[0] <= value <= limits[1]:
        message = f"is outside of `range`, {limits[0]} to {limits[1]}, and so never written into a controller"
        draft.layers.report(message, "on_stale", "value")


def _report(draft: Draft, block: Block, message: str, *keys: str) -> None:
    """Report at the first of these keys that is written; at the whole block where a default says it."""
    layers = draft.layers
    for key in keys:
        steps = (*block.steps, key)
        if layers.place_of(*steps).has(*steps):
            layers.report(message, *steps)
            return
    layers.report(message, *block.steps)
