"""The connections of a Modbus server: who may connect, what each one receives and is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, cast

from gateway.sinks.connecting import enable_keepalive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    import structlog

    from gateway.sinks.modbus_server.answers import Answers
    from gateway.status import ClientsStatus

_BUFFER_BYTES = 4096  # the most that is answered of one client before others get their turn
_UNSENT_BYTES = 65536  # while more answers than this wait for a client, nothing is read from it
_DROPPED_AFTER_S = 10.0
_CALM_AFTER_S = 60.0
_MOST_LOGGED = 100  # refusals, each host and reason once


class Connection(asyncio.BufferedProtocol):
    """One client. Its fixed buffer holds requests until they are complete; they are answered at once.

    Only complete requests count as activity: a client that sends byte by byte does not keep its place.
    """

    def __init__(self, *, answers: Answers, clients: Clients, idle_timeout_s: float) -> None:
        self.has_asked = False
        self._may_read = True
        self._answers = answers
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
        answers, used, requests, is_modbus = self._answers.answer_all(received, may_read=self._may_read)
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


@dataclass(eq=False, kw_only=True)
class Clients:
    """The connections of one server, `most` at a time.

    A new connection gets the place of one that never sent a request, or of the one that has been quiet for
    longest, if that is at least ten seconds: a controller that restarts leaves dead connections behind and
    must get in again. Active connections are never dropped for a new one.
    """

    allow: Sequence[IPv4Network | IPv6Network]
    most: int
    status: ClientsStatus
    bound_log: structlog.BoundLogger
    is_open: bool = False
    _connected: dict[Connection, None] = field(default_factory=dict, init=False)  # in the order they came
    _full_s: float | None = field(default=None, init=False)  # when all places were last in use; until logged
    _logged: set[tuple[str, str]] = field(default_factory=set, init=False)

    def admit(self, client: Connection, host: str, *, now_s: float) -> bool:
        """Add a connection; return false if it must be dropped."""
        if not self.is_open:
            return False
        if not self._is_allowed(host):
            self.refuse(host, "its address is not in `allow`")
            return False
        if len(self._connected) >= self.most and not self._drop_quietest(host, now_s):
            self.status.refused += 1
            return False
        self._connected[client] = None
        self._update_status(now_s)
        return True

    def refuse(self, host: str, reason: str) -> None:
        """Count a refused client, and log it if it is the first one of its host with this reason."""
        self.status.refused += 1
        if (host, reason) not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add((host, reason))
            self.bound_log.warning(f"Modbus client refused: {reason}", client=host)

    def count(self, requests: int) -> None:
        """Count answered requests."""
        self.status.requests += requests

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
        self.status.connected = 0

    def _drop_quietest(self, host: str, now_s: float) -> bool:
        """Free a place; return false if all connections are active."""
        if self._full_s is None:
            self.bound_log.warning(
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
        self.status.connected = len(self._connected)
        if self._full_s is not None and now_s - self._full_s >= _CALM_AFTER_S:
            self._full_s = None
            self.bound_log.info("Modbus clients have places again")

    def _is_allowed(self, host: str) -> bool:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.allow)
