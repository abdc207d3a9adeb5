"""Messages, and paho's MQTT client: opened in a thread, and the few of its methods that are replaced.

Paho's minor is pinned because of the methods that begin with `_`. PUBLISH and PUBACK are our own, and what is
sent and received together takes one system call: bench/mqtt.py publishes twice as many messages a second as
with paho's own. The other methods correct faults.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from paho.mqtt.client import PUBLISH, Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from gateway.tls import alert_in, client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Update
    from gateway.sinks.broker.config import BrokerConfig

# A PUBACK is a packet identifier, in MQTT 5 followed by a reason unless that is 0, and by properties if any.
_IDENTIFIER_BYTES = 2
_WITHOUT_PROPERTIES = (b"", b"\0")
_HEADER_BYTES = 9  # of a PUBLISH: type 1, its length up to 4, length of the topic 2, packet identifier 2
_READ_BYTES = 4096  # of a thousand acknowledgements
_SEVEN_BITS = 0x7F


class Message(NamedTuple):
    """One PUBLISH, and the updates that it carries. Of QoS 0, only `MqttConnection.settle` proves receipt.

    `properties` are those of MQTT 5, encoded; MQTT 3.1.1 does without.
    """

    topic: str
    payload: bytes
    retain: bool
    properties: bytes = b""
    updates: tuple[Update, ...] = ()
    qos: int = 1

    @property
    def size_bytes(self) -> int:
        """The size of the packet, or up to three bytes more."""
        return _HEADER_BYTES + len(self.topic.encode()) + 1 + len(self.properties) + len(self.payload)

    def encode(self, identifier: int, *, with_properties: bool) -> bytes:
        """Return the packet (MQTT 5, section 3.3). `identifier` is left out with QoS 0."""
        topic = self.topic.encode()
        parts = [len(topic).to_bytes(2, "big"), topic]
        if self.qos:
            parts.append(identifier.to_bytes(_IDENTIFIER_BYTES, "big"))
        if with_properties:
            parts += (variable_length(len(self.properties)), self.properties)
        parts.append(self.payload)
        content = b"".join(parts)
        first = PUBLISH | self.qos << 1 | self.retain
        return b"%c%b%b" % (first, variable_length(len(content)), content)


def variable_length(length: int) -> bytes:
    """Return MQTT's variable byte integer: seven bits a byte, lowest first, the high bit means "more"."""
    encoded = bytearray()
    while length > _SEVEN_BITS:
        encoded.append(length & _SEVEN_BITS | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


class PahoClient(Client):
    """Paho's client. `stream` is the TLS or TCP socket, also below a websocket."""

    stream: socket.socket | None = None
    fault = ""
    """What was wrong with the packet that ended the connection."""
    on_puback: Callable[[int, int], None]
    """Called with the packet identifier and the reason code of each PUBACK."""
    on_blocked: Callable[[], None] | None = None
    """Called when the socket takes no more: `loop_write` is to be called when it does."""
    _queued = b""
    _received = b""

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

    def new_identifier(self) -> int:
        """Return a packet identifier, for `queue_publish`."""
        return self._mid_generate()

    def queue_publish(self, message: Message, identifier: int) -> None:
        """Queue a PUBLISH; `flush` sends all that are queued at once.

        One of QoS 0 is sent now, and `on_publish` is called once it is.
        """
        packet = message.encode(identifier, with_properties=self._protocol == MQTTProtocolVersion.MQTTv5)
        if message.qos:
            self._queued += packet
        else:
            self.flush()
            self._packet_queue(PUBLISH, packet, identifier, 0, MQTTMessageInfo(identifier))

    def flush(self) -> None:
        """Send what is queued, or leave it to `loop_write`."""
        if self._queued:
            packets, self._queued = self._queued, b""
            self._packet_queue(PUBLISH, packets, 0, 1)

    def close_socket(self) -> None:
        """Close the connection without DISCONNECT."""
        self._sock_close()

    def has_received(self) -> bool:
        """Return whether there is something to read which the socket will not announce again."""
        if self.socket() is None:
            return False
        return bool(self._received) or (isinstance(self.stream, ssl.SSLSocket) and self.stream.pending() > 0)

    def _sock_recv(self, bufsize: int) -> bytes:
        """Return what was received; paho reads a packet in three pieces."""
        received = self._received or super()._sock_recv(_READ_BYTES)
        self._received = received[bufsize:]
        return received[:bufsize]

    def _sock_send(self, buf: bytes | bytearray) -> int:
        """Send; a websocket that took a part of a frame returns 0, and paho would drop the packet."""
        sent = super()._sock_send(buf)
        if not sent:
            raise BlockingIOError  # the packet stays first in the queue, and the rest of the frame follows
        return sent

    def _call_socket_register_write(self) -> None:
        """Wait only for a socket that takes no more: paho would wait before every packet."""
        if self._sock is not None and not self._registered_write and self.on_blocked is not None:
            self._registered_write = True
            self.on_blocked()

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Handle an acknowledgement, and build no objects for one without properties."""
        packet = self._in_packet["packet"]
        if packet[_IDENTIFIER_BYTES + 1 :] not in _WITHOUT_PROPERTIES:
            super()._handle_pubackcomp(cmd)  # raises where it is malformed
        code = packet[_IDENTIFIER_BYTES] if len(packet) > _IDENTIFIER_BYTES else 0
        if cmd == "PUBACK":
            self.on_puback(int.from_bytes(packet[:_IDENTIFIER_BYTES], "big"), code)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


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
