"""The Modbus TCP server: the building's controllers poll the points that have a register here.

docs/modbus.md describes functions, exceptions, unit ids and sentinels.
"""

from __future__ import annotations

import asyncio
import errno
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Literal, Self

import structlog
from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.value_types import Address, Network, Period
from gateway.errors import GatewayError, RefusedError, system_reason
from gateway.sinks.modbus_server.answers import Answers, ModbusIdentity
from gateway.sinks.modbus_server.connection import Clients, Connection
from gateway.sinks.modbus_server.register_image import RegisterImage
from gateway.sinks.modbus_server.security import ModbusTls, TlsConnection
from gateway.status import ClientsStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from gateway.alarms import Alarms
    from gateway.model import Update
    from gateway.ports import Adopt, LatestValues, PointSource
    from gateway.status import SinkStatus


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModbusServerConfig:
    """`type: modbus_server`. Clients outside of `allow` are dropped.

    A client that asks nothing for `idle_timeout` (seconds) is dropped as well.
    """

    type: Literal["modbus_server"]
    """A Modbus TCP server, which controllers poll."""
    listen: Address
    """Where the controllers connect; the usual port is 502, with `tls` 802."""
    allow: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    """Networks whose clients may connect; others are dropped."""
    max_connections: Annotated[int, Field(ge=1)] = 64
    """Clients at the same time; beyond them, quiet ones give way to newcomers."""
    idle_timeout: Period = 600.0
    """A client that asks nothing for so long is dropped."""
    tls: ModbusTls | None = None
    """Modbus/TCP Security: certificates on both sides."""
    identity: ModbusIdentity = Field(default_factory=ModbusIdentity)
    """The identification that a controller can read."""

    @property
    def place(self) -> str:
        """Where controllers connect; in words if that is more than one address."""
        is_everywhere = self.listen != self.listen.reachable
        return f"port {self.listen.port} of each of its addresses" if is_everywhere else str(self.listen)

    @property
    def access(self) -> str:
        """The clients that are served, in words that follow on the place."""
        networks = f", for clients from {' and '.join(map(str, self.allow))}"
        if self.tls is None:
            return networks
        roles = f" with the role {' or '.join(self.tls.roles)}" if self.tls.roles else ""
        return f"{networks}, with TLS (Modbus/TCP Security): a client needs a certificate{roles}"


class ModbusServerSink:
    """Shows the newest value of each point that has a register on this sink. `port` is the bound port."""

    def __init__(
        self,
        *,
        name: str,
        config: ModbusServerConfig,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,  # noqa: ARG002 - registers end with the server
        alarms: Alarms | None = None,  # noqa: ARG002 - registers show no text
    ) -> None:
        self.port = config.listen.port
        self._name = name
        self._config = config
        self._points: PointSource = points
        self._latest = latest
        self._status = status
        self._image = RegisterImage((), sink=name)
        self._answers = Answers(self._image, config.identity, application=f"{gateway}/{name}")
        status.clients = status.clients or ClientsStatus()  # counts go on if the sink was restarted
        self._clients = Clients(
            allow=config.allow,
            most=config.max_connections,
            status=status.clients,
            bound_log=structlog.get_logger().bind(gateway=gateway, sink=name),
        )
        self._server: asyncio.Server | None = None
        self._keeping_current: asyncio.Task[None] | None = None  # the certificate, with `tls`

    async def __aenter__(self) -> Self:
        """Fill the registers from the newest values, then open the port."""
        points, known = self._points, self._latest.all_latest()
        image = await asyncio.to_thread(self._build_image, points, known)  # newer values are written later
        if self._points is points:  # no other table was adopted meanwhile
            self._use_image(image)
        make_connection: Callable[..., Connection] = Connection
        certificate = None
        if (tls := self._config.tls) is not None:
            certificate = tls.load(f"sinks.{self._name}.tls")
            make_connection = partial(TlsConnection, certificate, tls.roles)
        await self._listen(make_connection)
        if certificate is not None:
            keeping = certificate.keep_current()
            self._keeping_current = asyncio.create_task(keeping, name=f"certificate of {self._name}")
        self._status.state = "up"
        return self

    async def _listen(self, make_connection: Callable[..., Connection]) -> None:
        listen, idle_timeout_s = self._config.listen, self._config.idle_timeout
        make_connection = partial(
            make_connection, answers=self._answers, clients=self._clients, idle_timeout_s=idle_timeout_s
        )
        self._clients.is_open = True
        try:
            self._server = await asyncio.get_running_loop().create_server(
                make_connection, listen.host, listen.port
            )
        except OSError as error:
            raise GatewayError(
                f"sink {self._name}: cannot listen on {listen}: {system_reason(error)}; {_advice(error)},"
                " or change `listen`"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the port and all connections."""
        if self._keeping_current is not None:
            self._keeping_current.cancel()
            await asyncio.wait([self._keeping_current])
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self._clients.close()
            await server.wait_closed()

    async def write(self, updates: Sequence[Update]) -> None:
        """Show the updates that are their point's newest, all of them between two polls.

        A measured value that its register cannot hold is refused; the register shows what `on_stale` says.
        """
        is_newest = self._latest.is_newest
        refusals = self._image.write(update for update in updates if is_newest(update))
        self._answers.clear_cache()
        if refusals:
            raise RefusedError(refusals)

    def prepare(self, points: PointSource, latest: LatestValues) -> Adopt:
        """Build the registers of another point table, with the newest values."""
        image = self._build_image(points, latest.all_latest())
        replaced: list[RegisterImage] = []

        def adopt(news: Iterable[Update]) -> None:
            image.write(news)
            replaced.append(self._image)  # freed with this function, in slices
            self._points, self._latest = points, latest
            self._use_image(image)

        return adopt

    def _build_image(self, points: PointSource, known: Iterable[Update]) -> RegisterImage:
        """Return the registers of a point table; a value that does not fit shows as the sentinel."""
        image = RegisterImage(points.points, sink=self._name)
        image.write(known)
        return image

    def _use_image(self, image: RegisterImage) -> None:
        self._image = image
        self._answers.use_image(image)


def _advice(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "ports below 1024 need a right, see docs/operations.md: grant it"
    return "free that port"
