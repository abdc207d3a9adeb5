"""Peers that vanish without a word, as one that loses power: the system finds out within a minute."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import BaseTransport

_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
)


def probe_while_idle(transport: BaseTransport) -> None:
    """Have the system probe a TCP connection on which nothing happens, and end it where nobody answers."""
    for option in _OPTIONS:
        transport.get_extra_info("socket").setsockopt(*option)
