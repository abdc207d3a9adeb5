"""Single requests to Infodeck's API: within the key's rate limit, repeated where that helps, bounded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from aiolimiter import AsyncLimiter
from yarl import URL

from gateway import __version__
from gateway.backoff import Backoff
from gateway.config.value_types import HostPort
from gateway.errors import GatewayError, TransientError
from gateway.infodeck.request_errors import refusal, unreachable
from gateway.json_text import load_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.secrets import Secret

REQUESTS_PER_MINUTE = 1000  # of one API key, for all who use it (Infodeck's guide)
ATTEMPTS = 4  # of a request that may be repeated
_BURST_SHARE = 0.1  # of a minute's requests may be sent at once, the others at an even pace
_MINUTE_S = 62.0  # as it is counted here: requests do not all take the same time to arrive

_LARGEST_ANSWER_BYTES = 4 << 20  # parsed in one go: the event loop must not wait long for it
_LARGEST_REFUSAL_BYTES = 64 << 10
_ANSWER_WITHIN_S = 30.0
_SLOW_S = 5.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_LONGEST_PATIENCE_S = 60.0  # a request that the API asks to wait longer fails for now


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """Where the API is, for which organization, and the secrets: the key reads, the token manages webhooks.

    `api` is the base URL, without a slash at its end. `proxy` is the URL of the HTTP proxy; None: the
    environment decides, as for other programs.
    """

    api: str
    organization: str
    proxy: str | None = None
    api_key: Secret | None = None
    bearer_token: Secret | None = None

    def headers(self, *, bearer: bool) -> dict[str, str]:
        """Return the headers of a request; raise GatewayError where its secret is missing or unusable."""
        if bearer:
            secret = {"Authorization": f"Bearer {_header(self.bearer_token, 'infodeck.bearer_token')}"}
        else:
            secret = {"X-Api-Key": _header(self.api_key, "infodeck.api_key")}
        return {"Accept": "application/json", "User-Agent": f"building-gateway/{__version__}", **secret}

    def proxy_url(self) -> URL | None:
        """Return the proxy to use, None for a direct connection; raise GatewayError.

        A proxy from the environment is not used for this machine itself.
        """
        if self.proxy is not None:
            return URL(self.proxy)
        url = URL(self.api)
        host = url.host or ""
        named = getproxies().get(url.scheme)
        if not named or HostPort(host, 0).is_loopback or proxy_bypass(host):
            return None
        try:
            proxy = URL(named if "://" in named else f"http://{named}")
            shown = f" ({proxy.with_user(None)})"
        except ValueError:
            proxy, shown = URL(), ""  # not shown: there may be a password in it
        if proxy.scheme not in {"http", "https"} or not proxy.host:
            raise GatewayError(f"{url.scheme.upper()}_PROXY{shown} is no http or https proxy")
        return proxy

    def secret_texts(self) -> list[str]:
        """Return every secret as text, so that it can be removed from what the API answers."""
        secrets = [secret for secret in (self.api_key, self.bearer_token) if secret is not None]
        return [text for secret in secrets if (text := secret.reveal().decode("latin-1").strip())]


def _header(secret: Secret | None, setting: str) -> str:
    if secret is None:
        raise GatewayError(f"{setting} is not set, and nothing can be asked without it")
    text = secret.reveal().decode("latin-1").strip()
    if not text.isascii() or not text.isprintable():
        raise GatewayError(f"{setting} has characters that no such secret has: check what its source holds")
    return text


def request_limiter(
    share: float, *, per_minute: float = REQUESTS_PER_MINUTE, minute_s: float = _MINUTE_S
) -> AsyncLimiter:
    """Return a limiter under which at most `share` of a minute's requests arrive within any 60 seconds."""
    budget = per_minute * share
    burst = max(1.0, budget * _BURST_SHARE)
    per_second = max(budget - burst, budget / 2) / minute_s
    return AsyncLimiter(burst, burst / per_second)


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """One request. `path` is below the organization, encoded; `bearer`: with the token, not the key."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    document: Mapping[str, Any] | None = None
    bearer: bool = False


class Transport:
    """Sends requests and returns the JSON of their answers.

    Raises `ApiRefusalError` where the API refuses, `TransientError` where all attempts failed and a later
    one may succeed, another `GatewayError` where the answer cannot be used.
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
        """Use a session without cookies; all requests of one key should share one limiter.

        `answer_within_s` limits the whole exchange, from the connection to the answer's last byte.
        """
        self._session = session
        self._access = access
        self._limiter = limiter
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._answer_within_s = answer_within_s
        self._paused_until_s = 0.0  # by the event loop's clock, because the API asked for a pause
        self._sent_s: dict[_Request, float] = {}  # requests without an answer yet, by the loop's clock
        self._failed: str | None = None  # why the last attempt failed, while it is going to be repeated

    @property
    def trouble(self) -> str | None:
        """Why a pending request has no answer yet; None if all is well."""
        now_s = asyncio.get_running_loop().time()
        if self._sent_s and (silent_s := now_s - min(self._sent_s.values())) > _SLOW_S:
            return f"{URL(self._access.api).host} has not answered for {silent_s:.0f} s"
        if self._failed is not None and self._paused_until_s > now_s:
            return f"{self._failed}; asked again in {self._paused_until_s - now_s:.0f} s"
        return self._failed

    async def get(self, path: str, query: Sequence[tuple[str, str]] = (), *, bearer: bool = False) -> Any:
        """Return the JSON at `path` below the organization. Repeated where that may help."""
        request = _Request("GET", path, query=query, bearer=bearer)
        pauses = Backoff(first_s=self._first_pause_s, longest_s=_LONGEST_PAUSE_S)
        try:
            for _ in range(self._attempts - 1):
                try:
                    return await self._send(request)
                except TransientError as error:
                    asked_for_s = error.retry_after_s or 0.0
                    if asked_for_s > _LONGEST_PATIENCE_S:
                        raise
                    self._failed = str(error)
                # The API asks all gateways for the same pause: with jitter, they do not come back at once.
                await asyncio.sleep(asked_for_s + pauses.next_s())
            return await self._send(request)
        finally:
            self._failed = None

    async def change(
        self, method: str, path: str, document: Mapping[str, Any] | None, *, bearer: bool = False
    ) -> Any:
        """Send a request that changes something, once, and return the JSON of the answer, if any.

        It is not repeated, since it might then be done twice.
        """
        return await self._send(_Request(method, path, document=document, bearer=bearer))

    async def _send(self, request: _Request) -> Any:
        headers = self._access.headers(bearer=request.bearer)
        async with self._limiter:
            await self._keep_pause()  # one may have begun while this request waited for its turn
            self._sent_s[request] = asyncio.get_running_loop().time()
            try:
                status, answer_headers, body = await self._exchange(request, headers)
            finally:
                del self._sent_s[request]
        if status // 100 != 2:  # noqa: PLR2004 - 200, 201 and the like
            refused = refusal(status, answer_headers, body, access=self._access, bearer=request.bearer)
            if isinstance(refused, TransientError) and refused.retry_after_s:
                until_s = asyncio.get_running_loop().time() + refused.retry_after_s
                self._paused_until_s = max(self._paused_until_s, until_s)
            raise refused
        if len(body) > _LARGEST_ANSWER_BYTES:
            raise GatewayError(
                f"an answer is larger than {_LARGEST_ANSWER_BYTES >> 20} MiB ({request.path}): check"
                " infodeck.api"
            )
        return _decode(body, request.path)

    async def _keep_pause(self) -> None:
        """Wait while the API has asked any request for a pause; raise where that takes too long."""
        pause_s = self._paused_until_s - asyncio.get_running_loop().time()
        if pause_s > _LONGEST_PATIENCE_S:
            raise TransientError("the API has asked for a pause", retry_after_s=pause_s)
        if pause_s > 0:
            await asyncio.sleep(pause_s)

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
                middlewares=(self._send_once,),
                proxy=proxy,
                timeout=aiohttp.ClientTimeout(total=self._answer_within_s),
            ) as response:
                limit = _LARGEST_ANSWER_BYTES if response.ok else _LARGEST_REFUSAL_BYTES
                return response.status, response.headers, await _read(response, limit)
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(url, error, within_s=self._answer_within_s, proxy=proxy) from error

    async def _send_once(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keep aiohttp from repeating a request that got no answer: that would bypass the limiter."""
        try:
            return await send(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            within_s = self._answer_within_s
            raise unreachable(request.url, error, within_s=within_s, proxy=request.proxy) from error

    def _url(self, request: _Request) -> URL:
        """Return the URL, encoded here: a `+` or `/` in a cursor must arrive unchanged."""
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
