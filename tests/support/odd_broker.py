"""A broker of our own that refuses, disconnects, or answers with wrong identifiers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Answer = Callable[[str, bytes], int]
    """Gets topic and payload of each PUBLISH, gives the reason of its PUBACK, or raises `Disconnect`."""

_CONNECT, _PUBLISH, _SUBSCRIBE, _UNSUBSCRIBE, _PING, _DISCONNECT = 1, 3, 8, 10, 12, 14
_MQTT_5 = 5
_QOS_BITS = 0b110  # of a PUBLISH's first byte
_LIMIT_BYTES = 1 << 16


class Disconnect(Exception):  # noqa: N818 - no error but what the broker does
    """Close the connection: with MQTT 5's DISCONNECT and this reason, or without any."""

    def __init__(self, reason: int | None = None) -> None:
        self.reason = reason


@dataclass
class OddBroker:
    """Answers publishes as `answer` returns. `received` has topic and payload of each, in order.

    `wrong_ids`: SUBACK and UNSUBACK have unknown identifiers. `wrong_acks`: a PUBACK comes before each of
    them. `garbage` follows CONNACK.
    """

    answer: Answer
    wrong_ids: bool = False
    wrong_acks: bool = False
    garbage: bytes = b""
    port: int = 0
    connections: int = 0
    received: list[tuple[str, bytes]] = field(default_factory=list)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL for sinks."""
        return f"mqtt://127.0.0.1:{self.port}"

    def payloads(self, topic: str) -> list[bytes]:
        """Return the payloads on one topic."""
        return [payload for each, payload in self.received if each == topic]

    def drop(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            try:
                await self._serve(reader, writer)
            except Disconnect as end:
                if end.reason is not None:
                    writer.write(bytes([_DISCONNECT << 4, 1, end.reason]))
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        no_properties = b""
        while True:
            first, body = await _packet(reader)
            kind, has_answer = first >> 4, bool(first & _QOS_BITS)
            if kind == _CONNECT:
                no_properties = b"\0" if body[6] == _MQTT_5 else b""
                writer.write(bytes([0x20, 2 + len(no_properties), 0, 0]) + no_properties + self.garbage)
            elif kind == _PUBLISH:
                end = 2 + int.from_bytes(body[:2], "big")
                topic, rest = body[2:end].decode(), body[end:]
                identifier, rest = (rest[:2], rest[2:]) if has_answer else (b"", rest)
                payload = rest[1 + rest[0] :] if no_properties else rest
                self.received.append((topic, payload))
                reason = self.answer(topic, payload)
                code = bytes([reason]) if reason else b""
                if has_answer:
                    writer.write(bytes([0x40, 2 + len(code)]) + identifier + code)
            elif kind in (_SUBSCRIBE, _UNSUBSCRIBE):
                identifier = b"\xff\xf0" if self.wrong_ids else body[:2]
                if self.wrong_acks:
                    writer.write(b"\x40\x02" + identifier)
                answer = identifier + no_properties + b"\0"
                writer.write(bytes([kind + 1 << 4, len(answer)]) + answer)
            elif kind == _PING:
                writer.write(b"\xd0\0")


@asynccontextmanager
async def odd_broker(
    answer: Answer = lambda _topic, _payload: 0,
    *,
    wrong_ids: bool = False,
    wrong_acks: bool = False,
    garbage: bytes = b"",
    sip_bytes: int = _LIMIT_BYTES,
) -> AsyncIterator[OddBroker]:
    """Run it on a free loopback port; its network accepts `sip_bytes` at a time."""
    broker = OddBroker(answer, wrong_ids=wrong_ids, wrong_acks=wrong_acks, garbage=garbage)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sip_bytes)
        broker.port = listening.getsockname()[1]
        server = await asyncio.start_server(broker.serve, sock=listening, limit=sip_bytes)
        async with server:
            yield broker


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one packet: its first byte, and what follows its length."""
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return first, await reader.readexactly(length)
