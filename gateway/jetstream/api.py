"""Requests to JetStream about streams and consumers, in its own JSON: what this version lacks is not lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from gateway.errors import ForbiddenError, GatewayError, TransientError
from gateway.jetstream.connection import error_reason, open_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.jetstream.config import NatsConfig
    from gateway.jetstream.connection import NatsConnection

Document = dict[str, Any]

_ANSWER_WITHIN_S = 5.0
_NO_CONSUMER, _NO_STREAM = 10014, 10059


class JetStreamApi:
    """What one connection can ask; one request at a time.

    Raises ForbiddenError if the user may not, TransientError if nobody answers, and GatewayError with the
    server's words if it refuses.
    """

    def __init__(self, client: NatsConnection) -> None:
        self.client = client

    async def stream(self, name: str) -> Document | None:
        """Return configuration and state of a stream, None if there is none."""
        return await self._ask(f"$JS.API.STREAM.INFO.{name}", absent=_NO_STREAM)

    async def consumer(self, stream: str, name: str) -> Document | None:
        """Return configuration and state of a consumer, None if there is none."""
        return await self._ask(f"$JS.API.CONSUMER.INFO.{stream}.{name}", absent=_NO_CONSUMER)

    async def write_stream(self, config: Mapping[str, Any], *, is_new: bool) -> None:
        """Create or update a stream; an update has the whole configuration."""
        await self._ask(f"$JS.API.STREAM.{'CREATE' if is_new else 'UPDATE'}.{config['name']}", config)

    async def write_consumer(self, stream: str, config: Mapping[str, Any], *, is_new: bool) -> None:
        """Create or update a consumer; an update has the whole configuration."""
        document = {"stream_name": stream, "config": config, "action": "create" if is_new else "update"}
        await self._ask(f"$JS.API.CONSUMER.CREATE.{stream}.{config['durable_name']}", document)

    async def permissions(self) -> Document | None:
        """Return this user's permissions as the server has them, None if it has no limits."""
        answer = await self._ask("$SYS.REQ.USER.INFO") or {}
        permissions: Document | None = answer.get("data", {}).get("permissions")
        return permissions

    async def _ask(
        self, subject: str, document: Mapping[str, Any] | None = None, *, absent: int | None = None
    ) -> Document | None:
        denied: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def deny(reason: str) -> None:
            if not denied.done():
                denied.set_result(reason)

        self.client.on_denied = deny
        payload = b"" if document is None else orjson.dumps(document)
        request = asyncio.ensure_future(self.client.request(subject, payload, timeout=_ANSWER_WITHIN_S))
        either: set[asyncio.Future[Any]] = {request, denied}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if denied.done():
            request.cancel()
            raise ForbiddenError(denied.result().replace(subject.lower(), subject))
        try:
            answer: Document = orjson.loads((await request).data)
        except NoRespondersError as error:
            raise TransientError("JetStream does not answer: it is off, or most servers are away") from error
        except (NatsError, TimeoutError, ValueError) as error:
            raise TransientError(f"JetStream does not answer: {error_reason(error)}") from error
        if (refused := answer.get("error")) is None:
            return answer
        if refused.get("err_code") == absent:
            return None
        raise GatewayError(f"JetStream refuses: {refused.get('description', refused)}")


@asynccontextmanager
async def open_api(config: NatsConfig, *, setting: str, name: str) -> AsyncIterator[JetStreamApi]:
    """Connect as the gateway `name` does, and yield what can be asked there."""
    async with open_connection(config, setting=setting, name=name) as client:
        yield JetStreamApi(client)
