"""The control socket: what changes something in the running gateway.

Everybody on this machine may ask the admin port, but not everybody may override a point. So this is a
Unix socket of mode 0600, and the system itself lets nobody connect but the gateway's user and root.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import structlog
from aiohttp import web

from gateway.errors import CommandError, GatewayError, JournalError
from gateway.mapping.live.forcing import LONGEST_FORCE_S, forced_value
from gateway.mapping.plan import PointMap
from gateway.mapping.sheets.listing import list_points
from gateway.mapping.wording import second_text, unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Forced, Point, Scalar

log = structlog.get_logger()

_LARGEST_BODY_BYTES = 64 << 10
_PEER = struct.Struct("3i")  # struct ucred: process, user and group of whoever connected
_SHOWN_OF_REGISTER = ("sink", "unit", "table", "address", "modicon", "type", "bit")


class Overrides(Protocol):
    """What sets and ends overrides in the running gateway; both are on their way to the sinks on return."""

    def force(self, point: Point, value: Scalar, *, until_ms: int) -> None:
        """Show `value` until then; raise GatewayError where the point can't be forced."""

    def release(self, point: Point) -> bool:
        """Show what is measured again; return whether the point was forced."""


class ForcedPoints(Protocol):
    """What knows the points and those that are forced now."""

    @property
    def points(self) -> PointMap:
        """Return the point tables in use."""

    def forced(self) -> list[Forced]:
        """Return what is forced now."""


class Control:
    """Answers `POST /force`, `POST /release` and `GET /forced`; errors are `{"error": text}`."""

    def __init__(
        self,
        *,
        overrides: Overrides,
        image: Callable[[], ForcedPoints],
        topics: Mapping[str, TopicScheme],
        flush: Callable[[], Awaitable[None]],
        clock_ms: Callable[[], int],
    ) -> None:
        """Take the image by a function, for it changes with the tables, and the topics of MQTT sinks."""
        self._overrides = overrides
        self._image = image
        self._topics = topics
        self._flush = flush
        self._clock_ms = clock_ms

    def application(self) -> web.Application:
        """Return the application, to be served on a socket that not everybody can reach."""
        application = web.Application(middlewares=[_explained], client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_post("/force", self._force)
        application.router.add_post("/release", self._release)
        application.router.add_get("/forced", self._list)
        return application

    async def _force(self, request: web.Request) -> web.Response:
        """`{"point": name, "value": scalar, "for_s": seconds}`: answered once the override is durable."""
        asked = await _document(request)
        name, for_s = asked.get("point"), asked.get("for_s")
        if not isinstance(for_s, int | float) or isinstance(for_s, bool) or not 0 < for_s <= LONGEST_FORCE_S:
            raise CommandError("a point is forced for more than 0 s and for 24 h at most")
        point = await self._point(name)
        value = forced_value(point, asked.get("value"))
        until_ms = self._clock_ms() + round(for_s * 1000)
        self._overrides.force(point, value, until_ms=until_ms)
        until = second_text(until_ms)
        log.info("point.forced", point=point.name, value=value, until=until, uid=_uid(request))
        described = [self._described(one) for one in self._image().forced() if one.point == point.name]
        await self._make_durable()
        return _json(described[0])

    async def _release(self, request: web.Request) -> web.Response:
        """`{"point": name}` or `{"all": true}`: answered once that is durable."""
        asked = await _document(request)
        one = None if asked.get("all") is True else await self._point(asked.get("point"))
        by_name = self._image().points.by_name
        released = [by_name[forced.point] for forced in self._image().forced()]
        if one is not None:
            if one not in released:
                raise web.HTTPConflict(text=f"{one.name} is not forced")
            released = [one]
        for point in released:
            if self._overrides.release(point):
                log.info("point.released", point=point.name, reason="asked", uid=_uid(request))
        await self._make_durable()
        return _json({"released": [point.name for point in released]})

    async def _list(self, _: web.Request) -> web.Response:
        return _json({"forced": [self._described(one) for one in self._image().forced()]})

    async def _point(self, name: object) -> Point:
        if not isinstance(name, str):
            raise CommandError("`point` is missing: the name of a point, such as L03-RM312/ZN-T")
        by_name = self._image().points.by_name
        if name not in by_name:  # with many points, looking for a similar name takes a second
            message = await asyncio.to_thread(unknown, "point", name, by_name)
            raise web.HTTPNotFound(text=f"{name}: {message}")
        return by_name[name]

    async def _make_durable(self) -> None:
        try:
            await self._flush()
        except JournalError as error:
            raise JournalError(
                f"done, but a restart would forget it, for it can't be written to disk: {error}",
                retry_after_s=error.retry_after_s,
            ) from error

    def _described(self, forced: Forced) -> dict[str, Any]:
        """Return the override, and where it is seen."""
        point = self._image().points.by_name[forced.point]
        rows = list_points(PointMap(points=(point,), by_asset={}), topics=self._topics)
        return {
            "point": forced.point,
            "value": forced.value,
            "unit_of_measure": point.unit_of_measure,
            "since_ms": forced.since_ms,
            "until_ms": forced.until_ms,
            "topic": rows[0]["topic"],
            "asset_topic": rows[0]["asset_topic"],
            "registers": [{key: row[key] for key in _SHOWN_OF_REGISTER} for row in rows if row["sink"]],
        }


@asynccontextmanager
async def control_socket(path: Path, application: web.Application) -> AsyncIterator[None]:
    """Serve the application on a Unix socket at `path`, which is removed on leaving.

    The socket of a gateway that was killed is replaced, that of a running one is not. Raises GatewayError
    where there can be no socket.
    """
    runner = web.AppRunner(application, access_log=None)
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
            path.unlink(missing_ok=True)


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


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into JSON that says what is wrong."""
    try:
        return await handler(request)
    except JournalError as error:
        return _json({"error": str(error)}, code=503)
    except GatewayError as error:
        return _json({"error": str(error)}, code=400)
    except web.HTTPException as error:
        return _json({"error": error.text}, code=error.status)


async def _document(request: web.Request) -> dict[str, Any]:
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise CommandError("the body is not JSON") from error
    if not isinstance(document, dict):
        raise CommandError("the body is not a JSON object")
    return document


def _uid(request: web.Request) -> int | None:
    """Return the user id of whoever connected, as the system knows it."""
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("socket")
    if peer is None:
        return None
    uid: int = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
    return uid


def _json(document: object, *, code: int = 200) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(document), content_type="application/json")
