"""What `gateway force` and `gateway release` ask of the running gateway, over its control socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web

from gateway.admin.control_requests import answer, document_of, make_durable, uid_of
from gateway.errors import CommandError
from gateway.mapping.plan import PointMap
from gateway.mapping.register_map import register_map
from gateway.state.overrides import LONGEST_OVERRIDE_S, parse_override
from gateway.text import second_text, unknown_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Scalar
    from gateway.records import Override

log = structlog.get_logger()

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

    def overrides(self) -> list[Override]:
        """Return the overrides in force."""


class OverrideControl:
    """Answers `POST /force`, `POST /release` and `GET /forced`."""

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

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, see `control_application`."""
        return [
            web.post("/force", self._force),
            web.post("/release", self._release),
            web.get("/forced", self._list),
        ]

    async def _force(self, request: web.Request) -> web.Response:
        """`{"point": name, "value": scalar, "for_s": seconds}`: answered once the override is durable."""
        asked = await document_of(request)
        name, for_s = asked.get("point"), asked.get("for_s")
        if (
            not isinstance(for_s, int | float)
            or isinstance(for_s, bool)
            or not 0 < for_s <= LONGEST_OVERRIDE_S
        ):
            raise CommandError("a point is forced for more than 0 s and for 24 h at most")
        point = await self._point(name)
        value = parse_override(point, asked.get("value"))
        until_ms = self._clock_ms() + round(for_s * 1000)
        self._overrides.force(point, value, until_ms=until_ms)
        until = second_text(until_ms)
        log.info("point.forced", point=point.name, value=value, until=until, uid=uid_of(request))
        described = [self._described(one) for one in self._image().overrides() if one.point == point.name]
        await make_durable(self._flush)
        return answer(described[0])

    async def _release(self, request: web.Request) -> web.Response:
        """`{"point": name}` or `{"all": true}`: answered once that is durable."""
        asked = await document_of(request)
        one = None if asked.get("all") is True else await self._point(asked.get("point"))
        by_name = self._image().points.by_name
        released = [by_name[forced.point] for forced in self._image().overrides()]
        if one is not None:
            if one not in released:
                raise web.HTTPConflict(text=f"{one.name} is not forced")
            released = [one]
        for point in released:
            if self._overrides.release(point):
                log.info("point.released", point=point.name, reason="asked", uid=uid_of(request))
        await make_durable(self._flush)
        return answer({"released": [point.name for point in released]})

    async def _list(self, _: web.Request) -> web.Response:
        return answer({"forced": [self._described(one) for one in self._image().overrides()]})

    async def _point(self, name: object) -> Point:
        if not isinstance(name, str):
            raise CommandError("`point` is missing: the name of a point, such as L03-RM312/ZN-T")
        by_name = self._image().points.by_name
        if name not in by_name:  # with many points, looking for a similar name takes a second
            message = await asyncio.to_thread(unknown_name, "point", name, by_name)
            raise web.HTTPNotFound(text=f"{name}: {message}")
        return by_name[name]

    def _described(self, forced: Override) -> dict[str, Any]:
        """Return the override, and where it is seen."""
        point = self._image().points.by_name[forced.point]
        rows = register_map(PointMap(points=(point,), by_asset={}), topics=self._topics)
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
