"""The part of the simulated API that manages webhooks, for who has the Bearer token.

Source: Infodeck's developer documentation. It names the answer's `signingSecret` and, of the delivery log,
"status code, response time and failure reason"; the paths that rotate a secret, enable and
remove a webhook, and all other names, are plausible ones, chosen here.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from gateway.demo.answers import RefusedError, json_response, page_response
from gateway.demo.asset_endpoints import json_of

if TYPE_CHECKING:
    from gateway.demo.answers import Pagination
    from gateway.demo.state import CloudState, Item

_HIDDEN = "signingSecret"


class WebhookEndpoints:
    """Answers from the state and changes it; raises RefusedError for what cannot be answered."""

    def __init__(self, state: CloudState, *, pagination: Pagination) -> None:
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
            raise RefusedError(422, "url must be an https URL")
        if not isinstance(events, list) or not events or not all(isinstance(name, str) for name in events):
            raise RefusedError(422, "events must be a list of event types")
        webhook = new_webhook(url=url, events=events, description=str(document.get("description") or ""))
        self._state.webhooks.append(webhook)
        return json_response(webhook, status=201)

    async def _test(self, request: web.Request) -> web.Response:
        self._state.send_test(self._known(request)["id"])
        return json_response({"success": True})

    async def _deliveries(self, request: web.Request) -> web.Response:
        log = self._state.deliveries.get(self._known(request)["id"], [])
        return page_response(request, log, pagination=self._pagination)

    async def _rotate(self, request: web.Request) -> web.Response:
        webhook = self._known(request)
        webhook[_HIDDEN] = new_secret()
        return json_response({_HIDDEN: webhook[_HIDDEN]})

    async def _enable(self, request: web.Request) -> web.Response:
        webhook = self._known(request)
        webhook["status"] = "Active"
        return json_response(_without_secret(webhook))

    async def _remove(self, request: web.Request) -> web.Response:
        self._state.webhooks.remove(self._known(request))
        return web.Response(status=204)

    def _known(self, request: web.Request) -> Item:
        webhook = self._state.webhook(request.match_info["id"])
        if webhook is None:
            raise RefusedError(404, "Webhook not found")
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
    """Say whether the simulation delivers there: to https, as Infodeck does, and to this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "127.0.0.1")
    )
