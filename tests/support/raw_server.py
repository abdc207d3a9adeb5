"""An HTTP server that sends exactly the bytes that a test sets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    Write = Callable[[asyncio.StreamWriter], Awaitable[None]]
    """Answers one request, and may take its time; the connection is closed afterwards."""


@dataclass
class RawServer:
    """Listens on loopback. `arrived_s` has the time of each request, `heads` its head."""

    port: int = 0
    arrived_s: list[float] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)


def http(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """Return an answer; `length` is a false Content-Length."""
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


@asynccontextmanager
async def raw_server(
    replies: Iterable[bytes | Write], *, default: bytes = b"", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Answer each request with the next of `replies`, then with `default`."""
    server, left = RawServer(), iter(replies)
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            handlers.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            server.arrived_s.append(asyncio.get_running_loop().time())
            server.heads.append(head.decode())
            reply = next(left, default)
            if isinstance(reply, bytes):
                writer.write(reply)
            else:
                await reply(writer)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
