"""Infodeck's REST API: each method is one request, or a list that is yielded page by page.

Source: Infodeck's integration guide and developer documentation. Paths are below
`/organizations/{organizationId}`. All requests of one key share its rate limit, and every answer is bounded.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
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
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gateway.config.secrets import Secret

Item = dict[str, Any]
"""One element of a list, as the API sends it."""

REQUESTS_PER_MINUTE = 1000  # of one API key, for all who use it (Infodeck's guide)
_ATTEMPTS = 4  # of a request that may be repeated
_BURST_SHARE = 0.1  # of a minute's requests may be sent at once, the others at an even pace
_MINUTE_S = 62.0  # as it is counted here: requests do not all take the same time to arrive

_LARGEST_ANSWER_BYTES = 4 << 20  # parsed in one go: the event loop must not wait long for it
_LARGEST_REFUSAL_BYTES = 64 << 10
_ANSWER_WITHIN_S = 30.0
_SLOW_S = 5.0
_LONGEST_PAUSE_S = 30.0
_LONGEST_PATIENCE_S = 60.0  # a request that the API asks to wait longer fails for now

_PAGE_SIZE = "100"  # the most that the API allows
_MOST_PAGES = 10_000
_MOST_MANAGED_PAGES = 100  # of webhooks or delivery attempts
_LONGEST_CURSOR = 4096  # it becomes part of a URL
_CURSORS = {"lastEvaluatedKey": "limit", "nextToken": "maxResults"}
"""The two documented conventions: the cursor's name in answer and request, and the page size's beside it."""


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

    def url(self, path: str, query: Sequence[tuple[str, str]]) -> URL:
        """Return a URL below the organization, encoded here: a `+` or `/` in a cursor arrives unchanged."""
        address = f"{self.api}/organizations/{quote(self.organization, safe='')}{path}"
        if query:
            address += f"?{urlencode(query, quote_via=quote, safe='')}"
        return URL(address, encoded=True)

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


@asynccontextmanager
async def connect(
    access: ApiAccess, *, share: float, attempts: int = _ATTEMPTS
) -> AsyncIterator[InfodeckApi]:
    """Open the API for everything in one process; nothing is requested yet.

    At most `share` of the requests that a key allows are sent, each up to `attempts` times.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield InfodeckApi(session, access=access, limiter=request_limiter(share), attempts=attempts)


def request_limiter(
    share: float, *, per_minute: float = REQUESTS_PER_MINUTE, minute_s: float = _MINUTE_S
) -> AsyncLimiter:
    """Return a limiter under which at most `share` of a minute's requests arrive within any 60 seconds."""
    budget = per_minute * share
    burst = max(1.0, budget * _BURST_SHARE)
    per_second = max(budget - burst, budget / 2) / minute_s
    return AsyncLimiter(burst, burst / per_second)


class InfodeckApi:
    """One organization's API.

    Raises `ApiRefusalError` where the API refuses, `TransientError` where all attempts failed and a later
    one may succeed, another `GatewayError` where the answer cannot be used.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        access: ApiAccess,
        limiter: AsyncLimiter,
        attempts: int = _ATTEMPTS,
        first_pause_s: float = 1.0,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> None:
        """Use a session without cookies. `answer_within_s` limits the whole exchange."""
        self._session = session
        self._access = access
        self._limiter = limiter
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._answer_within_s = answer_within_s
        self._paused_until_s = 0.0  # by the event loop's clock, because the API asked for a pause
        self._sent_s: list[float] = []  # when requests were sent that have no answer yet, by the same clock
        self._failed: str | None = None  # why the last attempt failed, while it is going to be repeated

    @property
    def trouble(self) -> str | None:
        """Why a pending request has no answer yet; None if all is well."""
        now_s = asyncio.get_running_loop().time()
        if self._sent_s and (silent_s := now_s - min(self._sent_s)) > _SLOW_S:
            return f"{URL(self._access.api).host} has not answered for {silent_s:.0f} s"
        if self._failed is not None and self._paused_until_s > now_s:
            return f"{self._failed}; asked again in {self._paused_until_s - now_s:.0f} s"
        return self._failed

    def assets(self, *, shadows: Sequence[str] = ()) -> AsyncIterator[list[Item]]:
        """Yield every asset, a page at a time, with the named device shadows, or else the usual one."""
        return self._pages("/assets", [("shadowNames[]", name) for name in shadows])

    def locations(self) -> AsyncIterator[list[Item]]:
        """Yield every location."""
        return self._pages("/locations")

    def metrics(self, asset: str, *, metric: str, days: int) -> AsyncIterator[list[Item]]:
        """Yield the values of a metric over the last days, 32 at most."""
        path = f"/assets/{quote(asset, safe='')}/metrics"
        return self._pages(path, [("metricName", metric), ("days", str(days))], size="maxResults")

    async def asset_type(self, asset_type: str) -> Item:
        """Return an asset type with its `properties`."""
        path = f"/asset-types/{quote(asset_type, safe='')}"
        return _as_object(await self.request("GET", path), path)

    async def webhooks(self) -> list[Item]:
        """Return every webhook of the organization (Bearer)."""
        return [item async for page in self._pages("/webhooks", bearer=True) for item in page]

    async def register_webhook(self, *, url: str, events: Sequence[str], description: str) -> Item:
        """Create a webhook (Bearer); only this answer has its `signingSecret`."""
        document = {"url": url, "events": list(events), "description": description}
        return _as_object(await self.request("POST", "/webhooks", document, bearer=True), "/webhooks")

    async def test_webhook(self, webhook: str) -> None:
        """Have Infodeck send a `webhook.test` (Bearer)."""
        await self.request("POST", f"/webhooks/{quote(webhook, safe='')}/test", bearer=True)

    def deliveries(self, webhook: str) -> AsyncIterator[list[Item]]:
        """Yield the delivery log of a webhook (Bearer): attempts with code, response time and reason."""
        return self._pages(f"/webhooks/{quote(webhook, safe='')}/deliveries", bearer=True)

    async def rotate_secret(self, path: str) -> Item:
        """Have Infodeck make a new signing secret (Bearer), by the path from the settings."""
        return _as_object(await self.request("POST", path, bearer=True), path)

    async def change_webhook(self, method: str, path: str, document: Item | None) -> None:
        """Remove a webhook or switch it on (Bearer), by the request from the settings."""
        await self.request(method, path, document, bearer=True)

    async def _pages(
        self, path: str, query: Sequence[tuple[str, str]] = (), *, size: str = "limit", bearer: bool = False
    ) -> AsyncIterator[list[Item]]:
        page_query = [*query, (size, _PAGE_SIZE)]
        seen: set[int] = set()  # hashes: cursors are long, and there may be many
        most_pages = _MOST_MANAGED_PAGES if bearer else _MOST_PAGES
        for _ in range(most_pages):
            document = await self.request("GET", path, query=page_query, bearer=bearer)
            items, cursor = page_of(document, path)
            yield items
            if cursor is None:
                return
            if hash(cursor) in seen:
                raise GatewayError(f"the API gave the same cursor twice, so its list has no end ({path})")
            seen.add(hash(cursor))
            page_query = [*query, (_CURSORS[cursor[0]], _PAGE_SIZE), cursor]
        raise GatewayError(f"the API's list does not end after {most_pages} pages ({path})")

    async def request(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        bearer: bool = False,
    ) -> Any:
        """Send a request below the organization, and return the JSON of its answer, None if it has none.

        Only a GET is repeated: anything else might then be done twice. `bearer`: with the token.
        """
        pauses = Backoff(first_s=self._first_pause_s, longest_s=_LONGEST_PAUSE_S)
        try:
            for _ in range(self._attempts - 1 if method == "GET" else 0):
                try:
                    return await self._send(method, path, query, document, bearer=bearer)
                except TransientError as error:
                    requested_s = error.retry_after_s or 0.0
                    if requested_s > _LONGEST_PATIENCE_S:
                        raise
                    self._failed = str(error)
                # The API asks all gateways for the same pause: with jitter, they do not come back at once.
                await asyncio.sleep(requested_s + pauses.next_s())
            return await self._send(method, path, query, document, bearer=bearer)
        finally:
            self._failed = None

    async def _send(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        document: Mapping[str, Any] | None,
        *,
        bearer: bool,
    ) -> Any:
        headers, loop = self._access.headers(bearer=bearer), asyncio.get_running_loop()
        async with self._limiter:
            await self._keep_pause()  # one may have begun while this request waited for its turn
            self._sent_s.append(sent_s := loop.time())
            try:
                status, answer_headers, body = await self._exchange(
                    method, self._access.url(path, query), document, headers
                )
            finally:
                self._sent_s.remove(sent_s)
        if status // 100 != 2:  # noqa: PLR2004 - 200, 201 and the like
            error = refusal(status, answer_headers, body, access=self._access, bearer=bearer)
            if isinstance(error, TransientError):
                until_s = loop.time() + (error.retry_after_s or 0.0)
                self._paused_until_s = max(self._paused_until_s, until_s)
            raise error
        return _decode(body, path)

    async def _keep_pause(self) -> None:
        pause_s = self._paused_until_s - asyncio.get_running_loop().time()
        if pause_s > _LONGEST_PATIENCE_S:
            raise TransientError("the API has asked for a pause", retry_after_s=pause_s)
        await asyncio.sleep(max(0.0, pause_s))

    async def _exchange(
        self, method: str, url: URL, document: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body. Redirects are not followed: the secret is for this address."""
        proxy = self._access.proxy_url()
        try:
            async with self._session.request(
                method,
                url,
                json=document,
                headers=headers,
                allow_redirects=False,
                middlewares=(self._send_once,),
                proxy=proxy,
                timeout=aiohttp.ClientTimeout(total=self._answer_within_s),
            ) as response:
                limit_bytes = _LARGEST_ANSWER_BYTES if response.ok else _LARGEST_REFUSAL_BYTES
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > limit_bytes:
                        break
                return response.status, response.headers, bytes(body)
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


def _decode(body: bytes, path: str) -> Any:
    if len(body) > _LARGEST_ANSWER_BYTES:
        limit = f"{_LARGEST_ANSWER_BYTES >> 20} MiB"
        raise GatewayError(f"an answer is larger than {limit} ({path}): check infodeck.api")
    try:
        return load_json(body)[0] if body else None
    except orjson.JSONDecodeError as error:
        raise GatewayError(
            f"the answer is not JSON ({path}: {error.msg}): check infodeck.api, and that no proxy answers"
            " instead"
        ) from error


def page_of(document: Any, path: str) -> tuple[list[Item], tuple[str, str] | None]:
    """Return items and cursor of a parsed answer to `path`; raise GatewayError if it is no page of a list."""
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise GatewayError(f"the answer is JSON, but no list (`data`, {path}): check infodeck.api")
    cursors = [(name, value) for name in _CURSORS if (value := document.get(name)) not in (None, "")]
    for name, value in cursors:
        if not isinstance(value, str) or len(value) > _LONGEST_CURSOR:
            raise GatewayError(f"`{name}` is no cursor: a short text is expected")
    return [item for item in items if isinstance(item, dict)], cursors[0] if cursors else None


def _as_object(document: Any, path: str) -> Item:
    found = document.get("data", document) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise GatewayError(f"the answer is JSON, but no object ({path}): check infodeck.api")
    return found
