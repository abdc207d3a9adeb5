"""A web server that gives one answer to everything: a proxy's error page, an API with another clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping


@asynccontextmanager
async def answering(
    *,
    status: int = 200,
    body: str = "",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[int]:
    """Run it on loopback; yields its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)  # 0 would be no limit
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
