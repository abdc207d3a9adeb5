"""The whole of `gateway.yaml`: its shape, its defaults, its rules; and which sinks there are.

Secrets are not in `Settings`, only where they are: `resolve_secrets` reads them, so that a file can
be checked on a machine that has none.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import MISSING, STRICT, ByType, Document, RelativePath, read_document
from gateway.config.rules import (
    ApiUrl,
    BodySize,
    JournalSize,
    JournalUrl,
    LoopbackAddress,
    Name,
    Organization,
    Period,
    Retention,
    SinkName,
    UrlPath,
)
from gateway.config.scalars import Address, HostPort, Network, parse_host_port
from gateway.config.secrets import Secret, SecretReference, SecretReferences, SecretSource
from gateway.errors import ConfigError
from gateway.sinks.modbus_server import ModbusServerConfig, ModbusServerSink
from gateway.sinks.mqtt import MqttConfig, MqttSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.decode import Problem
    from gateway.ports import LatestValues, PointSource, Sink
    from gateway.status import SinkStatus

_INTAKE = HostPort("127.0.0.1", 8080)
_ADMIN = HostPort("127.0.0.1", 9680)
_LONGEST_SOCKET_PATH = 100  # bytes; Linux takes 107, others somewhat less
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  recognised, not listened on


class SinkFactory(Protocol):
    """Makes a sink: what every sink's constructor takes. `config` is of the sink's own config class."""

    def __call__(
        self,
        *,
        name: str,
        config: Any,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
    ) -> Sink:
        """Return the sink, not yet started."""


@plain_dataclass(frozen=True, slots=True)
class SinkType:
    """What a sink's `type` stands for."""

    config: type
    factory: SinkFactory


SINK_TYPES: dict[str, SinkType] = {
    "mqtt": SinkType(MqttConfig, MqttSink),
    "modbus_server": SinkType(ModbusServerConfig, ModbusServerSink),
}


class SinkConfig(Protocol):
    """Common to the config classes of all sinks."""

    @property
    def type(self) -> str:
        """Return its name in SINK_TYPES."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Reconcile:
    """How often (seconds) the API is asked for what webhooks may have missed."""

    every: Period = 15 * 60.0
    """How often the API is asked."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Infodeck:
    """The cloud side. Without `api_key` there is no reconciliation."""

    organization: Organization
    """The organization's id; events of others go nowhere."""
    api: ApiUrl = "https://app.infodeck.io/api/v2"
    """Where Infodeck's API is."""
    api_key: SecretReference | None = None
    """Where the API key is; without it there is no reconciliation."""
    reconcile: Reconcile = Field(default_factory=Reconcile)
    """Asking the API for what webhooks may have missed."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Tls:
    """PEM files; absolute."""

    certificate: RelativePath
    """PEM file with the certificate and its chain."""
    key: RelativePath
    """PEM file with the private key."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Intake:
    """Where webhooks arrive. `tolerance` in seconds, both ways; `max_body` in bytes."""

    listen: Address = _INTAKE
    """Where webhooks arrive; beyond loopback `tls` or `trusted_proxies` is required."""
    path: UrlPath = "/webhooks/infodeck"
    """The path of the webhook's URL."""
    tls: Tls | None = None
    """Certificate and key of the gateway's own HTTPS."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of the proxies that end TLS in front of the gateway."""
    signing_secrets: Annotated[SecretReferences, Field(min_length=1)]
    """Where the webhook's signing secrets are; two while one is being rotated."""
    tolerance: Period = 5 * 60.0
    """How far a delivery's time may be off, both ways."""
    max_body: BodySize = 1 << 20
    """Larger deliveries are refused."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Journal:
    """Where events are kept, for how long (seconds) and up to which size (bytes)."""

    url: JournalUrl = "sqlite:///var/lib/gateway/journal.db"
    """The database file: sqlite:// and an absolute path."""
    retention: Retention = 48 * 3600.0
    """How long events are kept; at least 25h, for Infodeck repeats deliveries for 24 h."""
    max_size: JournalSize = 2 << 30
    """When it is full, Infodeck is asked to come again later; at least 16MiB."""

    @property
    def path(self) -> Path:
        """The database file, absolute."""
        return Path("/") / self.url.removeprefix("sqlite:///").lstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Admin:
    """Where the dashboard, health and metrics are, and the Unix socket of what changes something."""

    listen: LoopbackAddress = _ADMIN
    """Where the dashboard, health and metrics are; loopback only."""
    socket: RelativePath | None = None
    """The Unix socket of `gateway force` and `release`; control.sock beside the journal if not written."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Log:
    """What is logged to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged."""
    format: Literal["json", "console"] = "json"
    """json for machines, console for people."""


AnySinkConfig = Annotated[
    SinkConfig, ByType({name: sink_type.config for name, sink_type in SINK_TYPES.items()})
]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Settings:
    """`gateway.yaml`. `mappings` is the folder of the point tables, absolute."""

    infodeck: Infodeck
    """The cloud side."""
    intake: Intake
    """Where webhooks arrive."""
    name: Name = Field(default_factory=socket.gethostname)
    """This gateway, in topics and metrics; the host's name if not written."""
    journal: Journal = Field(default_factory=Journal)
    """Where events are kept."""
    sinks: dict[SinkName, AnySinkConfig] = Field(default_factory=dict)
    """Where values go, by the names that point tables use."""
    mappings: RelativePath = Field(default="../mappings", validate_default=True)
    """The folder of the point tables."""
    admin: Admin = Field(default_factory=Admin)
    """Dashboard, health and metrics."""
    log: Log = Field(default_factory=Log)
    """What is logged to standard error, and how."""

    @property
    def control_socket(self) -> Path:
        """The Unix socket of commands that change something: beside the journal, unless it is set."""
        return self.admin.socket or self.journal.path.with_name("control.sock")

    @property
    def mqtt_prefixes(self) -> dict[str, str]:
        """The topic prefix of each MQTT sink."""
        return {name: sink.prefix for name, sink in self.sinks.items() if isinstance(sink, MqttConfig)}


@plain_dataclass(frozen=True, slots=True)
class Secrets:
    """What the gateway itself needs; sinks read their own. `api_key` None: there is none."""

    api_key: Secret | None
    signing_secrets: tuple[Secret, ...]


def load_settings(file: Path) -> Document[Settings]:
    """Read `gateway.yaml` and check everything that can be checked without the secrets."""
    document = read_document(file, Settings, may_be_null=lambda _: False)
    document.problems += [
        *_clear_text_problems(document),
        *_port_problems(document),
        *_socket_problems(document),
    ]
    document.problems.sort(key=lambda problem: problem.location)
    return document


def resolve_secrets(document: Document[Settings]) -> Secrets:
    """Read every secret, those of the sinks too; raise ConfigError with all that cannot be read."""
    settings = document.require()
    secrets: dict[SecretSource, Secret] = {}
    problems = []
    for path, source in _secret_sources(settings):
        try:
            secrets[source] = source.resolve()
        except ConfigError as error:
            problems.append(document.problem(path, str(error)))
    if problems:
        raise ConfigError([str(problem) for problem in sorted(problems, key=lambda one: one.location)])
    api_key = settings.infodeck.api_key
    return Secrets(
        api_key=None if api_key is None else secrets[api_key],
        signing_secrets=tuple(secrets[source] for source in settings.intake.signing_secrets),
    )


def _secret_sources(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, SecretSource]]:
    """Yield every secret's source below `value`, with its path in the file."""
    if isinstance(value, SecretSource):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secret_sources(inner, (*path, key))
    elif isinstance(value, tuple):
        for position, inner in enumerate(value):
            yield from _secret_sources(inner, (*path, position))
    elif is_dataclass(value):
        for field in fields(value):
            yield from _secret_sources(getattr(value, field.name), (*path, field.name))


def _clear_text_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where events would travel unprotected."""
    listen = _listeners(document).get(("intake", "listen"))
    protected = document.written(["intake", "tls"]) or document.written(["intake", "trusted_proxies"])
    if listen and not listen.is_loopback and not protected:
        yield document.problem(
            ["intake", "listen"],
            "events would travel in the clear beyond this machine: set `tls`, or set `trusted_proxies` to"
            " the networks of the proxies that end TLS, or listen on 127.0.0.1",
            str(listen),
        )


def _port_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem for each listener on a port that another one has."""
    taken: dict[tuple[str, ...], HostPort] = {}
    for path, address in _listeners(document).items():
        for other_path, other in taken.items():
            if _collide(address, other):
                message = f"{'.'.join(other_path)} listens on this port already"
                yield document.problem(path, message, str(address))
        taken[path] = address


def _socket_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where the control socket's path is longer than Unix allows."""
    settings = document.value
    if settings is None or len(os.fsencode(settings.control_socket)) <= _LONGEST_SOCKET_PATH:
        return
    path = settings.control_socket
    advice = f"the path of a Unix socket has {_LONGEST_SOCKET_PATH} bytes at most, this one is {path}"
    if settings.admin.socket is not None:
        yield document.problem(["admin", "socket"], advice)
    else:
        yield document.problem(
            ["journal", "url"],
            f"{advice}; set `admin.socket` to a shorter one, such as /run/gateway/control.sock",
        )


def _listeners(document: Document[Settings]) -> dict[tuple[str, ...], HostPort]:
    """Return all addresses as written, so that one mistake elsewhere does not hide those here."""
    listeners: dict[tuple[str, ...], HostPort] = {("intake", "listen"): _INTAKE, ("admin", "listen"): _ADMIN}
    sinks = document.written(["sinks"])
    for path in [
        *listeners,
        *(("sinks", name, "listen") for name in (sinks if isinstance(sinks, dict) else ())),
    ]:
        written = document.written(path)
        if written is not MISSING:
            listeners.pop(path, None)
            with suppress(ValueError):  # it has a problem of its own
                listeners[path] = parse_host_port(written)
    return listeners


def _collide(one: HostPort, other: HostPort) -> bool:
    hosts = {"127.0.0.1" if address.host == "localhost" else address.host for address in (one, other)}
    return one.port == other.port != 0 and (len(hosts) == 1 or not hosts.isdisjoint(_EVERYWHERE))
