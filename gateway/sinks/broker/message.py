"""Messages for one broker, and what the broker refuses of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.model import Update
    from gateway.sinks.broker.paho_client import PackedProperties

_HEADER_BYTES = 9  # of a PUBLISH: type 1, its length up to 4, length of the topic 2, packet identifier 2


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


class Rejection(NamedTuple):
    """A message that was not published, with MQTT's reason code.

    Not `is_final`: the broker refuses everything at present, and may accept it later.
    """

    message: Message
    code: int
    reason: str
    is_final: bool = True


def too_large_text(largest_bytes: int) -> str:
    """Return the reason for a packet above the broker's limit, in MQTT's own words."""
    return f"Packet too large, at most {largest_bytes} bytes"
