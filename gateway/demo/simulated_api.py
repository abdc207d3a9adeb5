"""Infodeck's REST API, simulated: key and token, limit, both paginations, its endpoints, and faults."""

from __future__ import annotations

import hmac
import math
import re
import time
from collections import deque
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from aiohttp import web

from gateway.demo.endpoints import AssetEndpoints, SimulatedOrganization, WebhookEndpoints
from gateway.demo.simulated_answers import Answer, HttpRefusalError, json_response, send_in_place
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from gateway.demo.endpoints import Item
    from gateway.demo.simulated_answers import Pagination


_HOST = "127.0.0.1"
_BASE = "/api/v2"
_ORGANIZATION = f"{_BASE}/organizations/{{organization}}"
_BELOW_ORGANIZATION = re.compile(rf"{_BASE}/organizations/[^/]*")
_MINUTE_S = 60.0
_MOST_KEPT = 50_000  # requests
_PLANS_WITH_API = frozenset({"professional", "enterprise"})


class SimulatedApi(SimulatedOrganization):
    """Inside this async context manager, `url` serves what is known to who has the key, or the token.

    `pagination` names the cursor. The first `limit` requests are answered, later ones with 429, until
    `limit` is raised; beside it, `per_minute` requests are answered within any 60 seconds. `plan` other
    than professional is refused. A request takes the next of `path_faults` for a suffix of its path, or
    else of `faults`, where there is one. `requests` keeps the queries in order, as they came, `asked` the
    whole requests: method, path and query.
    """

    def __init__(
        self,
        *,
        organization: str,
        api_key: str,
        items: Sequence[Item],
        types: Iterable[Item] = (),
        locations: Iterable[Item] = (),
        metrics: Mapping[tuple[str, str], list[Item]] | None = None,
        webhooks: Iterable[Item] = (),
        bearer_token: str | None = None,
        pagination: Pagination = "lastEvaluatedKey",
        limit: int | None = None,
        per_minute: int | None = None,
        plan: str = "professional",
        faults: Iterable[Answer] = (),
        port: int = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; port 0 takes a free one, and `port` says which once it listens."""
        super().__init__(
            organization=organization,
            items=items,
            types=types,
            locations=locations,
            metrics=metrics,
            webhooks=webhooks,
        )
        self.limit = limit
        self.per_minute = per_minute
        self.plan = plan
        self.faults = deque(faults)
        self.path_faults: dict[str, deque[Answer]] = {}
        self.requests: list[str] = []
        self.asked: list[str] = []
        self.port = port
        self._api_key = api_key
        self._bearer_token = bearer_token
        self._pagination = pagination
        self._clock_s = clock_s
        self._requests_so_far = 0
        self._answered_s: deque[float] = deque()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """What `infodeck.api` is set to."""
        return f"http://{_HOST}:{self.port}{_BASE}"

    async def __aenter__(self) -> Self:
        """Listen; raise `CommandError` where the port is taken."""
        application = web.Application(middlewares=[self._gate])
        application.add_routes(AssetEndpoints(self, pagination=self._pagination).routes(_ORGANIZATION))
        application.add_routes(WebhookEndpoints(self, pagination=self._pagination).routes(_ORGANIZATION))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, _HOST, self.port).start()
        except OSError as error:
            await self._stack.aclose()
            raise CommandError(
                f"the demo's API cannot listen on {_HOST}:{self.port}: {error.strerror}"
            ) from error
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Stop listening."""
        await self._stack.aclose()

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let in who may ask, as often as he may; then the next fault, or the usual answer."""
        self._record(request)
        try:
            self._identify(request)
            self._count()
        except HttpRefusalError as refused:
            return refused.response()
        usual = partial(_usual, request, handler)
        fault = self._next_fault(request.path)
        return await usual() if fault is None else await send_in_place(request, fault, usual)

    def _record(self, request: web.Request) -> None:
        self._requests_so_far += 1
        for kept, line in (
            (self.requests, request.query_string),
            (self.asked, f"{request.method} {request.path_qs}"),
        ):
            kept.append(line)
            del kept[:-_MOST_KEPT]

    def _identify(self, request: web.Request) -> None:
        """Raise HttpRefusalError unless the request has the key or token that its path asks for."""
        below = _BELOW_ORGANIZATION.sub("", request.path)
        if below.startswith("/webhooks"):
            self._check_token(request)
        elif not _same(request.headers.get("X-Api-Key"), self._api_key):
            raise HttpRefusalError(401, "Invalid API key")
        elif self.plan not in _PLANS_WITH_API:
            raise HttpRefusalError(403, "API access requires Professional plan")
        if not request.path.startswith(f"{_BASE}/organizations/{self.organization}/"):
            raise HttpRefusalError(404, "Organization not found")

    def _check_token(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise HttpRefusalError(401, "Webhooks are managed with a Bearer token, not with an API key")
        if self._bearer_token is None or not _same(token, self._bearer_token):
            raise HttpRefusalError(401, "Invalid token")

    def _count(self) -> None:
        """Raise HttpRefusalError beyond the limit; by the minute, only answered requests count."""
        if self.limit is not None and self._requests_so_far > self.limit:
            raise HttpRefusalError(429, "Too many requests", retry_after_s=1)
        if self.per_minute is None:
            return
        now_s, answered_s = self._clock_s(), self._answered_s
        while answered_s and answered_s[0] <= now_s - _MINUTE_S:
            answered_s.popleft()
        if len(answered_s) >= self.per_minute:
            wait_s = answered_s[0] + _MINUTE_S - now_s
            raise HttpRefusalError(429, "Too many requests", retry_after_s=math.ceil(wait_s))
        answered_s.append(now_s)

    def _next_fault(self, path: str) -> Answer | None:
        for suffix, faults in self.path_faults.items():
            if faults and path.endswith(suffix):
                return faults.popleft()
        return self.faults.popleft() if self.faults else None


async def _usual(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.Response:
    """Return what the endpoint answers; refusals, and paths that there are not, as JSON too."""
    try:
        response = await handler(request)
    except HttpRefusalError as refused:
        return refused.response()
    except web.HTTPException as error:
        return json_response({"message": error.reason}, status=error.status)
    if not isinstance(response, web.Response):
        raise TypeError("no endpoint of the simulation streams")
    return response


def _same(shown: str | None, expected: str) -> bool:
    return hmac.compare_digest((shown or "").encode("utf-8", "surrogateescape"), expected.encode())
