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
from typing import Any

import uvloop
from _points import NewestValues, holding_register, make_point
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.config.value_types import HostPort
from gateway.model import Quality, Update
from gateway.sinks.modbus_server.sink import ModbusServerConfig, ModbusServerSink
from gateway.status import SinkStatus

REGISTERS = 1000
_WRITES_EVERY_S = 0.01
_LONGEST_BYTES = 260


def _values() -> NewestValues:
    """Return points with a holding register each, whose value is its address."""
    points = [
        make_point("RM", str(address), register=holding_register("regs", address))
        for address in range(REGISTERS)
    ]
    values = NewestValues(points)
    for address, point in enumerate(points):
        values.newest[point] = Update(point, address, address, Quality.GOOD, 1, seq=1, event_id="evt_1")
    return values


async def _ours(port: int) -> None:
    """Run the sink, while 100 batches a second change its registers."""
    values = _values()
    sink = ModbusServerSink(
        name="regs",
        config=ModbusServerConfig(type="modbus_server", listen=HostPort("127.0.0.1", port)),
        gateway="bench",
        points=values,
        latest=values,
        status=SinkStatus(type="modbus_server"),
    )
    batch = list(values.all_latest())[:50]
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
