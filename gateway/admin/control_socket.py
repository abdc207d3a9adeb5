"""The control socket: where commands reach the running gateway that change something in it.

Everybody on this machine may ask the admin port, but not everybody may override a point. So this is a
Unix socket of mode 0600, and the system itself lets nobody connect but the gateway's user and root.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.http_server import quiet_runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiohttp import web

_CLOSE_WITHIN_S = 2.0


@asynccontextmanager
async def control_socket(
    path: Path, application: web.Application, *, no_http: Counter[str] | None = None
) -> AsyncIterator[None]:
    """Serve the application on a Unix socket at `path`, which is removed on leaving.

    The socket of a gateway that was killed is replaced, that of a running one is not. Raises GatewayError
    where there can be no socket.
    """
    counts = Counter() if no_http is None else no_http
    runner = quiet_runner(application, "control", no_http=counts, close_within_s=_CLOSE_WITHIN_S)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - set up in the line above
    try:
        with _bound(path) as listening:
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(runner.server, sock=listening)
            try:
                yield
            finally:
                server.close()
    finally:
        await runner.cleanup()


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """Hold a socket bound to `path`, to which from the first moment only our user and root can connect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            _remove_stale(path)
            os.fchmod(bound.fileno(), 0o600)  # before it has a name: the file takes the mode over
            bound.bind(str(path))
        except OSError as error:
            raise GatewayError(
                f"admin.socket: can't listen on {path}: {error.strerror or error}; the gateway's user must be"
                f" able to write in {path.parent}"
            ) from error
        try:
            yield bound
        finally:
            with suppress(OSError):  # the disk may have become read-only; the next start replaces it
                path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove what a killed gateway left behind; nobody answers there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise GatewayError(f"admin.socket: {path} exists and is no socket; name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        with suppress(ConnectionRefusedError):
            with suppress(BlockingIOError):  # somebody is there, but busy
                probe.connect(str(path))
            raise GatewayError(f"admin.socket: a running gateway listens on {path} already")
    path.unlink()
