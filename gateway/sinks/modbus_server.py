"""The Modbus TCP server: the building's controllers poll the points that have a register here.

What a BMS engineer needs to know:

- Function codes 1 to 4 read coils, discrete inputs, holding and input registers, at most 2000 bits or
  125 registers at a time. Every other function code, all writes among them, gets exception 1.
- Only mapped registers can be read. A request that touches any other gets exception 2; one with a count
  out of bounds or of a wrong length gets exception 3.
- The unit ids are those of the point tables. Where these use a single one, unit ids 0 and 255 (the device
  itself, by the conventions of Modbus TCP) mean it as well. Other unit ids get exception 11.
- A value of several registers changes as a whole: read it with one request and it is never torn.
- A register without a value shows its sentinel (NaN, 0x8000…, 0xFFFF…), a bit or coil without one shows 0.
- Requests may be pipelined: they are answered in order, each with its own transaction id.
"""

from __future__ import annotations

import os
from dataclasses import dataclass as plain_dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field
from pydantic.dataclasses import dataclass
from pymodbus.constants import ExcCodes

from gateway.config.decode import STRICT
from gateway.config.scalars import Address, Duration, Network
from gateway.errors import EncodingError, GatewayError, RefusedError
from gateway.mapping.registers import encoder, sentinel
from gateway.model import Refusal, RegisterTable
from gateway.sinks._modbus_tcp import ModbusTcpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from gateway.model import Point, Register, Scalar, Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.status import SinkStatus

_FUNCTION: Final = {
    RegisterTable.COIL: 1,
    RegisterTable.DISCRETE: 2,
    RegisterTable.HOLDING: 3,
    RegisterTable.INPUT: 4,
}
_DEVICE_ITSELF = (0, 255)  # unit ids that Modbus TCP keeps for the device that is connected to


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusServerConfig:
    """`type: modbus_server`. Clients outside of `allow` and beyond `max_connections` are dropped.

    A client that asks nothing for `idle_timeout` (seconds) is dropped as well.
    """

    type: Literal["modbus_server"]
    """A Modbus TCP server, which controllers poll."""
    listen: Address
    """Where the controllers connect; the usual port is 502."""
    allow: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    """Networks whose clients may connect; others are dropped."""
    max_connections: Annotated[int, Field(ge=1)] = 64
    """Clients at the same time."""
    idle_timeout: Duration = 600.0
    """A client that asks nothing for so long is dropped."""


class ModbusServerSink:
    """Shows the newest value of each point that has a register on this sink. `port` is the bound port."""

    def __init__(
        self,
        *,
        name: str,
        config: ModbusServerConfig,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,  # noqa: ARG002 - registers do not outlive the server
    ) -> None:
        self.port = config.listen.port
        self._name = name
        self._listen = config.listen
        self._points: PointSource = points
        self._latest = latest
        self._status = status
        self._image = _Image((), sink=name)
        self._server = ModbusTcpServer(
            read=self._image.read,
            allow=config.allow,
            max_connections=config.max_connections,
            idle_timeout_s=config.idle_timeout,
            log_fields={"gateway": gateway, "sink": name},
        )

    async def __aenter__(self) -> Self:
        """Fill the registers from the newest values, then open the port."""
        self._show(self._lay_out(self._points, self._latest))
        try:
            self.port = await self._server.open(self._listen.host, self._listen.port)
        except OSError as error:
            raise GatewayError(
                f"sink {self._name}: cannot listen on {self._listen}: {_reason(error)}; "
                "free that port, or change `listen`"
            ) from error
        self._status.state = "up"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the port and all connections."""
        await self._server.close()

    async def write(self, updates: Sequence[Update]) -> None:
        """Show the updates that are their point's newest, all of them between two polls.

        A value that its register cannot hold shows as the sentinel there and is refused.
        """
        is_newest = self._latest.is_newest
        refusals = self._image.write(update for update in updates if is_newest(update))
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Lay out the registers of another point table, filled with what it knows."""
        image = self._lay_out(points, latest)

        held: list[_Image] = []

        def adopt(news: Iterable[Update]) -> None:
            image.write(news)
            held.append(self._image)  # until this function is let go of
            self._points, self._latest = points, latest
            self._show(image)

        return adopt

    def _lay_out(self, points: PointSource, latest: LatestValues) -> _Image:
        """Make the registers of a point table; a value that its register can't hold shows as the sentinel."""
        image = _Image(points.points, sink=self._name)
        image.write(latest.all_latest())
        return image

    def _show(self, image: _Image) -> None:
        self._image = image
        self._server.read = image.read


def _reason(error: OSError) -> str:
    """Name what is wrong in the system's words, without what asyncio adds to them."""
    if error.errno is None or error.errno <= 0:  # not the system's numbers but the resolver's
        return error.strerror or str(error)
    return os.strerror(error.errno)


class _Words:
    """The holding or input registers of one unit: two bytes each, and which of them are mapped."""

    def __init__(self, registers: Sequence[Register]) -> None:
        size = max(register.address + register.words for register in registers)
        self._data = bytearray(2 * size)
        self._mapped = bytearray(size)
        for register in registers:
            end = register.address + register.words
            self._mapped[register.address : end] = b"\1" * register.words
            self._data[2 * register.address : 2 * end] = sentinel(register)

    def set(self, register: Register, raw: bytes) -> None:
        """Write a register's bytes; a bit leaves the others of its word alone."""
        start = 2 * register.address
        end = start + 2 * register.words
        if register.bit is not None:
            others = int.from_bytes(self._data[start:end], "big") & ~(1 << register.bit)
            raw = (others | int.from_bytes(raw, "big")).to_bytes(2, "big")
        self._data[start:end] = raw

    def get(self, address: int, count: int) -> bytearray | None:
        """Return the registers as on the wire, None where one of them is not mapped."""
        end = address + count
        if end > len(self._mapped) or self._mapped.find(0, address, end) >= 0:
            return None
        return self._data[2 * address : 2 * end]


class _Bits:
    """The coils or discrete inputs of one unit: the digit 0 or 1 for each, NUL where none is mapped."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self._digits = bytearray(max(register.address for register in registers) + 1)
        for register in registers:
            self._digits[register.address] = ord("0")

    def set(self, register: Register, raw: bytes) -> None:
        """Write one bit: 1 where anything is set in `raw`."""
        self._digits[register.address] = ord("1" if any(raw) else "0")

    def get(self, address: int, count: int) -> bytes | None:
        """Return the bits as on the wire, None where one of them is not mapped."""
        digits = self._digits[address : address + count]
        if len(digits) < count or 0 in digits:
            return None
        digits.reverse()  # the first one is the lowest bit of the first byte
        return int(digits, 2).to_bytes((count + 7) // 8, "little")


@plain_dataclass(frozen=True, slots=True)
class _Cell:
    """Where one register of a point is written, and how."""

    register: Register
    encode: Callable[[Scalar], bytes]
    table: _Words | _Bits


class _Image:
    """All registers of one sink as they stand. Never awaits, so that polls see whole writes only."""

    def __init__(self, points: tuple[Point, ...], *, sink: str) -> None:
        owned = [
            (point, register) for point in points for register in point.registers if register.sink == sink
        ]
        grouped: dict[tuple[int, RegisterTable], list[Register]] = {}
        for _, register in owned:
            grouped.setdefault((register.unit, register.table), []).append(register)
        self._tables: dict[int, dict[int, _Words | _Bits]] = {}  # by unit and function code
        for (unit, table), registers in grouped.items():
            is_bits = table in {RegisterTable.COIL, RegisterTable.DISCRETE}
            made = _Bits(registers) if is_bits else _Words(registers)
            self._tables.setdefault(unit, {})[_FUNCTION[table]] = made
        self._cells: dict[Point, list[_Cell]] = {}
        for point, register in owned:
            written = self._tables[register.unit][_FUNCTION[register.table]]
            self._cells.setdefault(point, []).append(_Cell(register, encoder(register), written))
        if len(self._tables) == 1:
            (only,) = self._tables.values()
            self._tables.update((unit, only) for unit in _DEVICE_ITSELF)

    def write(self, updates: Iterable[Update]) -> list[Refusal]:
        """Write the updates' plain values; return those that a register cannot hold, by register."""
        refusals = []
        for update in updates:
            for cell in self._cells.get(update.point, ()):
                try:
                    raw = cell.encode(update.plain)
                except EncodingError as error:
                    raw = sentinel(cell.register)
                    refusals.append(Refusal(update, f"{_place(cell.register)}: {error}"))
                cell.table.set(cell.register, raw)
        return refusals

    def read(self, unit: int, function: int, address: int, count: int) -> bytes | bytearray | ExcCodes:
        """Return the data bytes of one of the functions 1 to 4, or the exception code."""
        tables = self._tables.get(unit)
        if tables is None:
            return ExcCodes.GATEWAY_NO_RESPONSE
        table = tables.get(function)
        data = table.get(address, count) if table is not None else None
        return ExcCodes.ILLEGAL_ADDRESS if data is None else data


def _place(register: Register) -> str:
    return f"unit {register.unit}, {register.table} {register.address}"
