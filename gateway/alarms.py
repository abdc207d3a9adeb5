"""What is wrong with the gateway's surroundings and needs a person: raised once, cleared by itself.

An alarm is a state, not an event: it has a name, a reason and a time since when it holds. The log hears
of it once when it begins and once when it ends; status and sinks show it in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.model import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

_LONGEST_REASON = 2000


class Alarms:
    """Every alarm that holds now, by name. Belongs to the event loop."""

    def __init__(self, *, clock_ms: Callable[[], int]) -> None:
        """Begin without any."""
        self._clock_ms = clock_ms
        self._current: dict[str, Alarm] = {}
        self._listeners: list[Callable[[], None]] = []

    def current(self) -> tuple[Alarm, ...]:
        """Return the alarms that hold, the oldest first."""
        return tuple(self._current.values())

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever an alarm begins, ends or changes its reason."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Have it called no more."""
        self._listeners.remove(listener)

    def set(self, name: str, reason: str | None) -> None:
        """Have the alarm `name` hold for `reason`, or end it (None).

        A reason may quote others: it is cut where it has no end, and shown without what cannot be shown.
        """
        before = self._current.get(name)
        if reason is not None:
            reason = _shown(reason)
        if reason is None:
            if before is None:
                return
            del self._current[name]
            log.info("alarm.cleared", alarm=name, seconds=self._seconds_since(before))
        elif before is None:
            self._current[name] = Alarm(name, reason, self._clock_ms())
            log.error("alarm.raised", alarm=name, reason=reason)
        elif before.reason == reason:
            return
        else:
            self._current[name] = Alarm(name, reason, before.since_ms)
        for listener in self._listeners:
            listener()

    def _seconds_since(self, alarm: Alarm) -> int:
        return max(0, self._clock_ms() - alarm.since_ms) // 1000  # the clock may have been set back


def _shown(reason: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in reason[:_LONGEST_REASON])
