"""The part of the simulated API that an API key reads: assets, their history, types, locations.

Source: Infodeck's integration guide and developer documentation. What these leave open is chosen here:
that an object is answered as it is, without `data` around it, and that `shadow` is the asset's DeviceUplink.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.demo.answers import RefusedError, json_response, page_response, whole_number
from gateway.demo.state import SHADOW
from gateway.events import parse_time

if TYPE_CHECKING:
    from gateway.demo.answers import Pagination
    from gateway.demo.state import CloudState, Item

_FILTERS = frozenset({"assetTypeId", "locationId", "devEui", "uuid"})
_BOOLEANS = {"true": True, "false": False}
_MOST_DAYS = 32
_DAY_MS = 24 * 3600 * 1000


class AssetEndpoints:
    """Answers from the state, whatever it is by then; raises RefusedError for what cannot be answered."""

    def __init__(self, state: CloudState, *, pagination: Pagination) -> None:
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
            raise RefusedError(422, "isIotDevice must be true or false")
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
            raise RefusedError(422, "assetIds must be a list of ids")
        by_id = {item.get("id"): item for item in self._state.items}
        found = [by_id[asset_id] for asset_id in ids if asset_id in by_id]
        return json_response({"data": [_with_shadows(item, [SHADOW]) for item in found]})

    async def _metrics(self, request: web.Request) -> web.Response:
        item = self._known_asset(request)
        metric = request.query.get("metricName")
        if not metric:
            raise RefusedError(422, "metricName is required")
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
            raise RefusedError(404, "Asset not found")
        return item

    def _is_iot(self, item: Item) -> bool:
        """Say what the asset's type says; an asset of a type that is not known counts as a device."""
        asset_type = self._state.asset_type(item.get("assetTypeId")) or {}
        return bool(asset_type.get("isIotDevice", True))


async def json_of(request: web.Request) -> dict[str, Any]:
    """Return the object that a request carries; raise RefusedError (422) where it carries none."""
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise RefusedError(422, "The body must be a JSON object")
    return document


def _found(item: Item | None, what: str) -> web.Response:
    if item is None:
        raise RefusedError(404, f"{what} not found")
    return json_response(item)


def _with_shadows(item: Item, names: list[str]) -> Item:
    """Return the asset with these shadows alone, as far as it has them."""
    shadows = item.get("shadows")
    if not isinstance(shadows, dict):
        return dict(item)
    return {**item, "shadows": {name: shadows[name] for name in names if name in shadows}}
