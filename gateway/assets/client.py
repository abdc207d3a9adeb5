"""Infodeck's REST API: the list of all assets, page by page."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from gateway import __version__
from gateway.assets.items import CURSORS, parse_page
from gateway.errors import GatewayError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.secrets import Secret
    from gateway.model import KnownAsset

_PAGE_SIZE = "100"  # the most there may be
_MOST_PAGES = 10_000
_LARGEST_PAGE_BYTES = 8 << 20
_LARGEST_REFUSAL_BYTES = 64 << 10
_LONGEST_SAID = 200
_PAGE_WITHIN_S = 30.0
_PACE_S = 0.12  # 500 pages a minute: half of what a key may ask
_BUSY_S = 60.0  # the limit counts by the minute
_LONGEST_RETRY_AFTER_S = 3600.0

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_OTHER_ADVICE = "check infodeck.api ({api})"
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: (
        "check infodeck.api_key: it begins with `idt_live_`, has 32 characters behind it, and must not be"
        " revoked; a webhook's signing secret is no API key"
    ),
    HTTPStatus.FORBIDDEN: (
        "API access requires Infodeck's Professional plan, and a key of the organization {organization}"
    ),
    HTTPStatus.NOT_FOUND: "check infodeck.organization ({organization}) and infodeck.api ({api})",
    HTTPStatus.UNPROCESSABLE_ENTITY: "check infodeck.organization ({organization}) and infodeck.api ({api})",
}


async def fetch_assets(
    session: aiohttp.ClientSession, *, api: str, organization: str, api_key: Secret, pace_s: float = _PACE_S
) -> list[KnownAsset]:
    """Return every asset of the organization, in the API's order; `pace_s` lies between two pages.

    Raise TransientError where a later attempt may succeed, otherwise GatewayError, which says what to do.
    """
    headers = {"X-Api-Key": _header(api_key), "Accept": "application/json"}
    headers["User-Agent"] = f"building-gateway/{__version__}"
    url = f"{api}/organizations/{quote(organization, safe='')}/assets"
    assets: list[KnownAsset] = []
    query = {"limit": _PAGE_SIZE}
    seen: set[tuple[str, str]] = set()
    for _ in range(_MOST_PAGES):
        # Encoded here: a `+` or `/` in a cursor must not arrive as something else.
        address = URL(f"{url}?{urlencode(query, quote_via=quote, safe='')}", encoded=True)
        status, answer_headers, body = await _get(session, address, headers)
        if status != HTTPStatus.OK:
            said = _said(body, api_key)
            raise _refusal(status, answer_headers, said, {"organization": organization, "api": api})
        page = parse_page(body)
        assets += page.assets
        if page.cursor is None:
            return assets
        if page.cursor in seen:
            raise GatewayError("the API gave the same cursor twice, so its list of assets has no end")
        seen.add(page.cursor)
        name, cursor = page.cursor
        query = {CURSORS[name]: _PAGE_SIZE, name: cursor}
        await asyncio.sleep(pace_s)
    raise GatewayError(f"the API's list of assets does not end after {_MOST_PAGES} pages")


def _header(api_key: Secret) -> str:
    text = api_key.reveal().decode("latin-1").strip()
    if not text.isascii() or not text.isprintable():
        raise GatewayError("infodeck.api_key has characters that no API key has: check what its source holds")
    return text


async def _get(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body. A redirect is not followed: the key is for this address only."""
    timeout = aiohttp.ClientTimeout(total=_PAGE_WITHIN_S)
    try:
        async with session.get(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
            ok = response.status == HTTPStatus.OK
            body = await _read(response, _LARGEST_PAGE_BYTES if ok else _LARGEST_REFUSAL_BYTES)
            if ok and len(body) > _LARGEST_PAGE_BYTES:
                raise GatewayError(
                    f"a page of assets is larger than {_LARGEST_PAGE_BYTES >> 20} MiB: check infodeck.api"
                )
            return response.status, response.headers, body
    except TimeoutError as error:
        raise TransientError(f"{url.host} did not answer within {_PAGE_WITHIN_S:.0f} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise TransientError(f"{url.host} can't be reached: {str(error) or type(error).__name__}") from error


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the body, or a little more than the limit of it."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit_bytes:
            break
    return bytes(body)


def _refusal(status: int, headers: Mapping[str, str], said: str, facts: Mapping[str, str]) -> GatewayError:
    """Return the error that an answer other than 200 stands for."""
    answered = f"the API answered {status}{said}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        default_s = _BUSY_S if status == HTTPStatus.TOO_MANY_REQUESTS else None
        return TransientError(answered, retry_after_s=_retry_after_s(headers, default_s))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        target = headers.get("Location", "nowhere")[:_LONGEST_SAID]
        return GatewayError(
            f"{answered}, a redirect to {target}: infodeck.api must be the address itself ({facts['api']})"
        )
    return GatewayError(f"{answered}: {_ADVICE.get(status, _OTHER_ADVICE).format_map(facts)}")


def _retry_after_s(headers: Mapping[str, str], default_s: float | None) -> float | None:
    """Return the pause that was asked for in seconds; a date is as good as nothing."""
    text = headers.get("Retry-After", "").strip()
    return min(float(text), _LONGEST_RETRY_AFTER_S) if text.isascii() and text.isdigit() else default_s


def _said(body: bytes, api_key: Secret) -> str:
    """Return the API's own words in brackets, where it has some; never the key."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    words = [document.get(name) for name in ("message", "error")] if isinstance(document, dict) else []
    said = next((word for word in words if isinstance(word, str) and word.strip()), "")
    said = said.replace(_header(api_key), "***")
    said = "".join(mark if mark.isprintable() else " " for mark in said)[:_LONGEST_SAID].strip()
    return f" ({said})" if said else ""
