"""The Modbus servers that are measured: each runs in a process of its own until it is ended.

python bench/_modbus_servers.py ours|pymodbus|libmodbus PORT
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvloop
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.config.value_types import HostPort
from gateway.model import (
    ByteOrder,
    Mqtt,
    OnStale,
    Point,
    Quality,
    Register,
    RegisterTable,
    StalePolicy,
    Update,
)
from gateway.sinks.modbus_server.sink import ModbusServerConfig, ModbusServerSink
from gateway.status import SinkStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

HOLDING = RegisterTable.HOLDING
REGISTERS = 1000
_WRITES_EVERY_S = 0.01
_LONGEST_BYTES = 260


class _Building:
    """Points with a holding register each; every update is the newest."""

    def __init__(self) -> None:
        self.points = tuple(
            Point(
                site="bench",
                tag="RM",
                point=str(address),
                asset="ast-1",
                source="value",
                unit_of_measure=None,
                stale_after_ms=None,
                on_stale=OnStale(StalePolicy.SENTINEL),
                mqtt=Mqtt(),
                registers=(Register("regs", 1, HOLDING, address, "uint16", 1, ByteOrder.ABCD, 1.0, None),),
            )
            for address in range(REGISTERS)
        )

    def latest(self, of: Point) -> Update:
        """Return a point's value: its address."""
        address = float(of.registers[0].address)
        return Update(of, address, address, Quality.GOOD, 1, seq=1, event_id="evt_1")

    def all_latest(self) -> Iterable[Update]:
        """Return every point's value."""
        return [self.latest(point) for point in self.points]

    def is_newest(self, of: Update) -> bool:
        """Say yes."""
        return of is not None

    def age_ms(self, _: Update) -> int:
        """Return nothing worth mentioning."""
        return 0


async def _ours(port: int) -> None:
    """Run the sink, while 100 batches a second change its registers."""
    building = _Building()
    sink = ModbusServerSink(
        name="regs",
        config=ModbusServerConfig(type="modbus_server", listen=HostPort("127.0.0.1", port)),
        gateway="bench",
        points=building,
        latest=building,
        status=SinkStatus(type="modbus_server"),
    )
    batch = list(building.all_latest())[:50]
    async with sink:
        while True:
            await asyncio.sleep(_WRITES_EVERY_S)
            await sink.write(batch)


async def _pymodbus(port: int) -> None:
    """Run the library's own server on the same registers."""
    data = SimData(0, values=list(range(REGISTERS)), datatype=DataType.REGISTERS)
    await ModbusTcpServer(SimDevice(1, [data]), address=("127.0.0.1", port)).serve_forever()


def _libmodbus(port: int) -> None:
    """Run libmodbus's own: it keeps the registers, receives and answers; the sockets are polled here."""
    library: Any = ctypes.CDLL("libmodbus.so.5")
    library.modbus_new_tcp.restype = library.modbus_mapping_new.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.modbus_new_tcp(b"127.0.0.1", port))
    mapping = ctypes.c_void_p(library.modbus_mapping_new(0, 0, REGISTERS, 0))
    listening = library.modbus_tcp_listen(context, 32)
    polled, request = select.epoll(), ctypes.create_string_buffer(_LONGEST_BYTES)
    polled.register(listening, select.EPOLLIN)
    accepted = ctypes.c_int(listening)
    while True:
        for descriptor, _ in polled.poll():
            if descriptor == listening:
                accepted.value = listening
                client = library.modbus_tcp_accept(context, ctypes.byref(accepted))
                with socket.socket(fileno=os.dup(client)) as same:  # it leaves Nagle's algorithm on
                    same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                polled.register(client, select.EPOLLIN)
                continue
            library.modbus_set_socket(context, descriptor)
            size = library.modbus_receive(context, request)
            if size > 0:
                library.modbus_reply(context, request, size, mapping)
            else:
                polled.unregister(descriptor)


def main() -> None:
    """Run the one that is asked for."""
    which, port = sys.argv[1], int(sys.argv[2])
    if which == "libmodbus":
        _libmodbus(port)
    else:
        uvloop.run(_ours(port) if which == "ours" else _pymodbus(port))


if __name__ == "__main__":
    main()
