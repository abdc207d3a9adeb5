"""One connection to a controller: pymodbus's transports and framing, without the rest of its client.

That would retry, reconnect, log each time-out, wait for answers on a connection that is gone, and build
two objects with a Python number for each register. Here a request is bytes, and so is its answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import termios
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.framer import FramerRTU, FramerSocket, FramerType
from pymodbus.pdu import DecodePDU

from gateway.config.value_types import duration_text
from gateway.errors import TransientError, system_reason
from gateway.sinks.tcp_keepalive import enable_keepalive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pymodbus.client.base import ModbusBaseClient

    from gateway.sinks.modbus_client.blocks import Block
    from gateway.sinks.modbus_client.config import ModbusClientConfig, Serial

_BITS_OF_A_CHARACTER: Final = 11  # on a serial line: start, 8 data, parity or a second stop, stop
_SILENT_CHARACTERS: Final = 3.5  # between two RTU frames, by the standard
_TRIES: Final = 2  # there: noise eats requests, and libmodbus the one after that to a unit that is dead
_LEAST_FRAME: Final = 5  # bytes of an RTU answer: unit, function, exception or count, two of a checksum
_WRITE_FRAME: Final = 8  # likewise, with address and count or value
_READS: Final = frozenset({1, 3})
_LEAST_SILENCE_S: Final = 0.00175  # likewise above 19,200 baud

# Of what it logs, all that matters is in the sink's status; the rest would be a line for each bad frame.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)


class NoAnswerError(TransientError):
    """A unit did not answer in time. The link cannot be used any more: the answer may come later."""


class Link:
    """An open connection. `on_end` is called once when it is lost, never when it is closed here.

    Requests are for one caller at a time.
    """

    def __init__(
        self, *, timeout_s: float, tries: int, pause_s: float, lost_text: str, on_end: Callable[[], None]
    ) -> None:
        """Have requests `pause_s` apart, from an answer to the next request; `lost_text`: what a loss is."""
        self._timeout_s = timeout_s
        self._tries = tries
        self._pause_s = pause_s
        self._lost_text = lost_text
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._client: ModbusBaseClient | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._quiet_until_s = 0.0
        self.is_lost = False
        self.has_answered = False  # said by whoever understands answers; be it an exception

    async def ask(self, request: bytes, block: Block, *, is_trial: bool) -> bytes:
        """Return what the block's unit answers; a trial is sent once only.

        Raises `TransientError` where the link is lost, `NoAnswerError` where nothing comes back in time.
        """
        for _ in range(1 if is_trial else self._tries):
            if self._pause_s:
                await asyncio.sleep(self._quiet_until_s - self._loop.time())
            self.check()
            answer = self._answer = self._send(request, block.unit)
            timer = self._loop.call_later(self._timeout_s, _time_out, answer)
            try:
                return await answer
            except TimeoutError:
                continue
            finally:
                timer.cancel()
                self._answer = None
                self._quiet_until_s = self._loop.time() + self._pause_s
        raise NoAnswerError(f"no answer within {duration_text(self._timeout_s)} from {block}")

    def _send(self, request: bytes, unit: int) -> asyncio.Future[bytes]:
        """Send as the client's `execute` does, and return what becomes the answer."""
        assert self._client is not None  # noqa: S101 - open
        protocol: Any = self._client.ctx  # its types know objects of pymodbus only
        answer: asyncio.Future[bytes] = self._loop.create_future()
        protocol.response_future = answer
        protocol.recv_buffer = b""
        protocol.request_dev_id, protocol.request_transaction_id = unit, protocol.getNextTID()
        protocol.transport.write(protocol.framer.encode(request, unit, protocol.request_transaction_id))
        return answer

    def check(self) -> None:
        """Raise `TransientError` where the link is lost."""
        if self.is_lost:
            raise TransientError(self._lost_text)

    async def open(self, client: ModbusBaseClient) -> None:
        """Connect and keep the reason where that cannot be; the client's own `connect` only logs it."""
        self._client = client
        is_tcp = isinstance(client.ctx.framer, FramerSocket)
        client.ctx.framer = (_TcpFramer if is_tcp else _RtuFramer)(DecodePDU(is_server=False))
        async with asyncio.timeout(self._timeout_s):
            client.ctx.transport, _ = await client.ctx.call_create()

    def close(self) -> None:
        """Close whatever is open."""
        if self._client is not None:
            self._client.close()

    def note(self, connected: bool) -> None:  # noqa: FBT001 - called by pymodbus
        """End the request under way as soon as the connection is lost."""
        if connected:
            return
        self.is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TransientError(self._lost_text))
        self._on_end()


@asynccontextmanager
async def open_link(config: ModbusClientConfig, *, on_end: Callable[[], None]) -> AsyncIterator[Link]:
    """Connect; raise `TransientError` with the reason where that cannot be. Closes on leaving."""
    serial = config.serial
    pause_s = config.min_interval if serial is None else max(config.min_interval, _silence_s(serial))
    link = Link(
        timeout_s=config.timeout,
        tries=_TRIES if config.limits.is_serial else 1,
        pause_s=pause_s,
        lost_text="the controller ended the connection" if serial is None else "the serial port is gone",
        on_end=on_end,
    )
    try:
        try:
            await (_open_tcp(link, config) if serial is None else _open_serial(link, config, serial))
        except TimeoutError as error:
            raise TransientError(f"no connection within {duration_text(config.timeout)}") from error
        except OSError as error:
            raise TransientError(system_reason(error)) from error
        yield link
    finally:
        link.close()


async def _open_tcp(link: Link, config: ModbusClientConfig) -> None:
    """Connect to an address that is allowed: it is looked up here, so that no other one is written to."""
    assert config.host is not None  # noqa: S101 - by the config's own check
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(config.timeout):
        found = await loop.getaddrinfo(config.host, config.tcp_port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    allowed = [address for address in addresses if config.allows(ip_address(address))]
    if not allowed:
        raise TransientError(f"{' and '.join(addresses)} is not in `allow`, so nothing is written there")
    for address in allowed:
        client = AsyncModbusTcpClient(
            address,
            port=config.tcp_port,
            framer=FramerType.RTU if config.transport == "rtu_over_tcp" else FramerType.SOCKET,
            reconnect_delay=0,
            trace_connect=link.note,
        )
        try:
            await link.open(client)
        except OSError:
            if address == allowed[-1]:
                raise
        else:
            enable_keepalive(client.ctx.transport)
            return


async def _open_serial(link: Link, config: ModbusClientConfig, serial: Serial) -> None:
    client = AsyncModbusSerialClient(
        str(serial),
        baudrate=serial.baudrate,
        parity=serial.parity_letter,
        stopbits=serial.stopbits,
        reconnect_delay=0,
        trace_connect=link.note,
    )
    try:
        await link.open(client)
    except termios.error as error:  # pyserial passes it on, and it is no OSError
        raise TransientError(
            f"cannot be set to {config.wire}: {error.args[-1]}; see `serial`, and what the port can do"
        ) from error
    for _ in range(2):  # pymodbus sets a serial port up in two later turns of the event loop
        await asyncio.sleep(0)


class _TcpFramer(FramerSocket):
    """Modbus TCP."""

    def handleFrame(  # noqa: N802 - named so by pymodbus
        self, data: bytes, exp_devid: int, exp_tid: int
    ) -> tuple[int, Any]:
        """Return how many bytes are done with, and the answer from the function code on if it is there.

        What belongs to no request is passed over.
        """
        used = 0
        while used < len(data):
            length, unit, transaction, pdu = self.decode(data[used:])
            used += length
            if not length or not pdu:
                break
            if (not exp_devid or unit == exp_devid) and transaction == exp_tid:
                return used, pdu
        return used, None


class _RtuFramer(FramerRTU):
    """Modbus RTU: nothing tells where an answer begins, and a driver that is switched on makes noise."""

    def handleFrame(  # noqa: N802 - named so by pymodbus
        self,
        data: bytes,
        exp_devid: int,
        exp_tid: int,  # noqa: ARG002 - RTU has no transactions
    ) -> tuple[int, Any]:
        """Return the same, wherever in `data` the answer is."""
        for start in range(len(data) - _LEAST_FRAME + 1):
            end = start + _frame_size(data[start + 1], data[start + 2])
            if data[start] != exp_devid or end > len(data):
                continue
            if self.check_CRC(data[start : end - 2], int.from_bytes(data[end - 2 : end])):
                return end, data[start + 1 : end - 2]
        return 0, None


def _frame_size(function: int, count: int) -> int:
    """Return the length of an RTU answer."""
    if function & 0x80:
        return _LEAST_FRAME
    return _LEAST_FRAME + count if function in _READS else _WRITE_FRAME


def _time_out(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _silence_s(serial: Serial) -> float:
    return max(_LEAST_SILENCE_S, _SILENT_CHARACTERS * _BITS_OF_A_CHARACTER / serial.baudrate)
