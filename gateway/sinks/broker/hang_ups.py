"""Which topics a broker hangs up at: it ends the connection instead of refusing a message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HANGS_UP = "it hangs up each time"
"""Why nothing is published to a topic that is skipped."""

_SKIPPED_FOR_S = 3600.0  # then it is tried once more, for somebody may have given the right to publish
_ENOUGH = 5  # hang-ups at a topic that are no coincidence any more
_QUIET = 10.0  # how much longer than such a message was on its way nothing must break without it
_LONGEST_QUIET_S = 5.0


class HangUps:
    """Finds the topics by what was on its way when a broker hung up, over all connections of one sink.

    What was on its way twice is suspect, and is published alone from then on, after a while of silence. A
    topic at which the broker hangs up time and again, though it has taken others, is skipped. A connection
    that breaks while nothing is on its way shows that the network breaks by itself: suspicion begins anew.
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` only moves forward."""
        self._clock_s = clock_s
        self._before: frozenset[str] = frozenset()  # what was on its way at the hang-up before
        self._alone: dict[str, int] = {}  # how often each was on its way alone
        self._quiet_s: dict[str, float] = {}  # how long nothing must break before each is sent
        self._skipped: dict[str, float] = {}  # and until when
        self.suspects: frozenset[str] = frozenset()
        """Topics to be published one by one."""
        self.watched: frozenset[str] = frozenset()
        """The suspects, and the topics that are skipped."""
        self.clues = 0
        """How many hang-ups have spoken against a topic."""

    def note(self, under_way: Iterable[str], *, after_s: float, has_taken_others: bool) -> None:
        """Take in that the connection broke with messages to these topics unacknowledged, if any.

        `after_s`: how long after the last one that was sent alone.
        """
        topics = frozenset(under_way)
        if not topics:
            self.suspects = frozenset()
            self._alone.clear()
            self._quiet_s.clear()
        elif len(topics) == 1 and topics <= self.suspects and has_taken_others:
            self._note_alone(next(iter(topics)), after_s)
        else:
            self._alone.clear()
            if self._before:
                self.suspects |= topics & self._before or topics
        self._before = topics
        self._watch()

    def acquit(self, topic: str) -> None:
        """Take in that the broker has taken a message to a suspect."""
        self.suspects -= {topic}
        self._alone.pop(topic, None)
        self._quiet_s.pop(topic, None)
        self._watch()

    def quiet_s(self, topic: str) -> float:
        """Return how long nothing is to be on its way before a suspect is published."""
        return self._quiet_s.get(topic, 0.0)

    def skips(self, topic: str) -> bool:
        """Say whether nothing is to be published to a topic now."""
        until_s = self._skipped.get(topic)
        if until_s is not None and until_s <= self._clock_s():
            del self._skipped[topic]
            self.suspects |= {topic}
            self._alone[topic], until_s = _ENOUGH - 1, None
        return until_s is not None

    def _note_alone(self, topic: str, after_s: float) -> None:
        self.clues += 1
        self._alone[topic] = self._alone.get(topic, 0) + 1
        self._quiet_s[topic] = min(max(_QUIET * after_s, self.quiet_s(topic)), _LONGEST_QUIET_S)
        if self._alone[topic] >= _ENOUGH:
            self._skipped[topic] = self._clock_s() + _SKIPPED_FOR_S
            self.suspects -= {topic}

    def _watch(self) -> None:
        self.watched = self.suspects | self._skipped.keys()
