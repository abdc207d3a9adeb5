"""Single requests to Infodeck's API: within the key's limit, tried again, bounded in size and time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from yarl import URL

from gateway.errors import GatewayError, TransientError
from gateway.infodeck.http.refusals import refusal
from gateway.infodeck.http.unreachable import unreachable
from gateway.json_text import load_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tenacity import RetryCallState

    from gateway.infodeck.http.access import ApiAccess

REQUESTS_PER_MINUTE = 1000  # of one API key, for all who use it (Infodeck's guide)
ATTEMPTS = 4  # of a request that may be repeated
_BURST_SHARE = 0.1  # of a minute's requests may come at once, the others at an even pace
_MINUTE_S = 62.0  # as it is counted here: requests do not all take the same time to arrive

_LARGEST_ANSWER_BYTES = 4 << 20  # read in one go: the event loop must not wait long for it
_LARGEST_REFUSAL_BYTES = 64 << 10
_ANSWER_WITHIN_S = 30.0
_SLOW_S = 5.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_LONGEST_PATIENCE_S = 60.0  # who is asked to wait longer gives up for now


def request_limiter(
    share: float, *, per_minute: float = REQUESTS_PER_MINUTE, minute_s: float = _MINUTE_S
) -> AsyncLimiter:
    """Return a limiter that lets `share` of a minute's requests arrive within any 60 seconds at most."""
    budget = per_minute * share
    burst = max(1.0, budget * _BURST_SHARE)
    per_second = max(budget - burst, budget / 2) / minute_s
    return AsyncLimiter(burst, burst / per_second)


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """What is asked: `path` below the organization, encoded; `bearer`: with the token, not the key."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    document: Mapping[str, Any] | None = None
    bearer: bool = False


class Transport:
    """Sends requests and returns what their JSON holds.

    Raise `ApiRefusalError` where the API refuses for good, `TransientError` where several attempts failed
    and a later one may succeed, another `GatewayError` where the answer is none that can be used.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        access: ApiAccess,
        limiter: AsyncLimiter,
        attempts: int = ATTEMPTS,
        first_pause_s: float = _FIRST_PAUSE_S,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> None:
        """Take a session without cookies; all requests of one key should share one limiter.

        `answer_within_s` is for a whole answer, from the connection to its last byte.
        """
        self._session = session
        self._access = access
        self._limiter = limiter
        self._attempts = attempts
        self._pause = wait_random_exponential(multiplier=first_pause_s, max=_LONGEST_PAUSE_S)
        self._answer_within_s = answer_within_s
        self._paused_until_s = 0.0  # by the event loop's clock: the API has asked for it
        self._sent_s: dict[_Request, float] = {}  # likewise: requests without an answer yet
        self._failed: str | None = None  # the last attempt, which is repeated

    @property
    def trouble(self) -> str | None:
        """What is in the way of a request that has not failed for good; None where nothing is."""
        now_s = asyncio.get_running_loop().time()
        if self._sent_s and (silent_s := now_s - min(self._sent_s.values())) > _SLOW_S:
            return f"{URL(self._access.api).host} has not answered for {silent_s:.0f} s"
        if self._failed is not None and self._paused_until_s > now_s:
            return f"{self._failed}; asked again in {self._paused_until_s - now_s:.0f} s"
        return self._failed

    async def get(self, path: str, query: Sequence[tuple[str, str]] = (), *, bearer: bool = False) -> Any:
        """Return the JSON at `path` below the organization; tried again where that may help."""
        return await self._retrying(_Request("GET", path, query=query, bearer=bearer))

    async def post(self, path: str, document: Mapping[str, Any] | None, *, bearer: bool = False) -> Any:
        """Post once, and return the JSON of the answer: repeated, it might do twice what it asks for."""
        return await self.change("POST", path, document, bearer=bearer)

    async def change(
        self, method: str, path: str, document: Mapping[str, Any] | None, *, bearer: bool = False
    ) -> Any:
        """Send once what changes something, and return the JSON of the answer, None where it has none."""
        return await self._once(_Request(method, path, document=document, bearer=bearer))

    async def _retrying(self, request: _Request) -> Any:
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=lambda state: stop_after_attempt(self._attempts)(state) or _asks_for_too_long(state),
            wait=self._wait_s,
            reraise=True,
        )
        try:
            return await attempts(self._once, request)
        finally:
            self._failed = None
            attempts.iter_state.reset()  # a circle of objects that only a search for garbage would free

    def _wait_s(self, state: RetryCallState) -> float:
        """Add to what the API asks for, too: it asks all boxes for the same."""
        self._failed = str(state.outcome.exception()) if state.outcome is not None else None
        return _asked_for_s(state) + self._pause(state)

    async def _once(self, request: _Request) -> Any:
        headers = self._access.headers(bearer=request.bearer)
        async with self._limiter:
            await self._keep_pause()  # it may have been asked for while this waited for its turn
            self._sent_s[request] = asyncio.get_running_loop().time()
            try:
                status, answer_headers, body = await self._exchange(request, headers)
            finally:
                del self._sent_s[request]
        if status // 100 != 2:  # noqa: PLR2004 - 200, 201 and the like
            refused = refusal(status, answer_headers, body, access=self._access, bearer=request.bearer)
            self._note_pause(refused)
            raise refused
        if len(body) > _LARGEST_ANSWER_BYTES:
            raise GatewayError(
                f"an answer is larger than {_LARGEST_ANSWER_BYTES >> 20} MiB ({request.path}): check"
                " infodeck.api"
            )
        return _decode(body, request.path)

    async def _keep_pause(self) -> None:
        """Wait while the API has asked any of our requests for a pause; raise where that takes too long."""
        pause_s = self._paused_until_s - asyncio.get_running_loop().time()
        if pause_s > _LONGEST_PATIENCE_S:
            raise TransientError("the API has asked for a pause", retry_after_s=pause_s)
        if pause_s > 0:
            await asyncio.sleep(pause_s)

    def _note_pause(self, refused: GatewayError) -> None:
        if isinstance(refused, TransientError) and refused.retry_after_s:
            until_s = asyncio.get_running_loop().time() + refused.retry_after_s
            self._paused_until_s = max(self._paused_until_s, until_s)

    async def _exchange(
        self, request: _Request, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body. Redirects are not followed: the secret is for this address."""
        url, proxy = self._url(request), self._access.proxy_url()
        try:
            async with self._session.request(
                request.method,
                url,
                json=request.document,
                headers=headers,
                allow_redirects=False,
                middlewares=(self._sent_once,),
                proxy=proxy,
                timeout=aiohttp.ClientTimeout(total=self._answer_within_s),
            ) as response:
                limit = _LARGEST_ANSWER_BYTES if response.ok else _LARGEST_REFUSAL_BYTES
                return response.status, response.headers, await _read(response, limit)
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(url, error, within_s=self._answer_within_s, proxy=proxy) from error

    async def _sent_once(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keep aiohttp from repeating by itself what got no answer: that would go past the limiter."""
        try:
            return await send(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            within_s = self._answer_within_s
            raise unreachable(request.url, error, within_s=within_s, proxy=request.proxy) from error

    def _url(self, request: _Request) -> URL:
        """Return the address, encoded here: a `+` or `/` in a cursor must not arrive as something else."""
        organization = quote(self._access.organization, safe="")
        address = f"{self._access.api}/organizations/{organization}{request.path}"
        if request.query:
            address += f"?{urlencode(request.query, quote_via=quote, safe='')}"
        return URL(address, encoded=True)


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the body, or a little more than the limit of it."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit_bytes:
            break
    return bytes(body)


def _decode(body: bytes, path: str) -> Any:
    if not body:
        return None
    try:
        document, _ = load_json(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(
            f"the answer is not JSON ({path}: {error.msg}): check infodeck.api, and that no proxy answers"
            " instead"
        ) from error
    return document


def _asked_for_s(state: RetryCallState) -> float:
    """Return the pause that the API asked for with its last answer."""
    error = state.outcome.exception() if state.outcome is not None else None
    return (error.retry_after_s or 0.0) if isinstance(error, TransientError) else 0.0


def _asks_for_too_long(state: RetryCallState) -> bool:
    return _asked_for_s(state) > _LONGEST_PATIENCE_S
