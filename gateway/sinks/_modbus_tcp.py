"""Modbus TCP on the wire, for the Modbus server: who may connect, framing, answers. Knows no points.

Reads are decoded and answered here, with two struct calls each; a request object for each would cost
several times as much as the rest of its way. Refusals, which are rare, use pymodbus's codec.
"""

from __future__ import annotations

import asyncio
import struct
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, cast

import structlog
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Network, IPv6Network

_MOST: Final = {1: 2000, 2: 2000, 3: 125, 4: 125}  # bits or registers in one read, by function code
_REQUEST = struct.Struct(">HHHBB")  # transaction, protocol (0), bytes from the unit on, unit, function
_RANGE = struct.Struct(">HH")  # first address, count
_ANSWER = struct.Struct(">HHHBBB")  # like a request, and the number of data bytes
_COUNTED_FROM = 6  # the header's length counts the bytes from the unit on
_SHORTEST, _LONGEST = 2, 254  # what that length can be
_BUFFER_BYTES = 4096  # what one client can have answered before the others get their turn
_UNSENT_BYTES = 65536  # a client with more answers than this waiting for it is not listened to
_MOST_NAMED = 100  # hosts outside of `allow` that are logged, each once

_framer = FramerSocket(DecodePDU(is_server=True))
_log = structlog.get_logger()


class ModbusTcpServer:
    """Listens, lets clients in or drops them, and answers reads from `read(unit, function, address, count)`.

    `read` gets one of the functions 1 to 4 and a count within the protocol's bounds; it returns the data
    bytes as on the wire, or the exception code.
    """

    def __init__(
        self,
        *,
        read: Callable[[int, int, int, int], bytes | bytearray | ExcCodes],
        allow: Sequence[IPv4Network | IPv6Network],
        max_connections: int,
        idle_timeout_s: float,
        log_fields: dict[str, str],
    ) -> None:
        self.read = read
        self.idle_timeout_s = idle_timeout_s
        self._allow = allow
        self._max_connections = max_connections
        self._log = _log.bind(**log_fields)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._full = False
        self._named: set[str] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen, and return the port; raises OSError where that cannot be."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Close the port and every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await server.wait_closed()

    def admit(self, connection: _Connection, host: str) -> bool:
        """Say whether a client may stay; log the first refusal of each kind, not each refusal."""
        if self._server is None:
            return False
        if not self._is_allowed(host):
            if host not in self._named and len(self._named) < _MOST_NAMED:
                self._named.add(host)
                self._log.warning("Modbus client dropped: its address is not in `allow`", client=host)
            return False
        if len(self._connections) >= self._max_connections:
            if not self._full:
                self._log.warning(
                    "Modbus connections used up (`max_connections`), newest refused", client=host
                )
            self._full = True
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        """Make room for another client."""
        self._connections.discard(connection)
        if self._full and self._server is not None:
            self._full = False
            self._log.info("Modbus clients can connect again")

    def _is_allowed(self, host: str) -> bool:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._allow)


class _Connection(asyncio.BufferedProtocol):
    """One client. Its fixed buffer holds whole requests until they are answered, which is at once."""

    def __init__(self, server: ModbusTcpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(_BUFFER_BYTES)
        self._filled = 0
        self._last_heard_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")  # None where it is gone already
        if peer is None or not self._server.admit(self, peer[0]):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        self._timer = self._loop.call_later(self._server.idle_timeout_s, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - every reason is the same here
        if self._timer is not None:
            self._timer.cancel()
            self._server.leave(self)

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._transport.abort()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the buffer is as large as it is
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Answer all complete requests and keep the rest; what is no Modbus TCP ends the connection."""
        self._last_heard_s = self._loop.time()
        buffer, end, start = self._buffer, self._filled + nbytes, 0
        answers = bytearray()
        is_modbus = True
        while end - start >= _REQUEST.size:
            transaction, protocol, length, unit, function = _REQUEST.unpack_from(buffer, start)
            is_modbus = protocol == 0 and _SHORTEST <= length <= _LONGEST
            stop = start + _COUNTED_FROM + length
            if not is_modbus or stop > end:
                break
            answers += self._answer(transaction, unit, function, buffer[start + _REQUEST.size : stop])
            start = stop
        if start:
            self._transport.write(answers)
            buffer[: end - start] = buffer[start:end]
        self._filled = end - start
        if not is_modbus:
            self._transport.close()

    def _answer(self, transaction: int, unit: int, function: int, body: bytearray) -> bytes:
        """Return the whole answer to a request; `body` is what follows its function code."""
        most = _MOST.get(function)
        if most is None:
            return _refuse(transaction, unit, function, ExcCodes.ILLEGAL_FUNCTION)
        if len(body) != _RANGE.size:
            return _refuse(transaction, unit, function, ExcCodes.ILLEGAL_VALUE)
        address, count = _RANGE.unpack(body)
        if not 1 <= count <= most:
            return _refuse(transaction, unit, function, ExcCodes.ILLEGAL_VALUE)
        data = self._server.read(unit, function, address, count)
        if isinstance(data, ExcCodes):
            return _refuse(transaction, unit, function, data)
        size = len(data)
        return _ANSWER.pack(transaction, 0, size + 3, unit, function, size) + data

    def _close_if_idle(self) -> None:
        """End the connection if it was silent for too long, otherwise look again when it could have been."""
        silent_until_s = self._last_heard_s + self._server.idle_timeout_s
        if self._loop.time() >= silent_until_s:
            self._transport.abort()
        else:
            self._timer = self._loop.call_at(silent_until_s, self._close_if_idle)


def _refuse(transaction: int, unit: int, function: int, code: ExcCodes) -> bytes:
    return _framer.buildFrame(ExceptionResponse(function, code, device_id=unit, transaction=transaction))
