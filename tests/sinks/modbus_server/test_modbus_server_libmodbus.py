"""What libmodbus's client reads: every table and word order, exceptions, and never half a value."""

from __future__ import annotations

import asyncio
import struct
from operator import methodcaller
from typing import TYPE_CHECKING, TypeVar

import pytest
from support.libmodbus import LibmodbusError, libmodbus
from support.modbus_fixtures import make_sink, point, register, update

from gateway.model import ByteOrder, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.libmodbus import Libmodbus

    from gateway.sinks.modbus_server.sink import ModbusServerSink

HOLDING, COIL, DISCRETE = RegisterTable.HOLDING, RegisterTable.COIL, RegisterTable.DISCRETE
READS = 20_000

T = TypeVar("T")


async def read_in_thread(sink: ModbusServerSink, look: Callable[[Libmodbus], T], *, unit: int = 1) -> T:
    """Connect and read in a thread."""

    def connect_and_look() -> T:
        with libmodbus(sink.port, unit=unit) as client:
            return look(client)

    return await asyncio.to_thread(connect_and_look)


async def test_registers_and_bits() -> None:
    """One register, 125 registers, coils and discrete inputs read as written, on any unit."""
    words = [point(f"W{i}", register(i, "uint16")) for i in range(125)]
    holding = [point(f"H{i}", register(i, "uint16", table=HOLDING, unit=9)) for i in range(125)]
    coils = [point(f"C{i}", register(i, "bit", table=COIL)) for i in range(2000)]
    inputs = [point(f"D{i}", register(i, "bit", table=DISCRETE)) for i in range(19)]
    bits = [int(i % 7 in {0, 3}) for i in range(2000)]
    async with make_sink(*words, *holding, *coils, *inputs) as sink:
        await sink.write([update(each, 7 * i) for i, each in enumerate(words)])
        await sink.write([update(each, 65534 - i) for i, each in enumerate(holding)])
        await sink.write([update(each, bit) for each, bit in zip(coils, bits, strict=True)])
        await sink.write([update(each, bit) for each, bit in zip(inputs, bits[:19], strict=True)])
        assert await read_in_thread(sink, lambda client: client.input_registers(3, 1)) == [21]
        assert await read_in_thread(sink, lambda client: client.input_registers(0, 125)) == list(
            range(0, 875, 7)
        )
        down = list(range(65534, 65409, -1))
        assert await read_in_thread(sink, lambda client: client.holding_registers(0, 125), unit=9) == down
        assert await read_in_thread(sink, lambda client: client.coils(0, 2000)) == bits
        assert await read_in_thread(sink, lambda client: client.coils(13, 9)) == bits[13:22]
        assert await read_in_thread(sink, lambda client: client.discrete_inputs(0, 19)) == bits[:19]


@pytest.mark.parametrize("order", ByteOrder)
@pytest.mark.parametrize("number", [21.5, -3.4e38, 1e-40])
async def test_floats_in_each_order(order: ByteOrder, number: float) -> None:
    """`modbus_get_float_abcd` and its siblings use the same orders as the point tables."""
    target = point("F", register(4, "float32", words=2, order=order))
    (expected,) = struct.unpack(">f", struct.pack(">f", number))
    async with make_sink(target) as sink:
        await sink.write([update(target, number)])
        assert await read_in_thread(sink, lambda client: client.input_float(4, order.lower())) == expected


async def test_exceptions() -> None:
    """The library reports the exception for gaps, other units and writes."""
    targets = [point(f"P{i}", register(i, "uint16")) for i in (0, 1, 3)]
    async with make_sink(*targets) as sink:
        assert await read_in_thread(sink, lambda client: client.input_registers(0, 2)) == [65535, 65535]
        for address, count in ((0, 3), (2, 1), (0, 4), (3, 2)):
            with pytest.raises(LibmodbusError, match="Illegal data address"):
                await read_in_thread(sink, methodcaller("input_registers", address, count))
        with pytest.raises(LibmodbusError, match="Target device failed to respond"):
            await read_in_thread(sink, lambda client: client.input_registers(0, 1), unit=2)
        with pytest.raises(LibmodbusError, match="Illegal function"):
            await read_in_thread(sink, lambda client: client.write_register(0, 1))


async def test_no_torn_float_in_twenty_thousand_reads() -> None:
    """While a writer changes a float all the time, no read returns half of an old and half of a new one."""
    target = point("F", register(0, "float32", words=2))
    numbers = (1.0, -2.5e-20)  # no byte in common
    wholes = {struct.unpack(">HH", struct.pack(">f", number)) for number in numbers}
    async with make_sink(target) as sink:
        await sink.write([update(target, numbers[0])])

        def read_on(client: Libmodbus) -> set[tuple[int, ...]]:
            return {tuple(client.input_registers(0, 2)) for _ in range(READS)}

        reading = asyncio.create_task(read_in_thread(sink, read_on), name="read")
        writes = 0
        while not reading.done():
            await sink.write([update(target, numbers[writes % 2])])
            await asyncio.sleep(0)
            writes += 1
        assert await reading == wholes
        assert writes > 1000
