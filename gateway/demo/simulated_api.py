"""Infodeck's REST API, simulated: key and token, limit, both paginations, its endpoints, and faults."""

from __future__ import annotations

import hmac
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from aiohttp import web

from gateway.demo.endpoints import Endpoints, SimulatedOrganization
from gateway.demo.simulated_answers import Answer, HttpRefusalError, json_response
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.demo.simulated_answers import Pagination


_HOST = "127.0.0.1"
_BASE = "/api/v2"
_ORGANIZATION = f"{_BASE}/organizations/{{organization}}"
_BELOW_ORGANIZATION = re.compile(rf"{_BASE}/organizations/[^/]*")
_MOST_KEPT = 50_000  # requests
_PLANS_WITH_API = frozenset({"professional", "enterprise"})


@dataclass(kw_only=True, eq=False)
class SimulatedApi(SimulatedOrganization):
    """Inside this async context manager, `url` serves what is known to who has the key, or the token.

    `pagination` names the cursor. The first `limit` requests are answered, later ones with 429, until
    `limit` is raised. `plan` other than professional is refused. A request takes the next of `path_faults`
    for a suffix of its path, or else of `faults`, where there is one. `requests` keeps the queries in order,
    as they came, `asked` the whole requests: method, path and query. `port` 0 takes a free one.
    """

    api_key: str
    bearer_token: str | None = None
    pagination: Pagination = "lastEvaluatedKey"
    limit: int | None = None
    plan: str = "professional"
    faults: deque[Answer] = field(default_factory=deque)
    path_faults: dict[str, deque[Answer]] = field(default_factory=dict)
    port: int = 0
    requests: list[str] = field(default_factory=list, init=False)
    asked: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Prepare; nothing listens before the context is entered."""
        super().__post_init__()
        self._requests_so_far = 0

    @property
    def url(self) -> str:
        """What `infodeck.api` is set to."""
        return f"http://{_HOST}:{self.port}{_BASE}"

    async def __aenter__(self) -> Self:
        """Listen; raise `CommandError` where the port is taken."""
        application = web.Application(middlewares=[self._gate])
        application.add_routes(Endpoints(self, self.pagination).routes(_ORGANIZATION))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise CommandError(
                f"the demo's API cannot listen on {_HOST}:{self.port}: {error.strerror}"
            ) from error
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let in who may ask, as often as he may; then the next fault, or the usual answer."""
        self._record(request)
        try:
            self._identify(request)
        except HttpRefusalError as error:
            return error.response
        fault = self._next_fault(request.path)
        if fault is None or fault.is_usual:
            usual = await _usual(request, handler)
        else:
            usual = web.Response()
        return usual if fault is None else await fault.send(request, usual)

    def _record(self, request: web.Request) -> None:
        self._requests_so_far += 1
        for kept, line in (
            (self.requests, request.query_string),
            (self.asked, f"{request.method} {request.path_qs}"),
        ):
            kept.append(line)
            del kept[:-_MOST_KEPT]

    def _identify(self, request: web.Request) -> None:
        """Raise HttpRefusalError for a wrong key or token, another organization, and beyond the limit."""
        if _BELOW_ORGANIZATION.sub("", request.path).startswith("/webhooks"):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                raise HttpRefusalError(401, "Webhooks are managed with a Bearer token, not with an API key")
            if self.bearer_token is None or not _same(token, self.bearer_token):
                raise HttpRefusalError(401, "Invalid token")
        elif not _same(request.headers.get("X-Api-Key", ""), self.api_key):
            raise HttpRefusalError(401, "Invalid API key")
        elif self.plan not in _PLANS_WITH_API:
            raise HttpRefusalError(403, "API access requires Professional plan")
        if not request.path.startswith(f"{_BASE}/organizations/{self.organization}/"):
            raise HttpRefusalError(404, "Organization not found")
        if self.limit is not None and self._requests_so_far > self.limit:
            raise HttpRefusalError(429, "Too many requests", retry_after_s=1)

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
    except HttpRefusalError as error:
        return error.response
    except web.HTTPException as error:
        return json_response({"message": error.reason}, status=error.status)
    if not isinstance(response, web.Response):
        raise TypeError("no endpoint of the simulation streams")
    return response


def _same(shown: str, expected: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), expected.encode())
