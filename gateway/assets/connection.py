"""The connection to Infodeck's API that everything of one process shares."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from gateway.assets.client import InfodeckApi
from gateway.assets.http.transport import Transport, request_limiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.assets.http.access import ApiAccess


@asynccontextmanager
async def connect(access: ApiAccess, *, share: float) -> AsyncIterator[InfodeckApi]:
    """Open the API; `share` of the requests that a key may send are sent at most. Nothing is asked yet."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield InfodeckApi(Transport(session, access=access, limiter=request_limiter(share)))
