"""Infodeck's REST API, simulated: the endpoints that the gateway uses, key and token, limit, and faults.

Source: Infodeck's integration guide and developer documentation. What these leave open is chosen here: an
object is answered as it is, without `data` around it; the paths that rotate a secret, enable and remove a
webhook, and the names in the delivery log are plausible ones.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from gateway.demo.simulated_answers import (
    Answer,
    HttpRefusalError,
    json_response,
    page_response,
    whole_number,
)
from gateway.errors import CommandError
from gateway.events import parse_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gateway.demo.simulated_answers import Pagination
    from gateway.model import Scalar

Item = dict[str, Any]
"""Whatever the API lists."""

SHADOW = "DeviceUplink"
"""The device shadow that assets have unless another one is asked for."""

_LONGEST_HISTORY = 2000  # values of one metric
_MOST_DAYS = 32
_DAY_MS = 24 * 3600 * 1000
_HIDDEN = "signingSecret"
_HOST = "127.0.0.1"
_BASE = "/api/v2"
_ORGANIZATION = f"{_BASE}/organizations/{{organization}}"
_BELOW_ORGANIZATION = re.compile(rf"{_BASE}/organizations/[^/]*")
_MOST_KEPT = 50_000  # requests
_PLANS_WITH_API = frozenset({"professional", "enterprise"})


@dataclass(kw_only=True, eq=False)
class SimulatedApi:
    """Inside this async context manager, `url` serves what is known to who has the key, or the token.

    What it knows are plain lists, open to change meanwhile, each in the shape of Infodeck's REST API. `items`
    are the assets, `metrics` the history by asset id and metric, `deliveries` each webhook's log by its id,
    newest first. `send_test` is called with the id of a webhook that is to get a `webhook.test`.

    `pagination` names the cursor. The first `limit` requests are answered, later ones with 429. `plan` other
    than professional is refused. A request takes the next of `path_faults` for a suffix of its path, or else
    of `faults`. `requests` keeps the queries in order, `asked` the whole requests: method, path and query.
    `port` 0 takes a free one.
    """

    organization: str
    api_key: str
    items: list[Item] = field(default_factory=list)
    types: list[Item] = field(default_factory=list)
    locations: list[Item] = field(default_factory=list)
    metrics: dict[tuple[str, str], list[Item]] = field(default_factory=dict)
    webhooks: list[Item] = field(default_factory=list)
    deliveries: dict[str, list[Item]] = field(default_factory=dict, init=False)
    send_test: Callable[[str], None] = field(default=lambda _: None, init=False)
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
        """Copy the lists: those of the caller stay as they are."""
        self.items, self.types = list(self.items), list(self.types)
        self.locations, self.webhooks = list(self.locations), list(self.webhooks)
        self._requests_so_far = 0

    @property
    def url(self) -> str:
        """What `infodeck.api` is set to."""
        return f"http://{_HOST}:{self.port}{_BASE}"

    async def __aenter__(self) -> Self:
        """Listen; raise `CommandError` where the port is taken."""
        application = web.Application(middlewares=[self._gate])
        application.add_routes(self._routes(_ORGANIZATION))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)  # 0: no limit
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

    def asset(self, asset_id: str) -> Item | None:
        """Return an asset, None where there is none."""
        return _by_id(self.items, asset_id)

    def webhook(self, webhook_id: str) -> Item | None:
        """Return a webhook with its secret, None where there is none."""
        return _by_id(self.webhooks, webhook_id)

    def record_report(self, item: Item, telemetry: Mapping[str, Scalar], *, at_s: float) -> None:
        """Take what an asset's device reported at a Unix time into its shadow and into the metrics' history.

        The time of each reading, in seconds in the shadow's metadata, is as AWS IoT has it, which Infodeck's
        words remind of; Infodeck's documents do not say.
        """
        shadow = item.setdefault("shadows", {}).setdefault(SHADOW, {})
        shadow.setdefault("state", {}).setdefault("reported", {}).update(telemetry)
        times = shadow.setdefault("metadata", {}).setdefault("reported", {})
        times.update({key: {"timestamp": int(at_s)} for key in telemetry})
        item["updatedAt"] = int(at_s)
        for key, value in telemetry.items():
            history = self.metrics.setdefault((item["id"], key), [])
            history.append({"timestamp": int(at_s * 1000), "value": value})
            del history[:-_LONGEST_HISTORY]

    def _routes(self, base: str) -> list[web.RouteDef]:
        return [
            web.get(f"{base}/assets", self._assets),
            web.get(f"{base}/assets/{{id}}/metrics", self._metrics),
            web.get(f"{base}/asset-types/{{id}}", self._asset_type),
            web.get(f"{base}/locations", self._locations),
            web.get(f"{base}/webhooks", self._list_webhooks),
            web.post(f"{base}/webhooks", self._register),
            web.post(f"{base}/webhooks/{{id}}/test", self._test),
            web.get(f"{base}/webhooks/{{id}}/deliveries", self._deliveries),
            web.post(f"{base}/webhooks/{{id}}/rotate", self._rotate),
            web.post(f"{base}/webhooks/{{id}}/enable", self._enable),
            web.delete(f"{base}/webhooks/{{id}}", self._remove),
        ]

    async def _assets(self, request: web.Request) -> web.Response:
        names = request.query.getall("shadowNames[]", [SHADOW])
        items = self.items
        return page_response(
            request, items, pagination=self.pagination, shown=lambda item: _with_shadows(item, names)
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        item = self._known(self.items, "Asset", request)
        metric = request.query.get("metricName")
        if not metric:
            raise HttpRefusalError(422, "metricName is required")
        days = whole_number(request, "days", lowest=1, highest=_MOST_DAYS, default=None)
        since_ms = time.time() * 1000 - days * _DAY_MS
        history = [
            value
            for value in self.metrics.get((item["id"], metric), ())
            if (parse_time(value.get("timestamp")) or since_ms) >= since_ms
        ]
        return page_response(request, history, pagination="nextToken")

    async def _asset_type(self, request: web.Request) -> web.Response:
        return json_response(self._known(self.types, "Asset type", request))

    async def _locations(self, request: web.Request) -> web.Response:
        return page_response(request, self.locations, pagination=self.pagination)

    async def _list_webhooks(self, request: web.Request) -> web.Response:
        webhooks = self.webhooks
        return page_response(request, webhooks, pagination=self.pagination, shown=_without_secret)

    async def _register(self, request: web.Request) -> web.Response:
        try:
            document = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise HttpRefusalError(422, "The body must be a JSON object")
        url, events = document.get("url"), document.get("events")
        if not isinstance(url, str) or not _is_allowed(url):
            raise HttpRefusalError(422, "url must be an https URL")
        if not isinstance(events, list) or not events or not all(isinstance(name, str) for name in events):
            raise HttpRefusalError(422, "events must be a list of event types")
        webhook = new_webhook(url=url, events=events, description=str(document.get("description") or ""))
        self.webhooks.append(webhook)
        return json_response(webhook, status=201)

    async def _test(self, request: web.Request) -> web.Response:
        self.send_test(self._webhook(request)["id"])
        return json_response({"success": True})

    async def _deliveries(self, request: web.Request) -> web.Response:
        log = self.deliveries.get(self._webhook(request)["id"], [])
        return page_response(request, log, pagination=self.pagination)

    async def _rotate(self, request: web.Request) -> web.Response:
        webhook = self._webhook(request)
        webhook[_HIDDEN] = _new_secret()
        return json_response({_HIDDEN: webhook[_HIDDEN]})

    async def _enable(self, request: web.Request) -> web.Response:
        webhook = self._webhook(request)
        webhook["status"] = "Active"
        return json_response(_without_secret(webhook))

    async def _remove(self, request: web.Request) -> web.Response:
        self.webhooks.remove(self._webhook(request))
        return web.Response(status=204)

    def _webhook(self, request: web.Request) -> Item:
        return self._known(self.webhooks, "Webhook", request)

    def _known(self, items: Iterable[Item], what: str, request: web.Request) -> Item:
        item = _by_id(items, request.match_info["id"])
        if item is None:
            raise HttpRefusalError(404, f"{what} not found")
        return item


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


def _by_id(items: Iterable[Item], wanted: str) -> Item | None:
    return next((item for item in items if item.get("id") == wanted), None)


def new_webhook(*, url: str, events: list[str], description: str, secret: str | None = None) -> Item:
    """Return a webhook as it is answered when it is made, with its secret."""
    return {
        "id": f"wh-{secrets.token_hex(6)}",
        "url": url,
        "events": events,
        "description": description,
        "status": "Active",
        "createdAt": int(time.time()),
        _HIDDEN: secret or _new_secret(),
    }


def _new_secret() -> str:
    """Return a signing secret; Infodeck says no more of it than that it is an opaque string."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def _with_shadows(item: Item, names: list[str]) -> Item:
    shadows = item.get("shadows")
    if not isinstance(shadows, dict):
        return dict(item)
    return {**item, "shadows": {name: shadows[name] for name in names if name in shadows}}


def _without_secret(webhook: Item) -> Item:
    return {name: value for name, value in webhook.items() if name != _HIDDEN}


def _is_allowed(url: str) -> bool:
    """Return whether the simulation delivers there: to https, as Infodeck does, and to this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "127.0.0.1")
    )
