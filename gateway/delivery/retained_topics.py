"""Retained topics of one sink, stored so that they can be cleared, also after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.records import StateChanges

if TYPE_CHECKING:
    from gateway.ports import StateStore


class RetainedTopics(dict[str, bool]):
    """By topic, whether a value is retained there. Setting and deleting with `[…]` is saved."""

    def __init__(self, state_store: StateStore, *, sink: str) -> None:
        """Begin with the topics of the last run."""
        super().__init__(state_store.at_start.retained.get(sink, {}))
        self._state_store = state_store
        self._sink = sink

    def __setitem__(self, topic: str, has_value: bool) -> None:
        super().__setitem__(topic, has_value)
        self._state_store.save(StateChanges(retained={(self._sink, topic): has_value}))

    def __delitem__(self, topic: str) -> None:
        super().__delitem__(topic)
        self._state_store.save(StateChanges(retained={(self._sink, topic): None}))
