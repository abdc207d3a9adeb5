"""Loopback ports for programs that keep theirs over restarts.

The kernel may give a returned port to another process a moment later. So ports are taken from a range from
which the kernel gives none away, and each test process has a block of them.
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
    """Return a port that nothing listens on, and that no other test run uses."""
    return next(port for port in _own_ports() if _is_free(port))


@cache
def _own_ports() -> Iterator[int]:
    return _block()


def _block() -> Iterator[int]:
    """Yield the ports of a block that belongs to this process, round and round."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        first = _hold_one(holder)
        while True:
            yield from range(first, first + _BLOCK)


def _hold_one(holder: socket.socket) -> int:
    """Bind the socket to the name of a free block: the kernel has each such name once, without a file."""
    beyond = int(_OF_THE_KERNEL.read_text().split()[0])
    for first in range(_LOWEST, beyond - _BLOCK, _BLOCK):
        try:
            holder.bind(f"\0gateway-test-ports-{first}")
        except OSError:
            continue
        return first
    raise RuntimeError("every block of ports is in use: end other test runs")


def _is_free(port: int) -> bool:
    """Return whether a server could listen there; remains of old connections do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
