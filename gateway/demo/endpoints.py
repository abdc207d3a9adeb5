"""The simulated organization, and the endpoints of Infodeck's API that the gateway uses.

Source: Infodeck's integration guide and developer documentation. What these leave open is chosen here: an
object is answered as it is, without `data` around it; the paths that rotate a secret, enable and remove a
webhook, and the names in the delivery log are plausible ones.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from gateway.demo.simulated_answers import HttpRefusalError, json_response, page_response, whole_number
from gateway.events import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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


@dataclass(kw_only=True, eq=False)
class SimulatedOrganization:
    """Plain lists, open to change while the API answers; each is in the shape of Infodeck's REST API.

    `items` are the assets, with everything that `GET /assets` has. `types` are as `GET /asset-types/{id}`
    has them, `locations` have `id`, `name` and `parentId`. `metrics` holds the history by asset id and
    metric: items of `timestamp` and `value`. `webhooks` are as they are listed, besides their
    `signingSecret`, which no list shows. `deliveries` is each webhook's log by its id, newest first.
    `send_test` is called with the id of a webhook that is to get a `webhook.test`.
    """

    organization: str
    items: list[Item] = field(default_factory=list)
    types: list[Item] = field(default_factory=list)
    locations: list[Item] = field(default_factory=list)
    metrics: dict[tuple[str, str], list[Item]] = field(default_factory=dict)
    webhooks: list[Item] = field(default_factory=list)
    deliveries: dict[str, list[Item]] = field(default_factory=dict, init=False)
    send_test: Callable[[str], None] = field(default=lambda _: None, init=False)

    def __post_init__(self) -> None:
        """Copy the lists: those of the caller stay as they are."""
        self.items, self.types = list(self.items), list(self.types)
        self.locations, self.webhooks = list(self.locations), list(self.webhooks)

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


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Answers from the organization and changes it; raises HttpRefusalError for what cannot be answered."""

    organization: SimulatedOrganization
    pagination: Pagination

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below an organization's path."""
        return [
            web.get(f"{base}/assets", self._assets),
            web.get(f"{base}/assets/{{id}}/metrics", self._metrics),
            web.get(f"{base}/asset-types/{{id}}", self._asset_type),
            web.get(f"{base}/locations", self._locations),
            web.get(f"{base}/webhooks", self._webhooks),
            web.post(f"{base}/webhooks", self._register),
            web.post(f"{base}/webhooks/{{id}}/test", self._test),
            web.get(f"{base}/webhooks/{{id}}/deliveries", self._deliveries),
            web.post(f"{base}/webhooks/{{id}}/rotate", self._rotate),
            web.post(f"{base}/webhooks/{{id}}/enable", self._enable),
            web.delete(f"{base}/webhooks/{{id}}", self._remove),
        ]

    async def _assets(self, request: web.Request) -> web.Response:
        names = request.query.getall("shadowNames[]", [SHADOW])
        items = self.organization.items
        return page_response(
            request, items, pagination=self.pagination, shown=lambda item: _with_shadows(item, names)
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        item = self._known(self.organization.items, "Asset", request)
        metric = request.query.get("metricName")
        if not metric:
            raise HttpRefusalError(422, "metricName is required")
        days = whole_number(request, "days", lowest=1, highest=_MOST_DAYS, default=None)
        since_ms = time.time() * 1000 - days * _DAY_MS
        history = [
            value
            for value in self.organization.metrics.get((item["id"], metric), ())
            if (parse_time(value.get("timestamp")) or since_ms) >= since_ms
        ]
        return page_response(request, history, pagination="nextToken")

    async def _asset_type(self, request: web.Request) -> web.Response:
        return json_response(self._known(self.organization.types, "Asset type", request))

    async def _locations(self, request: web.Request) -> web.Response:
        return page_response(request, self.organization.locations, pagination=self.pagination)

    async def _webhooks(self, request: web.Request) -> web.Response:
        webhooks = self.organization.webhooks
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
        self.organization.webhooks.append(webhook)
        return json_response(webhook, status=201)

    async def _test(self, request: web.Request) -> web.Response:
        self.organization.send_test(self._webhook(request)["id"])
        return json_response({"success": True})

    async def _deliveries(self, request: web.Request) -> web.Response:
        log = self.organization.deliveries.get(self._webhook(request)["id"], [])
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
        self.organization.webhooks.remove(self._webhook(request))
        return web.Response(status=204)

    def _webhook(self, request: web.Request) -> Item:
        return self._known(self.organization.webhooks, "Webhook", request)

    def _known(self, items: Iterable[Item], what: str, request: web.Request) -> Item:
        item = _by_id(items, request.match_info["id"])
        if item is None:
            raise HttpRefusalError(404, f"{what} not found")
        return item


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
