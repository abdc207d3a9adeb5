"""A connection of the Modbus server, and Modbus TCP framing: requests in a stream, each with its answer.

A request is passed on without its transaction id, the first two bytes, which only has to be returned: so the
same question is the same bytes each time.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pymodbus.constants import ExcCodes

from gateway.sinks.connecting import enable_keepalive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.sinks.modbus_server.clients import Clients

    AnswerAll = Callable[[bytes], "Answered"]

_BUFFER_BYTES = 4096  # the most that is answered of one client before others get their turn
_UNSENT_BYTES = 65536  # while more answers than this wait for a client, nothing is read from it

_HEADER = struct.Struct(">HHHBB")  # transaction, protocol (0), bytes from the unit on, unit, function
_ANSWER = struct.Struct(">HHBB")  # the same without its transaction
_ID_BYTES = 2  # the transaction id
_COUNTED_FROM = 6  # the header's length counts the bytes from the unit on
_SHORTEST, _LONGEST = 2, 254  # possible lengths
_READ_BYTES: Final = 12  # a whole read, with its transaction id

UNIT, FUNCTION, BODY = 4, 5, 6
"""Positions in a request; the body is what follows the function code."""


class Connection(asyncio.BufferedProtocol):
    """One client. Its fixed buffer holds requests until they are complete; they are answered at once.

    Only complete requests count as activity: a client that sends byte by byte does not keep its place.
    """

    def __init__(self, *, answer_all: AnswerAll, clients: Clients, idle_timeout_s: float) -> None:
        """`answer_all` answers all complete requests at the start of what was received."""
        self.has_asked = False
        self._answer_all = answer_all
        self._clients = clients
        self._quiet_limit_s = idle_timeout_s
        self._loop = asyncio.get_running_loop()
        self.quiet_since_s = self._loop.time()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or drop it."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")  # None if it is already closed
        if peer is None or not self._clients.admit(self, peer[0], now_s=self._loop.time()):
            self._transport.abort()
            return
        self._host = peer[0]
        enable_keepalive(transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        self._timer = self._loop.call_later(self._quiet_limit_s, self._close_if_quiet)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason makes no difference
        """Free the place."""
        if self._timer is not None:
            self._timer.cancel()
            self._clients.remove(self, now_s=self._loop.time())

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """Read no more from a client that does not read its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the buffer has a fixed size
        """Return where the next bytes go."""
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Answer all complete requests and keep the rest; what is not Modbus TCP ends the connection."""
        received = bytes(self._buffer[: self._filled + nbytes])
        answers, used, requests, is_modbus = self._answer_all(received)
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
        """Close the connection if it was quiet for too long; otherwise check again when that is possible."""
        quiet_until_s = self.quiet_since_s + self._quiet_limit_s
        if self._loop.time() >= quiet_until_s:
            self._transport.abort()
        else:
            self._timer = self._loop.call_at(quiet_until_s, self._close_if_quiet)


class Answered(NamedTuple):
    """The answers to received bytes, how many bytes the answered requests were, and how many requests.

    `is_modbus` is false if something else follows them.
    """

    answers: bytes
    used: int
    requests: int
    is_modbus: bool


def answer_requests(
    received: bytes, answer: Callable[[bytes], bytes], known: Mapping[bytes, bytes]
) -> Answered:
    """Answer all complete requests at the start of `received`, in order; `known` has some of the answers."""
    end, start = len(received), 0
    parts: list[bytes] = []
    is_modbus = True
    while end - start >= _HEADER.size:
        stop = start + _READ_BYTES
        answered = known.get(received[start + _ID_BYTES : stop])
        if answered is None:
            _, protocol, length, _, _ = _HEADER.unpack_from(received, start)
            is_modbus = protocol == 0 and _SHORTEST <= length <= _LONGEST
            stop = start + _COUNTED_FROM + length
            if not is_modbus or stop > end:
                break
            answered = answer(received[start + _ID_BYTES : stop])
        parts += (received[start : start + _ID_BYTES], answered)
        start = stop
    return Answered(b"".join(parts), start, len(parts) // 2, is_modbus)


def refuse_all(received: bytes) -> Answered:
    """Answer all complete requests with exception 1, for a client that may read nothing."""
    return answer_requests(received, lambda request: exception_answer(request, ExcCodes.ILLEGAL_FUNCTION), {})


def data_answer(request: bytes, pdu_rest: bytes) -> bytes:
    """Return the answer to a request: `pdu_rest` follows the function code."""
    return _ANSWER.pack(0, len(pdu_rest) + 2, request[UNIT], request[FUNCTION]) + pdu_rest


def exception_answer(request: bytes, code: ExcCodes) -> bytes:
    """Return the answer that refuses a request."""
    return _ANSWER.pack(0, 3, request[UNIT], request[FUNCTION] | 0x80) + bytes((code,))
