"""What the simulated API answers with: JSON, refusals, pages of lists, and faults in their place."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

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


class HttpRefusalError(Exception):
    """A request that is answered with `status` and a message."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        """Take what the answer says."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s

    def response(self) -> web.Response:
        """Return the answer."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return json_response({"message": self.message}, status=self.status, headers=headers)


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
    """Return the part of a list that a request asks for, each item as `shown` makes it.

    Raise HttpRefusalError (422) for a wrong size or cursor.
    """
    size_name, default, smallest = _SIZES[pagination]
    size = whole_number(request, size_name, lowest=smallest, highest=_MAX_PAGE_SIZE, default=default)
    try:
        start = _position(request.query.get(pagination))
    except ValueError:
        raise HttpRefusalError(422, f"Invalid {pagination}") from None
    end = start + size
    cursor = _cursor(end) if end < len(items) else None
    return json_response({"data": [shown(item) for item in items[start:end]], pagination: cursor})


def whole_number(request: web.Request, name: str, *, lowest: int, highest: int, default: int | None) -> int:
    """Return a number of the query; HttpRefusalError (422) beyond its bounds or if required."""
    text = request.query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise HttpRefusalError(422, f"{name} must be a whole number from {lowest} to {highest}")
    return int(text)


async def send_in_place(
    request: web.Request, answer: Answer, usual: Callable[[], Awaitable[web.Response]]
) -> web.StreamResponse:
    """Send the answer of a fault in the way that it asks for."""
    await asyncio.sleep(answer.delay_s)
    if answer.is_usual:
        late = await usual()
        body = late.body if isinstance(late.body, bytes) else b""
        answer = Answer(status=late.status, body=body, headers=dict(late.headers), drip_s=answer.drip_s)
    if not answer.broken_off and not answer.drip_s:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    missing = 1 if answer.broken_off else 0
    headers = {**answer.headers, "Content-Length": str(len(answer.body) + missing)}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    await _write(response, answer)
    if answer.broken_off and request.transport is not None:
        request.transport.close()
    return response


async def _write(response: web.StreamResponse, answer: Answer) -> None:
    if not answer.drip_s:
        await response.write(answer.body)
        return
    for position in range(len(answer.body)):
        await response.write(answer.body[position : position + 1])
        await asyncio.sleep(answer.drip_s)


def _cursor(position: int) -> str:
    return base64.b64encode(_CURSOR_MARK + str(position).encode()).decode()


def _position(cursor: str | None) -> int:
    """Return where the page begins; raise ValueError for what is none of our cursors."""
    if cursor is None:
        return 0
    raw = base64.b64decode(cursor, validate=True)
    if not raw.startswith(_CURSOR_MARK):
        raise ValueError("not a cursor")
    return int(raw.removeprefix(_CURSOR_MARK))
