"""Ports that the gateway listens on, with or without TLS."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.scalars import HostPort

_BACKLOG = 1024


@asynccontextmanager
async def listen(
    what: str,
    address: HostPort,
    protocol: Callable[[], asyncio.Protocol],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Listen within the context; a port that can't be had is told with its setting's name."""
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(protocol, address.host, address.port, ssl=tls, backlog=_BACKLOG)
    except OSError as error:
        raise GatewayError(f"{what}: can't listen on {address}: {error.strerror or error}") from error
    try:
        yield
    finally:
        server.close()


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
