"""Requests to the simulated API, and its answers."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.config.secrets import Secret
from gateway.demo.simulated_answers import Answer
from gateway.demo.simulated_api import SimulatedApi
from gateway.infodeck.api_client import ApiAccess, InfodeckApi, request_limiter
from gateway.infodeck.inventory import known_asset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gateway.records import KnownAsset

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


def types(*names: str) -> list[dict[str, Any]]:
    """Return asset types as the API lists them, with two readings each."""
    properties = [
        {"key": "temperature", "name": "Temperature", "type": "number", "unit": "°C"},
        {"key": "humidity", "name": "Humidity", "type": "integer", "unit": "%"},
    ]
    return [{"id": name, "name": name.upper(), "properties": properties} for name in names]


def simulated_api(
    count: int = 1, *, faults: Iterable[Answer] = (), locations: Iterable[dict[str, Any]] = ()
) -> SimulatedApi:
    """Return an API with `count` assets and their type, not yet started."""
    return SimulatedApi(
        organization=ORGANIZATION,
        api_key=API_KEY,
        items=items(count),
        types=types("at-iaq"),
        locations=list(locations),
        faults=deque(faults),
    )


def answer(document: object, *, status: int = 200) -> Answer:
    """Return an answer of JSON."""
    return Answer(status=status, body=orjson.dumps(document))


def access(api: SimulatedApi, *, api_key: str = API_KEY) -> ApiAccess:
    """Return the access to the API with this key."""
    return ApiAccess(api=api.url, organization=ORGANIZATION, api_key=Secret(api_key.encode()))


@asynccontextmanager
async def connected(
    api: SimulatedApi, *, api_key: str = API_KEY, attempts: int = 1
) -> AsyncIterator[InfodeckApi]:
    """Open the API as the gateway does, with pauses short enough for a test."""
    async with aiohttp.ClientSession() as session:
        yield InfodeckApi(
            session,
            access=access(api, api_key=api_key),
            limiter=request_limiter(1, per_minute=1_000_000),
            attempts=attempts,
            first_pause_s=0.01,
        )


async def fetch(api: SimulatedApi, *, api_key: str = API_KEY, attempts: int = 1) -> list[KnownAsset]:
    """Ask the API for every asset."""
    async with connected(api, api_key=api_key, attempts=attempts) as infodeck:
        items = [item async for page in infodeck.assets() for item in page]
    return [asset for item in items if (asset := known_asset(item)) is not None]
