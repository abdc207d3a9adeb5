"""Reaching an MQTT broker: names, TCP, TLS and CONNECT. All of it may block: it runs in a thread."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from pathlib import Path

    from paho.mqtt.enums import MQTTProtocolVersion

    from gateway.config.secrets import SecretSource


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of PEM text; `ca` None: the system's certificate authorities."""

    ca: Path | None
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class Dial:
    """All that a CONNECT needs. The will is `will_payload`, retained, on `will_topic`."""

    host: str
    port: int
    version: MQTTProtocolVersion
    client_id: str
    keepalive_s: int
    window: int
    will_topic: str
    will_payload: bytes
    user: str | None = None
    password: SecretSource | None = None
    tls: Tls | None = None


def dial_broker(dial: Dial) -> Client:
    """Connect and send CONNECT; the client has no callbacks yet, so nothing of it reaches another thread."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=dial.client_id,
        protocol=dial.version,
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # unlimited: the window is kept here; paho scans its own at every PUBACK
    client.will_set(dial.will_topic, dial.will_payload, qos=1, retain=True)
    if dial.user is not None:
        password = None if dial.password is None else dial.password.resolve().reveal()
        # Typed as text, passed on as it is: an MQTT password is bytes.
        client.username_pw_set(dial.user, password)  # type: ignore[arg-type]
    if dial.tls is not None:
        client.tls_set_context(_tls_context(dial.tls))
    client.connect(dial.host, dial.port, dial.keepalive_s)
    return client


class _TlsSocket(ssl.SSLSocket):
    """Closes itself where no TLS comes about; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in ssl
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    # Python 3.13 asks for extensions that the private authorities of buildings, made by
    # `openssl req -x509`, don't have; chain, dates and host name are checked all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.sslsocket_class = _TlsSocket
    if tls.certificate is not None:
        # Without this, OpenSSL asks for an encrypted key's password on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    return context
