"""An MQTT broker inside the demo's process, so that nothing has to be installed to subscribe."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

from gateway.errors import CommandError

if TYPE_CHECKING:
    from typing import Any

    from amqtt.session import Session

_HOST = "127.0.0.1"
_LISTENER = "default"
_CONFIG = {
    "listeners": {_LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


class _Broker(Broker):  # type: ignore[misc]  # amqtt is not checked
    """Sends what is retained to whoever subscribed to it; amqtt sends it to every client that connects."""

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        subscribers = self._subscriptions.get(subscription[0], [])
        if any(subscriber is session for subscriber, _ in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class DemoBroker:
    """A broker for anybody on this machine: MQTT 3.1.1, retained messages, nothing kept on disk.

    An async context manager, on the caller's event loop. It is for demos: it has no passwords and no limits.
    """

    def __init__(self, port: int = 0) -> None:
        """Choose the loopback port; 0 takes a free one, and `port` says which once it listens."""
        self.port = port
        # It logs every step of every message, and warns of clients that leave: not for the demo's screen.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)

    async def __aenter__(self) -> Self:
        """Listen; raise `CommandError` where the port is taken."""
        asyncio.get_running_loop().set_exception_handler(_report_unless_from_broker)
        self._broker = _Broker(_CONFIG)
        await self._broker.start()
        try:
            self._server = await asyncio.start_server(self._serve, _HOST, self.port)
        except OSError as error:
            await self._broker.shutdown()
            raise CommandError(
                f"the demo's MQTT broker cannot listen on {_HOST}:{self.port}: {error.strerror}"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        self._server.close()
        await self._broker.shutdown()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._broker.external_connected(
                StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER
            )
        finally:
            writer.close()  # amqtt leaves it open where the client broke off


def _report_unless_from_broker(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody awaited, except amqtt's own tasks: they fail for every client that just leaves."""
    task = context.get("future")
    code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
    if code is None or "amqtt" not in code.co_filename:
        loop.default_exception_handler(context)
