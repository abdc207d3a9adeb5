"""Register blocks: each `modbus:` block of a point with its defaults, checked.

A block becomes a Register as soon as the asset's `base` is known. The checks below it find values that a
register cannot hold, and registers that a controller cannot be written to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
from gateway.mapping.table import ModbusDefaults, ModbusKeys
from gateway.model import ByteOrder, Register, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.mapping.compile.sources import Place, Steps, TableInputs
    from gateway.mapping.table import PointKeys, QualityKeys
    from gateway.model import Scalar

NOT_MODICON = "a 0-based PDU address: what a BMS calls 30001 or 40001 is 0 here"
_NEEDS_TYPE = "needs `type`, or for a single bit of the register `bit`, 0 (the lowest) to 15; not both"
_BEYOND = "reaches beyond its register; such a value is bad and becomes a dead letter"
_WORD_DIGITS = {3, 4}  # first digits of the Modicon numbers of input and holding registers
_READ_ONLY = {
    RegisterTable.INPUT: "input registers can only be read: write into holding registers",
    RegisterTable.DISCRETE: "discrete inputs can only be read: write into coils",
}


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
        own = self.register
        if not self.is_relative or not base:
            return own
        address = own.address + base  # dataclasses.replace takes twice as long
        return Register(
            own.sink,
            own.unit,
            own.table,
            address,
            own.type,
            own.words,
            own.order,
            own.scale,
            own.bit,
            own.shows_quality,
        )


def compile_blocks(
    modbus: ModbusKeys | tuple[ModbusKeys, ...] | None,
    place: Place,
    *,
    defaults: ModbusDefaults,
    inputs: TableInputs,
    is_relative: bool,
    key: str = "modbus",
) -> tuple[RegisterBlock, ...]:
    """Return the valid blocks that a point has under `key`, and report the others."""
    blocks = []
    is_list = isinstance(modbus, tuple)
    for index, keys in enumerate(modbus if isinstance(modbus, tuple) else (modbus,)):
        if keys is None:
            continue
        compiler = _BlockCompiler(keys, defaults, place, (key, index) if is_list else (key,))
        if (register := compiler.compile(inputs)) is not None:
            blocks.append(RegisterBlock(register, is_relative and keys.register is not None, compiler.steps))
    return tuple(blocks)


def compile_quality(
    keys: PointKeys, place: Place, *, defaults: ModbusDefaults, inputs: TableInputs, is_relative: bool
) -> tuple[RegisterBlock, ...]:
    """Return the blocks with a point's quality; without keys of their own they are beside its first block."""
    written = keys.quality
    if written is None:
        return ()
    if (first := keys.modbus[0] if isinstance(keys.modbus, tuple) else keys.modbus) is not None:
        defaults = ModbusDefaults(
            to=first.to or defaults.to,
            unit=defaults.unit if first.unit is None else first.unit,
            table=first.table or table_of_modicon(first.modicon) or defaults.table,
        )
    blocks = compile_blocks(
        tuple(map(_as_block, written)) if isinstance(written, tuple) else _as_block(written),
        place,
        defaults=defaults,
        inputs=inputs,
        is_relative=is_relative,
        key="quality",
    )
    return tuple(replace(block, register=replace(block.register, shows_quality=True)) for block in blocks)


def _as_block(keys: QualityKeys) -> ModbusKeys:
    return ModbusKeys(**asdict(keys), type="uint16")


def table_of_modicon(number: int | str | None) -> RegisterTable | None:
    """Return the table of a Modicon number; None if it is invalid, which is reported at its own place."""
    try:
        return None if number is None else parse_modicon(number)[0]
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _BlockCompiler:
    """Compiles one block. Each step reports a problem, and returns None for it."""

    keys: ModbusKeys
    defaults: ModbusDefaults
    place: Place
    steps: Steps

    def compile(self, inputs: TableInputs) -> Register | None:
        sink, position = self._sink(inputs), self._position()
        sized = None if position is None else self._type(position[0])
        if sink is None or position is None or sized is None:
            return None
        (table, address), (kind, words) = position, sized
        unit = self.keys.unit if self.keys.unit is not None else self.defaults.unit
        if address + words - 1 > HIGHEST_ADDRESS:
            self._report(f"{kind} needs {words} registers, the last one is {HIGHEST_ADDRESS}", "register")
            return None
        if self.keys.order is not None and not is_orderable(kind):
            self._report(f"{kind} has no order, only numbers wider than one register have one", "order")
        if self.keys.scale is not None and not is_scalable(kind):
            self._report(f"{kind} has no scale, only numbers have one", "scale")
        order = (self.keys.order or self.defaults.order) if is_orderable(kind) else None
        register = Register(
            sink=sink,
            unit=1 if unit is None else unit,
            table=table,
            address=address,
            type=kind,
            words=words,
            order=order or ByteOrder.ABCD,
            scale=float(self.keys.scale or 1),
            bit=self.keys.bit,
        )
        if inputs.is_controller(sink):
            self._check_writable(register, inputs)
        return register

    def _report(self, message: str, *steps: str | int) -> None:
        self.place.report(message, *self.steps, *steps)

    def _sink(self, inputs: TableInputs) -> str | None:
        name = self.keys.to or self.defaults.to
        if name is None:
            self._report("`to` is required: the name of a Modbus sink, here or under defaults")
            return None
        problem = inputs.sink_problem(name, kind="modbus")
        if problem is not None and self.keys.to is not None:  # defaults are checked once, at their own place
            self._report(problem, "to")
        return None if problem else name

    def _position(self) -> tuple[RegisterTable, int] | None:
        if self.keys.modicon is not None:
            return self._modicon_position(self.keys.modicon)
        table, address = self.keys.table or self.defaults.table, self.keys.register
        if address is None:
            self._report("`register` (a 0-based PDU address) or `modicon` (such as 30001) is required")
        elif address // 10_000 in _WORD_DIGITS and address % 10_000:
            self.place.warn(f"{NOT_MODICON}; write such a number as `modicon`", *self.steps, "register")
        if table is None:
            self._report("`table` is required, here or under defaults: input, holding, coil or discrete")
        return None if table is None or address is None else (table, address)

    def _modicon_position(self, modicon: int | str) -> tuple[RegisterTable, int] | None:
        if self.keys.register is not None:
            self._report("cannot stand beside `register`: write one of them", "modicon")
            return None
        try:
            table, address = parse_modicon(self.place.with_zeros(*self.steps, "modicon") or modicon)
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
            if bit is None and kind in {None, "bit"}:
                return "bit", 1
            if self.steps[0] == "quality":
                self._report(f"a {table} is one bit: the quality needs `table: holding` or `table: input`")
                return None
            key = "type" if bit is None else "bit"
            self._report(f"a {table} is one bit by itself: leave out `type` and `bit`", key)
            return None
        if (bit is None) is (kind in {None, "bit"}):
            self._report(_NEEDS_TYPE, *(() if kind is None else ("type",)))
            return None
        return parse_type(kind or "bit")

    def _check_writable(self, register: Register, inputs: TableInputs) -> None:
        """Report a register that cannot be written into its controller."""
        if register.table in _READ_ONLY:
            key = "table" if self.keys.modicon is None else "modicon"
            self._report(f"{_READ_ONLY[register.table]}; {register.sink} is a controller", key)
            return
        limits = inputs.limits.get(register.sink)
        if limits is None:
            return
        if not limits.allow_unit(register.unit):
            allowed = "1 to 255" if limits.units is None else ", ".join(map(str, sorted(limits.units)))
            message = f"unit {register.unit} may not be written to; {register.sink} allows {allowed}"
            self._report(message, "unit")
        one, several = (5, 15) if register.table in BIT_TABLES else (6, 16)
        needed = {several} if register.words > 1 else {one, several}
        if not limits.functions & needed:
            codes, known = (" or ".join(map(str, sorted(found))) for found in (needed, limits.functions))
            self._report(f"needs function {codes}; {register.sink} allows {known}", "type")


def check_value(
    blocks: Iterable[RegisterBlock], place: Place, value: Scalar, *steps: str | int, what: str = ""
) -> None:
    """Report a value of the table, written at `steps`, or one that the gateway makes, if it does not fit."""
    for block, error in _encoding_errors(blocks, value):
        place.report(f"{what or 'does not fit its register'}: {error}", *(steps or block.steps))


def warn_of_bound(blocks: Iterable[RegisterBlock], place: Place, bound: Scalar, *steps: str | int) -> None:
    """Warn if a reading inside `range` can exceed a register. Such a reading is bad, and may never come."""
    for _, error in _encoding_errors(blocks, bound):
        place.warn(f"{_BEYOND}: {error}", *steps)


def warn_of_decimals(blocks: Iterable[RegisterBlock], place: Place, decimals: int | None) -> None:
    """Warn of an integer register that cannot hold the point's decimals, or not even whole numbers."""
    for block in blocks:
        register, least = block.register, 10 ** (decimals or 0)
        if "int" in register.type and abs(register.scale) < least:
            step = f"{register.type} at scale {register.scale:g} rounds to steps of {1 / register.scale:g}"
            steps: Steps = (*block.steps, "scale") if decimals is None else ("decimals",)
            place.warn(f"{step}; `scale: {least}` would not", *steps)


def _encoding_errors(
    blocks: Iterable[RegisterBlock], value: Scalar
) -> Iterator[tuple[RegisterBlock, EncodingError]]:
    for block in blocks:
        try:
            encoder(block.register)(value)
        except EncodingError as error:
            yield block, error
