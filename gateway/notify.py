"""Notifications to systemd: ready, reloading, stopping, alive, and a status line. Protocol: sd_notify(3).

Outside systemd, nothing is sent. The libraries for it are unmaintained or need C headers to install.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.text import count_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.status import Status

_STATUS_EVERY_S = 10.0  # systemd keeps each one; nobody reads `systemctl status` faster


def notify(**states: str) -> None:
    """Send `KEY=value` lines, for example `notify(READY="1", STATUS="…")`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    message = "\n".join(f"{key}={' '.join(value.splitlines())}" for key, value in states.items()).encode()
    # systemd may be restarting: the next message will arrive
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(0)
        sender.sendto(message, "\0" + address[1:] if address.startswith("@") else address)


def notify_reloading() -> None:
    """Report that a reload has begun; READY=1 ends it."""
    notify(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))


def watchdog_period_s() -> float | None:
    """Return half the watchdog's time-out, None if systemd does not watch the daemon."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() else None


class StatusLine:
    """The line that `systemctl status` shows: sent when it has changed, at most every ten seconds."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._sent = ""
        self._not_before_s = 0.0

    def announce_ready(self, text: str) -> None:
        """Report that the daemon is ready, or has reloaded, with the status line."""
        self._sent = text
        notify(READY="1", STATUS=text)

    def follow(self, text: Callable[[], str], *, at_s: float) -> None:
        """Send what `text` returns if it is new and due; `at_s` is monotonic time."""
        if at_s < self._not_before_s or "NOTIFY_SOCKET" not in os.environ:
            return
        if (current := text()) == self._sent:
            return
        self._sent = current
        self._not_before_s = at_s + _STATUS_EVERY_S
        notify(STATUS=current)


def in_one_line(status: Status) -> str:
    """Return the troubles, or a summary if there are none; lags are as of the last refresh."""
    if troubles := _troubles(status):
        return "; ".join(troubles)
    waiting = max((sink.lag for sink in status.sinks.values()), default=0)
    sinks = count_text(len(status.sinks), "sink")
    waits = f"{count_text(waiting, 'event', grouped=True)} behind" if waiting else "nothing waits"
    return f"{count_text(status.tables.points, 'point', grouped=True)}, {sinks} up, {waits}"


def _troubles(status: Status) -> list[str]:
    troubles = [] if status.journal.state == "ok" else [f"takes no events: {status.journal.state}"]
    for name, sink in status.sinks.items():
        if not sink.connected:
            behind = f": {count_text(sink.lag, 'event', grouped=True)} behind" if sink.lag else ""
            troubles.append(f"{name} is {sink.state}{behind}")
    if status.tables.problems:
        troubles.append("changed point tables are refused, see /api/status")
    if status.alarms:
        troubles.append("alarm " + ", ".join(alarm.name for alarm in status.alarms))
    return troubles
