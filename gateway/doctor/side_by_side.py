"""Many receivers are looked at at once, but not all: a building may have hundreds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.doctor.findings import Finding

_AT_ONCE = 32


async def side_by_side(looks: Sequence[Callable[[], Awaitable[Finding]]]) -> list[Finding]:
    """Return what each look has found, in their order."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def look(one: Callable[[], Awaitable[Finding]]) -> Finding:
        async with places:
            return await one()

    return await asyncio.gather(*map(look, looks))
