"""What is published on one MQTT connection, and what its broker refuses of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from gateway.model import Update

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
    """One PUBLISH, and the updates that it carries."""

    topic: str
    payload: bytes
    retain: bool
    properties: PackedProperties | None = None
    updates: tuple[Update, ...] = ()
    qos: int = 1  # or 0: nothing says that the broker has it, but `Connection.settle` for all of them

    @property
    def size_bytes(self) -> int:
        """The size of the packet, or up to three bytes more."""
        properties = len(self.properties) if self.properties is not None else 1
        return _HEADER_BYTES + len(self.topic.encode()) + properties + len(self.payload)


class Rejection(NamedTuple):
    """A message that the broker acknowledged with a failure (MQTT 5 only), and which.

    Not `is_final`: it takes nothing else either, but may later.
    """

    message: Message
    code: int
    reason: str
    is_final: bool = True


def too_large_text(largest_bytes: int) -> str:
    """Say that a broker would not take a packet, as MQTT's own reason does."""
    return f"Packet too large, at most {largest_bytes} bytes"
