"""The control socket: where commands reach the running gateway that change something in it.

Everybody on this machine may read from the admin port, but not everybody may override a point. So this is a
Unix socket of mode 0600: the system lets only the gateway's user and root connect.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.errors import CommandError, GatewayError, JournalError
from gateway.http_server import json_answer, quiet_runner

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp.typedefs import Handler

_CLOSE_WITHIN_S = 2.0
_LARGEST_BODY_BYTES = 64 << 10
_PEER = struct.Struct("3i")  # struct ucred: process, user and group of whoever connected


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: a user of this machine, or with `uid` None a dashboard with the token."""

    uid: int | None
    name: str


Answer = dict[str, Any]
ControlRequest = Callable[[dict[str, Any], Caller], Awaitable[Answer]]
"""Handles the posted document, empty for a GET; raises GatewayError or an HTTPException of aiohttp."""


@asynccontextmanager
async def control_socket(
    path: Path, application: web.Application, *, no_http: Counter[str]
) -> AsyncIterator[None]:
    """Serve the application on a Unix socket at `path`, which is removed on leaving.

    The socket of a gateway that was killed is replaced, that of a running one is not. Raises GatewayError
    if there can be no socket.
    """
    runner = quiet_runner(application, "control", no_http=no_http, close_within_s=_CLOSE_WITHIN_S)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        _bind(bound, path)
        try:
            await runner.setup()
            await web.SockSite(runner, bound).start()
            yield
        finally:
            await runner.cleanup()
            _unbind(path)


def _bind(bound: socket.socket, path: Path) -> None:
    """Bind to `path`, to which from the first moment only our user and root can connect."""
    try:
        if path.is_socket():
            _check_unused(path)
            path.unlink()
        os.fchmod(bound.fileno(), 0o600)  # before it has a name: the file gets the same mode
        bound.bind(str(path))
    except OSError as error:
        raise GatewayError(
            f"admin.socket: can't listen on {path}: {error.strerror or error}; the gateway's user must be"
            f" able to write in {path.parent}, and nothing else may have this name"
        ) from error


def _unbind(path: Path) -> None:
    with suppress(OSError):  # the disk may have become read-only; the next start replaces it
        path.unlink()


def _check_unused(path: Path) -> None:
    """Raise GatewayError if somebody listens on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionRefusedError):
        probe.settimeout(0)
        with suppress(BlockingIOError):  # somebody is there, but busy
            probe.connect(str(path))
        raise GatewayError(f"admin.socket: a running gateway listens on {path} already")


def control_application(requests: Mapping[str, ControlRequest]) -> web.Application:
    """Return the application for requests by route, `POST /force`; errors have `{"error": text}`."""
    application = web.Application(middlewares=[answer_errors], client_max_size=_LARGEST_BODY_BYTES)
    for route, handle in requests.items():
        method, path = route.split(" ")
        application.router.add_route(method, path, _answering(handle))
    return application


def _answering(handle: ControlRequest) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        document = {} if request.method == "GET" else await _read_document(request)
        return json_answer(await handle(document, _caller(request)))

    return answer


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with `{"error": text}` and 503, 400, or the status of what aiohttp raised."""
    try:
        return await handler(request)
    except JournalError as error:
        return json_answer({"error": str(error)}, code=503)
    except GatewayError as error:
        return json_answer({"error": str(error)}, code=400)
    except web.HTTPException as error:
        return json_answer({"error": error.text}, code=error.status)


async def _read_document(request: web.Request) -> dict[str, Any]:
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise CommandError("the body is not JSON") from error
    except (RequestPayloadError, ConnectionError) as error:
        raise CommandError("the body is incomplete") from error
    if not isinstance(document, dict):
        raise CommandError("the body is not a JSON object")
    return document


def _caller(request: web.Request) -> Caller:
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return Caller(None, f"dashboard from {request.remote}")
    uid: int = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
    try:
        return Caller(uid, pwd.getpwuid(uid).pw_name)
    except KeyError:  # a container's user has no name
        return Caller(uid, f"user id {uid}")
