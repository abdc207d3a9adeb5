"""What a sink has left with its receiver and must take away again, over restarts of sink and gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Notes

if TYPE_CHECKING:
    from gateway.ports import Journal


class RetainedTopics(dict[str, bool]):
    """Topics, and whether a value stands there. What is set and deleted by `[…]` is noted in the journal."""

    def __init__(self, journal: Journal, *, sink: str) -> None:
        """Begin with what the last run left."""
        super().__init__(journal.retained(sink))
        self._journal = journal
        self._sink = sink

    def __setitem__(self, topic: str, has_value: bool) -> None:
        super().__setitem__(topic, has_value)
        self._journal.note(Notes(retained={(self._sink, topic): has_value}))

    def __delitem__(self, topic: str) -> None:
        super().__delitem__(topic)
        self._journal.note(Notes(retained={(self._sink, topic): None}))
