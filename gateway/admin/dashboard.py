"""The dashboard: its page, what the page shows (`/api/…`, `/api/stream`) and does (`/api/actions/…`).

Everybody on this machine may look. What changes something needs the admin token, as a Bearer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.admin.control_requests import alarm_lists
from gateway.admin.control_socket import control_application
from gateway.admin.dashboard_points import LivePoints, describe_points
from gateway.clock import now_ms
from gateway.errors import GatewayError, TransientError
from gateway.events import ABOUT_ASSETS, TELEMETRY, asset_of, read_telemetry
from gateway.http_server import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.admin.admin_server import Admission
    from gateway.admin.control_requests import BuildingRequests
    from gateway.admin.control_socket import Answer, Caller
    from gateway.admin.inspection import Inspection
    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Event, Record
    from gateway.records import DeadLetter
    from gateway.status import SinkStatus, Status

_MOST_POINTS_OF_RECENT = 200
_MOST_DEAD_LETTERS = 500
_MOST_EVENTS = 100
_LARGEST_EVENT_BYTES = 64 << 10  # larger events are left out
_ALIVE_EVERY_S = 15.0
_STATIC = Path(__file__).with_name("static")
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


@dataclass(kw_only=True)
class Dashboard:
    """Serves the page and its requests. `tick` is called once a second.

    `refresh` brings `status` up to date, `read_dead_letters` reads all of them, blocking.
    """

    requests: BuildingRequests
    inspection: Inspection
    admission: Admission
    status: Status
    refresh: Callable[[], None]
    read_dead_letters: Callable[[], Mapping[int, DeadLetter]]

    def __post_init__(self) -> None:
        """Begin without an open page."""
        pipeline = self.requests.pipeline
        self._points = LivePoints(lambda: pipeline.state, status=self._status_now)
        self.last_events = LastEvents(points=lambda: pipeline.state.points, sinks=self.status.sinks)

    def tick(self) -> None:
        """Send open pages what has changed."""
        self._points.tick()

    def add_to(self, application: web.Application) -> None:
        """Add the page and its requests to the admin server."""
        application.router.add_routes(
            [
                web.get("/", _page),
                web.static("/static", _STATIC),
                web.get("/api/points", self._show_points),
                web.get("/api/recent", self._show_recent),
                web.get("/api/events", self._show_events),
                web.get("/api/deadletters", self._show_dead_letters),
                web.get("/api/alarms", self._show_alarms),
                web.get("/api/stream", self._stream),
                *self.inspection.routes(),
            ]
        )
        actions = control_application({**self.requests.by_route(), "GET /token": _confirm_token})
        actions.middlewares.insert(0, self.admission.require_bearer)
        application.add_subapp("/api/actions", actions)
        application.on_response_prepare.append(_add_headers)
        application.on_shutdown.append(self._end_streams)

    async def _end_streams(self, _: web.Application) -> None:
        self._points.close()

    def _status_now(self) -> dict[str, Any]:
        self.refresh()
        return {"now_ms": now_ms(), **self.status.snapshot()}

    async def _show_points(self, _: web.Request) -> web.Response:
        """Answer with what does not change of each point; a point's number is its place in the list."""
        generation, points = self._points.tables()
        described = await asyncio.to_thread(describe_points, points, topics=self.requests.topics)
        body = b'{"generation":%d,"points":%b}' % (generation, described)
        return web.Response(body=body, content_type="application/json")

    async def _show_recent(self, request: web.Request) -> web.Response:
        """Answer with the last numbers of points: `?point=L03-RM312/ZN-T`, as often as needed."""
        names = request.query.getall("point", [])[:_MOST_POINTS_OF_RECENT]
        return json_answer(self._points.recent(names))

    async def _show_events(self, _: web.Request) -> web.Response:
        return json_answer(self.last_events.newest_first())

    async def _show_alarms(self, _: web.Request) -> web.Response:
        return json_answer(alarm_lists(self.requests.alarms))

    async def _show_dead_letters(self, _: web.Request) -> web.Response:
        """Answer with the newest dead letters, the newest first."""
        try:
            letters = await asyncio.to_thread(self.read_dead_letters)
        except GatewayError as error:
            return json_answer({"error": str(error)}, code=503)
        newest = list(letters.items())[: -_MOST_DEAD_LETTERS - 1 : -1]
        described = [
            {
                "number": number,
                "sink": letter.sink,
                "point": letter.point,
                "reason": letter.reason,
                "at_ms": letter.at_ms,
                "event": letter.event_id,
            }
            for number, letter in newest
        ]
        return json_answer({"total": len(letters), "letters": described})

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


async def _confirm_token(_document: dict[str, Any], _caller: Caller) -> Answer:
    """Answer a page that asks whether its token is right; the middleware has checked it."""
    return {"ok": True}


def _as_text(name: str, document: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), document)


async def _next(messages: asyncio.Queue[tuple[str, bytes] | None]) -> tuple[str, bytes] | None:
    """Return the next message; if there is none for long, one that keeps the connection open."""
    try:
        async with asyncio.timeout(_ALIVE_EVERY_S):
            return await messages.get()
    except TimeoutError:
        return "alive", b"0"


class LastEvents:
    """The last events of the journal. One costs an entry in a short list; it is described when requested."""

    def __init__(self, *, points: Callable[[], PointMap], sinks: Mapping[str, SinkStatus]) -> None:
        """Begin empty; `points` returns the tables in force, `sinks` have the cursors."""
        self._points = points
        self._sinks = sinks
        self._last: deque[Record] = deque(maxlen=_MOST_EVENTS)

    def add(self, records: Sequence[Record]) -> None:
        """Add new events."""
        self._last.extend(
            record for record in records[-_MOST_EVENTS:] if len(record.event.body) <= _LARGEST_EVENT_BYTES
        )

    def newest_first(self) -> list[dict[str, Any]]:
        """Return the last events, each with what became of it."""
        return [self._described(record.seq, record.event) for record in reversed(self._last)]

    def _described(self, seq: int, event: Event) -> dict[str, Any]:
        asset = asset_of(event) if event.type.startswith(ABOUT_ASSETS) else None
        plan = self._points().by_asset.get(asset) if asset is not None else None
        return {
            "seq": seq,
            "id": event.event_id,
            "type": event.type,
            "source": "reconcile" if event.is_backfilled else "webhook",
            "received_ms": event.received_ms,
            "asset": asset,
            "tags": [] if plan is None else list(dict.fromkeys(point.tag for point in plan.measured)),
            "readable": event.type != TELEMETRY or _is_readable(event, plan),
            "mapped": plan is not None or event.type != TELEMETRY,
            "sinks": {name: sink.cursor >= seq for name, sink in self._sinks.items()},
        }


def _is_readable(event: Event, plan: AssetPlan | None) -> bool:
    """Return whether the event has readings, or its table has paths of its own into it."""
    telemetry = read_telemetry(event)
    return bool(telemetry and telemetry.readings) or (plan is not None and bool(plan.by_path))


async def _page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(_STATIC / "index.html")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    if request.path == "/" or request.path.startswith("/static/"):
        response.headers.update(_HEADERS)
