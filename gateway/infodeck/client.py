"""Infodeck's REST API as methods: what there is to ask, each answer checked for its shape.

Source: Infodeck's integration guide and developer documentation. `path`s are below
`/organizations/{organizationId}`. Lists come page by page, as plain items; `gateway.infodeck.inventory.items`
reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.errors import GatewayError
from gateway.infodeck.http.pages import CURSORS, page_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.infodeck.http.pages import Item
    from gateway.infodeck.http.transport import Transport

_PAGE_SIZE = "100"  # the most there may be
_MOST_PAGES = 10_000
_MOST_MANAGED_PAGES = 100  # of webhooks or attempts: more than anybody has, or waits for
_MOST_WEBHOOKS = 10_000


class InfodeckApi:
    """Asks one organization's API. Errors are those of `Transport`, and `GatewayError` for a wrong shape."""

    def __init__(self, transport: Transport, *, most_pages: int = _MOST_PAGES) -> None:
        """Take what sends the requests; a list of more than `most_pages` is taken to have no end."""
        self._transport = transport
        self._most_pages = most_pages

    @property
    def trouble(self) -> str | None:
        """What is in the way of a request that has not failed for good; None where nothing is."""
        return self._transport.trouble

    def assets(self, *, shadows: Sequence[str] = ()) -> AsyncIterator[list[Item]]:
        """Yield every asset, a page at a time. `shadows`: the names of those wanted, if not the usual one."""
        return self._pages("/assets", [("shadowNames[]", name) for name in shadows])

    def locations(self) -> AsyncIterator[list[Item]]:
        """Yield every location."""
        return self._pages("/locations")

    def metrics(self, asset: str, *, metric: str, days: int) -> AsyncIterator[list[Item]]:
        """Yield the history of one metric of the last `days` (1 to 32)."""
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
        """Create a webhook (Bearer); the answer has its `signingSecret`, this once."""
        document = {"url": url, "events": list(events), "description": description}
        return _as_object(await self._transport.post("/webhooks", document, bearer=True), "/webhooks")

    async def test_webhook(self, webhook: str) -> None:
        """Have Infodeck send a `webhook.test` (Bearer)."""
        await self._transport.post(f"/webhooks/{quote(webhook, safe='')}/test", None, bearer=True)

    def deliveries(self, webhook: str) -> AsyncIterator[list[Item]]:
        """Yield the delivery log of a webhook (Bearer): attempts with code, response time and reason."""
        return self._pages(f"/webhooks/{quote(webhook, safe='')}/deliveries", bearer=True)

    async def rotate_secret(self, path: str) -> Item:
        """Have Infodeck make a new signing secret (Bearer); where that is asked for, the settings say."""
        return _as_object(await self._transport.post(path, None, bearer=True), path)

    async def change_webhook(self, method: str, path: str, document: Item | None) -> None:
        """Remove a webhook or switch it on (Bearer); how that is asked for, the settings say."""
        await self._transport.change(method, path, document, bearer=True)

    async def _object(self, path: str) -> Item:
        return _as_object(await self._transport.get(path), path)

    async def _pages(
        self, path: str, query: Sequence[tuple[str, str]] = (), *, size: str = "limit", bearer: bool = False
    ) -> AsyncIterator[list[Item]]:
        """Yield the pages of a list, in either convention; one without an end is left with an error."""
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
            page_query = [*query, (CURSORS[name], _PAGE_SIZE), (name, value)]
        raise GatewayError(f"the API's list does not end after {most_pages} pages ({path})")


def _as_object(document: Any, path: str) -> Item:
    """Return the object that an answer is, or has as its `data`."""
    found = document.get("data", document) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise GatewayError(f"the answer is JSON, but no object ({path}): check infodeck.api")
    return found
