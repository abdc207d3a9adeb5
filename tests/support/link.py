"""A network between gateway and receiver that can be cut: a port that forwards to another one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from support.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType


class Link:
    """Forwards `port` to `target_port`, both on loopback. An async context manager; whole at first."""

    def __init__(
        self,
        target_port: int,
        *,
        delay_s: float = 0.0,
        chunk_bytes: int = 1 << 16,
        breaks_after_s: float | None = None,
    ) -> None:
        """`delay_s`: of each chunk, each way; `breaks_after_s`: how long a connection lives."""
        self.port = free_port()
        self.connections = 0
        self.breaks_after_s = breaks_after_s
        self._delay_s = delay_s
        self._chunk_bytes = chunk_bytes
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Close the listener and every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cut()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError, TimeoutError):
            there = await asyncio.open_connection("127.0.0.1", self._target_port)
            async with asyncio.timeout(self.breaks_after_s):
                await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))
        writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while chunk := await reader.read(self._chunk_bytes):
                await asyncio.sleep(self._delay_s)
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
