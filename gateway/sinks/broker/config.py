"""The settings that both types of MQTT sinks share: which broker, and how to connect."""

from __future__ import annotations

import re
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, FieldError, RelativePath
from gateway.config.secrets import SecretReference
from gateway.config.value_types import Duration, is_host, machine_of

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_USUAL_PATH = "/mqtt"  # what most brokers expect; mosquitto takes any
_PROTOCOL_NAME = "^[ -~]{1,255}$"  # RFC 7301


@plain_dataclass(frozen=True, slots=True)
class BrokerUrl:
    """The broker's address. `path` is a websocket's; None: no websocket."""

    host: str
    port: int
    tls: bool
    path: str | None = None

    @property
    def broker(self) -> str:
        """Machine and port: if two URLs have the same, they lead to one broker."""
        return f"{machine_of(self.host)}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = ("wss" if self.tls else "ws") if self.path is not None else "mqtts" if self.tls else "mqtt"
        return f"{scheme}://{host}:{self.port}{self.path or ''}"


def parse_broker_url(text: object) -> BrokerUrl:
    """Return the parts of `mqtt://host:1883`, or of an mqtts, ws or wss URL; the port may be left out."""
    try:
        url = urlsplit(text if isinstance(text, str) else "")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or not is_host(host) or url.scheme not in _PORTS:
        raise ValueError(
            "a broker is mqtt://host:1883, or mqtts://host:8883 for TLS; through websockets it is"
            " ws://host:80/mqtt, or wss://host:443/mqtt"
        )
    if url.username is not None or url.password is not None:
        raise FieldError("no user or password here: they have their own keys", secret=True)
    if url.query or url.fragment:
        raise FieldError('a broker\'s address has no "?" or "#"', secret=True)  # there may be a token behind
    is_websocket = url.scheme in {"ws", "wss"}
    if url.path.strip("/") and not is_websocket:
        raise ValueError("a broker's address ends after the port; topics begin with `prefix`")
    if not url.path.isascii() or not url.path.isprintable() or " " in url.path:
        raise ValueError(
            "the path of a websocket has no spaces and only ASCII: write others as %20 and so on"
        )
    return BrokerUrl(
        host=host,
        port=port or _PORTS[url.scheme],
        tls=url.scheme in {"mqtts", "wss"},
        path=(url.path or _USUAL_PATH) if is_websocket else None,
    )


def _five_as_text(value: object) -> object:
    return "5" if type(value) is int and value == 5 else value  # noqa: PLR2004 - YAML reads 5 as a number


def _check_protocol_name(name: str) -> str:
    if not re.fullmatch(_PROTOCOL_NAME, name):
        raise ValueError("the name of a protocol is 1 to 255 characters of ASCII, such as mqtt")
    return name


_URL = WithJsonSchema({"type": "string", "pattern": "^(mqtts?://[^/@?# ]+/?|wss?://[^/@?# ]+(/[^@?# ]*)?)$"})
_ProtocolName = Annotated[
    str,
    AfterValidator(_check_protocol_name),
    WithJsonSchema({"type": "string", "pattern": _PROTOCOL_NAME}),
]
_PROTOCOL = WithJsonSchema({"enum": [5, "5", "3.1.1"]})


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BrokerConfig:
    """One broker, and how to connect."""

    url: Annotated[BrokerUrl, BeforeValidator(parse_broker_url), _URL]
    """The broker: mqtt://host:1883, mqtts://host:8883 for TLS, or ws:// and wss:// through websockets."""
    protocol: Annotated[Literal["5", "3.1.1"], BeforeValidator(_five_as_text), _PROTOCOL] = "5"
    """Version of MQTT."""
    client_id: Annotated[str, Field(min_length=1)] | None = None
    """The MQTT client id; made from the names of gateway and sink if not written."""
    user: str | None = None
    """The user at the broker."""
    password: SecretReference | None = None
    """The user's password."""
    ca: RelativePath | None = None
    """PEM file with the certificates to trust; the system's if not written."""
    certificate: RelativePath | None = None
    """PEM file with the client certificate."""
    key: RelativePath | None = None
    """PEM file with the client certificate's key."""
    alpn: Annotated[tuple[_ProtocolName, ...], Field(min_length=1)] | None = None
    """The protocol names that TLS offers (ALPN), such as [mqtt], for a port that serves several."""
    keepalive: Annotated[Duration, Field(ge=1, le=65535)] = 30.0
    """The MQTT keep-alive; 1s to 65535s."""
    in_flight: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many messages may be unacknowledged."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together")
        if self.password is not None and self.user is None:
            raise ValueError("a `password` needs its `user`")
        if not self.url.tls and (self.ca or self.certificate or self.alpn):
            scheme = "mqtts" if self.url.path is None else "wss"
            raise ValueError(
                f"`ca`, `certificate`, `key` and `alpn` are for TLS: write the url with {scheme}://"
            )
        return self
