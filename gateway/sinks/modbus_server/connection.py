"""A connection of the Modbus server, and Modbus TCP framing: requests in a stream, each with its answer.

A request is passed on without its transaction id, the first two bytes, which only has to be returned: so the
same question is the same bytes each time.
"""

from __future__ import annotations

import asyncio
import struct
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import structlog
from pymodbus.constants import ExcCodes

from gateway.sinks.connecting import enable_keepalive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    AnswerAll = Callable[[bytes], "Answered"]
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    from gateway.status import ClientsStatus


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


_DROPPED_AFTER_S = 10.0
_CALM_AFTER_S = 60.0
_MOST_LOGGED = 100  # hosts for each kind of refusal, each once

_log = structlog.get_logger()


class Clients:
    """The connections of one server, `most` at a time.

    A new connection gets the place of one that never sent a request, or of the one that has been quiet for
    longest, if that is at least ten seconds: a controller that restarts leaves dead connections behind and
    must get in again. Active connections are never dropped for a new one.
    """

    def __init__(
        self,
        *,
        allow: Sequence[IPv4Network | IPv6Network],
        most: int,
        status: ClientsStatus,
        log_fields: dict[str, str],
    ) -> None:
        self.is_open = False
        self._allow = allow
        self._most = most
        self._status = status
        self._log = _log.bind(**log_fields)
        self._connected: dict[Connection, None] = {}  # in the order in which they came
        self._full_s: float | None = None  # when all places were last in use; None if that was logged as over
        self._logged: dict[str, set[str]] = {}  # hosts by the reason that was logged

    def admit(self, client: Connection, host: str, *, now_s: float) -> bool:
        """Add a connection; return false if it must be dropped."""
        if not self.is_open:
            return False
        if not self._is_allowed(host):
            self.refuse(host, "its address is not in `allow`")
            return False
        if len(self._connected) >= self._most and not self._drop_quietest(host, now_s):
            self._status.refused += 1
            return False
        self._connected[client] = None
        self._update_status(now_s)
        return True

    def refuse(self, host: str, reason: str) -> None:
        """Count a refused client, and log it if it is the first one of its host with this reason."""
        self._status.refused += 1
        hosts = self._logged.setdefault(reason, set())
        if host not in hosts and len(hosts) < _MOST_LOGGED:
            hosts.add(host)
            self._log.warning(f"Modbus client refused: {reason}", client=host)

    def count(self, requests: int) -> None:
        """Count answered requests."""
        self._status.requests += requests

    def remove(self, client: Connection, *, now_s: float) -> None:
        """Free the place of a closed connection."""
        self._connected.pop(client, None)
        self._update_status(now_s)

    def close(self) -> None:
        """Admit no more connections, and close all."""
        self.is_open = False
        for client in tuple(self._connected):
            client.abort()
        self._connected.clear()
        self._status.connected = 0

    def _drop_quietest(self, host: str, now_s: float) -> bool:
        """Free a place; return false if all connections are active."""
        if self._full_s is None:
            self._log.warning(
                "Modbus connections used up (`max_connections`): quiet ones or newcomers are dropped",
                client=host,
            )
        self._full_s = now_s
        quietest = min(self._connected, key=lambda client: (client.has_asked, client.quiet_since_s))
        if quietest.has_asked and now_s - quietest.quiet_since_s < _DROPPED_AFTER_S:
            return False
        del self._connected[quietest]
        quietest.abort()
        return True

    def _update_status(self, now_s: float) -> None:
        """Count the connections; log once that places are free, after a minute: clients come and go."""
        self._status.connected = len(self._connected)
        if self._full_s is not None and now_s - self._full_s >= _CALM_AFTER_S:
            self._full_s = None
            self._log.info("Modbus clients have places again")

    def _is_allowed(self, host: str) -> bool:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._allow)
