"""The gateway's HTTP ports: listening with or without TLS, how many connections, and what is not HTTP."""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import ssl
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable

    from gateway.config.value_types import HostPort
    from gateway.status import ConnectionsStatus

log = structlog.get_logger()

_HANDSHAKE_WITHIN_S = 10.0
_CALM_AFTER_S = 60.0
_MOST_VERIFIED_HOSTS = 1000
_SHARE_OF_FILES = 4  # of the open files that the system allows; the journal and the sinks need some, too


@asynccontextmanager
async def listen(
    setting: str,
    address: HostPort,
    protocol: Callable[[], asyncio.Protocol],
    *,
    limit: ConnectionLimit,
    tls: ssl.SSLContext | None = None,
    request_within_s: float | None = None,
) -> AsyncIterator[asyncio.Server]:
    """Listen on `address` within the context; `setting` names it where the port can't be had.

    A connection is closed if it has sent no whole request head within `request_within_s`.
    """
    loop = asyncio.get_running_loop()
    handshakes: dict[ServedConnection, asyncio.Task[None]] = {}

    def serve_connection() -> ServedConnection:
        return ServedConnection(protocol(), limit, tls, handshakes, request_within_s)

    # The loop accepts up to a whole backlog of connections before any of them is counted.
    backlog = max(1, limit.most // 2)
    try:
        server = await loop.create_server(serve_connection, address.host, address.port, backlog=backlog)
    except OSError as error:
        raise GatewayError(f"{setting}: can't listen on {address}: {error.strerror or error}") from error
    try:
        yield server
    finally:
        server.close()
        for connection in handshakes:
            connection.abort()


@asynccontextmanager
async def serve_application(
    application: web.Application,
    setting: str,
    address: HostPort,
    *,
    listener: str,
    limit: ConnectionLimit,
    no_http: Counter[str],
    tls: ssl.SSLContext | None,
    close_within_s: float,
) -> AsyncIterator[None]:
    """Serve an application on a port within the context; requests under way are finished on leaving."""
    runner = quiet_runner(application, listener, no_http=no_http, close_within_s=close_within_s)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - set up in the line above
    try:
        async with listen(setting, address, runner.server, limit=limit, tls=tls):
            yield
    finally:
        await runner.cleanup()


class ConnectionLimit:
    """The connections of one port, `most` at a time, and fewer where the system allows few open files.

    A new connection is always accepted. When the port is full, one is dropped for it: the oldest unverified
    one, or else the verified one that has delivered nothing for longest. A connection is verified once
    something rightly signed (at the admin port: with the token) came on it, or from its host before.
    """

    def __init__(self, setting: str, most: int, *, status: ConnectionsStatus) -> None:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = allowed == resource.RLIM_INFINITY
        self.most = most if unlimited else min(most, allowed // _SHARE_OF_FILES)
        self._setting = setting
        self._status = status
        self._unverified: dict[ServedConnection, None] = {}  # the oldest first
        self._verified: dict[ServedConnection, None] = {}  # the one that is silent for longest first
        self._verified_hosts: set[str] = set()
        self._full_s = -math.inf  # when the port was last full

    def add(self, connection: ServedConnection) -> None:
        """Count a new connection, and drop another one for it if the port is full."""
        if len(self._unverified) + len(self._verified) >= self.most:
            self._drop_one(connection.host)
        is_verified = connection.host in self._verified_hosts
        (self._verified if is_verified else self._unverified)[connection] = None
        self._status.open = len(self._unverified) + len(self._verified)

    def mark_verified(self, connection: ServedConnection) -> None:
        """Keep this connection, and later ones from its host, longer than unverified ones."""
        self._unverified.pop(connection, None)
        self._verified.pop(connection, None)
        self._verified[connection] = None
        if len(self._verified_hosts) >= _MOST_VERIFIED_HOSTS:
            self._verified_hosts.clear()  # those that still come are in it again soon
        self._verified_hosts.add(connection.host)

    def remove(self, connection: ServedConnection) -> None:
        """Stop counting a connection that has ended."""
        self._unverified.pop(connection, None)
        self._verified.pop(connection, None)
        self._status.open = len(self._unverified) + len(self._verified)

    def _drop_one(self, newcomer: str) -> None:
        now_s = time.monotonic()
        if now_s - self._full_s > _CALM_AFTER_S:
            log.warning(
                "connections.full",
                port=self._setting,
                most=self.most,
                newcomer=newcomer,
                dropped="unverified connections first, then silent ones",
            )
        self._full_s = now_s
        connections = self._unverified or self._verified
        first = next(iter(connections))
        del connections[first]
        self._status.dropped += 1
        first.abort()


@dataclass(eq=False)
class ServedConnection(asyncio.Protocol):
    """One connection: counted before TLS begins, then everything goes to the HTTP protocol inside."""

    _http: asyncio.Protocol
    _limit: ConnectionLimit
    _tls: ssl.SSLContext | None
    _handshakes: dict[ServedConnection, asyncio.Task[None]]
    _request_within_s: float | None
    host: str = ""
    _socket: socket.socket | None = None  # of TLS
    _transport: asyncio.Transport | None = None  # None before and during the handshake
    _timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(self._http, name))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and serve it, after the handshake where there is TLS."""
        transport = cast("asyncio.Transport", transport)
        if self._socket is None:
            self._count(transport)
        if self._socket is None and self._tls is not None:
            self._begin_handshake(transport, self._tls)
        else:
            self._transport = transport
            self._http.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, unless it is only the bare one that TLS replaces."""
        if self._transport is not None:
            self._end()
            self._http.connection_lost(exc)

    def request_received(self) -> None:
        """Stop the timer that closes a connection without a request."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def mark_verified(self) -> None:
        """Record that something rightly signed, or with the token, came on this connection."""
        self._limit.mark_verified(self)

    def abort(self) -> None:
        """Close the connection at once, in whatever state it is."""
        if self._transport is not None:
            self._transport.abort()
        elif self._socket is not None:
            with suppress(OSError):  # gone already
                self._socket.shutdown(socket.SHUT_RDWR)

    def _count(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")  # None where it is gone already
        self.host = peer[0] if peer else ""
        self._limit.add(self)
        if self._request_within_s is not None:
            self._timer = self._loop.call_later(self._request_within_s, self.abort)

    def _begin_handshake(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        """Continue with TLS on a copy of the socket, before a byte is read.

        `loop.start_tls` would lose what comes before it begins (uvloop), or with the handshake's end.
        """
        transport.close()
        try:
            self._socket = transport.get_extra_info("socket").dup()
        except OSError:  # gone already, or no file is left
            self._end()
            return
        handshake = self._shake_hands(self._socket, tls)
        self._handshakes[self] = self._loop.create_task(handshake, name=f"TLS with {self.host}")

    async def _shake_hands(self, copy: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            with suppress(OSError):  # no TLS, or gone
                await self._loop.connect_accepted_socket(
                    lambda: self, copy, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_WITHIN_S
                )
        finally:
            del self._handshakes[self]
            if self._transport is None:
                self._end()

    def _end(self) -> None:
        self.request_received()
        self._limit.remove(self)


def connection_of(transport: asyncio.BaseTransport | None) -> ServedConnection | None:
    """Return the connection that a request came on, None where its sender has gone."""
    protocol = transport.get_protocol() if transport is not None else None
    return protocol if isinstance(protocol, ServedConnection) else None


@dataclass
class ConnectionLog:
    """The logger that aiohttp gets: counts requests that are not HTTP, which aiohttp answers by itself.

    Anyone may send garbage, so it costs a debug line without any of its content.
    """

    listener: str
    on_garbage: Callable[[], None]

    def debug(self, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        """Count a request that is not HTTP or ended early; log anything else as a bug."""
        no_http, failed = f"{self.listener}.no_http", f"{self.listener}.failed"
        if isinstance(exc_info, HttpProcessingError | RequestPayloadError | ConnectionError):
            self.on_garbage()
            log.debug(no_http, reason=type(exc_info).__name__)
        else:
            log.error(failed, reason=message % arguments, exc_info=exc_info)

    exception = debug


def json_answer(document: object, *, code: int = 200) -> web.Response:
    """Return a document as a JSON answer."""
    return web.Response(status=code, body=orjson.dumps(document), content_type="application/json")


def quiet_runner(
    application: web.Application, listener: str, *, no_http: Counter[str], close_within_s: float
) -> web.AppRunner:
    """Return a runner that logs no requests; what is not HTTP is counted in `no_http` by listener."""
    return web.AppRunner(
        application,
        access_log=None,
        logger=ConnectionLog(listener, on_garbage=lambda: no_http.update([listener])),
        auto_decompress=False,
        shutdown_timeout=close_within_s,
    )


async def answers(address: HostPort, *, tls: bool, within_s: float) -> bool:
    """Return whether a server of this process answers HTTP at its own address."""
    context = ssl._create_unverified_context() if tls else None  # noqa: S323, SLF001 - own socket
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read(64)
            writer.close()
            return answer.startswith(b"HTTP/1.")
    return False
