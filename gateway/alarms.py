"""Alarms: what needs a person. They clear by themselves, or are latched until somebody acknowledges them.

An alarm is a state, not an event: it has a name, a reason and the time of its beginning. The log has a line
when it begins and one when it ends; status and sinks show it in between. One that keeps coming and going is
a single alarm, which lasts until it has stayed away.
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
SOURCE_AWAY = "source-away"
NAMES = (
    *(MISSED, SILENT, SIGNATURE, FORMER_USED, JOURNAL),
    *(RECONCILE, TABLES, JOURNAL_FILLING, JOURNAL_DAMAGED, SOURCE_AWAY),
)
"""The names of alarms that exist once."""
SINK_AWAY = "sink-away"
CERTIFICATE_ENDS = "certificate-ends"
"""Alarms that exist for each sink or setting: the name is `sink-away:bms`."""

_LONGEST_REASON = 2000
_MOST_PAST = 500
_STEADY_MS = 3 * 3_600_000  # an alarm that begins again within it comes and goes, until it is away so long
_AWAY = " (It comes and goes, and is away just now.)"


class Alarms:
    """Every current alarm by name, and the newest past ones. Belongs to the event loop."""

    def __init__(self, *, clock_ms: Callable[[], int]) -> None:
        """Begin without any; alarms may be raised at once, and are saved from `start` on."""
        self._clock_ms = clock_ms
        self._current: dict[str, Alarm] = {}
        self._past: deque[Alarm] = deque(maxlen=_MOST_PAST)  # the newest last
        self._ended_ms: dict[str, int] = {}
        self._away_ms: dict[str, int] = {}  # since when current alarms that come and go are away
        self._listeners: list[Callable[[], None]] = []
        self._save: Callable[[Alarm], None] = lambda _: None

    def start(self, stored: Iterable[Alarm], save: Callable[[Alarm], None]) -> None:
        """Restore the alarms of former runs; call `save` with each one that changes from now on.

        Latched ones still last. The others end without a line in the log: their causes are unknown, and if a
        cause is still there, the alarm is raised again.
        """
        raised, self._current = self._current, {}
        self._save = save
        for alarm in stored:
            if alarm.cleared_ms is not None:
                self._past.append(alarm)
            elif alarm.latched:
                self._current[alarm.name] = alarm
            else:
                self._move_to_past(alarm)
        for name, alarm in raised.items():
            before = self._current.get(name, alarm)
            self._store(replace(alarm, since_ms=before.since_ms))
        self._notify()

    def current(self) -> tuple[Alarm, ...]:
        """Return the current alarms, oldest first."""
        return tuple(self._current.values())

    def past(self) -> tuple[Alarm, ...]:
        """Return the past alarms, newest first; at most 500."""
        return tuple(reversed(self._past))

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever an alarm begins, ends or changes its reason."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` no longer."""
        self._listeners.remove(listener)

    def set(self, name: str, reason: str | None, *, is_known: bool = False) -> None:
        """Raise the alarm `name` for `reason`, or end it (None).

        With `is_known`, the state is certain and not concluded from what arrives: then it ends at once, also
        if it comes and goes. A reason may quote texts from elsewhere: it is sanitised and cut.
        """
        alarm = self._current.get(name)
        if reason is not None:
            self._away_ms.pop(name, None)
            self._raise(name, reason, latched=False)
        elif alarm is not None and not alarm.latched and (is_known or self._stays_away(alarm)):
            self._away_ms.pop(name, None)
            self._ended_ms[name] = self._clock_ms()
            self._end(alarm)

    def latch(self, name: str, reason: str) -> None:
        """Raise the alarm `name` until somebody acknowledges it, over restarts too; a new reason is shown."""
        self._raise(name, reason, latched=True)

    def acknowledge(self, name: str, *, by: str) -> bool:
        """Record that `by` has seen the alarm, which ends a latched one; return whether it is current."""
        alarm = self._current.get(name)
        if alarm is None:
            return False
        log.info("alarm.acknowledged", alarm=name, by=by)
        seen = replace(alarm, acknowledged_ms=self._clock_ms(), acknowledged_by=by)
        if alarm.latched:
            self._end(seen)
        else:
            self._store(seen)
        return True

    def _raise(self, name: str, reason: str, *, latched: bool) -> None:
        reason = sanitise_line(reason, longest=_LONGEST_REASON)
        before = self._current.get(name)
        if before is None:
            log.error("alarm.raised", alarm=name, reason=reason)
            self._store(Alarm(name, reason, self._clock_ms(), latched=latched))
        elif before.reason != reason:
            self._store(replace(before, reason=reason))

    def _stays_away(self, alarm: Alarm) -> bool:
        """Return whether the alarm can end: at once, or if it comes and goes, after hours away."""
        now_ms, ended_ms = self._clock_ms(), self._ended_ms.get(alarm.name)
        if ended_ms is None or not 0 <= alarm.since_ms - ended_ms < _STEADY_MS:
            return True
        if alarm.name not in self._away_ms:
            self._away_ms[alarm.name] = now_ms
            self._store(replace(alarm, reason=alarm.reason + _AWAY))
        return not 0 <= now_ms - self._away_ms[alarm.name] < _STEADY_MS

    def _store(self, alarm: Alarm) -> None:
        self._current[alarm.name] = alarm
        self._save(alarm)
        self._notify()

    def _end(self, alarm: Alarm) -> None:
        self._move_to_past(alarm)
        seconds = max(0, self._clock_ms() - alarm.since_ms) // 1000  # the clock may have been set back
        log.info("alarm.cleared", alarm=alarm.name, seconds=seconds)

    def _move_to_past(self, alarm: Alarm) -> None:
        self._current.pop(alarm.name, None)
        ended = replace(alarm, cleared_ms=self._clock_ms())
        self._past.append(ended)
        self._save(ended)
        self._notify()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
