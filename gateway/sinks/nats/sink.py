"""The NATS sink: every event, as received, to a stream that gateways in other buildings read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import RefusedError
from gateway.jetstream.connection import open_connection
from gateway.model import EventCopy
from gateway.sinks.connecting import SessionSink
from gateway.sinks.nats.publisher import StreamPublisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.nats.config import NatsSinkConfig
    from gateway.status import SinkStatus


class NatsSink(SessionSink[StreamPublisher]):
    """Publishes the events that it gets, and no point: the other gateways have tables of their own."""

    def __init__(
        self,
        *,
        name: str,
        config: NatsSinkConfig,
        gateway: str,
        points: PointSource,  # noqa: ARG002 - no points
        latest: LatestValues,  # noqa: ARG002 - likewise
        status: SinkStatus,
        retained: dict[str, bool] | None = None,  # noqa: ARG002 - likewise
        alarms: Alarms | None = None,  # noqa: ARG002 - those of this gateway
    ) -> None:
        servers = ", ".join(str(server) for server in config.servers)
        super().__init__(name=name, status=status, kind="nats", address={"servers": servers})
        self._config = config
        self._gateway = gateway
        self._published: set[int] = set()  # events of a batch that was not completed
        self._has_written = False  # during this session, or the last one

    async def write(self, updates: Sequence[Update]) -> None:
        """Publish the events among the updates; return when the stream has acknowledged all of them."""
        publisher = await self.wait_connected()
        copies = [update for update in updates if isinstance(update, EventCopy)]
        before = len(self._published)
        try:
            refusals = await publisher.publish(copies, done=self._published)
        finally:
            self._has_written |= len(self._published) > before
        self._published.clear()
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:  # noqa: ARG002 - no points
        """Do nothing: events have their subjects already."""

        def adopt(_: Iterable[Update]) -> None:
            pass

        return adopt

    def retries_soon(self) -> bool:
        """Return whether the stream has accepted events: then the network was lost, and may be back."""
        return self._has_written

    async def session(self) -> str:
        """Connect, and return why the connection was lost."""
        self._has_written = False
        setting = f"sinks.{self.name}"
        async with open_connection(self._config, setting=setting, name=self._gateway) as connection:
            publisher = StreamPublisher(connection, stream=self._config.stream, gateway=self._gateway)
            await publisher.start()
            self.set_up(publisher)
            try:
                return await asyncio.shield(connection.lost)
            finally:
                self.set_down()
