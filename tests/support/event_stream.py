"""A client for server-sent events."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class EventStream:
    """The messages of one stream, in order."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, name: str) -> Any:
        """Return the data of the next message of this name."""
        while True:
            heard, data = "", ""
            while line := (await self._response.content.readline()).decode().rstrip("\n"):
                key, _, value = line.partition(": ")
                heard, data = (value, data) if key == "event" else (heard, value)
            if heard == name:
                return json.loads(data)
            if not heard:
                raise EOFError

    async def until(self, name: str, holds: Callable[[Any], bool]) -> Any:
        """Return the data of the first message of this name that fulfils a condition."""
        while not holds(data := await self.next(name)):
            pass
        return data


@asynccontextmanager
async def event_stream(url: str) -> AsyncIterator[EventStream]:
    """Open a stream."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 24) as session,
        session.get(url) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        yield EventStream(response)
