"""A webhook endpoint that records requests, and answers as a test sets."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.errors import SignatureError
from gateway.intake.signature import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Receiver:
    """Records requests, and refuses the first `refuse` attempts with 503.

    With `secret`, a wrong signature gets 401; what is not JSON gets 400.
    """

    def __init__(self, *, refuse: int = 0, secret: bytes | None = None) -> None:
        self.url = ""
        self.refuse = refuse
        self.secret = secret
        self.refused: list[int] = []
        self.requests: list[tuple[dict[str, Any], bytes, str]] = []
        self._changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.Response:
        """Record the request and answer like a gateway."""
        assert request.content_type == "application/json"
        body, header = await request.read(), request.headers["x-infodeck-signature"]
        if (status := self._judge(body, header)) != HTTPStatus.OK:
            self.refused.append(status)
            return web.Response(status=status)
        self.requests.append((orjson.loads(body), body, header))
        async with self._changed:
            self._changed.notify_all()
        if len(self.requests) <= self.refuse:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.json_response({"received": True})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the requests so far satisfy `condition`."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(condition)

    def _judge(self, body: bytes, header: str) -> int:
        try:
            if self.secret is not None:
                Verifier([self.secret], tolerance_s=300).verify(body, header, now_s=time.time())
            orjson.loads(body)
        except SignatureError:
            return HTTPStatus.UNAUTHORIZED
        except orjson.JSONDecodeError:
            return HTTPStatus.BAD_REQUEST
        return HTTPStatus.OK

    def ids(self) -> list[str]:
        """Return the event ids in order of arrival."""
        return [event["id"] for event, _, _ in self.requests]

    def types(self) -> list[str]:
        """Return the event types in order of arrival."""
        return [event["type"] for event, _, _ in self.requests]


@asynccontextmanager
async def listening(receiver: Receiver) -> AsyncIterator[Receiver]:
    """Serve `receiver` on a free loopback port."""
    application = web.Application()
    application.router.add_post("/webhooks/infodeck", receiver.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}/webhooks/infodeck"
        yield receiver
    finally:
        await runner.cleanup()
