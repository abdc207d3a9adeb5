"""TCP keep-alive: finds peers that vanish without closing, as when they lose power, within a minute."""

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


def enable_keepalive(transport: BaseTransport) -> None:
    """Turn on TCP keep-alive: the system closes an idle connection whose peer is gone."""
    for option in _OPTIONS:
        transport.get_extra_info("socket").setsockopt(*option)
