"""What is wrong with the gateway's surroundings and needs a person: raised once, cleared by itself.

An alarm is a state, not an event: it has a name, a reason and a time since when it holds. The log hears
of it once when it begins and once when it ends; status and sinks show it in between. One that comes and goes
is one alarm, which holds until it has stayed away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from gateway.model import Alarm
from gateway.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

MISSED = "webhook-missed"
SILENT = "webhook-silent"
SIGNATURE = "signature-failing"
FORMER_USED = "former-secret-used"
JOURNAL = "journal-unavailable"
RECONCILE = "reconcile-failing"
NAMES = (MISSED, SILENT, SIGNATURE, FORMER_USED, JOURNAL, RECONCILE)
"""Every alarm that there can be."""

_LONGEST_REASON = 2000
_STEADY_MS = 3 * 3_600_000  # what begins again within it comes and goes, until it stays away so long
_AWAY = " (It comes and goes, and is away just now.)"


class Alarms:
    """Every alarm that holds now, by name. Belongs to the event loop."""

    def __init__(self, *, clock_ms: Callable[[], int]) -> None:
        """Begin without any."""
        self._clock_ms = clock_ms
        self._current: dict[str, Alarm] = {}
        self._ended_ms: dict[str, int] = {}
        self._away_ms: dict[str, int] = {}  # of those that come and go and hold: since when they are away
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
            self._away_ms.pop(name, None)
            changed = self._begin(name, _shown(reason), before)
        else:
            changed = before is not None and self._leave(before)
        if changed:
            for listener in self._listeners:
                listener()

    def _begin(self, name: str, reason: str, before: Alarm | None) -> bool:
        if before is not None and before.reason == reason:
            return False
        since_ms = self._clock_ms() if before is None else before.since_ms
        self._current[name] = Alarm(name, reason, since_ms)
        if before is None:
            log.error("alarm.raised", alarm=name, reason=reason)
        return True

    def _leave(self, alarm: Alarm) -> bool:
        """End it, or have it hold for a while where it has come and gone; say whether anything changed."""
        now_ms, name = self._clock_ms(), alarm.name
        if self._comes_and_goes(alarm):
            away_ms = self._away_ms.get(name)
            if away_ms is None:
                self._away_ms[name] = now_ms
                self._current[name] = replace(alarm, reason=alarm.reason + _AWAY)
                return True
            if 0 <= now_ms - away_ms < _STEADY_MS:
                return False
        del self._current[name]
        self._away_ms.pop(name, None)
        self._ended_ms[name] = now_ms
        log.info("alarm.cleared", alarm=name, seconds=self._seconds_since(alarm))
        return True

    def _comes_and_goes(self, alarm: Alarm) -> bool:
        ended_ms = self._ended_ms.get(alarm.name)
        return ended_ms is not None and 0 <= alarm.since_ms - ended_ms < _STEADY_MS

    def _seconds_since(self, alarm: Alarm) -> int:
        return max(0, self._clock_ms() - alarm.since_ms) // 1000  # the clock may have been set back


def _shown(reason: str) -> str:
    return one_line(reason, longest=_LONGEST_REASON)
