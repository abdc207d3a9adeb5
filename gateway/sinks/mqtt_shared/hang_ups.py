"""Which topics a broker hangs up at: it ends the connection instead of refusing a message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HANGS_UP = "it hangs up each time"
"""Why nothing is published to a topic that is skipped."""

_SKIPPED_FOR_S = 3600.0  # then it is tried once more, for somebody may have given the right to publish


class HangUps:
    """Finds the topics by what was on its way when a broker hung up, over all connections of one sink.

    What was on its way twice is suspect, and is published alone from then on. A topic at which the broker
    hangs up twice while nothing else is on its way, though it has taken others, is skipped.
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` only moves forward."""
        self._clock_s = clock_s
        self._before: frozenset[str] = frozenset()  # what was on its way at the hang-up before
        self._alone: str | None = None  # the last one that was on its way alone
        self._skipped: dict[str, float] = {}  # and until when
        self.suspects: frozenset[str] = frozenset()
        """Topics to be published one by one."""
        self.watched: frozenset[str] = frozenset()
        """The suspects, and the topics that are skipped."""
        self.found = 0
        """How often a topic was found."""

    def note(self, under_way: Iterable[str], *, has_taken_others: bool) -> None:
        """Take in that the broker has hung up with messages to these topics unacknowledged."""
        topics = frozenset(under_way)
        if not topics:
            return
        if len(topics) == 1 and topics <= self.suspects and has_taken_others:
            self._note_alone(*topics)
        elif self._before:
            self.suspects = topics & self._before or topics
        self._before = topics
        self._watch()

    def acquit(self, topic: str) -> None:
        """Take in that the broker has taken a message to a suspect."""
        self.suspects -= {topic}
        if self._alone == topic:
            self._alone = None
        self._watch()

    def skips(self, topic: str) -> bool:
        """Say whether nothing is to be published to a topic now."""
        until_s = self._skipped.get(topic)
        if until_s is not None and until_s <= self._clock_s():
            del self._skipped[topic]
            self.suspects |= {topic}
            self._alone, until_s = topic, None
        return until_s is not None

    def _note_alone(self, topic: str) -> None:
        if topic == self._alone or self._skipped:  # such a broker hangs up on purpose
            self._skipped[topic] = self._clock_s() + _SKIPPED_FOR_S
            self.suspects -= {topic}
            self.found += 1
        self._alone = topic

    def _watch(self) -> None:
        self.watched = self.suspects | self._skipped.keys()
