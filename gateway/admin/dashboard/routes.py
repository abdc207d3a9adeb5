"""What the dashboard's page asks the gateway, besides `/api/status`.

Everybody on this machine may look. What changes something needs the admin token, as a Bearer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.admin.control_requests import answer, control_application
from gateway.admin.dashboard.board import Board
from gateway.admin.dashboard.descriptions import describe_points
from gateway.admin.dashboard.last_events import LastEvents
from gateway.admin.dashboard.pages import page_routes
from gateway.clock import now_ms
from gateway.errors import GatewayError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp.typedefs import Handler

    from gateway.admin.admission import Admission
    from gateway.mapping.topics import TopicScheme
    from gateway.ports import EventLog
    from gateway.records import DeadLetter
    from gateway.state.building_state import BuildingState
    from gateway.status import Status

_MOST_RECENT = 200
_MOST_LETTERS = 500
_ALIVE_EVERY_S = 15.0
_NO_TOKEN = "no admin.token is set in gateway.yaml, so nothing can be changed from here"  # noqa: S105 - a text
_WRONG_TOKEN = "the admin token is missing or wrong"  # noqa: S105 - a text


class Dashboard:
    """Serves the page, what it shows (`/api/…`, `/api/stream`) and what it does (`/api/actions/…`)."""

    def __init__(
        self,
        *,
        image: Callable[[], BuildingState],
        status: Status,
        refresh: Callable[[], None],
        topics: Mapping[str, TopicScheme],
        letters: Callable[[], Mapping[int, DeadLetter]],
        show_alarms: Handler,
        admission: Admission,
        actions: Iterable[web.RouteDef],
    ) -> None:
        """`image` is the one in force; `refresh` brings `status` up to date; `letters` reads all, blocking.

        `actions` are what may be done with the token; without one, nothing can be changed from here.
        """
        self._status = status
        self._refresh = refresh
        self._topics = topics
        self._letters = letters
        self._show_alarms = show_alarms
        self._admission = admission
        self._actions = tuple(actions)
        self._board = Board(image, status=self._refreshed)
        self._events = LastEvents(points=lambda: image().points, sinks=status.sinks)

    def start(self, event_log: EventLog) -> None:
        """Note what comes from now on; call this once the journal is open."""
        event_log.subscribe(self._events.accept)

    def tick(self) -> None:
        """Tell whoever watches what has changed; once a second."""
        self._board.tick()

    def add_to(self, application: web.Application) -> None:
        """Serve it there."""
        application.router.add_routes(
            [
                *page_routes(),
                web.get("/api/points", self._show_points),
                web.get("/api/recent", self._show_recent),
                web.get("/api/events", self._show_events),
                web.get("/api/deadletters", self._show_letters),
                web.get("/api/alarms", self._show_alarms),
                web.get("/api/stream", self._stream),
            ]
        )
        application.add_subapp("/api/actions", self._actions_application())
        application.on_shutdown.append(self._end_streams)

    def _actions_application(self) -> web.Application:
        application = control_application([*self._actions, web.get("/token", self._confirm)])
        application.middlewares.insert(0, self._with_token)
        return application

    async def _end_streams(self, _: web.Application) -> None:
        self._board.close()

    def _refreshed(self) -> dict[str, Any]:
        self._refresh()
        return {"now_ms": now_ms(), **self._status.snapshot()}

    async def _show_points(self, _: web.Request) -> web.Response:
        """Tell what never changes of each point; its number is its place in the list."""
        generation, points = self._board.tables()
        described = await asyncio.to_thread(describe_points, points, topics=self._topics)
        body = b'{"generation":%d,"points":%b}' % (generation, described)
        return web.Response(body=body, content_type="application/json")

    async def _show_recent(self, request: web.Request) -> web.Response:
        """Tell the last numbers of some points: `?point=L03-RM312/ZN-T`, as often as needed."""
        names = request.query.getall("point", [])[:_MOST_RECENT]
        return answer(self._board.recent(names))

    async def _show_events(self, _: web.Request) -> web.Response:
        return answer(self._events.newest_first())

    async def _show_letters(self, _: web.Request) -> web.Response:
        """Tell the newest dead letters, the newest first."""
        try:
            letters = await asyncio.to_thread(self._letters)
        except GatewayError as error:
            return answer({"error": str(error)}, code=503)
        newest = list(letters.items())[: -_MOST_LETTERS - 1 : -1]
        return answer(
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
        """Send events as they happen: `tables`, `values` (what changed), `status`; at first everything."""
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        try:
            with self._board.watch() as messages:
                await response.prepare(request)
                for message in self._board.everything():
                    await response.write(_as_text(*message))
                    await asyncio.sleep(0)
                while (change := await _next(messages)) is not None:
                    await response.write(_as_text(*change))
        except TransientError as error:
            return answer({"error": str(error)}, code=503)
        except ConnectionError:
            pass  # the page was closed
        return response

    async def _confirm(self, _: web.Request) -> web.Response:
        """Tell a page whether its token is right; the middleware has looked."""
        return answer({"ok": True})

    @web.middleware
    async def _with_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._admission.is_possible:
            return answer({"error": _NO_TOKEN}, code=403)
        if not self._admission.has_token(request):
            return answer({"error": _WRONG_TOKEN}, code=401)
        return await handler(request)


def _as_text(name: str, document: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), document)


async def _next(messages: asyncio.Queue[tuple[str, bytes] | None]) -> tuple[str, bytes] | None:
    """Return the next message; where there is none for long, one that keeps the connection."""
    try:
        async with asyncio.timeout(_ALIVE_EVERY_S):
            return await messages.get()
    except TimeoutError:
        return "alive", b"0"
