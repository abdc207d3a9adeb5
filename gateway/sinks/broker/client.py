"""Paho's client, made to waste nothing: neither a socket nor a system call nor an object per message.

It overrides methods that paho calls its own, so paho's minor is pinned; each override only does sooner
or for many at a time what paho would do.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from paho.mqtt.client import SocketLike

# A PUBACK is a packet identifier, in MQTT 5 followed by a reason unless that is 0, and by properties if any.
_IDENTIFIER_BYTES = 2
_NO_PROPERTIES = (b"", b"\0")
_NOTHING = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]  # as paho has it
_UNSPECIFIED = 0x80
_QOS_1 = 1
_SMALL_BYTES = 2048  # a larger packet is worth a system call of its own, and no copy


class BrokerClient(Client):
    """Paho's client that leaves no socket open where TLS or websocket do not come about on it.

    `stream` is the socket that bytes go through: the TLS or TCP one, also below a websocket.
    """

    stream: socket.socket | None = None
    fault = ""
    """What was wrong with what the broker sent, where that has ended the connection."""

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what came; end the connection where that cannot be read, or answers what was never asked."""
        try:
            return super().loop_read(max_packets)
        except Exception as error:  # noqa: BLE001 - paho raises all kinds, and would read the same packet again
            self.fault = f" ({type(error).__name__}: {error})"
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _create_socket(self) -> SocketLike:
        try:
            return super()._create_socket()
        except BaseException:
            if self.stream is not None:
                self.stream.close()
            raise

    def _create_socket_connection(self) -> socket.socket:
        self.stream = super()._create_socket_connection()
        # A packet that goes alone must not wait until TCP has the one before acknowledged, up to 40 ms.
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.stream

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        self.stream = wrapped = super()._ssl_wrap_socket(tcp_sock)
        return wrapped

    def _sock_send(self, buf: bytes | bytearray) -> int:
        """Send; where a websocket took a part of a frame, it says 0, and paho would drop the packet."""
        sent = super()._sock_send(buf)
        if not sent:
            raise BlockingIOError  # so the packet stays first in line, and the rest of the frame follows
        return sent

    def _packet_write(self) -> MQTTErrorCode:
        """Send what waits with few system calls: small packets that nobody asks about once they are sent."""
        waiting = self._out_packet
        if len(waiting) > 1 and all(_is_joinable(packet) for packet in waiting):
            joined = waiting[-1]
            joined["packet"] = b"".join([packet["packet"] for packet in waiting])
            joined["to_process"] = len(joined["packet"])
            waiting.clear()
            waiting.append(joined)
        return super()._packet_write()

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Take an acknowledgement without properties, and make no objects that say so each time."""
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or packet[_IDENTIFIER_BYTES + 1 :] not in _NO_PROPERTIES:
            return super()._handle_pubackcomp(cmd)
        identifier = int.from_bytes(packet[:_IDENTIFIER_BYTES], "big")
        code = packet[_IDENTIFIER_BYTES] if len(packet) > _IDENTIFIER_BYTES else 0
        with self._out_message_mutex:
            if identifier in self._out_messages:
                return self._do_on_publish(identifier, _reason(code), _NOTHING)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _is_joinable(packet: Mapping[str, Any]) -> bool:
    """Say whether a packet may be sent as a part of another: whole, small, and not to be told of."""
    return packet["qos"] == _QOS_1 and not packet["pos"] and packet["to_process"] < _SMALL_BYTES


@cache
def _reason(code: int) -> ReasonCode:
    """Return the reason of an acknowledgement; a code that MQTT does not have is an unspecified error."""
    try:
        return ReasonCode(PacketTypes.PUBACK, identifier=code)
    except KeyError:
        return ReasonCode(PacketTypes.PUBACK, identifier=_UNSPECIFIED)
