"""Alarms about the gateway itself: what is away, refused tables, a filling journal, ending certificates."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.alarms import CERTIFICATE_ENDS, JOURNAL_FILLING, SINK_AWAY, SOURCE_AWAY, TABLES
from gateway.text import second_text
from gateway.tls import Validity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.alarms import Alarms
    from gateway.status import SinkStatus, SourceStatus, Status

_AWAY_MS = 5 * 60_000
_BACK_MS = 60_000  # a receiver that is there for less has not come back
_FILLING = 0.8
_WAITING_S = 5 * 60.0
_CERTIFICATES_EVERY_S = 10.0  # a renewed one is in force within seconds, too
_DAYS_LEFT_S = 14 * 86_400.0
_SHARE_LEFT = 0.2  # of a certificate's life: some are made for a week


@dataclass(slots=True, kw_only=True)
class GatewayAlarms:
    """Raises and ends these alarms; `certificates` are PEM files by the setting that names them."""

    status: Status
    alarms: Alarms
    certificates: Mapping[str, Path]
    clock_ms: Callable[[], int]
    steady_ms: Callable[[], int]
    _away_since_ms: dict[str, int] = field(default_factory=dict)
    _up_since_ms: dict[str, int] = field(default_factory=dict)

    def tick(self) -> None:
        """Check the status, once a second; its lags must be up to date."""
        for name, sink in self.status.sinks.items():
            self._check(f"{SINK_AWAY}:{name}", sink, "its values wait in the journal")
        if self.status.source is not None:
            self._check(SOURCE_AWAY, self.status.source, "no events come; what is shown ages")
        problems = self.status.tables.problems
        self._set(TABLES, f"changed point tables are refused: {problems[0]}" if problems else None)
        self._set(JOURNAL_FILLING, self._filling_reason())

    def _set(self, name: str, reason: str | None) -> None:
        self.alarms.set(name, reason, is_known=True)

    def _check(self, alarm: str, part: SinkStatus | SourceStatus, consequence: str) -> None:
        """Raise the alarm of a sink or source that is away for 5 minutes; end it once it is up for one."""
        now_ms = self.steady_ms()
        if not part.connected:
            self._up_since_ms.pop(alarm, None)
            if now_ms - self._away_since_ms.setdefault(alarm, now_ms) >= _AWAY_MS:
                error = f": {part.last_error}" if part.last_error else ""
                minutes = _AWAY_MS // 60_000
                self._set(alarm, f"{part.state} for more than {minutes} minutes{error}; {consequence}")
        elif now_ms - self._up_since_ms.setdefault(alarm, now_ms) >= _BACK_MS:
            self._away_since_ms.pop(alarm, None)
            self._set(alarm, None)

    def _filling_reason(self) -> str | None:
        """Return why the journal fills up, None if it does not; what every sink has, it frees by itself."""
        journal, sinks = self.status.journal, self.status.sinks
        name, sink = max(sinks.items(), key=lambda item: item[1].lag_s, default=("", None))
        most_bytes = journal.bytes_used + max(0, journal.bytes_room)
        if sink is None or sink.lag_s < _WAITING_S or journal.bytes_used <= _FILLING * most_bytes:
            return None  # likewise before anything was measured
        return (
            f"more than {_FILLING:.0%} of the room for events, by journal.max_size and on the disk, is in"
            f" use, and {name} is behind; once it is full, Infodeck's deliveries are answered with 503: have"
            " its receiver take values, or make more room"
        )

    async def watch_certificates(self) -> None:
        """Check the certificates again and again until cancelled."""
        while True:
            for setting, file in self.certificates.items():
                reason = await asyncio.to_thread(self._ending_reason, setting, file)
                self._set(f"{CERTIFICATE_ENDS}:{setting}", reason)
            await asyncio.sleep(_CERTIFICATES_EVERY_S)

    def _ending_reason(self, setting: str, file: Path) -> str | None:
        try:
            validity = Validity.from_pem(file.read_bytes())
        except (OSError, ValueError):
            return None  # the one in force stays; loading the files reports the error
        if not ends_soon(validity, now_s=self.clock_ms() / 1000):
            return None
        until = second_text(int(validity.until_s * 1000))
        return (
            f"{setting}: {file} is valid until {until}; renew it, and see why that did not happen by itself"
        )


def ends_soon(validity: Validity, *, now_s: float) -> bool:
    """Return whether a certificate should have been renewed by now."""
    life_s = validity.until_s - validity.from_s
    return validity.until_s - now_s < min(_DAYS_LEFT_S, _SHARE_LEFT * life_s)
