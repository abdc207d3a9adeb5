"""What a broker does not take now is published again, alone, until it does, or takes everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.sinks.broker.connection import Connection
    from gateway.sinks.broker.message import Message, Rejection

# PUBACK failures that say "not now": packet identifier in use, quota exceeded. All others are about
# this message ("does not accept the publish", "not willing to accept it", in the standard's words):
# sent again they would fail again.
_NOT_NOW = frozenset({0x91, 0x97})
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


class Insistence:
    """Publishes on one connection after the other, and does not take "not now" for an answer at once."""

    def __init__(self, harmless: Callable[[], Message]) -> None:
        """`harmless` makes a message that may be published at any time, to see whether any is taken."""
        self._harmless = harmless
        self._given_up: set[str] = set()  # topics that were refused to the end: once is enough from then on

    def begin(self) -> None:
        """Have patience with every topic again: another connection, another quota."""
        self._given_up.clear()

    async def publish(self, connection: Connection, messages: Iterable[Message]) -> list[Rejection]:
        """Return what the broker has refused for good, or again and again.

        The latter is final where it took another message meanwhile.
        """
        refused, later = self._parted(await connection.publish(messages))
        tries = 0
        while later and tries < len(_PAUSES_S):
            await asyncio.sleep(_PAUSES_S[tries])
            again, still = self._parted(await connection.publish([each.message for each in later]))
            tries = tries + 1 if len(still) == len(later) else 0
            refused, later = refused + again, still
        if later and await self._takes_any(connection):
            self._given_up.update(each.message.topic for each in later)
            return refused + later
        return refused + [each._replace(is_final=False) for each in later]

    def _parted(self, rejections: Iterable[Rejection]) -> tuple[list[Rejection], list[Rejection]]:
        """Return what is refused for good, and what may be taken later."""
        refused: list[Rejection] = []
        later: list[Rejection] = []
        for each in rejections:
            is_later = each.code in _NOT_NOW and each.message.topic not in self._given_up
            (later if is_later else refused).append(each)
        return refused, later

    async def _takes_any(self, connection: Connection) -> bool:
        """Say whether the broker takes a message that is surely none of the others."""
        return not any(each.code in _NOT_NOW for each in await connection.publish([self._harmless()]))
