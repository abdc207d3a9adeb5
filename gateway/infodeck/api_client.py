"""Infodeck's REST API as methods. Each answer is checked for its shape.

Source: Infodeck's integration guide and developer documentation. Paths are below
`/organizations/{organizationId}`. Lists are yielded page by page, as plain items, which `asset_items.py` and
`webhooks.py` read.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp

from gateway.errors import GatewayError
from gateway.infodeck.transport import ATTEMPTS, Transport, request_limiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.infodeck.transport import ApiAccess

Item = dict[str, Any]
"""One element of a list, as the API sends it."""

_PAGE_SIZE = "100"  # the most that the API allows
_MOST_PAGES = 10_000
_MOST_MANAGED_PAGES = 100  # of webhooks or delivery attempts
_MOST_WEBHOOKS = 10_000

_CURSORS = {"lastEvaluatedKey": "limit", "nextToken": "maxResults"}
"""The two documented conventions: the cursor's name in answer and request, and the page size's beside it."""
_LONGEST_CURSOR = 4096  # it becomes part of a URL


@asynccontextmanager
async def connect(access: ApiAccess, *, share: float, attempts: int = ATTEMPTS) -> AsyncIterator[InfodeckApi]:
    """Open the API for everything in one process; nothing is requested yet.

    At most `share` of the requests that a key allows are sent, each up to `attempts` times.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        limiter = request_limiter(share)
        yield InfodeckApi(Transport(session, access=access, limiter=limiter, attempts=attempts))


class InfodeckApi:
    """One organization's API. Raises what `Transport` raises, and `GatewayError` for an unknown shape."""

    def __init__(self, transport: Transport, *, most_pages: int = _MOST_PAGES) -> None:
        """Send requests by `transport`; a list of more than `most_pages` counts as endless."""
        self._transport = transport
        self._most_pages = most_pages

    @property
    def trouble(self) -> str | None:
        """Why a pending request has no answer yet; None if all is well."""
        return self._transport.trouble

    def assets(self, *, shadows: Sequence[str] = ()) -> AsyncIterator[list[Item]]:
        """Yield every asset, a page at a time, with the named device shadows, or else the usual one."""
        return self._pages("/assets", [("shadowNames[]", name) for name in shadows])

    def locations(self) -> AsyncIterator[list[Item]]:
        """Yield every location."""
        return self._pages("/locations")

    def metrics(self, asset: str, *, metric: str, days: int) -> AsyncIterator[list[Item]]:
        """Yield the history of one metric over the last `days` (1 to 32)."""
        query = [("metricName", metric), ("days", str(days))]
        return self._pages(f"/assets/{quote(asset, safe='')}/metrics", query, size="maxResults")

    async def asset(self, asset: str) -> Item:
        """Return one asset, with its type and location."""
        return await self._object(f"/assets/{quote(asset, safe='')}")

    async def asset_type(self, asset_type: str) -> Item:
        """Return an asset type with its `properties`."""
        return await self._object(f"/asset-types/{quote(asset_type, safe='')}")

    async def webhooks(self) -> list[Item]:
        """Return every webhook of the organization (Bearer)."""
        items: list[Item] = []
        async for page in self._pages("/webhooks", bearer=True):
            items += page
            if len(items) > _MOST_WEBHOOKS:
                raise GatewayError(f"the API lists more than {_MOST_WEBHOOKS} webhooks: check infodeck.api")
        return items

    async def register_webhook(self, *, url: str, events: Sequence[str], description: str) -> Item:
        """Create a webhook (Bearer); only this answer has its `signingSecret`."""
        document = {"url": url, "events": list(events), "description": description}
        answer = await self._transport.change("POST", "/webhooks", document, bearer=True)
        return _as_object(answer, "/webhooks")

    async def test_webhook(self, webhook: str) -> None:
        """Have Infodeck send a `webhook.test` (Bearer)."""
        await self._transport.change("POST", f"/webhooks/{quote(webhook, safe='')}/test", None, bearer=True)

    def deliveries(self, webhook: str) -> AsyncIterator[list[Item]]:
        """Yield the delivery log of a webhook (Bearer): attempts with code, response time and reason."""
        return self._pages(f"/webhooks/{quote(webhook, safe='')}/deliveries", bearer=True)

    async def rotate_secret(self, path: str) -> Item:
        """Have Infodeck make a new signing secret (Bearer), by the path from the settings."""
        return _as_object(await self._transport.change("POST", path, None, bearer=True), path)

    async def change_webhook(self, method: str, path: str, document: Item | None) -> None:
        """Remove a webhook or switch it on (Bearer), by the request from the settings."""
        await self._transport.change(method, path, document, bearer=True)

    async def _object(self, path: str) -> Item:
        return _as_object(await self._transport.get(path), path)

    async def _pages(
        self, path: str, query: Sequence[tuple[str, str]] = (), *, size: str = "limit", bearer: bool = False
    ) -> AsyncIterator[list[Item]]:
        """Yield the pages of a list, in either convention; raise GatewayError if the list does not end."""
        page_query = [*query, (size, _PAGE_SIZE)]
        seen: set[int] = set()  # hashes: cursors are long, and there may be many
        most_pages = min(self._most_pages, _MOST_MANAGED_PAGES) if bearer else self._most_pages
        for _ in range(most_pages):
            document = await self._transport.get(path, page_query, bearer=bearer)
            page = page_of(document, path)
            yield page.items
            if page.cursor is None:
                return
            if hash(page.cursor) in seen:
                raise GatewayError(f"the API gave the same cursor twice, so its list has no end ({path})")
            seen.add(hash(page.cursor))
            name, value = page.cursor
            page_query = [*query, (_CURSORS[name], _PAGE_SIZE), (name, value)]
        raise GatewayError(f"the API's list does not end after {most_pages} pages ({path})")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. `cursor` is the query parameter of the next page, None on the last page."""

    items: list[Item]
    cursor: tuple[str, str] | None


def page_of(document: Any, path: str) -> Page:
    """Return the page in a parsed answer to `path`; raise GatewayError where it is no page of a list."""
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise GatewayError(f"the answer is JSON, but no list (`data`, {path}): check infodeck.api")
    return Page([item for item in items if isinstance(item, dict)], _cursor(document))


def _cursor(document: dict[str, Any]) -> tuple[str, str] | None:
    for name in _CURSORS:
        value = document.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > _LONGEST_CURSOR:
            raise GatewayError(f"`{name}` is no cursor: a short text is expected")
        return name, value
    return None


def _as_object(document: Any, path: str) -> Item:
    """Return the object that an answer is, or has as its `data`."""
    found = document.get("data", document) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise GatewayError(f"the answer is JSON, but no object ({path}): check infodeck.api")
    return found
