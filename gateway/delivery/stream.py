"""The events that one sink still has to get, in order: held in memory, or else in the journal alone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.delivery.batch import Loaded, Mapped

_MOST_HELD = 10_000  # updates held in memory per sink; beyond, the journal is the queue


class Stream:
    """Everything up to `taken` was handed out. Up to `_loaded` it is held here, beyond in the journal."""

    def __init__(
        self, *, cursor: int, head: int, since_ms: int | None, read: Callable[[int], Awaitable[Loaded]]
    ) -> None:
        """Begin after event `cursor` of `head`; the first one after it was received at `since_ms`."""
        self.taken = self._loaded = cursor
        self.head = self.due = head
        self._since_ms = since_ms  # when the first event was received that is in the journal alone
        self._read = read
        self._held = _Queue()
        self._arriving: _Queue | None = None  # what comes while the journal is read
        self._restarts = 0

    @property
    def since_ms(self) -> int | None:
        """When the oldest event that was not handed out was received, None where there is none.

        Right after the journal's last batch was handed out, it may be the time of the event before.
        """
        if self._held.events:
            return self._held.events[0].received_ms
        return self._since_ms if self._is_behind else None

    @property
    def has_more(self) -> bool:
        """Whether there is anything that was not handed out."""
        return self.taken < self.head

    def waits_beyond(self, updates: int) -> bool:
        """Say whether more than this waits, or events are in the journal alone."""
        return self._is_behind or self._held.size > updates

    def push(self, event: Mapped) -> Iterable[Mapped]:
        """Add the newest event; return those given up from memory because there are too many."""
        was_behind, self.head = self._is_behind, event.seq
        if event.updates:
            self.due = event.seq
        if was_behind:
            if self._arriving is not None and self._arriving.size <= _MOST_HELD:
                self._arriving.add(event)
            return ()
        self._loaded = event.seq
        self._held.add(event)
        if self._held.size <= _MOST_HELD:
            return ()
        return self.restart(after=self.taken, since_ms=self._held.events[0].received_ms)

    async def load(self) -> bool:
        """Read from the journal where nothing else is left; return False where `restart` came in between."""
        if self._held.events or not self._is_behind:
            return True
        restarts, head = self._restarts, self.head
        arriving = self._arriving = _Queue()
        try:
            loaded = await self._read(self._loaded)
        finally:
            self._arriving = None
        if self._restarts != restarts:
            return False
        for event in loaded.events:
            self._held.add(event)
        self._loaded, self._since_ms = loaded.through, loaded.last_ms
        if self._loaded >= head and arriving.size <= _MOST_HELD:
            # No await between the end of the read and this: all that came since then is here.
            for event in arriving.events:
                self._held.add(event)
            self._loaded = self.head
        return True

    def take(self, at_least: int) -> Sequence[Mapped]:
        """Hand out the next events: so many that they have `at_least` updates, where there are."""
        taken = self._held.take(at_least)
        self.taken = self._held.events[0].seq - 1 if self._held.events else self._loaded
        return taken

    def restart(self, *, after: int, since_ms: int | None) -> Iterable[Mapped]:
        """Go on after event `after` from the journal; its next was received at `since_ms`.

        Return what is given up: it was mapped by another table, or is too much to hold.
        """
        self._restarts += 1
        held, self._held = self._held, _Queue()
        self.taken = self._loaded = after
        self._since_ms = since_ms
        return held.events

    @property
    def _is_behind(self) -> bool:
        return self._loaded < self.head


class _Queue:
    """Events that bring updates, and how many updates."""

    def __init__(self) -> None:
        self.events: deque[Mapped] = deque()
        self.size = 0

    def add(self, event: Mapped) -> None:
        """Add an event, unless it brings nothing."""
        if event.updates:
            self.size += len(event.updates)
            self.events.append(event)

    def take(self, at_least: int) -> list[Mapped]:
        """Take as many events as bring so many updates."""
        taken: list[Mapped] = []
        size = 0
        while self.events and size < at_least:
            taken.append(self.events.popleft())
            size += len(taken[-1].updates)
        self.size -= size
        return taken
