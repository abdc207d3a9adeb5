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
    from gateway.status import Status


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


def in_one_line(status: Status) -> str:
    """Return the line that `systemctl status` shows: troubles, or a summary; lags are as last refreshed."""
    troubles = [] if status.journal.state == "ok" else [f"takes no events: {status.journal.state}"]
    if status.source is not None and not status.source.connected:
        troubles.append(f"source is {status.source.state}")
    for name, sink in status.sinks.items():
        if not sink.connected:
            behind = f": {count_text(sink.lag, 'event', grouped=True)} behind" if sink.lag else ""
            troubles.append(f"{name} is {sink.state}{behind}")
    if status.tables.problems:
        troubles.append("changed point tables are refused, see /api/status")
    if status.alarms:
        troubles.append("alarm " + ", ".join(alarm.name for alarm in status.alarms))
    if troubles:
        return "; ".join(troubles)
    lag = max((sink.lag for sink in status.sinks.values()), default=0)
    waits = f"{count_text(lag, 'event', grouped=True)} behind" if lag else "nothing waits"
    points = count_text(status.tables.points, "point", grouped=True)
    return f"{points}, {count_text(len(status.sinks), 'sink')} up, {waits}"
