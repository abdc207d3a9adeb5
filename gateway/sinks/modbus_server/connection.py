"""One client of the Modbus server on its socket: requests are answered at once, anything else ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from gateway.sinks.tcp_keepalive import enable_keepalive

if TYPE_CHECKING:
    from gateway.sinks.modbus_server.clients import Clients
    from gateway.sinks.modbus_server.framing import Answered

_BUFFER_BYTES = 4096  # what one client can have answered before the others get their turn
_UNSENT_BYTES = 65536  # a client with more answers than this waiting for it is not listened to


class Answering(Protocol):
    """What answers requests."""

    def answer_all(self, received: bytes) -> Answered:
        """Answer all complete requests at the start of `received`."""


class Connection(asyncio.BufferedProtocol):
    """One client. Its fixed buffer holds whole requests until they are answered, which is at once.

    Only whole requests count as a sign of life: one who sends byte by byte does not keep its place.
    """

    def __init__(self, *, answers: Answering, clients: Clients, idle_timeout_s: float) -> None:
        self.has_asked = False
        self._answers = answers
        self._clients = clients
        self._patience_s = idle_timeout_s
        self._loop = asyncio.get_running_loop()
        self.quiet_since_s = self._loop.time()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or drop it."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")  # None where it is gone already
        if peer is None or not self._clients.admit(self, peer[0], now_s=self._loop.time()):
            self._transport.abort()
            return
        self._host = peer[0]
        enable_keepalive(transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        self._timer = self._loop.call_later(self._patience_s, self._close_if_quiet)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - every reason is the same here
        """Make room for another client."""
        if self._timer is not None:
            self._timer.cancel()
            self._clients.leave(self, now_s=self._loop.time())

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """Listen to nobody who does not take its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Listen again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the buffer is as large as it is
        """Return where the next bytes go."""
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Answer all complete requests and keep the rest; what is no Modbus TCP ends the connection."""
        received = bytes(self._buffer[: self._filled + nbytes])
        answers, used, requests, is_modbus = self._answers.answer_all(received)
        self._filled = len(received) - used
        if self._filled:
            self._buffer[: self._filled] = received[used:]
        if requests:
            self.has_asked = True
            self.quiet_since_s = self._loop.time()
            self._clients.count(requests)
            self._send(answers)
        if not is_modbus:
            self._end()

    def _send(self, answers: bytes) -> None:
        self._transport.write(answers)

    def _end(self) -> None:
        self._transport.close()

    def _close_if_quiet(self) -> None:
        """End the connection if it was quiet for too long, otherwise look again when it could have been."""
        quiet_until_s = self.quiet_since_s + self._patience_s
        if self._loop.time() >= quiet_until_s:
            self._transport.abort()
        else:
            self._timer = self._loop.call_at(quiet_until_s, self._close_if_quiet)
