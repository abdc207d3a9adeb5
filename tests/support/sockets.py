"""What the system shows of a TCP connection on loopback."""

from __future__ import annotations

from pathlib import Path

_ESTABLISHED = "01"
_TIMERS = {"00": "none", "01": "retransmission", "02": "keepalive"}


def tcp_timer(*, remote_port: int, local_port: int | None = None) -> tuple[str, float]:
    """Return which timer runs for our end of a connection, and in how many seconds it is due."""
    remote, local = f"0100007F:{remote_port:04X}", "" if local_port is None else f":{local_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, state, _, timer, *_ = line.split()
        if theirs == remote and ours.endswith(local) and state == _ESTABLISHED:
            number, _, due = timer.partition(":")
            return _TIMERS.get(number, number), int(due, 16) / 100
    raise AssertionError(f"no connection to port {remote_port}")
