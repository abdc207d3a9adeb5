"""What a sink has left with its receiver and must take away again, over restarts of sink and gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.records import StateChanges

if TYPE_CHECKING:
    from gateway.ports import StateStore


class RetainedTopics(dict[str, bool]):
    """Topics, and whether a value stands there. What is set and deleted by `[…]` is noted in the journal."""

    def __init__(self, state_store: StateStore, *, sink: str) -> None:
        """Begin with what the last run left."""
        super().__init__(state_store.at_start.retained.get(sink, {}))
        self._state_store = state_store
        self._sink = sink

    def __setitem__(self, topic: str, has_value: bool) -> None:
        super().__setitem__(topic, has_value)
        self._state_store.save(StateChanges(retained={(self._sink, topic): has_value}))

    def __delitem__(self, topic: str) -> None:
        super().__delitem__(topic)
        self._state_store.save(StateChanges(retained={(self._sink, topic): None}))
