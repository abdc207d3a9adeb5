"""The least that an aiohttp handler can do, on the gateway's event loop: python _bare_handler.py PORT."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from _load import PATH
from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    """Read the body and answer."""
    await request.read()
    return web.Response(body=b'{"received":true}', content_type="application/json")


async def serve(port: int) -> None:
    """Serve until terminated."""
    application = web.Application()
    application.router.add_post(PATH, answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve(int(sys.argv[1])))
