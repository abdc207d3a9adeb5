"""Register blocks: each `modbus:` block of a point with its defaults, checked.

A block becomes a Register as soon as the asset's `base` is known. The checks below it find values that a
register cannot hold, and registers that a controller cannot be written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import EncodingError
from gateway.mapping.registers import (
    BIT_TABLES,
    HIGHEST_ADDRESS,
    encoder,
    is_orderable,
    is_scalable,
    parse_modicon,
    parse_type,
)
from gateway.model import ByteOrder, Register, RegisterTable
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.mapping.compile.file_places import PointPlaces, Steps
    from gateway.mapping.table import ModbusDefaults, ModbusKeys
    from gateway.model import Scalar, WriteLimits

_CLIENT = "modbus_client"
_BEYOND = "reaches beyond its register; such a value is bad and becomes a dead letter"
_WORD_DIGITS = {3, 4}  # first digits of the Modicon numbers of input and holding registers
_READ_ONLY = {
    RegisterTable.INPUT: "input registers can only be read: write into holding registers",
    RegisterTable.DISCRETE: "discrete inputs can only be read: write into coils",
}


@dataclass(frozen=True, slots=True)
class SinkTypes:
    """The configured sinks: each one's type by its name, and what each Modbus client may write."""

    types: Mapping[str, str]
    limits: Mapping[str, WriteLimits]

    def problem(self, name: str, *, kind: str) -> str | None:
        """Return why a name is not that of a sink of this kind (mqtt or modbus), or None if it is."""
        if name not in self.types:
            known = [sink for sink, sink_type in self.types.items() if sink_type.startswith(kind)]
            return unknown_name("sink", name, known)
        sink_type = self.types[name]
        return None if sink_type.startswith(kind) else f"this sink is of type {sink_type}, not {kind}"

    def is_controller(self, name: str) -> bool:
        """Return whether a sink writes into a controller."""
        return self.types.get(name) == _CLIENT


@dataclass(frozen=True, slots=True)
class RegisterBlock:
    """A register whose address may be relative to an asset's `base`. `steps`: where it is in its point."""

    register: Register
    is_relative: bool
    steps: Steps

    def last_address(self, base: int) -> int:
        """Return the last PDU address of the block."""
        return self.register.address + (base if self.is_relative else 0) + self.register.words - 1

    def at(self, base: int) -> Register:
        """Return the register at its final address."""
        register = self.register
        if not self.is_relative or not base:
            return register
        return Register(  # dataclasses.replace takes twice as long
            sink=register.sink,
            unit=register.unit,
            table=register.table,
            address=register.address + base,
            type=register.type,
            words=register.words,
            order=register.order,
            scale=register.scale,
            bit=register.bit,
        )


def compile_blocks(
    modbus: ModbusKeys | tuple[ModbusKeys, ...] | None,
    places: PointPlaces,
    *,
    defaults: ModbusDefaults,
    sinks: SinkTypes,
    is_relative: bool,
) -> tuple[RegisterBlock, ...]:
    """Return the valid blocks of a point, and report the others."""
    if modbus is None:
        return ()
    blocks = []
    for index, keys in enumerate(modbus if isinstance(modbus, tuple) else (modbus,)):
        steps: Steps = ("modbus", index) if isinstance(modbus, tuple) else ("modbus",)
        register = _BlockCompiler(keys, defaults, places, steps).compile(sinks)
        if register:
            block = RegisterBlock(register, is_relative and keys.register is not None, steps)
            if sinks.is_controller(register.sink):
                _check_writable(block, places, sinks.limits.get(register.sink))
            blocks.append(block)
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class _BlockCompiler:
    """Compiles one block. Each step reports a problem, and returns None for it."""

    keys: ModbusKeys
    defaults: ModbusDefaults
    places: PointPlaces
    steps: Steps

    def compile(self, sinks: SinkTypes) -> Register | None:
        sink, position = self._sink(sinks), self._position()
        if position is None:
            return None
        table, address = position
        sized_type = self._type(table)
        if sink is None or sized_type is None:
            return None
        kind, words = sized_type
        unit = self.keys.unit if self.keys.unit is not None else self.defaults.unit
        register = Register(
            sink=sink,
            unit=1 if unit is None else unit,
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
        self.places.report(message, *self.steps, *steps)

    def _sink(self, sinks: SinkTypes) -> str | None:
        name = self.keys.to or self.defaults.to
        if name is None:
            self._report("`to` is required: the name of a Modbus sink, here or under defaults")
            return None
        problem = sinks.problem(name, kind="modbus")
        if problem is not None and self.keys.to is not None:  # defaults are checked once, at their own place
            self._report(problem, "to")
        return None if problem else name

    def _position(self) -> tuple[RegisterTable, int] | None:
        if self.keys.modicon is not None:
            return self._modicon_position()
        table, address = self.keys.table or self.defaults.table, self.keys.register
        if address is None:
            self._report("`register` (a 0-based PDU address) or `modicon` (such as 30001) is required")
        elif address // 10_000 in _WORD_DIGITS and address % 10_000:
            self.places.warn(
                f"a 0-based PDU address, so this is number {address + 1} of its table; did you mean"
                f" `modicon: {address}`, which is PDU address {address % 10_000 - 1}?",
                *self.steps,
                "register",
            )
        if table is None:
            self._report("`table` is required, here or under defaults: input, holding, coil or discrete")
        return None if table is None or address is None else (table, address)

    def _modicon_position(self) -> tuple[RegisterTable, int] | None:
        assert self.keys.modicon is not None  # noqa: S101 - checked by the caller
        steps = (*self.steps, "modicon")
        written = self.places.place_of(*steps).with_zeros(*steps) or self.keys.modicon
        if self.keys.register is not None:
            self._report("cannot stand beside `register`: write one of them", "modicon")
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

    def _type(self, table: RegisterTable) -> tuple[str, int] | None:
        """Return the type and the number of registers."""
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


def check_value(
    blocks: Iterable[RegisterBlock], places: PointPlaces, value: Scalar, *steps: str | int
) -> None:
    """Report a value of the table, written at `steps`, that its register cannot hold."""
    for _, error in _encoding_errors(blocks, value):
        places.report(f"does not fit its register: {error}", *steps)


def warn_of_bound(
    blocks: Iterable[RegisterBlock],
    places: PointPlaces,
    bound: Scalar,
    *steps: str | int,
) -> None:
    """Warn if a reading inside `range` can exceed a register. Such a reading is bad, and may never come."""
    for _, error in _encoding_errors(blocks, bound):
        places.warn(f"{_BEYOND}: {error}", *steps)


def check_counter(blocks: Iterable[RegisterBlock], places: PointPlaces, highest: int, what: str) -> None:
    """Report registers that cannot hold the highest number which the gateway itself writes there."""
    for block, error in _encoding_errors(blocks, highest):
        places.report(f"{what} {highest}: {error}", *block.steps)


def warn_of_decimals(blocks: Iterable[RegisterBlock], places: PointPlaces, decimals: int | None) -> None:
    """Warn of an integer register that cannot hold the point's decimals, or not even whole numbers."""
    for block in blocks:
        register, least = block.register, 10 ** (decimals or 0)
        if "int" not in register.type or abs(register.scale) >= least:
            continue
        if decimals is not None:
            message = f"{register.type} at scale {register.scale:g} cannot show them; {least} could"
            places.warn(message, "decimals")
        else:
            step = f"{1 / register.scale:g}"
            message = f"the register holds the value times this, in steps of {step}; did you mean {step}?"
            places.warn(message, *block.steps, "scale")


def _encoding_errors(
    blocks: Iterable[RegisterBlock], value: Scalar
) -> Iterator[tuple[RegisterBlock, EncodingError]]:
    for block in blocks:
        try:
            encoder(block.register)(value)
        except EncodingError as error:
            yield block, error


def _check_writable(block: RegisterBlock, places: PointPlaces, limits: WriteLimits | None) -> None:
    """Report a register that cannot be written into its controller."""
    register, steps = block.register, block.steps
    if register.table in _READ_ONLY:
        message = f"{_READ_ONLY[register.table]}; {register.sink} is a controller"
        places.report_first(message, steps, "table", "modicon")
        return
    if limits is None:
        return
    if limits.is_serial and register.unit == 0:
        message = "unit 0 is all units of a serial line at once, and none answers"
        places.report_first(message, steps, "unit")
    elif not limits.allow_unit(register.unit):
        allowed = ", ".join(map(str, sorted(limits.units or ())))
        message = f"unit {register.unit} may not be written to; `units` of {register.sink} has {allowed}"
        places.report_first(message, steps, "unit")
    one, several = (5, 15) if register.table in BIT_TABLES else (6, 16)
    known = f"`functions` of {register.sink} has {', '.join(map(str, sorted(limits.functions)))}"
    if register.words > 1 and several not in limits.functions:
        message = f"has {register.words} registers, which only function {several} writes as a whole; {known}"
        places.report_first(message, steps, "type")
    elif not limits.functions & {one, several}:
        what = "coils need" if register.table in BIT_TABLES else "registers need"
        places.report_first(f"{what} {one} or {several}; {known}", steps, "table", "modicon")
