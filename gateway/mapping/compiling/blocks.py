"""One `modbus:` block together with its file's defaults: checked, and ready to be put at an address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.notation import BIT_TABLES, parse_modicon
from gateway.mapping.registers import HIGHEST_ADDRESS, is_orderable, is_scalable, parse_type
from gateway.model import ByteOrder, Register, RegisterTable
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mapping.compiling.places import Layers, Steps
    from gateway.mapping.table_outputs import ModbusDefaults, ModbusKeys

_MODICON_TABLES = {3, 4}  # first digits of input and holding registers


@dataclass(frozen=True, slots=True)
class Block:
    """A register whose address may still be relative to an asset's `base`. `steps`: where in its point."""

    register: Register
    is_relative: bool
    steps: Steps

    def end(self, base: int) -> int:
        """Return the last PDU address it covers."""
        return self.register.address + (base if self.is_relative else 0) + self.register.words - 1

    def at(self, base: int) -> Register:
        """Return the register at its final address."""
        plain = self.register
        if not self.is_relative or not base:
            return plain
        return Register(
            sink=plain.sink,
            unit=plain.unit,
            table=plain.table,
            address=plain.address + base,
            type=plain.type,
            words=plain.words,
            order=plain.order,
            scale=plain.scale,
            bit=plain.bit,
        )


def read_blocks(
    modbus: ModbusKeys | tuple[ModbusKeys, ...] | None,
    layers: Layers,
    *,
    defaults: ModbusDefaults,
    sinks: Mapping[str, str],
    is_relative: bool,
) -> tuple[Block, ...]:
    """Return the usable blocks of a point and report the others. `sinks`: name → type."""
    if modbus is None:
        return ()
    listed = isinstance(modbus, tuple)
    blocks = []
    for index, keys in enumerate(modbus if isinstance(modbus, tuple) else (modbus,)):
        steps: Steps = ("modbus", index) if listed else ("modbus",)
        register = _Reader(keys, defaults, layers, steps).read(sinks)
        if register:
            blocks.append(Block(register, is_relative and keys.register is not None, steps))
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one block; every step reports what it cannot use and returns None for it."""

    keys: ModbusKeys
    defaults: ModbusDefaults
    layers: Layers
    steps: Steps

    def read(self, sinks: Mapping[str, str]) -> Register | None:
        sink, place = self._sink(sinks), self._place()
        if place is None:
            return None
        table, address = place
        form = self._form(table)
        if sink is None or form is None:
            return None
        kind, words = form
        register = Register(
            sink=sink,
            unit=_first(self.keys.unit, self.defaults.unit, 1),
            table=table,
            address=address,
            type=kind,
            words=words,
            order=self._order(kind),
            scale=float(self._scale(kind)),
            bit=self.keys.bit,
        )
        if address + words - 1 > HIGHEST_ADDRESS:
            self._report(f"{kind} needs {words} registers, the last one is {HIGHEST_ADDRESS}", "register")
            return None
        return register

    def _report(self, message: str, *steps: str | int) -> None:
        self.layers.report(message, *self.steps, *steps)

    def _sink(self, sinks: Mapping[str, str]) -> str | None:
        name = self.keys.to
        if name is None:
            name = self.defaults.to
            if name is None:
                self._report("`to` is required: the name of a Modbus sink, here or under defaults")
            return name if name is not None and is_modbus(sinks.get(name)) else None
        problem = sink_problem(name, sinks, kind="modbus")
        if problem:
            self._report(problem, "to")
        return None if problem else name

    def _place(self) -> tuple[RegisterTable, int] | None:
        table = self.keys.table or self.defaults.table
        if self.keys.modicon is not None:
            return self._modicon_place()
        if self.keys.register is None:
            self._report("`register` (a 0-based PDU address) or `modicon` (such as 30001) is required")
        if table is None:
            self._report("`table` is required, here or under defaults: input, holding, coil or discrete")
        if self.keys.register is not None and (meant := meant_modicon(self.keys.register)):
            self.layers.warn(meant, *self.steps, "register")
        return None if table is None or self.keys.register is None else (table, self.keys.register)

    def _modicon_place(self) -> tuple[RegisterTable, int] | None:
        assert self.keys.modicon is not None  # noqa: S101 - only then called
        steps = (*self.steps, "modicon")
        written = self.layers.place_of(*steps).with_zeros(*steps) or self.keys.modicon
        if self.keys.register is not None:
            self._report("stands beside `register`; one of them says where", "modicon")
            return None
        try:
            table, address = parse_modicon(written)
        except ValueError as error:
            self._report(str(error), "modicon")
            return None
        if self.keys.table not in {None, table}:
            self._report(f"is in the {table} table, but `table` says {self.keys.table}", "modicon")
            return None
        return table, address

    def _form(self, table: RegisterTable) -> tuple[str, int] | None:
        kind, bit = self.keys.type, self.keys.bit
        if table in BIT_TABLES:
            if bit is not None:
                self._report(f"a {table} is one bit by itself; `bit` belongs to words", "bit")
            if kind not in {None, "bit"}:
                self._report(f"a {table} has the type bit", "type")
            return ("bit", 1) if bit is None and kind in {None, "bit"} else None
        if bit is not None and kind not in {None, "bit"}:
            self._report("`bit` goes with the type bit only", "bit")
            return None
        if bit is None and kind == "bit":
            self._report("`bit` (0 to 15, 0 is the lowest) is required in a word", "type")
            return None
        if bit is None and kind is None:
            self._report("`type` is required")
            return None
        return parse_type(kind or "bit")

    def _order(self, kind: str) -> ByteOrder:
        if is_orderable(kind):
            return self.keys.order or self.defaults.order or ByteOrder.ABCD
        if self.keys.order is not None:
            self._report(f"{kind} has no order, only numbers wider than one register have one", "order")
        return ByteOrder.ABCD

    def _scale(self, kind: str) -> float:
        if self.keys.scale is not None and not is_scalable(kind):
            self._report(f"{kind} has no scale, only numbers have one", "scale")
        return self.keys.scale or 1.0


def meant_modicon(address: int) -> str | None:
    """Return what to say of a PDU address that looks like a number such as 40001."""
    if address // 10_000 not in _MODICON_TABLES or address % 10_000 == 0:
        return None
    return (
        f"a 0-based PDU address, so this is number {address + 1} of its table; did you mean"
        f" `modicon: {address}`, which is PDU address {address % 10_000 - 1}?"
    )


def sink_problem(name: str, sinks: Mapping[str, str], *, kind: str) -> str | None:
    """Say what is wrong with a sink's name; `kind` is mqtt or modbus."""
    if name not in sinks:
        return unknown_name(
            "sink", name, (sink for sink, of_type in sinks.items() if of_type.startswith(kind))
        )
    return None if sinks[name].startswith(kind) else f"this sink is of type {sinks[name]}, not {kind}"


def is_modbus(sink_type: str | None) -> bool:
    """Say whether a type of sink has registers."""
    return sink_type is not None and sink_type.startswith("modbus")


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
