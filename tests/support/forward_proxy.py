"""A forward proxy that connects to one local port, and records its requests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class ForwardProxy:
    """Listens on loopback. `heads` are the requests to the proxy; `refusal` is an answer to all."""

    port: int = 0
    refusal: str | None = None
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def forward_proxy(target_port: int) -> AsyncIterator[ForwardProxy]:
    """Forward every connection to one port of this machine."""
    proxy = ForwardProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            proxy.heads.append(head.decode())
            if proxy.refusal is not None:
                writer.write(f"HTTP/1.1 {proxy.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
            else:
                await _forward(head, reader, writer)
        writer.close()

    async def _forward(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target_port)
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            target_writer.write(head)
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
