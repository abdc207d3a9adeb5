"""What the daemon tells systemd, by its notification socket: ready, reloading, stopping, alive.

A dozen lines of our own: the libraries for it are unmaintained or need C headers to install.
Protocol: sd_notify(3). Outside systemd, nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def notify(**states: str) -> None:
    """Send `KEY=value` lines, for example `notify(READY="1", STATUS="…")`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    message = "\n".join(f"{key}={value}" for key, value in states.items()).encode()
    # systemd may be restarting; the next message will tell.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(0)
        sender.sendto(message, "\0" + address[1:] if address.startswith("@") else address)


def notify_reloading() -> None:
    """Say that a reload has begun; READY=1 ends it."""
    notify(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))


def watchdog_period_s() -> float | None:
    """Return how often systemd wants to hear that the daemon makes progress, None where it doesn't."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() else None
