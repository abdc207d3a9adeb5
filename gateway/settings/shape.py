"""The shape of `gateway.yaml`: which keys there are, what each may hold, and what holds if it is not written.

Secrets are not in `Settings`, only where they are, so that a file can be checked on a machine that has none.
"""

from __future__ import annotations

import socket
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, RelativePath
from gateway.config.salvage import ANY, Parts
from gateway.config.secrets import SecretReference, SecretReferences, SecretSource
from gateway.config.value_types import (
    Address,
    BodySize,
    HostPort,
    JournalSize,
    JournalUrl,
    Name,
    Network,
    Period,
    Retention,
    SinkName,
    UrlPath,
)
from gateway.errors import GatewayError
from gateway.events import EventPatterns
from gateway.intake.source_config import NatsSourceConfig
from gateway.jetstream.config import NatsConfig
from gateway.settings.infodeck import InfodeckSettings
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.modbus_server.sink import ModbusServerConfig
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.nats.config import NatsSinkConfig
from gateway.sinks.sparkplug.config import MqttSparkplugConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits

DEFAULT_INTAKE = HostPort("127.0.0.1", 8080)
DEFAULT_ADMIN = HostPort("127.0.0.1", 9680)
DEFAULT_TOLERANCE_S = 5 * 60.0


class SinkType(NamedTuple):
    """What a sink's `type` stands for; all constructors take the same arguments, see `App`."""

    config: type
    constructor: str  # for `import_class`


def import_class(name: str) -> Callable[..., Any]:
    """Return the class that is named `module:class`; raise GatewayError if its library is not installed."""
    try:
        found: Callable[..., Any] = resolve_name(name)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        advice = f"install building-gateway[{library}]"
        raise GatewayError(f"{library} is not installed: {advice}") from error
    return found


SINK_TYPES = {
    "mqtt": SinkType(MqttConfig, "gateway.sinks.mqtt.sink:MqttSink"),
    "mqtt_sparkplug": SinkType(MqttSparkplugConfig, "gateway.sinks.sparkplug.sink:MqttSparkplugSink"),
    "modbus_server": SinkType(ModbusServerConfig, "gateway.sinks.modbus_server.sink:ModbusServerSink"),
    "modbus_client": SinkType(ModbusClientConfig, "gateway.sinks.modbus_client.sink:ModbusClientSink"),
    "bacnet": SinkType(BacnetConfig, "gateway.sinks.bacnet.sink:BacnetSink"),
    "nats": SinkType(NatsSinkConfig, "gateway.sinks.nats.sink:NatsSink"),
}
SinkConfig = (
    MqttConfig | MqttSparkplugConfig | ModbusServerConfig | ModbusClientConfig | BacnetConfig | NatsSinkConfig
)


class CertificateFiles(NamedTuple):
    """Certificate and key of one setting."""

    setting: str
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TlsFiles:
    """PEM files; absolute."""

    certificate: RelativePath
    """PEM file with the certificate and its chain."""
    key: RelativePath
    """PEM file with the private key."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ForwardedSettings:
    """The sink that must have an event before its delivery is answered."""

    forwarded: SinkName
    """The name of a sink of type nats, or of one that publishes to a broker."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class IntakeSettings:
    """Where webhooks arrive. `tolerance` in seconds, both ways; `max_body` in bytes."""

    listen: Address = DEFAULT_INTAKE
    """Where webhooks arrive; beyond loopback `tls` or `trusted_proxies` is required."""
    path: UrlPath = "/webhooks/infodeck"
    """The path of the webhook's URL."""
    tls: TlsFiles | None = None
    """Certificate and key of the gateway's own HTTPS."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of the proxies that end TLS in front of the gateway."""
    signing_secrets: Annotated[SecretReferences, Field(min_length=1)]
    """Where the webhook's signing secrets are; two while one is being rotated."""
    tolerance: Period = DEFAULT_TOLERANCE_S
    """How far a delivery's time may be off, both ways."""
    max_body: BodySize = 1 << 20
    """Larger deliveries are refused."""
    acknowledge: Literal["journal"] | ForwardedSettings = "journal"
    """What a delivery's answer waits for: this journal, or {forwarded: SINK}, that sink's delivery, too."""

    @property
    def forwarded_by(self) -> str | None:
        """The sink that answers wait for, None if they wait for the journal alone."""
        return None if isinstance(self.acknowledge, str) else self.acknowledge.forwarded


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class JournalSettings:
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
class AdminSettings:
    """Where dashboard, health and metrics are, and the Unix socket of what changes something."""

    listen: Address = DEFAULT_ADMIN
    """Where dashboard, health and metrics are; beyond loopback with `token`, and TLS as at the intake."""
    tls: TlsFiles | None = None
    """Certificate and key of the admin server's own HTTPS."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of the proxies that end TLS in front of it."""
    token: SecretReference | None = None
    """Where the token is, of 20 characters or more: for whoever changes something, or asks from elsewhere."""
    socket: RelativePath | None = None
    """The Unix socket of `gateway force`, `deadletters retry` and others; default: beside the journal."""

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return f"{'http' if self.tls is None else 'https'}://{self.listen.reachable}"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LogSettings:
    """What is logged to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged."""
    format: Literal["json", "console"] | None = None
    """json for machines, console for people; if not written, console on a terminal and json elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Settings:
    """`gateway.yaml`. `mappings` is the folder of the point tables, absolute."""

    infodeck: InfodeckSettings
    """Infodeck: its API and its webhook."""
    intake: IntakeSettings | None = None
    """Where webhooks arrive."""
    source: NatsSourceConfig | None = None
    """Where events come from instead, if other gateways take the webhooks."""
    name: Name = Field(default_factory=socket.gethostname)
    """This gateway, in topics and status; the host's name if not written."""
    journal: JournalSettings = Field(default_factory=JournalSettings)
    """Where events are kept."""
    sinks: dict[SinkName, Annotated[SinkConfig, Field(discriminator="type")]] = Field(default_factory=dict)
    """Where values go, by the names that point tables use."""
    mappings: RelativePath = Field(default="../mappings", validate_default=True)
    """The folder of the point tables."""
    admin: AdminSettings = Field(default_factory=AdminSettings)
    """Health and status, and the socket of commands that change something."""
    log: LogSettings = Field(default_factory=LogSettings)
    """What is logged to standard error, and how."""

    @property
    def clock_skew_s(self) -> float:
        """How far Infodeck's clock may be off ours."""
        return DEFAULT_TOLERANCE_S if self.intake is None else self.intake.tolerance

    @property
    def signing_secrets(self) -> tuple[SecretSource, ...]:
        """Where the webhook's signing secrets are; none without an intake."""
        return () if self.intake is None else self.intake.signing_secrets

    @property
    def control_socket(self) -> Path:
        """The Unix socket of commands that change something: beside the journal, unless it is set."""
        return self.admin.socket or self.journal.path.with_name("control.sock")

    @property
    def previous_secrets(self) -> Path:
        """Where the gateway remembers signing secrets that were replaced: beside the journal."""
        return self.journal.path.with_name("signing-secrets.previous")

    @property
    def mqtt_topics(self) -> dict[str, TopicScheme]:
        """The topics of each MQTT sink, by its name."""
        return {
            name: sink.topics(self.name) for name, sink in self.sinks.items() if isinstance(sink, MqttConfig)
        }

    @property
    def bacnet_devices(self) -> dict[str, BacnetConfig]:
        """The settings of each BACnet sink, by its name."""
        return {name: sink for name, sink in self.sinks.items() if isinstance(sink, BacnetConfig)}

    @property
    def nats(self) -> dict[str, NatsConfig]:
        """Every sink and source of type nats, by its path in the file."""
        uses = {f"sinks.{name}": sink for name, sink in self.sinks.items()} | {"source": self.source}
        return {path: config for path, config in uses.items() if isinstance(config, NatsConfig)}

    @property
    def nats_sinks(self) -> tuple[str, ...]:
        """The names of the sinks that publish every event."""
        return tuple(name for name, sink in self.sinks.items() if isinstance(sink, NatsSinkConfig))

    @property
    def published_events(self) -> dict[str, EventPatterns]:
        """The types of the events that each sink publishes as received, by its name."""
        every = dict.fromkeys(self.nats_sinks, EventPatterns("*"))
        return every | {
            name: EventPatterns(sink.events)
            for name, sink in self.sinks.items()
            if isinstance(sink, MqttConfig) and sink.events
        }

    @property
    def event_patterns(self) -> EventPatterns:
        """The types that sinks name in `events`."""
        sinks = (sink for sink in self.sinks.values() if isinstance(sink, MqttConfig))
        return EventPatterns(each for sink in sinks for each in sink.events)

    @property
    def journaled_types(self) -> EventPatterns:
        """The types of the events that are journaled for a sink although they concern no point."""
        return EventPatterns(["*"]) if self.nats_sinks else self.event_patterns

    @property
    def write_limits(self) -> dict[str, WriteLimits]:
        """What each Modbus client may write."""
        return {
            name: sink.limits for name, sink in self.sinks.items() if isinstance(sink, ModbusClientConfig)
        }

    def certificates(self) -> Iterator[CertificateFiles]:
        """Yield the certificates that the gateway serves with, and those that it shows to brokers."""
        intake_tls = None if self.intake is None else self.intake.tls
        served = {"intake.tls": intake_tls, "admin.tls": self.admin.tls} | {
            f"sinks.{name}.tls": sink.tls
            for name, sink in self.sinks.items()
            if isinstance(sink, ModbusServerConfig)
        }
        for setting, tls in served.items():
            if tls is not None:
                yield CertificateFiles(setting, tls.certificate, tls.key)
        for name, sink in self.sinks.items():
            if isinstance(sink, BrokerConfig) and sink.certificate is not None and sink.key is not None:
                yield CertificateFiles(f"sinks.{name}", sink.certificate, sink.key)
            shown = sink.tls if isinstance(sink, NatsSinkConfig) else None
            if shown is not None and shown.certificate is not None and shown.key is not None:
                yield CertificateFiles(f"sinks.{name}.tls", shown.certificate, shown.key)


PARTS = Parts(
    droppable=(
        ("sinks", ANY),
        *((section,) for section in ("name", "journal", "mappings", "admin", "log", ANY)),
    ),
    stand_ins={
        "infodeck": {"organization": "o"},
        "intake": {"signing_secrets": [{"env": "SECRET"}]},
    },
)
"""What can be left out of settings that have problems, so that the rest of them is checked all the same."""
