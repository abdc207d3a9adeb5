"""Waiting for states without notifications, and delivering to a receiver that comes and goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], bool], *, within_s: float = 60.0, look_every_s: float = 0.01) -> None:
    """Return once `holds` returns true."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(look_every_s)


async def until_delivered(deliver: Callable[[], Awaitable[None]], *, within_s: float = 60.0) -> int:
    """Deliver as the delivery loop does, again while the receiver is away; return how often."""
    again = 0
    async with asyncio.timeout(within_s):
        while True:
            try:
                await deliver()
            except TransientError:
                again += 1
                await asyncio.sleep(0.05)
            else:
                return again
