"""Loopback ports for programs that are told theirs before they start, and keep it over restarts.

A port that the kernel gave away and got back may be anybody's a moment later: another test run's, or that
of a connection on its way out. So ports are taken from where the kernel gives none away by itself, and
each test process has a block of them, which no other one is given while it runs.
"""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOWEST = 10_000
_BLOCK = 200  # more than one test has in use
_OF_THE_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nothing listens on, and that no other test run takes."""
    return next(port for port in _own_ports() if _is_free(port))


@cache
def _own_ports() -> Iterator[int]:
    return _block()


def _block() -> Iterator[int]:
    """Yield the ports of a block that is ours for as long as we live, round and round."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        first = _hold_one(holder)
        while True:
            yield from range(first, first + _BLOCK)


def _hold_one(holder: socket.socket) -> int:
    """Give the socket the name of a block that is nobody's: the kernel has each such name once, no file."""
    beyond = int(_OF_THE_KERNEL.read_text().split()[0])
    for first in range(_LOWEST, beyond - _BLOCK, _BLOCK):
        try:
            holder.bind(f"\0gateway-test-ports-{first}")
        except OSError:
            continue
        return first
    raise RuntimeError("every block of ports is in use: end other test runs")


def _is_free(port: int) -> bool:
    """Say whether a server could listen there; what is left of old connections is not in its way."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
