"""The dashboard: its page, what the page shows (`/api/…`, `/api/stream`) and does (`/api/actions/…`).

Everybody on this machine may look. What changes something needs the admin token, as a Bearer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.admin.control_requests import answer_alarms
from gateway.admin.control_socket import control_application
from gateway.admin.dashboard_events import LastEvents
from gateway.admin.dashboard_points import LivePoints, describe_points
from gateway.clock import now_ms
from gateway.errors import GatewayError, TransientError
from gateway.http_server import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aiohttp.typedefs import Handler

    from gateway.admin.admission import Admission
    from gateway.alarms import Alarms
    from gateway.mapping.topics import TopicScheme
    from gateway.ports import EventLog
    from gateway.records import DeadLetter
    from gateway.state.building_state import BuildingState
    from gateway.status import Status

_MOST_POINTS_OF_RECENT = 200
_MOST_DEAD_LETTERS = 500
_ALIVE_EVERY_S = 15.0
_NO_TOKEN = "no admin.token is set in gateway.yaml, so nothing can be changed from here"  # noqa: S105 - a text
_WRONG_TOKEN = "the admin token is missing or wrong"  # noqa: S105 - a text
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked each time, answered with 304: an upgrade is seen at once
}


class Dashboard:
    """Serves the page and its requests. `tick` is called once a second."""

    def __init__(
        self,
        *,
        state: Callable[[], BuildingState],
        status: Status,
        refresh: Callable[[], None],
        topics: Mapping[str, TopicScheme],
        dead_letters: Callable[[], Mapping[int, DeadLetter]],
        alarms: Alarms,
        admission: Admission,
        actions: Iterable[web.RouteDef],
    ) -> None:
        """Set up; `refresh` brings `status` up to date, `dead_letters` reads all of them, blocking.

        `actions` need the token; if none is set, nothing can be changed from the dashboard.
        """
        self._status = status
        self._refresh = refresh
        self._topics = topics
        self._dead_letters = dead_letters
        self._alarms = alarms
        self._admission = admission
        self._actions = tuple(actions)
        self._points = LivePoints(state, status=self._status_now)
        self._events = LastEvents(points=lambda: state().points, sinks=status.sinks)

    def start(self, event_log: EventLog) -> None:
        """Follow the journal, which is open by now."""
        event_log.subscribe(self._events.add)

    def tick(self) -> None:
        """Send open pages what has changed."""
        self._points.tick()

    def add_to(self, application: web.Application) -> None:
        """Add the page and its requests to the admin server."""
        application.router.add_routes(
            [
                *_static_routes(),
                web.get("/api/points", self._show_points),
                web.get("/api/recent", self._show_recent),
                web.get("/api/events", self._show_events),
                web.get("/api/deadletters", self._show_dead_letters),
                web.get("/api/alarms", self._show_alarms),
                web.get("/api/stream", self._stream),
            ]
        )
        application.add_subapp("/api/actions", self._actions_application())
        application.on_shutdown.append(self._end_streams)

    def _actions_application(self) -> web.Application:
        application = control_application([*self._actions, web.get("/token", self._confirm_token)])
        application.middlewares.insert(0, self._with_token)
        return application

    async def _end_streams(self, _: web.Application) -> None:
        self._points.close()

    def _status_now(self) -> dict[str, Any]:
        self._refresh()
        return {"now_ms": now_ms(), **self._status.snapshot()}

    async def _show_points(self, _: web.Request) -> web.Response:
        """Answer with what does not change of each point; a point's number is its place in the list."""
        generation, points = self._points.tables()
        described = await asyncio.to_thread(describe_points, points, topics=self._topics)
        body = b'{"generation":%d,"points":%b}' % (generation, described)
        return web.Response(body=body, content_type="application/json")

    async def _show_recent(self, request: web.Request) -> web.Response:
        """Answer with the last numbers of points: `?point=L03-RM312/ZN-T`, as often as needed."""
        names = request.query.getall("point", [])[:_MOST_POINTS_OF_RECENT]
        return json_answer(self._points.recent(names))

    async def _show_events(self, _: web.Request) -> web.Response:
        return json_answer(self._events.newest_first())

    async def _show_alarms(self, _: web.Request) -> web.Response:
        return answer_alarms(self._alarms)

    async def _show_dead_letters(self, _: web.Request) -> web.Response:
        """Answer with the newest dead letters, the newest first."""
        try:
            letters = await asyncio.to_thread(self._dead_letters)
        except GatewayError as error:
            return json_answer({"error": str(error)}, code=503)
        newest = list(letters.items())[: -_MOST_DEAD_LETTERS - 1 : -1]
        return json_answer(
            {
                "total": len(letters),
                "letters": [
                    {
                        "number": number,
                        "sink": letter.sink,
                        "point": letter.point,
                        "reason": letter.reason,
                        "at_ms": letter.at_ms,
                        "event": letter.event_id,
                    }
                    for number, letter in newest
                ],
            }
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send server-sent events: everything at first, then `tables`, `values` and `status` on change."""
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        try:
            with self._points.watch() as messages:
                await response.prepare(request)
                for message in self._points.everything():
                    await response.write(_as_text(*message))
                    await asyncio.sleep(0)
                while (change := await _next(messages)) is not None:
                    await response.write(_as_text(*change))
        except TransientError as error:
            return json_answer({"error": str(error)}, code=503)
        except ConnectionError:
            pass  # the page was closed
        return response

    async def _confirm_token(self, _: web.Request) -> web.Response:
        """Answer a page that asks whether its token is right; the middleware has checked it."""
        return json_answer({"ok": True})

    @web.middleware
    async def _with_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._admission.is_token_set:
            return json_answer({"error": _NO_TOKEN}, code=403)
        if not self._admission.has_token(request):
            return json_answer({"error": _WRONG_TOKEN}, code=401)
        return await handler(request)


def _as_text(name: str, document: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), document)


async def _next(messages: asyncio.Queue[tuple[str, bytes] | None]) -> tuple[str, bytes] | None:
    """Return the next message; if there is none for long, one that keeps the connection open."""
    try:
        async with asyncio.timeout(_ALIVE_EVERY_S):
            return await messages.get()
    except TimeoutError:
        return "alive", b"0"


@dataclass(frozen=True, slots=True)
class _StaticFile:
    """A file of the page, read once."""

    body: bytes
    content_type: str
    etag: str

    async def answer(self, request: web.Request) -> web.Response:
        """Send it, unless the browser has it."""
        headers = {**_HEADERS, "ETag": f'"{self.etag}"'}
        if any(tag.value == self.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.body, headers={**headers, "Content-Type": self.content_type})


def _static_routes() -> Iterator[web.RouteDef]:
    """Yield a route for each file of `gateway/admin/static`; `index.html` is at `/`."""
    for file in files("gateway.admin").joinpath("static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            body = file.read_bytes()
            static = _StaticFile(body, _TYPES[kind], sha256(body).hexdigest()[:16])
            yield web.get("/" if file.name == "index.html" else f"/static/{file.name}", static.answer)
