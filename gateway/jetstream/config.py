"""The settings that sink and source of type `nats` share: which servers, which stream, and how to log in."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, model_validator
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, FieldError, RelativePath
from gateway.config.secrets import SecretReference
from gateway.config.value_types import is_host, must_match, parse_url, pattern_hint

OLDEST_SERVER = (2, 14)
"""The first version of nats-server in which a sink can publish batches, and a source reset its consumer."""
FETCH_SIZE = 500
"""Messages that may be delivered to a source and not acknowledged; `max_ack_pending` of its consumer."""
_PORT = 4222
_SCHEMES = {"nats": False, "tls": True}
_NAME = r"[^\s.*>/\\]{1,200}"  # of a stream or consumer


class NatsUrl(NamedTuple):
    """One server's address."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


def parse_nats_url(text: object) -> NatsUrl:
    """Return the parts of `nats://host:4222`, or of `tls://host:4222`; the port may be left out."""
    if isinstance(text, NatsUrl):
        return text
    try:
        url = urlsplit(text if isinstance(text, str) else "")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or not is_host(host) or url.scheme not in _SCHEMES or url.path.strip("/"):
        raise ValueError("a server is nats://host:4222, or tls://host:4222 for TLS")
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise FieldError("no user, password or token here: write `credentials` or `nkey`", secret=True)
    return NatsUrl(host=host, port=port or _PORT, tls=_SCHEMES[url.scheme])


def _check_monitor(text: str) -> str:
    url = parse_url(text, "a monitoring port is http://host:8222")
    if "@" in url.netloc:
        raise FieldError("no user or password here: a monitoring port asks for none", secret=True)
    return text.rstrip("/")


JetStreamName = Annotated[
    str,
    must_match(_NAME, "the name of a stream or consumer has no space, `.`, `*`, `>`, `/` or `\\`"),
    pattern_hint(_NAME),
]
"""The name of a stream or consumer."""
_Server = Annotated[NatsUrl, PlainValidator(parse_nats_url), pattern_hint("(nats|tls)://[^/@?# ]+/?")]
_MonitorUrl = Annotated[str, AfterValidator(_check_monitor), pattern_hint("https?://[^/@?# ]+/?")]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NatsTls:
    """PEM files for TLS towards the servers; absolute."""

    ca: RelativePath | None = None
    """PEM file with the certificates to trust; the system's if not written."""
    certificate: RelativePath | None = None
    """PEM file with the client certificate."""
    key: RelativePath | None = None
    """PEM file with the client certificate's key."""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NatsConfig:
    """The servers of one cluster, one stream, and what identifies this gateway there."""

    servers: Annotated[tuple[_Server, ...], Field(min_length=1)]
    """The servers of the cluster: nats://host:4222, or tls://host:4222 for TLS."""
    stream: JetStreamName
    """The name of the JetStream stream."""
    credentials: SecretReference | None = None
    """Where the user's .creds file is, with JWT and NKey."""
    nkey: SecretReference | None = None
    """Where the seed of the user's NKey is, instead of `credentials`."""
    tls: NatsTls | None = None
    """Certificates; only needed where the system's authorities are not enough."""
    monitor: tuple[_MonitorUrl, ...] = ()
    """The servers' monitoring ports, http://host:8222, where `gateway doctor` reads `sync_interval`."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.credentials is not None and self.nkey is not None:
            raise ValueError("`credentials` have an NKey of their own: leave `nkey` out, or them")
        if len({server.tls for server in self.servers}) > 1:
            raise ValueError("write all `servers` with tls://, or all with nats://")
        if self.tls is not None and not self.servers[0].tls:
            raise ValueError("`tls` is for TLS: write the `servers` with tls://")
        return self
