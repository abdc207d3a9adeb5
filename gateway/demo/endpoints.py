"""The simulated organization and its endpoints: assets, history, types, locations, webhooks.

Source: Infodeck's integration guide and developer documentation. What these leave open is chosen here: an
object is answered as it is, without `data` around it; `shadow` is the asset's DeviceUplink; the paths that
rotate a secret, enable and remove a webhook, and the names in the delivery log are plausible ones.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from gateway.demo.simulated_answers import HttpRefusalError, json_response, page_response, whole_number
from gateway.events import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.demo.simulated_answers import Pagination
    from gateway.model import Scalar


Item = dict[str, Any]
"""Whatever the API lists."""

SHADOW = "DeviceUplink"
"""The device shadow that assets have unless another one is asked for."""

_LONGEST_HISTORY = 2000  # values of one metric


class SimulatedOrganization:
    """Plain lists, open to change while the API answers; each is in the shape of Infodeck's REST API.

    `items` are the assets, with everything that `GET /assets` has. `types` are as `GET /asset-types/{id}`
    has them, `locations` have `id`, `name` and `parentId`. `metrics` holds the history by asset id and
    metric: items of `timestamp` and `value`. `webhooks` are as they are listed, besides their
    `signingSecret`, which no list shows. `deliveries` is each webhook's log by its id, newest first.
    `send_test` is called with the id of a webhook that is to get a `webhook.test`.
    """

    def __init__(
        self,
        *,
        organization: str,
        items: Sequence[Item],
        types: Iterable[Item] = (),
        locations: Iterable[Item] = (),
        metrics: Mapping[tuple[str, str], list[Item]] | None = None,
        webhooks: Iterable[Item] = (),
    ) -> None:
        """Take what is known at the beginning."""
        self.organization = organization
        self.items = list(items)
        self.types = list(types)
        self.locations = list(locations)
        self.metrics = dict(metrics or {})
        self.webhooks = list(webhooks)
        self.deliveries: dict[str, list[Item]] = {}
        self._positions: dict[str, int] = {}
        self.send_test: Callable[[str], None] = lambda _webhook: None

    def asset(self, asset_id: str) -> Item | None:
        """Return an asset, None where there is none."""
        position = self._positions.get(asset_id, len(self.items))
        if position < len(self.items) and self.items[position].get("id") == asset_id:
            return self.items[position]
        self._positions = {item["id"]: position for position, item in enumerate(self.items) if "id" in item}
        position = self._positions.get(asset_id, -1)
        return None if position < 0 else self.items[position]

    def asset_type(self, type_id: str | None) -> Item | None:
        """Return an asset type, None where there is none."""
        return _by_id(self.types, type_id)

    def location(self, location_id: str | None) -> Item | None:
        """Return a location, None where there is none."""
        return _by_id(self.locations, location_id)

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


def _by_id(items: Iterable[Item], wanted: str | None) -> Item | None:
    return next((item for item in items if item.get("id") == wanted), None)


_FILTERS = frozenset({"assetTypeId", "locationId", "devEui", "uuid"})
_BOOLEANS = {"true": True, "false": False}
_MOST_DAYS = 32
_DAY_MS = 24 * 3600 * 1000


class AssetEndpoints:
    """Answers from the state, whatever it is by then; raises HttpRefusalError for what cannot be answered."""

    def __init__(self, state: SimulatedOrganization, *, pagination: Pagination) -> None:
        """Take what to answer from."""
        self._state = state
        self._pagination = pagination

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below an organization's path."""
        return [
            web.get(f"{base}/assets", self._assets),
            web.get(f"{base}/assets/{{id}}", self._asset),
            web.post(f"{base}/assets/batch", self._batch),
            web.get(f"{base}/assets/{{id}}/metrics", self._metrics),
            web.get(f"{base}/asset-types/{{id}}", self._asset_type),
            web.get(f"{base}/locations", self._locations),
            web.get(f"{base}/locations/{{id}}", self._location),
        ]

    async def _assets(self, request: web.Request) -> web.Response:
        is_iot = request.query.get("isIotDevice")
        if is_iot is not None and is_iot not in _BOOLEANS:
            raise HttpRefusalError(422, "isIotDevice must be true or false")
        found = self._state.items
        for name in _FILTERS & request.query.keys():
            found = [item for item in found if item.get(name) == request.query[name]]
        if is_iot is not None:
            found = [item for item in found if self._is_iot(item) is _BOOLEANS[is_iot]]
        shadows = request.query.getall("shadowNames[]", [SHADOW])
        return page_response(
            request,
            found,
            pagination=self._pagination,
            shown=lambda item: _with_shadows(item, shadows),
        )

    async def _asset(self, request: web.Request) -> web.Response:
        item = self._known_asset(request)
        shadows = request.query.getall("shadowNames[]", [SHADOW])
        detail = _with_shadows(item, shadows)
        if asset_type := self._state.asset_type(item.get("assetTypeId")):
            detail["assetType"] = asset_type
        if location := self._state.location(item.get("locationId")):
            detail["location"] = {"id": location["id"], "name": location.get("name")}
        shadow = (item.get("shadows") or {}).get(SHADOW)
        return json_response(detail if shadow is None else {**detail, "shadow": shadow})

    async def _batch(self, request: web.Request) -> web.Response:
        document = await json_of(request)
        ids = document.get("assetIds")
        if not isinstance(ids, list) or not all(isinstance(asset_id, str) for asset_id in ids):
            raise HttpRefusalError(422, "assetIds must be a list of ids")
        by_id = {item.get("id"): item for item in self._state.items}
        found = [by_id[asset_id] for asset_id in ids if asset_id in by_id]
        return json_response({"data": [_with_shadows(item, [SHADOW]) for item in found]})

    async def _metrics(self, request: web.Request) -> web.Response:
        item = self._known_asset(request)
        metric = request.query.get("metricName")
        if not metric:
            raise HttpRefusalError(422, "metricName is required")
        days = whole_number(request, "days", lowest=1, highest=_MOST_DAYS, default=None)
        since_ms = time.time() * 1000 - days * _DAY_MS
        history = [
            value
            for value in self._state.metrics.get((item["id"], metric), ())
            if (parse_time(value.get("timestamp")) or since_ms) >= since_ms
        ]
        return page_response(request, history, pagination="nextToken")

    async def _asset_type(self, request: web.Request) -> web.Response:
        return _found(self._state.asset_type(request.match_info["id"]), "Asset type")

    async def _locations(self, request: web.Request) -> web.Response:
        return page_response(request, self._state.locations, pagination=self._pagination)

    async def _location(self, request: web.Request) -> web.Response:
        return _found(self._state.location(request.match_info["id"]), "Location")

    def _known_asset(self, request: web.Request) -> Item:
        item = self._state.asset(request.match_info["id"])
        if item is None:
            raise HttpRefusalError(404, "Asset not found")
        return item

    def _is_iot(self, item: Item) -> bool:
        """Say what the asset's type says; an asset of a type that is not known counts as a device."""
        asset_type = self._state.asset_type(item.get("assetTypeId")) or {}
        return bool(asset_type.get("isIotDevice", True))


async def json_of(request: web.Request) -> dict[str, Any]:
    """Return the object that a request carries; raise HttpRefusalError (422) where it carries none."""
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise HttpRefusalError(422, "The body must be a JSON object")
    return document


def _found(item: Item | None, what: str) -> web.Response:
    if item is None:
        raise HttpRefusalError(404, f"{what} not found")
    return json_response(item)


def _with_shadows(item: Item, names: list[str]) -> Item:
    """Return the asset with these shadows alone, as far as it has them."""
    shadows = item.get("shadows")
    if not isinstance(shadows, dict):
        return dict(item)
    return {**item, "shadows": {name: shadows[name] for name in names if name in shadows}}


_HIDDEN = "signingSecret"


class WebhookEndpoints:
    """Answers from the state and changes it; raises HttpRefusalError for what cannot be answered."""

    def __init__(self, state: SimulatedOrganization, *, pagination: Pagination) -> None:
        """Take what to answer from."""
        self._state = state
        self._pagination = pagination

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below an organization's path."""
        return [
            web.get(f"{base}/webhooks", self._list),
            web.post(f"{base}/webhooks", self._register),
            web.post(f"{base}/webhooks/{{id}}/test", self._test),
            web.get(f"{base}/webhooks/{{id}}/deliveries", self._deliveries),
            web.post(f"{base}/webhooks/{{id}}/rotate", self._rotate),
            web.post(f"{base}/webhooks/{{id}}/enable", self._enable),
            web.delete(f"{base}/webhooks/{{id}}", self._remove),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        webhooks = self._state.webhooks
        return page_response(request, webhooks, pagination=self._pagination, shown=_without_secret)

    async def _register(self, request: web.Request) -> web.Response:
        document = await json_of(request)
        url, events = document.get("url"), document.get("events")
        if not isinstance(url, str) or not _is_allowed(url):
            raise HttpRefusalError(422, "url must be an https URL")
        if not isinstance(events, list) or not events or not all(isinstance(name, str) for name in events):
            raise HttpRefusalError(422, "events must be a list of event types")
        webhook = new_webhook(url=url, events=events, description=str(document.get("description") or ""))
        self._state.webhooks.append(webhook)
        return json_response(webhook, status=201)

    async def _test(self, request: web.Request) -> web.Response:
        self._state.send_test(self._known_webhook(request)["id"])
        return json_response({"success": True})

    async def _deliveries(self, request: web.Request) -> web.Response:
        log = self._state.deliveries.get(self._known_webhook(request)["id"], [])
        return page_response(request, log, pagination=self._pagination)

    async def _rotate(self, request: web.Request) -> web.Response:
        webhook = self._known_webhook(request)
        webhook[_HIDDEN] = new_secret()
        return json_response({_HIDDEN: webhook[_HIDDEN]})

    async def _enable(self, request: web.Request) -> web.Response:
        webhook = self._known_webhook(request)
        webhook["status"] = "Active"
        return json_response(_without_secret(webhook))

    async def _remove(self, request: web.Request) -> web.Response:
        self._state.webhooks.remove(self._known_webhook(request))
        return web.Response(status=204)

    def _known_webhook(self, request: web.Request) -> Item:
        webhook = self._state.webhook(request.match_info["id"])
        if webhook is None:
            raise HttpRefusalError(404, "Webhook not found")
        return webhook


def new_webhook(*, url: str, events: list[str], description: str, secret: str | None = None) -> Item:
    """Return a webhook as it is answered when it is made, with its secret."""
    return {
        "id": f"wh-{secrets.token_hex(6)}",
        "url": url,
        "events": events,
        "description": description,
        "status": "Active",
        "createdAt": int(time.time()),
        _HIDDEN: secret or new_secret(),
    }


def new_secret() -> str:
    """Return a signing secret; Infodeck says no more of it than that it is an opaque string."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def _without_secret(webhook: Item) -> Item:
    return {name: value for name, value in webhook.items() if name != _HIDDEN}


def _is_allowed(url: str) -> bool:
    """Return whether the simulation delivers there: to https, as Infodeck does, and to this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "127.0.0.1")
    )
