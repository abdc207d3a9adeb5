"""The files that a browser gets: read once, never changed, and nothing from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked each time, answered with 304: an upgrade is seen at once
}


@dataclass(frozen=True, slots=True)
class _Page:
    """One file as it is sent."""

    body: bytes
    content_type: str
    etag: str

    async def answer(self, request: web.Request) -> web.Response:
        """Send it, unless the browser has it."""
        headers = {**_HEADERS, "ETag": f'"{self.etag}"'}
        if any(tag.value == self.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.body, headers={**headers, "Content-Type": self.content_type})


def page_routes() -> Iterator[web.RouteDef]:
    """Yield a route for each file of `gateway/admin/static`; `index.html` is at `/`."""
    for file in files("gateway.admin").joinpath("static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            body = file.read_bytes()
            page = _Page(body, _TYPES[kind], sha256(body).hexdigest()[:16])
            yield web.get("/" if file.name == "index.html" else f"/static/{file.name}", page.answer)
