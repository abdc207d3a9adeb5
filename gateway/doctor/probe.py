"""One GET, looked at closely: how far it got, and how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from gateway.infodeck.request_errors import Failure, Stage, failure_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from yarl import URL

__all__ = ["Failure", "Response", "Stage", "failure_of", "get"]

_MOST_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Times are Unix seconds, of this machine's clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_s: float
    answered_s: float

    @property
    def took_s(self) -> float:
        """How long the answer took."""
        return self.answered_s - self.asked_s


async def get(
    url: str, *, within_s: float, tls: ssl.SSLContext | bool = True, proxy: URL | None = None
) -> Response | Failure:
    """Ask without credentials; redirects are not followed. `tls` False: certificates are not verified."""
    timeout = aiohttp.ClientTimeout(total=within_s)
    asked_s = time.time()
    try:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
            session.get(url, allow_redirects=False, ssl=tls, proxy=proxy) as response,
        ):
            answered_s = time.time()
            body = await response.content.read(_MOST_BODY_BYTES)
            return Response(response.status, response.headers, body, asked_s, answered_s)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return failure_of(error, within_s=within_s, proxy=proxy)
