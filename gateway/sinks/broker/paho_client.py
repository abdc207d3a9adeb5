"""Messages, and paho's MQTT client: opened in a thread, and the few of its methods that are replaced.

Paho's minor is pinned because of the methods that begin with `_`. Measured with bench/whole_path.py, in
turns with and without: `PackedProperties` saves 37 % of the daemon's CPU per event, and
`_handle_pubackcomp` 19 %. The other methods correct faults.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.tls import alert_in, client_context

if TYPE_CHECKING:
    from gateway.model import Update
    from gateway.sinks.broker.config import BrokerConfig

# A PUBACK is a packet identifier, in MQTT 5 followed by a reason unless that is 0, and by properties if any.
_IDENTIFIER_BYTES = 2
_WITHOUT_PROPERTIES = (b"", b"\0")
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]  # as paho has it
_UNSPECIFIED_ERROR = 0x80
_HEADER_BYTES = 9  # of a PUBLISH: type 1, its length up to 4, length of the topic 2, packet identifier 2


class PackedProperties(Properties):
    """MQTT 5 properties of a PUBLISH, already as bytes: paho builds 30 entries for each set of its own."""

    _packed: bytes

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "_packed", packed)  # paho's own setter takes the names of MQTT only

    def __len__(self) -> int:
        return len(self._packed)

    def pack(self) -> bytes:
        """Return the property length and the properties."""
        return self._packed


class Message(NamedTuple):
    """One PUBLISH, and the updates that it carries. Of QoS 0, only `MqttConnection.settle` proves receipt."""

    topic: str
    payload: bytes
    retain: bool
    properties: PackedProperties | None = None
    updates: tuple[Update, ...] = ()
    qos: int = 1

    @property
    def size_bytes(self) -> int:
        """The size of the packet, or up to three bytes more."""
        properties = len(self.properties) if self.properties is not None else 1
        return _HEADER_BYTES + len(self.topic.encode()) + properties + len(self.payload)


class PahoClient(Client):
    """Paho's client. `stream` is the TLS or TCP socket, also below a websocket."""

    stream: socket.socket | None = None
    fault = ""
    """What was wrong with the packet that ended the connection."""

    @property
    def alert(self) -> str:
        """The alert by which the broker ended TLS, such as "unknown ca"."""
        return self.stream.alert if isinstance(self.stream, _TlsSocket) else ""

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read packets; end the connection at one that cannot be parsed or answers nothing that was sent."""
        try:
            return super().loop_read(max_packets)
        except Exception as error:  # noqa: BLE001 - paho raises all kinds, and would read the same packet again
            self.fault = f" ({type(error).__name__}: {error})"
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _create_socket_connection(self) -> socket.socket:
        self.stream = super()._create_socket_connection()
        # A packet that goes alone must not wait until TCP has the one before acknowledged, up to 40 ms.
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.stream

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """Do the handshake; paho leaves the socket open where that fails."""
        context = self._ssl_context
        self.stream = wrapped = context.wrap_socket(tcp_sock, server_hostname=self.host)  # type: ignore[union-attr]  # set by then
        return wrapped

    def _sock_send(self, buf: bytes | bytearray) -> int:
        """Send; a websocket that took a part of a frame returns 0, and paho would drop the packet."""
        sent = super()._sock_send(buf)
        if not sent:
            raise BlockingIOError  # the packet stays first in the queue, and the rest of the frame follows
        return sent

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Handle an acknowledgement without properties, and build no objects for it."""
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or packet[_IDENTIFIER_BYTES + 1 :] not in _WITHOUT_PROPERTIES:
            return super()._handle_pubackcomp(cmd)
        identifier = int.from_bytes(packet[:_IDENTIFIER_BYTES], "big")
        code = packet[_IDENTIFIER_BYTES] if len(packet) > _IDENTIFIER_BYTES else 0
        with self._out_message_mutex:
            if identifier in self._out_messages:
                return self._do_on_publish(identifier, _puback_reason(code), _NO_PROPERTIES)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


@cache
def _puback_reason(code: int) -> ReasonCode:
    """Return the reason of an acknowledgement; a code that MQTT does not have is an unspecified error."""
    try:
        return ReasonCode(PacketTypes.PUBACK, identifier=code)
    except KeyError:
        return ReasonCode(PacketTypes.PUBACK, identifier=_UNSPECIFIED_ERROR)


def open_client(config: BrokerConfig, *, client_id: str, will: Message | None) -> PahoClient:
    """Connect and send CONNECT. Blocks: names, TCP, TLS and websocket. The client has no callbacks yet."""
    url = config.url
    client = PahoClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if config.protocol == "5" else MQTTProtocolVersion.MQTTv311,
        transport="tcp" if url.path is None else "websockets",
        reconnect_on_failure=False,
    )
    client.max_inflight_messages = 0  # unlimited: we count; paho goes through all of them at every PUBACK
    if will is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if url.path is not None:
        client.ws_set_options(path=url.path)
    if config.user is not None:
        password = None if config.password is None else config.password.resolve().reveal()
        # Typed as text, passed on as it is: an MQTT password is bytes.
        client.username_pw_set(config.user, password)  # type: ignore[arg-type]
    if url.tls:
        client.tls_set_context(_tls_context(config))
    try:
        client.connect(url.host, url.port, round(config.keepalive))
    except BaseException:
        if client.stream is not None:  # paho leaves it open where the handshake of a websocket fails
            client.stream.close()
        raise
    return client


def _tls_context(config: BrokerConfig) -> ssl.SSLContext:
    context = client_context(
        "cannot connect", authority=config.ca, certificate=config.certificate, key=config.key
    )
    context.sslsocket_class = _TlsSocket
    if config.alpn is not None:
        context.set_alpn_protocols(list(config.alpn))
    return context


class _TlsSocket(ssl.SSLSocket):
    """Keeps the broker's alert, which paho drops: with TLS 1.3, it comes after the handshake."""

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
