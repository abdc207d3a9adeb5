"""Servers that several benches start: a broker with a subscriber, and a bare aiohttp handler."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from _load import PATH
from whole_path import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE = Path(__file__).parent
_START_WITHIN_S = 60.0
_SUBSCRIBED_WITHIN_S = 0.5
_BROKER = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"  # nothing is dropped


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + _START_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_open(port: int) -> bool:
    """Return whether a loopback port accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def has_webhook(port: int) -> bool:
    """Return whether a server has the webhook's path: it answers an unsigned event, and not with 404."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{PATH}", data=b"{}", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code != HTTPStatus.NOT_FOUND
    except OSError:
        return False
    return True


@contextmanager
def broker(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run mosquitto, which queues whatever waits for a subscriber."""
    settings = folder / "mosquitto.conf"
    settings.write_text(_BROKER.format(port=port))
    with running("mosquitto", "-c", settings) as process:
        wait_for(lambda: is_open(port))
        yield process


@contextmanager
def subscribed(port: int, file: Path, *, line: str) -> Iterator[None]:
    """Add a line in mosquitto_sub's format to a file for each message about points."""
    command = ("mosquitto_sub", "-p", str(port), "-V", "5", "-q", "1", "-t", "gw/v1/bench/#", "-F", line)
    with file.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        try:
            time.sleep(_SUBSCRIBED_WITHIN_S)
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def bare_handler(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run an aiohttp handler that reads the body and answers."""
    with running(sys.executable, _HERE / "_bare_handler.py", str(port)) as process:
        wait_for(lambda: has_webhook(port))
        yield process
