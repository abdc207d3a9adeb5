"""A simulated Infodeck at a pace for tests, and requests to its API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from gateway.demo.simulated_infodeck import SimulatedInfodeck
from support.asset_lists import API_KEY, ORGANIZATION

if TYPE_CHECKING:
    from gateway.demo.simulated_api import SimulatedApi

TOKEN = "eyJ.made.up"
SIGNING_SECRET = b"demo-signing-secret"


def calm_infodeck(url: str | None = None, **options: Any) -> SimulatedInfodeck:
    """Return a simulation without assets and without surprises, apart from `options`."""
    calm: dict[str, Any] = {"duplicate_share": 0.0, "test_event": False, "first_retry_s": 0.01}
    return SimulatedInfodeck(url=url, secret=SIGNING_SECRET, organization=ORGANIZATION, **calm | options)


async def ask_api(api: SimulatedApi, path: str) -> Any:
    """Return the API's answer to its key."""
    return await _ask(api, path, "GET", {"X-Api-Key": API_KEY})


async def manage_webhooks(
    api: SimulatedApi, path: str, *, method: str = "GET", document: object = None
) -> Any:
    """Return the API's answer to its Bearer token."""
    return await _ask(api, path, method, {"Authorization": f"Bearer {TOKEN}"}, document)


async def _ask(
    api: SimulatedApi, path: str, method: str, headers: dict[str, str], document: object = None
) -> Any:
    async with (
        aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
        session.request(method, f"{api.url}/organizations/{ORGANIZATION}{path}", json=document) as answer,
    ):
        return await answer.json()
