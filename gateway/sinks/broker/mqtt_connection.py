"""One MQTT connection on asyncio: paho-mqtt without its threads, and a window of unacknowledged publishes.

An `MqttConnection` lives from CONNECT to its end and is not reused: paho's reconnection and its memory of
unacknowledged messages play no part, and the sink alone decides what is published again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import TransientError
from gateway.sinks.broker.paho_client import Message, open_client
from gateway.sinks.broker.skipped_topics import SKIPPED, SkippedTopics
from gateway.tls import alert_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paho.mqtt.client import Client, DisconnectFlags, SocketLike
    from paho.mqtt.properties import Properties

    from gateway.sinks.broker.config import BrokerConfig
    from gateway.sinks.broker.paho_client import PahoClient

    Receive = Callable[[str, bytes], None]

_CONNACK_TIMEOUT_S = 10.0
_FAREWELL_TIMEOUT_S = 2.0
_TICK_S = 1.0
_BURST = 20  # messages built and queued before the event loop gets its turn, about 2 ms
_MOST_UNACKNOWLEDGED = 65535  # the receive maximum of a broker that names none
_LARGEST_PACKET_BYTES = 268_435_460  # likewise, its maximum packet size

# Reason codes of MQTT 5; those below 0x80 are kinds of success.
_FIRST_FAILURE = 0x80
_DISCONNECT_WITH_WILL = 0x04
_UNSPECIFIED = 0x80
_PROTOCOL_ERROR = 0x82
_NOT_AUTHORIZED = 0x87
_PACKET_TOO_LARGE = 0x95
# Reasons for a DISCONNECT that may be about one message; others are about the client or the broker.
_ABOUT_A_MESSAGE = frozenset({_UNSPECIFIED, 0x81, _PROTOCOL_ERROR, 0x83, _NOT_AUTHORIZED, 0x90, 0x95, 0x99})
_ADVICE = {
    0x84: '; set `protocol: "3.1.1"`',
    0x85: "; set another `client_id`",
    0x86: "; check `user` and `password`",
    0x87: "; check `user` and `password`, and the broker's access list",
    0x8E: "; another client has the same `client_id`",
    0x9A: "; have the broker keep retained messages",
    0x9B: "; have the broker take messages with QoS 1",
}


class Rejection(NamedTuple):
    """A message that was not published, with MQTT's reason code."""

    message: Message
    code: int
    reason: str


def too_large_text(largest_bytes: int) -> str:
    """Return the reason for a packet above the broker's limit, in MQTT's own words."""
    return f"Packet too large, at most {largest_bytes} bytes"


async def connect(
    config: BrokerConfig,
    *,
    client_id: str,
    will: Message | None = None,
    skipped_topics: SkippedTopics | None = None,
) -> MqttConnection:
    """Return a connection that the broker has accepted; raise `GatewayError` with the reason otherwise.

    `skipped_topics`: what earlier connections of the sink have found.
    """
    try:
        client = await asyncio.to_thread(open_client, config, client_id=client_id, will=will)
    except (OSError, ValueError) as error:
        alert = alert_in(error) if isinstance(error, ssl.SSLError) else ""
        raise TransientError(f"cannot connect: {_break_text(alert) if alert else error}") from error
    connection = MqttConnection(client, config, skipped_topics or SkippedTopics())
    try:
        await connection.wait_accepted()
    except BaseException:
        connection.abort("not accepted")
        raise
    return connection


class MqttConnection:
    """One connection. Publishing is for one caller at a time."""

    def __init__(self, client: PahoClient, config: BrokerConfig, skipped_topics: SkippedTopics) -> None:
        """Attach the client, which a thread opened, to the event loop."""
        self._client = client
        self._loop = loop = asyncio.get_running_loop()
        self._window = config.in_flight
        self._stall_s = 2.0 * round(config.keepalive)
        self._skipped_topics = skipped_topics
        self.largest_bytes = _LARGEST_PACKET_BYTES
        """The largest packet that the broker accepts."""
        self._has_accepted_any = False
        self._unproven: list[str] = []  # topics published with QoS 0 since the last `settle`
        self._unacknowledged: dict[int, Message] = {}
        self._rejections: list[Rejection] = []
        self._receive: Receive | None = None
        self._progressed_at = loop.time()
        self._waiter: asyncio.Future[None] | None = None
        self._waited_for = 0  # the number of unacknowledged messages at which the waiter goes on
        self._accepted: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        """Done, with the reason, once the connection is lost."""
        self._timer = loop.call_later(_TICK_S, self._tick)
        self._attach()

    def _attach(self) -> None:
        client, loop = self._client, self._loop
        client.on_connect = lambda _, _data, _flags, reason, properties: self._on_connack(reason, properties)
        client.on_disconnect = lambda _, _data, flags, reason, _properties: self._on_disconnect(flags, reason)
        client.on_publish = lambda _, _data, mid, _reason, _properties: self._record_answer(
            self._unacknowledged.pop(mid)
        )
        client.on_puback = self._on_puback
        client.on_subscribe = client.on_unsubscribe = lambda _, _data, mid, reasons, _properties: (
            self._record_answer(self._unacknowledged.pop(mid), *reasons)
        )
        client.on_message = lambda _, _data, message: (
            self._receive(message.topic, bytes(message.payload)) if self._receive else None
        )
        client.on_socket_close = self._remove_reader
        client.on_socket_unregister_write = self._remove_writer
        sock = client.socket()
        if sock is None:
            self._end(_break_text(client.alert))
            return
        loop.add_reader(sock.fileno(), self._on_readable)
        client.on_blocked = lambda: loop.add_writer(sock.fileno(), client.loop_write)
        client.loop_write()  # what the thread may not have been able to send

    async def wait_accepted(self) -> None:
        """Wait for CONNACK; raise `TransientError` where the broker refuses or does not answer."""
        try:
            async with asyncio.timeout(_CONNACK_TIMEOUT_S):
                await self._accepted
        except TimeoutError:
            raise TransientError(f"the broker did not answer within {_CONNACK_TIMEOUT_S:.0f} s") from None

    async def publish(self, messages: Iterable[Message]) -> list[Rejection]:
        """Return the rejected messages once the broker has acknowledged every message.

        Messages are drawn one by one as there is room in the window. Of QoS 0, sending is all there is.
        Raises `TransientError` when the connection is lost; which of the messages arrived is unknown then.
        """
        self._raise_if_lost()
        rejections: list[Rejection] = []
        self._rejections, skipped_topics = rejections, self._skipped_topics
        for count, message in enumerate(messages, 1):
            if message.size_bytes > self.largest_bytes:  # the broker would disconnect, again and again
                rejections.append(Rejection(message, _PACKET_TOO_LARGE, too_large_text(self.largest_bytes)))
                continue
            if message.topic in skipped_topics:
                await self._publish_suspect(message)
                continue
            if len(self._unacknowledged) >= self._window:
                # Half the window keeps the broker busy, and one waking serves the other half.
                await self._wait_acknowledged(down_to=self._window // 2)
            self._send(message)
            if count % _BURST == 0 or not message.qos:  # what has QoS 0 is large: a whole device
                self._flush()
                await asyncio.sleep(0)
        await self._wait_acknowledged(down_to=0)
        return rejections

    async def _publish_suspect(self, message: Message) -> None:
        """Publish with nothing else in flight, since the broker may disconnect; reject a skipped topic."""
        if self._skipped_topics.is_skipped(message.topic):
            self._rejections.append(Rejection(message, _NOT_AUTHORIZED, SKIPPED))
            return
        await self._wait_nothing_in_flight(message)
        await asyncio.wait([self.lost], timeout=self._skipped_topics.quiet_s(message.topic))
        self._send(message)
        await self._wait_nothing_in_flight(message)
        self._skipped_topics.record_accepted(message.topic)

    async def _wait_nothing_in_flight(self, message: Message) -> None:
        """Wait until nothing is in flight any more, whatever the message's QoS."""
        if message.qos:
            await self._wait_acknowledged(down_to=0)
        else:
            await self.settle(message.topic)

    async def subscribe(self, topics: Sequence[str], receive: Receive) -> None:
        """Call `receive` with topic and payload of each message on these topics; it must not raise.

        Raises `TransientError` where the broker refuses the subscription, or does not answer.
        """
        self._receive = receive
        self._rejections = []
        self._expect_answer(self._client.subscribe([(topic, 1) for topic in topics])[1], ", ".join(topics))
        await self._wait_acknowledged(down_to=0)
        for message, _, reason in self._rejections:
            raise TransientError(f"the broker refuses a subscription to {message.topic}: {reason}")

    async def settle(self, topic: str) -> None:
        """Return once the broker has all messages sent before, whatever their QoS.

        A broker handles the packets of a connection in order, and answers an UNSUBSCRIBE also from a `topic`
        to which nobody has subscribed. Raises `TransientError` where it does not answer.
        """
        self._expect_answer(self._client.unsubscribe(topic)[1], topic)
        await self._wait_acknowledged(down_to=0)
        self._has_accepted_any = self._has_accepted_any or bool(self._unproven)
        self._unproven.clear()

    def _expect_answer(self, packet_identifier: int | None, topic: str) -> None:
        """Count a packet that is acknowledged, but is no PUBLISH, among the unacknowledged."""
        self._raise_if_lost()
        if packet_identifier is not None:
            self._progressed_at = self._loop.time()
            self._unacknowledged[packet_identifier] = Message(topic, b"", retain=False, qos=0)

    async def _wait_acknowledged(self, *, down_to: int) -> None:
        """Wait until at most `down_to` messages are unacknowledged."""
        self._flush()
        if len(self._unacknowledged) > down_to and not self.lost.done():
            self._waited_for = down_to
            self._waiter = self._loop.create_future()
            await self._waiter
        self._raise_if_lost()

    def _send(self, message: Message) -> None:
        self._raise_if_lost()
        if not self._unacknowledged:
            self._progressed_at = self._loop.time()
        identifier = self._client.new_identifier()
        self._unacknowledged[identifier] = message
        self._client.queue_publish(message, identifier)
        if not message.qos:
            self._unproven.append(message.topic)

    def _flush(self) -> None:
        """Send what is queued, and have TCP acknowledge the answers at once.

        A broker that leaves Nagle's algorithm on (mosquitto does) holds back its second PUBACK until TCP
        acknowledges the first, which Linux puts off for 40 ms where nothing is sent.
        """
        self._client.flush()
        if len(self._unacknowledged) > 1:
            self._acknowledge_at_once()

    def _acknowledge_at_once(self) -> None:
        stream = self._client.stream
        if stream is not None and self._client.socket() is not None:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _raise_if_lost(self) -> None:
        if self.lost.done():
            raise TransientError(self.lost.result())

    async def close(self, farewell: Message | None = None, *, with_will: bool = False) -> None:
        """Publish `farewell`, then DISCONNECT so that the broker drops the will; harmless once lost.

        `with_will`: with MQTT 5, have the broker publish the will all the same.
        """
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=_DISCONNECT_WITH_WILL) if with_will else None
        try:
            with suppress(TransientError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_TIMEOUT_S):
                    await self.publish(() if farewell is None else (farewell,))
                self._client.disconnect(reason)
                self._client.loop_write()
        finally:
            self.abort("closed")

    def abort(self, reason: str) -> None:
        """End the connection without DISCONNECT: the broker publishes the will."""
        self._end(reason)
        stream = self._client.stream
        if self._client.socket() is not None and stream is not None:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            self._client.close_socket()

    def _end(self, reason: str) -> None:
        self._timer.cancel()
        if not self.lost.done():
            self.lost.set_result(reason)
        if not self._accepted.done():
            self._accepted.set_exception(TransientError(reason))
        self._wake_waiter()

    def _wake_waiter(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tick(self) -> None:
        """Send PINGREQ when due, and end the connection when the broker stalls."""
        self._timer = self._loop.call_later(_TICK_S, self._tick)
        self._client.loop_misc()
        if self._unacknowledged and self._loop.time() - self._progressed_at > self._stall_s:
            self.abort(f"the broker acknowledged nothing for {self._stall_s:.0f} s")

    def _on_readable(self) -> None:
        self._client.loop_read()
        while self._client.has_received():
            self._client.loop_read()
        if self._unacknowledged:
            self._acknowledge_at_once()

    def _remove_reader(self, _client: Client, _data: Any, sock: SocketLike) -> None:
        self._loop.remove_reader(sock.fileno())

    def _remove_writer(self, _client: Client, _data: Any, sock: SocketLike) -> None:
        self._loop.remove_writer(sock.fileno())

    def _on_connack(self, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.value >= _FIRST_FAILURE:
            self._end(f"the broker refuses the connection: {_reason_text(reason)}")
        elif not self._accepted.done():
            self._window = min(self._window, getattr(properties, "ReceiveMaximum", _MOST_UNACKNOWLEDGED))
            self.largest_bytes = getattr(properties, "MaximumPacketSize", _LARGEST_PACKET_BYTES)
            self._accepted.set_result(None)

    def _on_disconnect(self, flags: DisconnectFlags, reason: ReasonCode) -> None:
        if flags.is_disconnect_packet_from_server:
            text = f"the broker ended the connection: {_reason_text(reason)}"
        elif reason.value == _PROTOCOL_ERROR:
            text = f"the broker does not keep to MQTT{self._client.fault}"
        elif reason.value == _UNSPECIFIED:  # as paho calls a broken connection
            text = _break_text(self._client.alert)
        else:
            text = f"the connection ended: {_reason_text(reason)}"
        if self._accepted.done() and not self.lost.done() and reason.value in _ABOUT_A_MESSAGE:
            in_flight = [message.topic for message in self._unacknowledged.values() if message.qos]
            self._skipped_topics.record_disconnect(
                [*in_flight, *self._unproven], accepted_others=self._has_accepted_any
            )
        self._end(text)

    def _on_puback(self, identifier: int, code: int) -> None:
        """Count a PUBLISH as acknowledged; ignore the identifier of another packet, or of none in flight."""
        message = self._unacknowledged.get(identifier)
        if message is not None and message.qos:
            del self._unacknowledged[identifier]
            self._has_accepted_any = True
            self._record_answer(message, *((_puback_reason(code),) if code else ()))

    def _record_answer(self, message: Message, *reasons: ReasonCode) -> None:
        for reason in reasons:
            if reason.value >= _FIRST_FAILURE:
                self._rejections.append(Rejection(message, reason.value, str(reason)))
        self._progressed_at = self._loop.time()
        if len(self._unacknowledged) <= self._waited_for:
            self._wake_waiter()


@cache
def _puback_reason(code: int) -> ReasonCode:
    """Return the reason of an acknowledgement; a code that MQTT does not have is an unspecified error."""
    try:
        return ReasonCode(PacketTypes.PUBACK, identifier=code)
    except KeyError:
        return ReasonCode(PacketTypes.PUBACK, identifier=_UNSPECIFIED)


def _break_text(alert: str) -> str:
    """Return why a connection broke; `alert` is TLS's word for it, if there is one."""
    if alert:
        return f"the broker ended TLS: {alert}; check `certificate` and `key`"
    return "the connection broke"


def _reason_text(reason: ReasonCode) -> str:
    return f"{reason}{_ADVICE.get(reason.value, '')}"
