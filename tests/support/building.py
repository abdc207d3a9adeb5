"""What a building receives from a running daemon, by mosquitto_sub and mbpoll."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from support.processes import run_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.daemon import Daemon

_WITHIN_S = 60.0


def retained(port: int, topic: str) -> dict[str, Any]:
    """Return the message that a new subscriber gets on `topic`."""
    command = ["mosquitto_sub", "-p", str(port), "-t", topic, "-C", "1", "-W", "60"]
    message = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return dict(json.loads(message))


def polled(port: int, address: int, kind: str) -> str:
    """Return what mbpoll prints for the input register at a 0-based address; `kind` is mbpoll's -t."""
    (value,) = poll(port, address, kind)
    return value


def poll(port: int, address: int, kind: str, count: int = 1) -> list[str]:
    """Return what mbpoll prints for input registers from a 0-based address on, once it can connect."""
    command = ["mbpoll", "-m", "tcp", "-p", str(port), "-a", "1", "-0", "-r", str(address)]
    command += ["-o", "10", "-t", kind, "-B", "-c", str(count), "-1", "127.0.0.1"]  # seconds
    deadline = time.monotonic() + _WITHIN_S
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "Connection refused" not in done.stderr or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[1].strip() for line in done.stdout.splitlines() if line.startswith("[")]


def eventually(look: Callable[[], Any], expected: Any, *, within_s: float = _WITHIN_S) -> None:
    """Wait until `look` returns what is expected."""
    deadline = time.monotonic() + within_s
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"{seen!r} is seen, {expected!r} expected"
        time.sleep(0.02)


def gateway(daemon: Daemon, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the gateway's commands on the daemon's settings."""
    return run_gateway(command, "-c", daemon.config, *arguments)


def ask_control(daemon: Daemon, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Post to the daemon's control socket; return status and answer."""
    return ask_socket(daemon.folder / "control.sock", path, body)


def ask_socket(file: Path, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Post to a control socket; return status and answer."""

    async def post() -> tuple[int, dict[str, Any]]:
        connector = aiohttp.UnixConnector(str(file))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"http://gateway{path}", data=body) as answer,
        ):
            return answer.status, await answer.json()

    return asyncio.run(post())
