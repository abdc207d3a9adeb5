"""Deliveries arrive while others hold connections and send unsigned bodies."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.mosquitto import Mosquitto

ROOM = "ast-a1b2c3d4"
FILES = 128  # which the daemon may have open
STRANGERS = 150
MIB = 1 << 20
BODIES = 80
FALSE_SIGNATURE = f"t=1771911526,v1={'0' * 64}"


@pytest.fixture
def cramped(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the daemon with fewer open files than others have connections."""
    daemon = Daemon(tmp_path, broker.port)
    process = daemon.launch()
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    daemon.wait_until_ready(process)
    yield daemon
    daemon.kill()


def resident_bytes(daemon: Daemon) -> int:
    """Return the daemon's resident memory."""
    assert daemon.process is not None
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("port", ["intake_port", "admin_port"])
@pytest.mark.parametrize("sent", [b"", b"POST /webhooks/infodeck HTTP/1.1\r\nHost: "])
def test_silent_connections_keep_nobody_out(cramped: Daemon, port: str, sent: bytes) -> None:
    """With more silent connections than files, deliveries and the admin port are still answered."""
    with contextlib.ExitStack() as connections:
        for number in range(STRANGERS):
            address = ("127.0.0.1", getattr(cramped, port))
            connection = connections.enter_context(socket.create_connection(address, timeout=60))
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
            if number % 25 == 24:
                began_s = time.monotonic()
                assert cramped.post(telemetry(f"evt_{number}", ROOM, {"temperature": 21}))[0] == 200
                assert time.monotonic() - began_s < 9  # silent connections end after 10
        assert cramped.is_ready()
    log = cramped.log
    assert "Too many open files" not in log
    assert log.count("connections.full") == 1
    assert cramped.status()["journal"]["accepted"] == STRANGERS // 25


def test_unsigned_bodies_take_little_memory(daemon: Daemon) -> None:
    """Large unsigned bodies are not kept, and deliveries are accepted meanwhile."""
    before = resident_bytes(daemon)
    head = (
        "POST /webhooks/infodeck HTTP/1.1\r\nHost: x\r\n"
        f"x-infodeck-signature: {FALSE_SIGNATURE}\r\nContent-Length: {MIB}\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as connections:
        for number in range(BODIES):
            connection = connections.enter_context(
                socket.create_connection(("127.0.0.1", daemon.intake_port), timeout=60)
            )
            with contextlib.suppress(ConnectionError):
                connection.sendall(head + bytes(MIB - number % 2))  # every other one lacks its last byte
        assert daemon.post(telemetry("evt_1", ROOM, {"temperature": 21}))[0] == 200
        assert resident_bytes(daemon) - before < 60 * MIB
