"""Infodeck's REST API, simulated: the list of assets, with key, both paginations, limit, and faults."""

from __future__ import annotations

import base64
import hmac
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson
from aiohttp import web

from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from gateway.demo.assets import SimulatedAsset

_HOST = "127.0.0.1"
_BASE = "/api/v2"
_MAX_PAGE_SIZE = 100
_SMALLEST_DEFAULT = {"lastEvaluatedKey": ("limit", 20), "nextToken": ("maxResults", 10)}
_CURSOR_MARK = b"\xfb\xef\xff"  # gives `++//` in base64, which does not survive in a URL unless encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer in place of the usual one; `broken_off` ends the connection in the middle of it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    broken_off: bool = False


class SimulatedApi:
    """Inside this async context manager, `url` serves `items` to who has the key.

    `pagination` names the cursor. The first `limit` requests are answered, later ones with 429, until
    `limit` is raised. A request takes the next of `faults` where there is one. `requests` keeps the
    queries in order, as they came.
    """

    def __init__(
        self,
        *,
        organization: str,
        api_key: str,
        items: Sequence[dict[str, Any]],
        pagination: Literal["lastEvaluatedKey", "nextToken"] = "lastEvaluatedKey",
        limit: int | None = None,
        faults: Iterable[Answer] = (),
        port: int = 0,
    ) -> None:
        """Prepare; port 0 takes a free one, and `port` says which once it listens."""
        self.items = items
        self.limit = limit
        self.faults = deque(faults)
        self.requests: list[str] = []
        self.port = port
        self._organization = organization
        self._api_key = api_key
        self._cursor_name = pagination
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """What `infodeck.api` is set to."""
        return f"http://{_HOST}:{self.port}{_BASE}"

    async def __aenter__(self) -> Self:
        """Listen; raise `CommandError` where the port is taken."""
        application = web.Application()
        application.router.add_get(f"{_BASE}/organizations/{{organization}}/assets", self._list_assets)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, _HOST, self.port).start()
        except OSError as error:
            await self._stack.aclose()
            raise CommandError(
                f"the demo's API cannot listen on {_HOST}:{self.port}: {error.strerror}"
            ) from error
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Stop listening."""
        await self._stack.aclose()

    async def _list_assets(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.query_string)
        if not hmac.compare_digest(request.headers.get("X-Api-Key", "").encode(), self._api_key.encode()):
            return _refuse(401, "Invalid API key")
        if request.match_info["organization"] != self._organization:
            return _refuse(404, "Organization not found")
        if self.limit is not None and len(self.requests) > self.limit:
            return _refuse(429, "Too many requests", {"Retry-After": "1"})
        if self.faults:
            return await _send(request, self.faults.popleft())
        return self._page(request)

    def _page(self, request: web.Request) -> web.Response:
        size_name, default = _SMALLEST_DEFAULT[self._cursor_name]
        try:
            size = int(request.query.get(size_name, default))
            start = _position(request.query.get(self._cursor_name))
        except ValueError:
            return _refuse(422, "Invalid cursor or page size")
        if not 1 <= size <= _MAX_PAGE_SIZE:
            return _refuse(422, "Invalid page size")
        end = start + size
        cursor = _cursor(end) if end < len(self.items) else None
        return _json({"data": self.items[start:end], self._cursor_name: cursor})


def api_item(asset: SimulatedAsset, *, organization: str) -> dict[str, Any]:
    """Return the asset as the API lists it."""
    return {
        "id": asset.id,
        "organizationId": organization,
        "assetTypeId": asset.type,
        "name": asset.name,
        "locationId": asset.location,
        "modelName": asset.model,
        "nameOfManufacturer": "Simulated",
        "serialNumber": f"sn-{asset.id}",
        "status": "Online",
        "shadows": {"DeviceUplink": {"state": {"reported": {}}}},
        "createdAt": 1_771_911_526,
        "updatedAt": 1_771_911_526,
    }


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


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    if not answer.broken_off:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    response = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(answer.body) + 1)})
    await response.prepare(request)
    await response.write(answer.body)
    if request.transport is not None:
        request.transport.close()
    return response


def _json(document: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps(document)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json({"message": message}, status=status, headers=headers)
