"""Whether the host application that an edge node serves is there, by what it says of itself."""

from __future__ import annotations

import asyncio

import orjson


class PrimaryHost:
    """Takes in what one host application says on one connection (Sparkplug 3.0.0, 5.4 and 5.5: STATE)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._said_ms = 0
        self._online = asyncio.Event()
        self._offline = asyncio.Event()

    def take(self, payload: bytes) -> None:
        """Take in JSON with `online` and `timestamp`, unless it is older than what was said last."""
        try:
            state = orjson.loads(payload)
            online, said_ms = state["online"], state["timestamp"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return
        if not isinstance(online, bool) or not isinstance(said_ms, int) or said_ms < self._said_ms:
            return
        self._said_ms = said_ms
        now, before = (self._online, self._offline) if online else (self._offline, self._online)
        now.set()
        before.clear()

    async def arrived(self) -> str:
        """Wait until the host is there; say so in words."""
        await self._online.wait()
        return f"the primary host {self.name} is online"

    async def left(self) -> str:
        """Wait until the host says that it is not there; say so in words."""
        await self._offline.wait()
        return f"the primary host {self.name} is offline"
