"""The connection to Infodeck's API that everything of one process shares."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from gateway.infodeck.client import InfodeckApi
from gateway.infodeck.http.transport import ATTEMPTS, Transport, request_limiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.infodeck.http.access import ApiAccess


@asynccontextmanager
async def connect(access: ApiAccess, *, share: float, attempts: int = ATTEMPTS) -> AsyncIterator[InfodeckApi]:
    """Open the API; nothing is asked yet.

    `share` of the requests that a key may send are sent at most, each in so many attempts.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        limiter = request_limiter(share)
        yield InfodeckApi(Transport(session, access=access, limiter=limiter, attempts=attempts))
