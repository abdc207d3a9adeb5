"""The receiving end of systemd's notification socket."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

_HEARD_WITHIN_S = 60.0


class Notified:
    """The messages of a daemon to systemd."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def next(self) -> str:
        """Return the next message that is more than a line of status."""
        while (message := self.next_of_all()).startswith("STATUS="):
            pass
        return message

    def next_of_all(self) -> str:
        """Return the next message."""
        return self._listener.recv(1000).decode()

    def status(self, wanted: str) -> None:
        """Wait for a line of status that begins with `wanted`."""
        while f"STATUS={wanted}" not in self.next_of_all():
            pass


@contextmanager
def notification_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notified]:
    """Give daemons that start within the context a notification socket."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(_HEARD_WITHIN_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield Notified(listener)
