"""Sixty hostile or broken Modbus clients, as a program: they come back until they are killed.

python hostile_modbus.py PORT
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 60
_READ = struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 0, 125)
_DICE = random.Random(4)


def _garbage() -> bytes:
    return _DICE.randbytes(1000)


def _huge_length() -> bytes:
    return struct.pack(">HHHBB", 1, 0, 65535, 1, 4) + bytes(1000)


def _longest_requests() -> bytes:
    return (struct.pack(">HHHBB", 1, 0, 254, 1, 0x10) + bytes(252)) * 100


def _different_reads() -> bytes:
    return b"".join(
        struct.pack(">HHHBBHH", 1, 0, 6, _DICE.randrange(256), 4, _DICE.randrange(200), _DICE.randrange(130))
        for _ in range(300)
    )


@dataclass
class _Kind:
    """What a client sends each time it can, and whether it takes answers."""

    send: Callable[[], bytes]
    reads: bool = True
    hangs_up: bool = False


_KINDS = [
    _Kind(_garbage),
    _Kind(_huge_length),
    _Kind(_longest_requests),
    _Kind(_different_reads),
    _Kind(lambda: _READ * 300),
    _Kind(lambda: _READ * 300, reads=False),
    _Kind(lambda: _READ, hangs_up=True),
    _Kind(lambda: _READ[:-1], hangs_up=True),
    _Kind(lambda: b""),
    _Kind(lambda: b"", hangs_up=True),
]


def _go_on(connection: socket.socket, kind: _Kind, events: int) -> None:
    """Do what is next; raises OSError at the end of the connection."""
    if events & selectors.EVENT_READ and kind.reads and not connection.recv(1 << 16):
        raise ConnectionResetError
    if events & selectors.EVENT_WRITE:
        connection.send(kind.send())
    if kind.hangs_up:
        raise ConnectionAbortedError


def main() -> None:
    """Be hostile."""
    port = int(sys.argv[1])
    polled = selectors.DefaultSelector()
    missing = [_KINDS[number % len(_KINDS)] for number in range(CLIENTS)]
    while True:
        while missing:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.settimeout(0)
            polled.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, missing.pop())
        for key, events in polled.select():
            connection = cast("socket.socket", key.fileobj)
            try:
                _go_on(connection, key.data, events)
            except BlockingIOError:
                continue
            except OSError:
                polled.unregister(connection)
                connection.close()
                missing.append(key.data)


if __name__ == "__main__":
    main()
