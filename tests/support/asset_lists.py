"""What the simulated API is asked and answers with in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.assets.client import fetch_assets
from gateway.config.secrets import Secret
from gateway.demo.api import Answer, SimulatedApi

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

    from gateway.model import KnownAsset

ORGANIZATION = "o-test"
API_KEY = "idt_live_0123456789abcdef0123456789abcdef"


def items(count: int) -> list[dict[str, Any]]:
    """Return so many assets as the API lists them."""
    return [
        {
            "id": f"ast-{number}",
            "organizationId": ORGANIZATION,
            "assetTypeId": "at-iaq",
            "name": f"Room {number}",
            "locationId": f"loc-{number % 10}",
            "modelName": "Room-1",
            "nameOfManufacturer": "Maker",
            "connectionStatus": number % 2 == 0,
            "shadows": {"DeviceUplink": {"state": {"reported": {"temperature": 21.5, "humidity": 48}}}},
        }
        for number in range(count)
    ]


def simulated_api(count: int = 1, *, faults: Iterable[Answer] = ()) -> SimulatedApi:
    """Return an API that knows `count` assets, not yet started."""
    return SimulatedApi(organization=ORGANIZATION, api_key=API_KEY, items=items(count), faults=faults)


def answer(document: object, *, status: int = 200) -> Answer:
    """Return an answer of JSON."""
    return Answer(status=status, body=orjson.dumps(document))


async def fetch(
    session: aiohttp.ClientSession, api: SimulatedApi, *, api_key: str = API_KEY, pace_s: float = 0.0
) -> list[KnownAsset]:
    """Ask the API for everything, without pauses between the pages unless told."""
    return await fetch_assets(
        session,
        api=api.url,
        organization=ORGANIZATION,
        api_key=Secret(api_key.encode()),
        pace_s=pace_s,
    )
