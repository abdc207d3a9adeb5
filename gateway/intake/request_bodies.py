"""Reading request bodies that come in parts, within limits of time, memory and work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.web import HTTPRequestEntityTooLarge

if TYPE_CHECKING:
    from aiohttp import StreamReader

_FREE_CHUNKS = 1000
_LEAST_BYTES_PER_CHUNK = 64


class BodyMemoryError(Exception):
    """The memory for bodies is used up, and this body has been under way for longest."""


class TinyChunksError(Exception):
    """The body comes in chunks so small that reading them costs many times its worth."""


class BodyReader:
    """Reads the bodies of one server, which may take `most_bytes` of memory together, each within `within_s`.

    When they take more, the body that has been under way for longest is given up; its sender repeats it.
    """

    def __init__(self, *, most_bytes: int, within_s: float) -> None:
        self._most_bytes = most_bytes
        self._within_s = within_s
        self._bytes = 0
        self._under_way: dict[asyncio.Timeout, int] = {}  # bytes by body, the oldest first

    async def read(self, content: StreamReader, *, longest: int) -> bytes:
        """Return a whole body; raise one of the errors above, TimeoutError or 413."""
        body = asyncio.timeout(self._within_s)
        try:
            async with body:
                self._under_way[body] = 0
                return await self._read(content, body, longest)
        except TimeoutError:
            if body not in self._under_way:
                raise BodyMemoryError from None
            raise
        finally:
            self._bytes -= self._under_way.pop(body, 0)

    async def _read(self, content: StreamReader, body: asyncio.Timeout, longest: int) -> bytes:
        parts: list[bytes] = []
        size = chunks = 0
        while True:
            part, ends_chunk = await content.readchunk()
            if not part and not ends_chunk:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            chunks += ends_chunk
            if size > longest:
                raise HTTPRequestEntityTooLarge(longest, size)
            if chunks > _FREE_CHUNKS + size // _LEAST_BYTES_PER_CHUNK:
                raise TinyChunksError
            self._account(body, len(part))

    def _account(self, body: asyncio.Timeout, size: int) -> None:
        """Count `size` more bytes, and give up the oldest bodies until all fit."""
        if body not in self._under_way:  # given up a moment ago
            raise BodyMemoryError
        self._under_way[body] += size
        self._bytes += size
        while self._bytes > self._most_bytes:
            oldest = next(iter(self._under_way))
            self._bytes -= self._under_way.pop(oldest)
            if oldest is body:
                raise BodyMemoryError
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
