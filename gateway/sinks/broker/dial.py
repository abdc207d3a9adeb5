"""Reaching an MQTT broker: names, TCP, TLS, websocket and CONNECT. All may block: it runs in a thread."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.sinks.broker.client import BrokerClient
from gateway.tls import alert_in, client_context

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.secrets import SecretSource
    from gateway.sinks.broker.config import BrokerConfig


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of PEM text; `ca` None: the system's certificate authorities. `alpn`: names of protocols."""

    ca: Path | None
    certificate: Path | None
    key: Path | None
    alpn: tuple[str, ...] | None = None


class Will(NamedTuple):
    """What the broker publishes with QoS 1 when the connection ends without DISCONNECT."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(frozen=True, slots=True)
class Dial:
    """All that a CONNECT needs. `path`: of a websocket, None: plain TCP or TLS. `will` None: none."""

    host: str
    port: int
    version: MQTTProtocolVersion
    client_id: str
    keepalive_s: int
    window: int
    will: Will | None
    path: str | None = None
    user: str | None = None
    password: SecretSource | None = None
    tls: Tls | None = None

    @classmethod
    def to(cls, config: BrokerConfig, *, client_id: str, will: Will | None) -> Dial:
        """Return how to reach the broker of a sink; `client_id` is taken where its config has none."""
        url = config.url
        return cls(
            host=url.host,
            port=url.port,
            path=url.path,
            version=MQTTProtocolVersion.MQTTv5 if config.protocol == "5" else MQTTProtocolVersion.MQTTv311,
            client_id=config.client_id or client_id,
            keepalive_s=round(config.keepalive),
            window=config.in_flight,
            will=will,
            user=config.user,
            password=config.password,
            tls=Tls(config.ca, config.certificate, config.key, config.alpn) if url.tls else None,
        )


def dial_broker(dial: Dial) -> BrokerClient:
    """Connect and send CONNECT; the client has no callbacks yet, so nothing of it reaches another thread."""
    client = BrokerClient(
        CallbackAPIVersion.VERSION2,
        client_id=dial.client_id,
        protocol=dial.version,
        transport="tcp" if dial.path is None else "websockets",
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # unlimited: the window is kept here; paho scans its own at every PUBACK
    if dial.will is not None:
        client.will_set(dial.will.topic, dial.will.payload, qos=1, retain=dial.will.retain)
    if dial.path is not None:
        client.ws_set_options(path=dial.path)
    if dial.user is not None:
        password = None if dial.password is None else dial.password.resolve().reveal()
        # Typed as text, passed on as it is: an MQTT password is bytes.
        client.username_pw_set(dial.user, password)  # type: ignore[arg-type]
    if dial.tls is not None:
        client.tls_set_context(_tls_context(dial.tls))
    client.connect(dial.host, dial.port, dial.keepalive_s)
    return client


class _TlsSocket(ssl.SSLSocket):
    """Closes itself where no TLS comes about; paho would leave it open.

    And it keeps the broker's alert, of which paho says nothing: with TLS 1.3, a client certificate is refused
    when all else is done.
    """

    alert = ""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self.alert = alert_in(error)
            raise

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except ConnectionError:
            with suppress(OSError):
                self.recv(1)  # the alert may be what is left of the connection
            raise

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in ssl
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = client_context("cannot connect", authority=tls.ca, certificate=tls.certificate, key=tls.key)
    context.sslsocket_class = _TlsSocket
    if tls.alpn is not None:
        context.set_alpn_protocols(list(tls.alpn))
    return context
