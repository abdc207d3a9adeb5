"""Requests about overrides, from `gateway force`, `gateway release` and the dashboard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from gateway.admin.control_socket import make_durable, read_document, uid_of
from gateway.errors import CommandError
from gateway.http_server import json_answer
from gateway.mapping.plan import PointMap
from gateway.mapping.register_map import register_map
from gateway.state.overrides import LONGEST_OVERRIDE_S, parse_override
from gateway.text import second_text, unknown_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Scalar
    from gateway.records import Override
    from gateway.state.building_state import BuildingState

log = structlog.get_logger()

_REGISTER_KEYS = ("sink", "unit", "table", "address", "modicon", "type", "bit")


class Overrides(Protocol):
    """Sets and ends overrides in the running gateway; the change is queued for the sinks on return."""

    def force(self, point: Point, value: Scalar, *, until_ms: int) -> None:
        """Show `value` until then; raise GatewayError if the point can't be forced."""

    def release(self, point: Point) -> bool:
        """Show what is measured again; return whether the point was forced."""


class OverrideRequests:
    """Answers `POST /force`, `POST /release` and `GET /forced`."""

    def __init__(
        self,
        *,
        overrides: Overrides,
        state: Callable[[], BuildingState],
        topics: Mapping[str, TopicScheme],
        flush: Callable[[], Awaitable[None]],
        clock_ms: Callable[[], int],
    ) -> None:
        """Set up; `state` returns the one in force, `topics` are those of MQTT sinks."""
        self._overrides = overrides
        self._state = state
        self._topics = topics
        self._flush = flush
        self._clock_ms = clock_ms

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, for `control_application`."""
        return [
            web.post("/force", self._force),
            web.post("/release", self._release),
            web.get("/forced", self._show),
        ]

    async def _force(self, request: web.Request) -> web.Response:
        """Take `{"point": name, "value": scalar, "for_s": seconds}`; answer once the override is durable."""
        document = await read_document(request)
        for_s = _duration_s(document.get("for_s"))
        point = await self._point(document.get("point"))
        value = parse_override(point, document.get("value"))
        until_ms = self._clock_ms() + round(for_s * 1000)
        self._overrides.force(point, value, until_ms=until_ms)
        until = second_text(until_ms)
        log.info("point.forced", point=point.name, value=value, until=until, uid=uid_of(request))
        described = [self._described(one) for one in self._state().overrides() if one.point == point.name]
        await make_durable(self._flush)
        return json_answer(described[0])

    async def _release(self, request: web.Request) -> web.Response:
        """Take `{"point": name}` or `{"all": true}`; answer once that is durable."""
        document = await read_document(request)
        one = None if document.get("all") is True else await self._point(document.get("point"))
        by_name = self._state().points.by_name
        released = [by_name[override.point] for override in self._state().overrides()]
        if one is not None:
            if one not in released:
                raise web.HTTPConflict(text=f"{one.name} is not forced")
            released = [one]
        for point in released:
            if self._overrides.release(point):
                log.info("point.released", point=point.name, reason="asked", uid=uid_of(request))
        await make_durable(self._flush)
        return json_answer({"released": [point.name for point in released]})

    async def _show(self, _: web.Request) -> web.Response:
        return json_answer({"forced": [self._described(one) for one in self._state().overrides()]})

    async def _point(self, name: object) -> Point:
        if not isinstance(name, str):
            raise CommandError("`point` is missing: the name of a point, such as L03-RM312/ZN-T")
        by_name = self._state().points.by_name
        if name not in by_name:  # with many points, looking for a similar name takes a second
            message = await asyncio.to_thread(unknown_name, "point", name, by_name)
            raise web.HTTPNotFound(text=f"{name}: {message}")
        return by_name[name]

    def _described(self, override: Override) -> dict[str, Any]:
        """Return the override, and the topics and registers that show it."""
        point = self._state().points.by_name[override.point]
        rows = register_map(PointMap(points=(point,), by_asset={}), topics=self._topics)
        return {
            "point": override.point,
            "value": override.value,
            "unit_of_measure": point.unit_of_measure,
            "since_ms": override.since_ms,
            "until_ms": override.until_ms,
            "topic": rows[0]["topic"],
            "asset_topic": rows[0]["asset_topic"],
            "registers": [{key: row[key] for key in _REGISTER_KEYS} for row in rows if row["sink"]],
        }


def _duration_s(for_s: object) -> float:
    if isinstance(for_s, int | float) and not isinstance(for_s, bool) and 0 < for_s <= LONGEST_OVERRIDE_S:
        return for_s
    raise CommandError("a point is forced for more than 0 s and for 24 h at most")
