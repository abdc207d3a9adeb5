"""Finds topics at which a broker closes the connection instead of refusing the message, and skips them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SKIPPED = "it disconnects each time"
"""Why nothing is published to a topic that is skipped."""

_QUIET_S = 2.0
_SKIPPED_FOR_S = 3600.0  # then it is tried once more: somebody may have granted the right to publish
_ENOUGH = 5  # disconnects with the topic alone in flight that are no coincidence any more


class SkippedTopics:
    """Counts disconnects by the topics in flight, over all connections of one sink.

    Topics in flight at a disconnect are suspects, and are published alone until the broker accepts them. A
    suspect that was alone in flight at five disconnects in a row, on connections that had accepted others, is
    skipped. A connection that breaks with nothing in flight clears all suspects: the network is at fault.
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` only moves forward."""
        self._clock_s = clock_s
        self._suspects: dict[str, int] = {}  # how often the broker disconnected with each alone in flight
        self._skipped_until_s: dict[str, float] = {}
        self.alone_count = 0
        """How many disconnects had a single suspect in flight."""

    @property
    def suspects(self) -> frozenset[str]:
        """Topics to publish one by one."""
        return frozenset(self._suspects)

    def __contains__(self, topic: str) -> bool:
        """Return whether a topic is a suspect or skipped."""
        return topic in self._suspects or topic in self._skipped_until_s

    def record_disconnect(self, in_flight: Iterable[str], *, accepted_others: bool) -> None:
        """Record that the connection ended with messages to these topics unacknowledged, if any.

        `accepted_others`: the broker had acknowledged a message on that connection.
        """
        topics = set(in_flight)
        if not topics:
            self._suspects.clear()
        elif len(topics) == 1 and topics <= self._suspects.keys() and accepted_others:
            self._count_alone(topics.pop())
        else:
            self._suspects = dict.fromkeys(self._suspects.keys() | topics, 0)

    def record_accepted(self, topic: str) -> None:
        """Record that the broker has accepted a message to a suspect."""
        self._suspects.pop(topic, None)

    def quiet_s(self, topic: str) -> float:
        """Return how long the connection must hold with nothing in flight before a suspect is published."""
        return _QUIET_S if self._suspects.get(topic) else 0.0

    def is_skipped(self, topic: str) -> bool:
        """Return whether nothing is published to a topic at present."""
        until_s = self._skipped_until_s.get(topic)
        if until_s is not None and until_s <= self._clock_s():
            del self._skipped_until_s[topic]
            self._suspects[topic] = _ENOUGH - 1  # once more is enough
            return False
        return until_s is not None

    def _count_alone(self, topic: str) -> None:
        self.alone_count += 1
        self._suspects[topic] += 1
        if self._suspects[topic] >= _ENOUGH:
            self._skipped_until_s[topic] = self._clock_s() + _SKIPPED_FOR_S
            del self._suspects[topic]
