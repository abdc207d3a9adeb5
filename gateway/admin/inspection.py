"""What the dashboard shows of one point, its registers and its history, or of one event and its way."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.admin.control_socket import answer_errors
from gateway.admin.dashboard_points import exact_in_browsers
from gateway.admin.point_history import WIDEST, HistoryWindow, read_history
from gateway.errors import CommandError, EncodingError
from gateway.events import ABOUT_ASSETS, parse_time
from gateway.http_server import json_answer
from gateway.mapping.object_status import object_status, status_text, value_text
from gateway.mapping.registers import address_text, decoder, encoder, format_text, modicon_text, sentinel
from gateway.state.readings import bad_reason, unused_reason
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import BacnetObject, Point, Record, Register, Scalar, Update
    from gateway.state.building_state import BuildingState

_USUAL_WIDTH = 800
_MOST_MEMBERS = 200


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Requests about one point or event. They change nothing.

    `state` returns the one in force. `report` reads an event from the journal and returns it with its way as
    text, blocking; it raises GatewayError if there is no such event.
    """

    state: Callable[[], BuildingState]
    journal: Path
    retention_ms: int
    report: Callable[[str, PointMap], tuple[Record, str]]
    clock_ms: Callable[[], int]
    _searching: asyncio.Lock = field(default_factory=asyncio.Lock)  # each search takes a whole core

    def routes(self) -> list[web.RouteDef]:
        """Return the requests by their paths."""
        handlers = {
            "/api/points/{name:.+}/history": self._show_history,
            "/api/points/{name:.+}": self._show_point,
            "/api/events/{id:.+}": self._show_event,
        }
        return [web.get(path, partial(answer_errors, handler=handler)) for path, handler in handlers.items()]

    async def _show_point(self, request: web.Request) -> web.Response:
        """Answer with what a point, its registers and objects show now, and why its newest reading is bad."""
        point, state = self._named_point(request), self.state()
        shown, reading = state.latest(point), state.measured(point)
        answer: dict[str, Any] = {
            "point": point.name,
            **_value_and_quality(shown),
            "registers": [_content(register, shown) for register in point.registers],
            "objects": [_shown_by(one, shown, state.last_good(point)) for one in point.objects],
        }
        if point.is_computed:
            answer |= _members(point, state)
        if reading is not None:
            answer |= {
                "raw": exact_in_browsers(reading.raw),
                "raw_unit": reading.raw_unit,
                "read_ms": reading.time_ms,
                "event": reading.event_id,
                "bad_reason": bad_reason(reading),
            }
        return json_answer(answer)

    async def _show_history(self, request: web.Request) -> web.Response:
        """Answer with a point's readings: `?from=…&to=…&width=…`."""
        point, points = self._named_point(request), self.state().points
        plan = points.by_asset.get(point.asset)
        if plan is None or point not in plan.measured:
            raise web.HTTPNotFound(text=f"{point.name} has no readings of its own in the journal")
        window = self._window(request)
        async with self._searching:
            history = await asyncio.to_thread(
                read_history,
                self.journal,
                points,
                point,
                window,
                now_ms=self.clock_ms(),
                wanted=lambda: request.transport is not None,
            )
        return web.Response(body=history, content_type="application/json")

    async def _show_event(self, request: web.Request) -> web.Response:
        """Answer with an event's body as received, and its way as text."""
        points = self.state().points
        record, way = await asyncio.to_thread(self.report, request.match_info["id"], points)
        if not record.event.type.startswith(ABOUT_ASSETS):
            raise web.HTTPForbidden(text="only events about assets are shown: others may name people")
        event = record.event
        answer = {"id": event.event_id, "type": event.type, "received_ms": event.received_ms, "way": way}
        return json_answer(answer | {"body": event.body.decode(errors="replace")})

    def _named_point(self, request: web.Request) -> Point:
        name, known = request.match_info["name"], self.state().points.by_name
        point = known.get(name)
        if point is None:
            raise web.HTTPNotFound(text=f"{name}: {unknown_name('point', name, known)}")
        return point

    def _window(self, request: web.Request) -> HistoryWindow:
        now_ms = self.clock_ms()
        to_ms = _time(request, "to", now_ms)
        from_ms = _time(request, "from", to_ms - self.retention_ms)
        if from_ms >= to_ms:
            raise CommandError("`from` must be before `to`")
        width = request.query.get("width", str(_USUAL_WIDTH))
        if not re.fullmatch("[0-9]{1,5}", width) or not 1 <= int(width) <= WIDEST:
            raise CommandError(f"`width` is the number of pixels, 1 to {WIDEST}")
        return HistoryWindow(from_ms, to_ms, int(width))


def _time(request: web.Request, name: str, usual_ms: int) -> int:
    written = request.query.get(name)
    time_ms = usual_ms if written is None else parse_time(written)
    if time_ms is None:
        raise CommandError(f"`{name}` is a time in Unix milliseconds, or 2026-11-24T08:00:00Z")
    return time_ms


def _members(point: Point, state: BuildingState) -> dict[str, Any]:
    """Return what the members of a computed point show, unused ones first, each with the reason."""
    computed = next(each for each in state.points.computed if each.point is point)
    members = [_member(each, state.latest(each), computed.kind) for each in computed.members]
    members.sort(key=lambda member: member["unused_reason"] is None)
    return {
        "members": members[:_MOST_MEMBERS],
        "members_used": sum(member["unused_reason"] is None for member in members),
        "members_needed": computed.needed,
        "members_in_all": len(members),
    }


def _member(point: Point, shown: Update | None, kind: str) -> dict[str, Any]:
    return {
        "point": point.name,
        "unit": point.unit_of_measure,
        **_value_and_quality(shown),
        "unused_reason": unused_reason(shown, kind),
    }


def _value_and_quality(shown: Update | None) -> dict[str, Any]:
    return {
        "value": None if shown is None else exact_in_browsers(shown.value),
        "quality": "waiting" if shown is None else shown.quality.name.lower(),
    }


def _content(register: Register, shown: Update | None) -> dict[str, Any]:
    """Return the words that a sink writes into a register for an update, in hex and as a number."""
    try:
        raw = encoder(register)(None if shown is None else shown.shown_in(register))
    except EncodingError:
        raw = sentinel(register)
    return {
        "sink": register.sink,
        "unit": register.unit,
        "place": address_text(register),
        "modicon": modicon_text(register.table, register.address),
        "words": raw.hex(" ", 2).upper(),
        "format": format_text(register),
        "content": exact_in_browsers(_held(register, raw)),
    }


def _shown_by(bacnet_object: BacnetObject, shown: Update | None, last_good: Scalar) -> dict[str, Any]:
    """Return what a client reads of a BACnet object, as text."""
    status = object_status(shown, bacnet_object, last_good=last_good)
    return {
        "sink": bacnet_object.sink,
        "object": f"{bacnet_object.type} {bacnet_object.instance}",
        "present_value": value_text(status.present_value, bacnet_object),
        "status": status_text(status),
        "refusal": status.refusal,
    }


def _held(register: Register, raw: bytes) -> Scalar:
    """Return the number in a register, not divided by the scale, in as many digits as a float32 has."""
    number = decoder(replace(register, scale=1.0))(raw)
    return float(f"{number:.7g}") if register.type == "float32" and number is not None else number
