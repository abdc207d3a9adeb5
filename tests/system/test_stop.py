"""The gateway stops within systemd's time, whatever connections are open."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

from support.daemon import sign, telemetry

if TYPE_CHECKING:
    from support.daemon import Daemon


def tcp(port: int, data: bytes) -> socket.socket:
    """Connect to a loopback port and send something."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(data)
    return connection


def test_idle_connections_do_not_delay_the_stop(daemon: Daemon) -> None:
    """Senders keep connections open between deliveries; unfinished requests would be given five seconds."""
    assert any(seconds_to_stop(daemon) < 4 for _ in range(3))  # of which a machine may take some


def seconds_to_stop(daemon: Daemon) -> float:
    """Stop the daemon while a sender keeps its connection; return how many seconds that took."""
    if daemon.process is None:
        daemon.start()
    body = telemetry("evt_1", "ast-a1b2c3d4", {"temperature": 21.5})
    head = f"POST /webhooks/infodeck HTTP/1.1\r\nHost: x\r\nx-infodeck-signature: {sign(body)}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with closing(tcp(daemon.intake_port, request)) as sender:
        assert sender.recv(1000).startswith(b"HTTP/1.1 200")
        began_s = time.monotonic()
        assert daemon.stop() == 0
        took_s = time.monotonic() - began_s
        assert sender.recv(1000) == b""
    return took_s


def test_half_a_request_does_not_block_the_stop(daemon: Daemon) -> None:
    """Each one is waited for, but not for long; the journal's log is folded into its file."""
    half = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with (
        closing(tcp(daemon.intake_port, b"POST /webhooks/infodeck" + half)),
        closing(tcp(daemon.admin_port, b"POST /api/status" + half)),
        closing(socket.socket(socket.AF_UNIX)) as command,
    ):
        command.connect(str(daemon.folder / "control.sock"))
        command.sendall(b"POST /force" + half)
        assert daemon.stop() == 0
    assert '"gateway.stopped"' in daemon.log
    assert not (daemon.folder / "journal.db-wal").exists()
