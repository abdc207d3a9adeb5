"""Ports that the gateway listens on, with or without TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.scalars import HostPort
    from gateway.intake.places import Places

_HANDSHAKE_WITHIN_S = 10.0


@asynccontextmanager
async def listen(
    what: str,
    address: HostPort,
    protocol: Callable[[], asyncio.Protocol],
    *,
    places: Places,
    tls: ssl.SSLContext | None = None,
    ask_within_s: float | None = None,
) -> AsyncIterator[asyncio.Server]:
    """Listen within the context; a port that can't be had is reported with its setting's name.

    With `ask_within_s`, a connection is closed on which `Door.note_request` was not called by then.
    """
    loop = asyncio.get_running_loop()
    handshakes: dict[Door, asyncio.Task[None]] = {}

    def make_door() -> Door:
        return Door(protocol(), places=places, tls=tls, handshakes=handshakes, ask_within_s=ask_within_s)

    # The loop takes up to a whole backlog of connections at once, before any of them gets a place.
    backlog = max(1, places.most // 2)
    try:
        server = await loop.create_server(make_door, address.host, address.port, backlog=backlog)
    except OSError as error:
        raise GatewayError(f"{what}: can't listen on {address}: {error.strerror or error}") from error
    try:
        yield server
    finally:
        server.close()
        for door in handshakes:
            door.abort()


class Door(asyncio.Protocol):
    """One connection: takes its place before TLS begins, then hands everything to the protocol inside."""

    def __init__(
        self,
        inside: asyncio.Protocol,
        *,
        places: Places,
        tls: ssl.SSLContext | None,
        handshakes: dict[Door, asyncio.Task[None]],
        ask_within_s: float | None,
    ) -> None:
        self._inside = inside
        self._places = places
        self._tls = tls
        self._handshakes = handshakes
        self._ask_within_s = ask_within_s
        self._loop = asyncio.get_running_loop()
        self._host: str | None = None
        self._transport: asyncio.Transport | None = None  # None before and during the handshake
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place; let the connection in, after its handshake where there is one."""
        transport = cast("asyncio.Transport", transport)
        is_new = self._host is None
        if is_new:
            self._enter(transport)
        if is_new and self._tls is not None:
            self._begin_handshake(transport, self._tls)
        else:
            self._transport = transport
            self._inside.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place, unless it is the bare connection that ends where TLS begins."""
        if self._transport is not None:
            self._leave()
            self._inside.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand it on."""
        self._inside.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand it on."""
        return self._inside.eof_received()

    def pause_writing(self) -> None:
        """Hand it on."""
        self._inside.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._inside.resume_writing()

    def note_request(self) -> None:
        """Let the connection go on: it has asked something."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def trust(self) -> None:
        """Have others give way before it: what has come was rightly signed, or had the token."""
        self._places.trust(self, self._host or "")

    def abort(self) -> None:
        """Close it at once, in whatever state it is."""
        if self._transport is not None:
            self._transport.abort()
        else:
            with suppress(OSError):  # gone already
                self._socket.shutdown(socket.SHUT_RDWR)

    def _enter(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")  # None where it is gone already
        self._host = peer[0] if peer else ""
        self._places.enter(self, self._host, now_s=self._loop.time())
        if self._ask_within_s is not None:
            self._timer = self._loop.call_later(self._ask_within_s, self.abort)

    def _begin_handshake(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        """Have the connection go on with TLS: a copy of its socket does, before a byte is read.

        `loop.start_tls` would lose what comes before it begins (uvloop), or with the handshake's end.
        """
        transport.close()
        try:
            self._socket: socket.socket = transport.get_extra_info("socket").dup()
        except OSError:  # gone already, or no file is left
            self._leave()
            return
        self._handshakes[self] = self._loop.create_task(self._shake_hands(tls), name=f"TLS with {self._host}")

    async def _shake_hands(self, tls: ssl.SSLContext) -> None:
        try:
            with suppress(OSError):  # no TLS, or gone
                await self._loop.connect_accepted_socket(
                    lambda: self, self._socket, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_WITHIN_S
                )
        finally:
            del self._handshakes[self]
            if self._transport is None:
                self._leave()

    def _leave(self) -> None:
        self.note_request()
        self._places.leave(self, now_s=self._loop.time())


def door_of(transport: asyncio.BaseTransport | None) -> Door | None:
    """Return through which door a request came, None where its sender has gone."""
    protocol = transport.get_protocol() if transport is not None else None
    return protocol if isinstance(protocol, Door) else None


async def answers(address: HostPort, *, tls: bool, within_s: float) -> bool:
    """Say whether a server of this process answers HTTP at its own address."""
    context = ssl._create_unverified_context() if tls else None  # noqa: S323, SLF001 - own socket
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read(64)
            writer.close()
            return answer.startswith(b"HTTP/1.")
    return False
