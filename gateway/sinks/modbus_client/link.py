"""One connection to a controller: Modbus TCP, or RTU over TCP or on a serial line. One request at a time.

pymodbus's own client would retry, reconnect, log each time-out, wait for answers on a lost connection, and
build two objects with a Python number for each register. Here requests and answers are bytes; pymodbus
supplies the serial transport and the checksum.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import termios
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from gateway.config.value_types import duration_text
from gateway.errors import TransientError, system_reason
from gateway.sinks.connecting import enable_keepalive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.sinks.modbus_client.config import ModbusClientConfig, Serial
    from gateway.sinks.modbus_client.desired_registers import Block

_BITS_OF_A_CHARACTER: Final = 11  # on a serial line: start, 8 data, parity or a second stop, stop
_SILENT_CHARACTERS: Final = 3.5  # between two RTU frames, by the standard
_LEAST_SILENCE_S: Final = 0.00175  # likewise above 19,200 baud
_RTU_TRIES: Final = 2  # noise destroys requests, and libmodbus ignores the one after that to a dead unit
_LEAST_FRAME: Final = 5  # bytes of an RTU answer: unit, function, exception or count, two of a checksum
_WRITE_FRAME: Final = 8  # likewise, with address and count or value
_MOST_NOISE: Final = 1024  # bytes in which an RTU answer, of 256 at most, is looked for
_READS: Final = frozenset({1, 3})
_HEADER: Final = struct.Struct(">HHHB")  # Modbus TCP: transaction, protocol (0), bytes from the unit on, unit
_COUNTED_FROM: Final = 6  # the header's length counts the bytes from the unit on


class NoAnswerError(TransientError):
    """A unit did not answer in time. Its answer may still come later."""


class Link(asyncio.Protocol):
    """An open connection. `on_end` is called once if it is lost, never if it is closed here."""

    def __init__(self, config: ModbusClientConfig, *, on_end: Callable[[], None]) -> None:
        serial = config.serial
        self._timeout_s = config.timeout
        self._is_rtu = config.limits.is_serial
        self._pause_s = max(config.min_interval, 0.0 if serial is None else _silence_s(serial))
        self._lost_text = (
            "the controller ended the connection" if serial is None else "the serial port is gone"
        )
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""
        self._transaction = self._unit = 0  # of the request under way
        self._quiet_until_s = 0.0
        self._is_closed = False
        self.is_lost = False
        self.has_answered = False
        """Set by the caller, who understands answers; an exception is one, too."""

    async def ask(self, request: bytes, block: Block, *, is_trial: bool) -> bytes:
        """Return the answer of the block's unit; a trial is sent only once.

        Raises `TransientError` if the link is lost, `NoAnswerError` if there is no answer in time.
        """
        for _ in range(_RTU_TRIES if self._is_rtu and not is_trial else 1):
            if self._pause_s:
                await asyncio.sleep(self._quiet_until_s - self._loop.time())
            self.check()
            answer = self._answer = self._send(request, block.unit)
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await answer
            except TimeoutError:
                continue
            finally:
                self._answer = None
                self._quiet_until_s = self._loop.time() + self._pause_s
        raise NoAnswerError(f"no answer within {duration_text(self._timeout_s)} from {block}")

    def check(self) -> None:
        """Raise `TransientError` if the link is lost."""
        if self.is_lost:
            raise TransientError(self._lost_text)

    def _send(self, request: bytes, unit: int) -> asyncio.Future[bytes]:
        assert self._transport is not None  # noqa: S101 - open
        self._received, self._unit = b"", unit
        if self._is_rtu:
            frame = bytes((unit,)) + request
            frame += _checksum(frame).to_bytes(2)
        else:
            self._transaction = self._transaction % 0xFFFF + 1
            frame = _HEADER.pack(self._transaction, 0, len(request) + 1, unit) + request
        self._transport.write(frame)
        return self._loop.create_future()

    def data_received(self, data: bytes) -> None:
        """Complete the request under way with its answer, once that is there."""
        if self._answer is None or self._answer.done():
            return
        self._received += data
        found = self._rtu_answer() if self._is_rtu else self._tcp_answer()
        if found is not None:
            self._answer.set_result(found)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason makes no difference
        """End the request under way at once."""
        if self._is_closed:
            return
        self.is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TransientError(self._lost_text))
        self._on_end()

    def _tcp_answer(self) -> bytes | None:
        """Return the answer from the function code on, None if it has not come; other frames are skipped."""
        data, start = self._received, 0
        while len(data) - start >= _HEADER.size:
            transaction, _, length, unit = _HEADER.unpack_from(data, start)
            end = start + _COUNTED_FROM + max(length, 1)
            if end > len(data):
                break
            pdu = data[start + _HEADER.size : end]
            if pdu and transaction == self._transaction and self._unit in {0, unit}:
                return pdu
            start = end
        self._received = data[start:]
        return None

    def _rtu_answer(self) -> bytes | None:
        """Return the same, wherever it begins: drivers that are switched on make noise before it."""
        data = self._received = self._received[-_MOST_NOISE:]
        for start in range(len(data) - _LEAST_FRAME + 1):
            end = start + _frame_size(data[start + 1], data[start + 2])
            if data[start] != self._unit or end > len(data):
                continue
            if _checksum(data[start : end - 2]) == int.from_bytes(data[end - 2 : end]):
                return data[start + 1 : end - 2]
        return None

    async def open_tcp(self, host: str, port: int) -> None:
        """Connect to one address."""
        async with asyncio.timeout(self._timeout_s):
            self._transport, _ = await self._loop.create_connection(lambda: self, host, port)
        enable_keepalive(self._transport)

    def open_serial(self, serial: Serial) -> None:
        """Open a serial port; pyserial names a parity by its first letter."""
        from pymodbus.transport.serialtransport import (  # noqa: PLC0415 - loaded for a serial line only
            SerialTransport,
        )

        parity = serial.parity[0].upper()
        self._transport = SerialTransport(
            self._loop, self, str(serial), serial.baudrate, 8, parity, serial.stopbits, None
        )
        self._transport.setup()

    def close(self) -> None:
        """Close whatever is open."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()


def _checksum(frame: bytes) -> int:
    """Return the CRC of an RTU frame, as it is sent big-endian."""
    from pymodbus.framer import FramerRTU  # noqa: PLC0415 - loaded for RTU only

    return FramerRTU.compute_CRC(frame)


@asynccontextmanager
async def open_link(config: ModbusClientConfig, *, on_end: Callable[[], None]) -> AsyncIterator[Link]:
    """Connect, and close on leaving; raises `TransientError` with the reason if there is no connection."""
    link = Link(config, on_end=on_end)
    try:
        try:
            if config.serial is None:
                await _connect(link, config)
            else:
                link.open_serial(config.serial)
        except TimeoutError as error:
            raise TransientError(f"no connection within {duration_text(config.timeout)}") from error
        except termios.error as error:  # from pyserial; it is no OSError
            raise TransientError(
                f"cannot be set to {config.wire}: {error.args[-1]}; see `serial`, and what the port can do"
            ) from error
        except OSError as error:
            raise TransientError(system_reason(error)) from error
        yield link
    finally:
        link.close()


async def _connect(link: Link, config: ModbusClientConfig) -> None:
    """Connect to an allowed address: the name is looked up here, so that no other address is written to."""
    assert config.host is not None  # noqa: S101 - by the config's own check
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(config.timeout):
        found = await loop.getaddrinfo(config.host, config.tcp_port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    allowed = [address for address in addresses if config.allows(ip_address(address))]
    if not allowed:
        raise TransientError(f"{' and '.join(addresses)} is not in `allow`, so nothing is written there")
    for address in allowed:
        try:
            await link.open_tcp(address, config.tcp_port)
        except OSError:
            if address == allowed[-1]:
                raise
        else:
            return


def _frame_size(function: int, count: int) -> int:
    """Return the length of an RTU answer."""
    if function & 0x80:
        return _LEAST_FRAME
    return _LEAST_FRAME + count if function in _READS else _WRITE_FRAME


def _silence_s(serial: Serial) -> float:
    return max(_LEAST_SILENCE_S, _SILENT_CHARACTERS * _BITS_OF_A_CHARACTER / serial.baudrate)
