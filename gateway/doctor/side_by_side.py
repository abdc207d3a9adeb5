"""Many receivers are looked at at once, but not all: a building may have hundreds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
_AT_ONCE = 128


async def side_by_side(looks: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return what each look has found, in their order."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def look(one: Callable[[], Awaitable[T]]) -> T:
        async with places:
            return await one()

    return await asyncio.gather(*map(look, looks))
