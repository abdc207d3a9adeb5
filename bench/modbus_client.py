"""The Modbus client sink against the bare pymodbus calls that it cannot do without.

1,000 changed registers in 10 blocks of 100: once as points through the sink, once as 10 calls of
`write_registers` with words that are ready, in turns, to the same libmodbus server in a process of its own.

    python bench/modbus_client.py [--rounds 300]
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from _points import NewestValues, holding_register, make_point
from pymodbus.client import AsyncModbusTcpClient

from gateway.model import Quality, Update
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.modbus_client.sink import ModbusClientSink
from gateway.status import SinkStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.model import Point

_BLOCKS, _BLOCK, _APART = 10, 100, 200
_SIZE = _BLOCKS * _APART
_TYPES = {"float32": 2, "uint16": 1}


def make_points(kind: str) -> list[Point]:
    """Return points that fill the blocks."""
    words = _TYPES[kind]
    return [
        make_point(
            f"B{block}", f"P{offset}", register=holding_register("ahu", block * _APART + offset, kind, words)
        )
        for block in range(_BLOCKS)
        for offset in range(0, _BLOCK, words)
    ]


def serve() -> None:
    """Be a libmodbus server for whoever comes, one after the other; print the port."""
    library = ctypes.CDLL("libmodbus.so.5")
    library.modbus_new_tcp.restype = library.modbus_mapping_new.restype = ctypes.c_void_p
    for port in range(40_000, 60_000):
        context = ctypes.c_void_p(library.modbus_new_tcp(b"127.0.0.1", port))
        listener = ctypes.c_int(library.modbus_tcp_listen(context, 4))
        if listener.value >= 0:
            break
    registers = ctypes.c_void_p(library.modbus_mapping_new(0, 0, _SIZE, 0))
    query = (ctypes.c_uint8 * 260)()
    print(port, flush=True)
    while library.modbus_tcp_accept(context, ctypes.byref(listener)) >= 0:
        while (length := library.modbus_receive(context, query)) > 0:
            library.modbus_reply(context, query, length, registers)


@contextmanager
def server() -> Iterator[int]:
    """Run `serve` in a process of its own; return the port."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def write_bare(client: AsyncModbusTcpClient, number: int) -> float:
    """Return the seconds that 10 calls take."""
    words = [[number % 60_000] * _BLOCK for _ in range(_BLOCKS)]
    began = time.perf_counter()
    for block in range(_BLOCKS):
        answer = await client.write_registers(block * _APART, words[block], device_id=1)
        assert not answer.isError()
    return time.perf_counter() - began


async def write_points(sink: ModbusClientSink, values: NewestValues, number: int) -> float:
    """Return the seconds until the sink has written a new value of each point."""
    value = number % 60_000
    updates = [Update(point, value, value, Quality.GOOD, number, number, "evt_1") for point in values.points]
    values.newest = {update.point: update for update in updates}
    began = time.perf_counter()
    await sink.write(updates)
    return time.perf_counter() - began


async def measure(kind: str, rounds: int) -> tuple[float, float, float]:
    """Return median seconds of the bare calls and of the sink, and the median of their ratios."""
    with server() as sinks_port, server() as bare_port:
        values = NewestValues(make_points(kind))
        config = ModbusClientConfig(type="modbus_client", host="127.0.0.1", port=sinks_port)
        sink = ModbusClientSink(
            name="ahu",
            config=config,
            gateway="bench",
            points=values,
            latest=values,
            status=SinkStatus(type="modbus_client"),
        )
        client = AsyncModbusTcpClient("127.0.0.1", port=bare_port)
        await client.connect()
        async with sink:
            times = [
                (await write_bare(client, number), await write_points(sink, values, number))
                for number in range(rounds + 20)
            ][20:]
        client.close()
    bare, points = (statistics.median(column) for column in zip(*times, strict=True))
    return bare, points, statistics.median(ours / theirs for theirs, ours in times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments, _ = parser.parse_known_args()
    if arguments.serve:
        serve()
        return
    for kind, words in _TYPES.items():
        bare, points, ratio = asyncio.run(measure(kind, arguments.rounds))
        print(
            f"Modbus client, 1,000 registers in 10 blocks: {1000 // words} points of {kind} through the sink"
            f" {points * 1000:.2f} ms, bare pymodbus {bare * 1000:.2f} ms: {ratio:.2f} times"
        )


if __name__ == "__main__":
    main()
