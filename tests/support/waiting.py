"""Waiting for what has no event of its own, and delivering to a receiver that comes and goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], bool], *, within_s: float = 60.0, look_every_s: float = 0.01) -> None:
    """Return once something holds, such as a state in the status or in another process."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(look_every_s)


async def until_taken(deliver: Callable[[], Awaitable[None]], *, within_s: float = 60.0) -> int:
    """Do as the delivery loop does: the same once more while its receiver is away; return how often."""
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
