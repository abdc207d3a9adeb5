"""Which broker a sink speaks to and how: the keys that all kinds of MQTT sinks share."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, FieldError, RelativePath
from gateway.config.scalars import Duration
from gateway.config.secrets import SecretReference

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@plain_dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where the broker listens, and whether it speaks TLS there."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker_url(text: object) -> BrokerUrl:
    """Return the parts of `mqtt://host:1883` or `mqtts://host:8883`; the port may be left out."""
    try:
        url = urlsplit(text if isinstance(text, str) else "")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or url.scheme not in _PORTS:
        raise ValueError("a broker is mqtt://host:1883, or mqtts://host:8883 for TLS")
    if url.username is not None or url.password is not None:
        raise FieldError("no user or password here: they have their own keys", secret=True)
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError("a broker's address ends after the port; topics begin with `prefix`")
    return BrokerUrl(host=host, port=port or _PORTS[url.scheme], tls=url.scheme == "mqtts")


def _unquoted_five(value: object) -> object:
    return (
        "5" if type(value) is int and str(value) == "5" else value
    )  # YAML reads 5 as a number, 3.1.1 as text


_URL = WithJsonSchema({"type": "string", "pattern": "^mqtts?://[^/@?#]+/?$"})
_PROTOCOL = WithJsonSchema({"enum": [5, "5", "3.1.1"]})


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BrokerConfig:
    """One broker, and how to be let in there."""

    url: Annotated[BrokerUrl, BeforeValidator(parse_broker_url), _URL]
    """The broker: mqtt://host:1883, or mqtts://host:8883 for TLS."""
    protocol: Annotated[Literal["5", "3.1.1"], BeforeValidator(_unquoted_five), _PROTOCOL] = "5"
    """Version of MQTT."""
    client_id: Annotated[str, Field(min_length=1)] | None = None
    """How the broker knows this gateway; made from its name if not written."""
    user: str | None = None
    """The user that the broker knows."""
    password: SecretReference | None = None
    """Where the user's password is."""
    ca: RelativePath | None = None
    """PEM file with the certificates to trust; the system's if not written."""
    certificate: RelativePath | None = None
    """PEM file with the client certificate."""
    key: RelativePath | None = None
    """PEM file with the client certificate's key."""
    keepalive: Annotated[Duration, Field(ge=1, le=65535)] = 30.0
    """How often a sign of life is sent; 1s to 65535s."""
    in_flight: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many messages may wait for the broker's acknowledgement."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together")
        if self.password is not None and self.user is None:
            raise ValueError("a `password` needs its `user`")
        if not self.url.tls and (self.ca or self.certificate):
            raise ValueError("`ca`, `certificate` and `key` are for TLS: write the url with mqtts://")
        return self
