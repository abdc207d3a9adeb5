"""What all requests on the control socket have in common: JSON both ways, who asks, and how errors read."""

from __future__ import annotations

import pwd
import socket
import struct
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.errors import CommandError, GatewayError, JournalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp.typedefs import Handler

_LARGEST_BODY_BYTES = 64 << 10
_PEER = struct.Struct("3i")  # struct ucred: process, user and group of whoever connected


def control_application(routes: Iterable[web.RouteDef]) -> web.Application:
    """Return the application, to be served on a socket that not everybody can reach.

    Errors are answered as `{"error": text}`.
    """
    application = web.Application(middlewares=[_explained], client_max_size=_LARGEST_BODY_BYTES)
    application.router.add_routes(routes)
    return application


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into JSON that says what is wrong."""
    try:
        return await handler(request)
    except JournalError as error:
        return answer({"error": str(error)}, code=503)
    except GatewayError as error:
        return answer({"error": str(error)}, code=400)
    except web.HTTPException as error:
        return answer({"error": error.text}, code=error.status)


async def document_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that was posted."""
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise CommandError("the body is not JSON") from error
    except (RequestPayloadError, ConnectionError) as error:
        raise CommandError("the body is incomplete") from error
    if not isinstance(document, dict):
        raise CommandError("the body is not a JSON object")
    return document


def uid_of(request: web.Request) -> int | None:
    """Return the user id of whoever connected, as the system knows it; None where he came by the network."""
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    uid: int = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
    return uid


def person_of(request: web.Request) -> str:
    """Return who asks, for a record of it: a user of this machine, or whoever has the dashboard's token."""
    uid = uid_of(request)
    if uid is None:
        return f"dashboard from {request.remote}"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user has no name
        return f"user id {uid}"


def answer(document: object, *, code: int = 200) -> web.Response:
    """Return the document as JSON."""
    return web.Response(status=code, body=orjson.dumps(document), content_type="application/json")


async def make_durable(flush: Callable[[], Awaitable[None]]) -> None:
    """Return once what was done is on disk, or say that it is done and not yet there."""
    try:
        await flush()
    except JournalError as error:
        raise JournalError(
            f"done, but a restart would forget it, for it can't be written to disk: {error}",
            retry_after_s=error.retry_after_s,
        ) from error
