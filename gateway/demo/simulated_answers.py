"""What the simulated API answers with: JSON, refusals, pages of lists, and faults in their place."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Pagination = Literal["lastEvaluatedKey", "nextToken"]
"""The two conventions that Infodeck's documents have, by the name of the cursor."""

_SIZES: dict[Pagination, tuple[str, int, int]] = {
    "lastEvaluatedKey": ("limit", 20, 1),
    "nextToken": ("maxResults", 10, 10),
}
_MAX_PAGE_SIZE = 100
_CURSOR_MARK = b"\xfb\xef\xff"  # gives `++//` in base64, which does not survive in a URL unless encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer in place of the usual one; `broken_off` ends the connection in the middle of it.

    It begins after `delay_s`; with `drip_s` the body comes byte by byte, so many seconds apart. `is_usual`:
    the answer is what it would be without this fault, only late or slow.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    broken_off: bool = False
    delay_s: float = 0.0
    drip_s: float = 0.0
    is_usual: bool = False

    async def send(self, request: web.Request, usual: web.Response) -> web.StreamResponse:
        """Send this answer in place of the usual one."""
        await asyncio.sleep(self.delay_s)
        answer = self
        if self.is_usual:
            body = usual.body if isinstance(usual.body, bytes) else b""
            answer = replace(self, status=usual.status, body=body, headers=dict(usual.headers))
        if not (answer.broken_off or answer.drip_s):
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        headers = {**answer.headers, "Content-Length": str(len(answer.body) + answer.broken_off)}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        step = 1 if answer.drip_s else max(1, len(answer.body))
        for position in range(0, len(answer.body), step):
            await response.write(answer.body[position : position + step])
            await asyncio.sleep(answer.drip_s)
        if answer.broken_off and request.transport is not None:
            request.transport.close()
        return response


class HttpRefusalError(Exception):
    """A request that is answered with `status` and a message."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        """Make the answer."""
        super().__init__(message)
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.response = json_response({"message": message}, status=status, headers=headers)


def json_response(
    document: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an answer of JSON."""
    return web.Response(
        status=status, body=orjson.dumps(document), content_type="application/json", headers=headers
    )


def page_response(
    request: web.Request,
    items: Sequence[Any],
    *,
    pagination: Pagination,
    shown: Callable[[Any], Any] = lambda item: item,
) -> web.Response:
    """Return the part of a list that a request asks for, each item as `shown` makes it."""
    size_name, default, smallest = _SIZES[pagination]
    size = whole_number(request, size_name, lowest=smallest, highest=_MAX_PAGE_SIZE, default=default)
    start = _position(request.query.get(pagination), pagination)
    end = start + size
    cursor = base64.b64encode(_CURSOR_MARK + str(end).encode()).decode() if end < len(items) else None
    return json_response({"data": [shown(item) for item in items[start:end]], pagination: cursor})


def _position(cursor: str | None, name: str) -> int:
    if cursor is None:
        return 0
    try:
        mark, position = base64.b64decode(cursor, validate=True).split(_CURSOR_MARK)
        return int(position) if not mark else -1
    except ValueError:
        raise HttpRefusalError(422, f"Invalid {name}") from None


def whole_number(request: web.Request, name: str, *, lowest: int, highest: int, default: int | None) -> int:
    """Return a number of the query; HttpRefusalError (422) beyond its bounds or if required."""
    text = request.query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise HttpRefusalError(422, f"{name} must be a whole number from {lowest} to {highest}")
    return int(text)
