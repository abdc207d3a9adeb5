"""What needs a person: raised once, cleared by itself, or latched until somebody acknowledges it.

An alarm is a state, not an event: it has a name, a reason and a time since when it holds. The log has a line
when it begins and one when it ends; status and sinks show it in between. One that comes and goes is one
alarm, which holds until it has stayed away.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from gateway.records import Alarm
from gateway.text import sanitise_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = structlog.get_logger()

MISSED = "webhook-missed"
SILENT = "webhook-silent"
SIGNATURE = "signature-failing"
FORMER_USED = "former-secret-used"
JOURNAL = "journal-unavailable"
RECONCILE = "reconcile-failing"
TABLES = "tables-refused"
JOURNAL_FILLING = "journal-filling"
JOURNAL_DAMAGED = "journal-damaged"
NAMES = (MISSED, SILENT, SIGNATURE, FORMER_USED, JOURNAL, RECONCILE, TABLES, JOURNAL_FILLING, JOURNAL_DAMAGED)
"""Every alarm that there is once."""
SINK_AWAY = "sink-away"
CERTIFICATE_ENDS = "certificate-ends"
"""Those of which there may be one for each sink or setting: the alarm's name is `sink-away:bms`."""

_LONGEST_REASON = 2000
_MOST_PAST = 500
_STEADY_MS = 3 * 3_600_000  # what begins again within it comes and goes, until it stays away so long
_AWAY = " (It comes and goes, and is away just now.)"


class Alarms:
    """Every alarm that holds, by name, and the newest of those that are over. Belongs to the event loop."""

    def __init__(self, *, clock_ms: Callable[[], int]) -> None:
        """Begin without any; alarms may be raised at once, and are kept on disk from `start` on."""
        self._clock_ms = clock_ms
        self._current: dict[str, Alarm] = {}
        self._past: deque[Alarm] = deque(maxlen=_MOST_PAST)  # the newest last
        self._ended_ms: dict[str, int] = {}
        self._away_ms: dict[str, int] = {}  # of those that come and go and hold: since when they are away
        self._listeners: list[Callable[[], None]] = []
        self._keep: Callable[[Alarm], None] = lambda _: None

    def start(self, known: Iterable[Alarm], keep: Callable[[Alarm], None]) -> None:
        """Take over the alarms of former runs; have `keep` called with each one that changes.

        Those that are latched still hold. The others are filed as over, without a word in the log: nothing is
        known of their cause, and if it is still there, they are raised again.
        """
        raised = tuple(self._current.values())
        self._current.clear()
        self._keep = keep
        for alarm in known:
            if alarm.cleared_ms is not None:
                self._past.append(alarm)
            elif alarm.latched:
                self._current[alarm.name] = alarm
            else:
                self._file(alarm)
        for alarm in raised:
            before = self._current.get(alarm.name)
            since_ms = alarm.since_ms if before is None else before.since_ms
            self._hold(replace(alarm, since_ms=since_ms))
        self._tell()

    def current(self) -> tuple[Alarm, ...]:
        """Return the alarms that hold, the oldest first."""
        return tuple(self._current.values())

    def past(self) -> tuple[Alarm, ...]:
        """Return those that are over, the newest first; at most 500."""
        return tuple(reversed(self._past))

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever an alarm begins, ends or changes its reason."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Have it called no more."""
        self._listeners.remove(listener)

    def set(self, name: str, reason: str | None, *, is_known: bool = False) -> None:
        """Have the alarm `name` hold for `reason`, or end it (None).

        Where the state is known, and not judged from what comes, it ends at once, however often it comes.
        A reason may quote others: it is cut where it has no end, and shown without what cannot be shown.
        """
        before = self._current.get(name)
        if reason is not None:
            self._away_ms.pop(name, None)
            changed = self._begin(Alarm(name, _shown(reason), self._clock_ms()), before)
        else:
            changed = before is not None and not before.latched and self._leave(before, at_once=is_known)
        if changed:
            self._tell()

    def hold(self, name: str, reason: str) -> None:
        """Have the alarm `name` hold for `reason` until somebody acknowledges it, over restarts, too.

        With another reason for one that holds already, the newer reason is shown.
        """
        raised = Alarm(name, _shown(reason), self._clock_ms(), latched=True)
        if self._begin(raised, self._current.get(name)):
            self._tell()

    def acknowledge(self, name: str, *, by: str) -> bool:
        """Note that `by` has seen the alarm, which ends a latched one; say whether it holds at all."""
        alarm = self._current.get(name)
        if alarm is None:
            return False
        log.info("alarm.acknowledged", alarm=name, by=by)
        seen = replace(alarm, acknowledged_ms=self._clock_ms(), acknowledged_by=by)
        if alarm.latched:
            self._end(seen)
        else:
            self._hold(seen)
        self._tell()
        return True

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _begin(self, raised: Alarm, before: Alarm | None) -> bool:
        """Raise the alarm, or take over its reason where it holds already; say whether anything changed."""
        if before is None:
            self._hold(raised)
            log.error("alarm.raised", alarm=raised.name, reason=raised.reason)
            return True
        if before.reason == raised.reason:
            return False
        self._hold(replace(before, reason=raised.reason))
        return True

    def _hold(self, alarm: Alarm) -> None:
        self._current[alarm.name] = alarm
        self._keep(alarm)

    def _file(self, alarm: Alarm) -> None:
        self._current.pop(alarm.name, None)
        ended = replace(alarm, cleared_ms=self._clock_ms())
        self._past.append(ended)
        self._keep(ended)

    def _end(self, alarm: Alarm) -> None:
        self._file(alarm)
        log.info("alarm.cleared", alarm=alarm.name, seconds=self._seconds_since(alarm))

    def _leave(self, alarm: Alarm, *, at_once: bool) -> bool:
        """End it, or have it hold for a while where it has come and gone; say whether anything changed."""
        now_ms, name = self._clock_ms(), alarm.name
        if not at_once and self._comes_and_goes(alarm):
            away_ms = self._away_ms.get(name)
            if away_ms is None:
                self._away_ms[name] = now_ms
                self._hold(replace(alarm, reason=alarm.reason + _AWAY))
                return True
            if 0 <= now_ms - away_ms < _STEADY_MS:
                return False
        self._end(alarm)
        self._away_ms.pop(name, None)
        self._ended_ms[name] = now_ms
        return True

    def _comes_and_goes(self, alarm: Alarm) -> bool:
        ended_ms = self._ended_ms.get(alarm.name)
        return ended_ms is not None and 0 <= alarm.since_ms - ended_ms < _STEADY_MS

    def _seconds_since(self, alarm: Alarm) -> int:
        return max(0, self._clock_ms() - alarm.since_ms) // 1000  # the clock may have been set back


def _shown(reason: str) -> str:
    return sanitise_line(reason, longest=_LONGEST_REASON)
