"""What goes from the head to a sink's loop, and where a feed gets what it does not hold itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Update
    from gateway.records import StoredDeadLetter


class Mapped(NamedTuple):
    """What the event of a number means for the sinks, and when it was received (Unix ms)."""

    seq: int
    received_ms: int
    updates: Sequence[Update]


class Loaded(NamedTuple):
    """Events from the journal, up to number `through`, the last of which was received at `last_ms`."""

    events: Sequence[Mapped]
    through: int
    last_ms: int | None


class Source(Protocol):
    """What one sink's feed may ask for; always by the point tables in force."""

    async def read(self, after: int) -> Loaded:
        """Return the next events after number `after` from the journal, mapped again.

        Not beyond what the feed knew of when this was called.
        """

    def show(self, name: str) -> Update | None:
        """Return what the point of a name shows; None where there is no such point, or nothing to show."""

    def again(self, stored: StoredDeadLetter) -> Sequence[Update]:
        """Return what a dead letter means now; raise `GatewayError` with the reason where that is nothing."""


@dataclass(slots=True, eq=False)
class Retry:
    """A dead letter on its way again. `waiting`: the sinks that have not written it yet."""

    stored: StoredDeadLetter
    waiting: set[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Updates to write together; once they are written, the sink is done with every event up to `through`.

    `since_ms` is when the oldest event in it was received, None where no event moves the cursor.
    `is_aside`: handed out beside the events in their order. No event brings these again, or not soon.
    `retries`: the dead letters that these updates are, where they are.
    """

    updates: Sequence[Update]
    through: int
    since_ms: int | None = None
    is_aside: bool = False
    retries: Sequence[Retry] = ()
