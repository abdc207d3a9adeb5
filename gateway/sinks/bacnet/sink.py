"""The BACnet sink: a BACnet/IP device in which a BMS finds every point as an object."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Self

from gateway.clock import now_ms
from gateway.errors import GatewayError, RefusedError, system_reason
from gateway.sinks.bacnet.device import Device
from gateway.sinks.bacnet.objects import ObjectTable
from gateway.sinks.bacnet.server import BacnetServer
from gateway.status import BacnetStatus, ClientsStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.sinks.bacnet.config import BacnetConfig
    from gateway.status import SinkStatus


class BacnetSink:
    """Shows the newest value and quality of each point that is an object on this sink."""

    def __init__(
        self,
        *,
        name: str,
        config: BacnetConfig,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,  # noqa: ARG002 - objects end with the server
        alarms: Alarms | None = None,  # noqa: ARG002 - no event reporting
    ) -> None:
        self._name = name
        self._config = config
        self._points: PointSource = points
        self._latest = latest
        self._status = status
        # Counts go on if the sink was restarted.
        self._clients = status.clients = status.clients or ClientsStatus()
        self._bacnet = status.bacnet = status.bacnet or BacnetStatus()
        self._device = Device(config, name=config.name_in_network(gateway, name), revision=_revision())
        self._server: BacnetServer | None = None

    async def __aenter__(self) -> Self:
        """Fill the objects from the newest values, then open the port and broadcast I-Am."""
        points = self._points
        objects = await asyncio.to_thread(self._build_objects, points, self._latest)
        if self._points is points:  # no other table was adopted meanwhile
            self._use_objects(objects)
        self._server = BacnetServer(
            self._device, self._config, sink=self._name, clients=self._clients, status=self._bacnet
        )
        self._open(self._server)
        self._status.state = "up"
        return self

    def _open(self, server: BacnetServer) -> None:
        action, advice = f"listen on {self._config.listen}", "`listen` must be an address of this machine"
        try:
            server.listen()
            action, advice = "receive broadcasts", "write the broadcast address of its network as `broadcast`"
            server.announce()
        except OSError as error:
            server.close()
            if error.errno == errno.EADDRINUSE:
                advice = "another BACnet program of this machine has the port: stop it, or change `listen`"
            reason = system_reason(error)
            raise GatewayError(f"sink {self._name}: cannot {action}: {reason}; {advice}") from error

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the port; BACnet has no message for it."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def write(self, updates: Sequence[Update]) -> None:
        """Show the updates that are their point's newest, all of them between two requests.

        A value that its object cannot hold is refused; the object shows the last good one as unreliable.
        """
        latest = self._latest
        changed, refusals = self._device.objects.write(filter(latest.is_newest, updates), latest)
        if self._server is not None:
            for served in changed:
                self._server.subscriptions.notify_change(served)
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Build the objects of another point table, with the newest values."""
        objects = self._build_objects(points, latest)
        replaced: list[ObjectTable] = []

        def adopt(news: Iterable[Update]) -> None:
            objects.write(news, latest)
            replaced.append(self._device.objects)  # freed with this function, in slices
            self._points, self._latest = points, latest
            self._use_objects(objects)

        return adopt

    def _build_objects(self, points: PointSource, latest: LatestValues) -> ObjectTable:
        objects = ObjectTable(points.points, sink=self._name)
        objects.write(latest.all_latest(), latest)  # what does not fit shows as unreliable
        return objects

    def _use_objects(self, objects: ObjectTable) -> None:
        self._device.adopt(objects, revision=_revision())
        self._bacnet.objects = len(objects.listed)
        if self._server is not None:
            self._server.subscriptions.use_objects(objects.by_identifier)


def _revision() -> int:
    """Return a revision of the database that grows over restarts: Unix seconds."""
    return now_ms() // 1000
