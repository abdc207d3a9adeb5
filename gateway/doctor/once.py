"""Answers that several checks need: each is asked for once, by whoever comes first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Once(Generic[T]):
    """Calls `ask` for the first who awaits it; the others wait, and get the same answer."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        """`ask` must keep its own time limit, or each waiting check would wait for it in vain."""
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answers: list[T] = []

    async def __call__(self) -> T:
        """Return the answer."""
        async with self._asking:
            if not self._answers:
                self._answers.append(await self._ask())
        return self._answers[0]
