"""A proxy between an MQTT 3.1.1 client and a broker that records what the broker acknowledged."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

_PUBLISH, _PUBACK = 3, 4


@dataclass(frozen=True)
class Published:
    """One PUBLISH with QoS 1."""

    topic: str
    payload: bytes
    retained: bool


class Tap:
    """Forwards everything. `acknowledged` has the acknowledged messages, in order."""

    def __init__(self, broker_port: int) -> None:
        self.port = free_port()
        self.acknowledged: list[Published] = []
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: dict[bytes, Published] = {}

        def note_sent(kind: int, flags: int, body: bytes) -> None:
            if kind == _PUBLISH:
                end = 2 + int.from_bytes(body[:2], "big")
                waiting[body[end : end + 2]] = Published(
                    body[2:end].decode(), body[end + 2 :], retained=bool(flags & 1)
                )

        def note_answer(kind: int, _flags: int, body: bytes) -> None:
            if kind == _PUBACK:
                self.acknowledged.append(waiting.pop(body[:2]))

        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
            await asyncio.gather(_pass_on(reader, back, note_sent), _pass_on(there, writer, note_answer))
        writer.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[int, int, bytes], None]
) -> None:
    """Forward packet by packet until the stream ends."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            packet = await reader.readexactly(1)
            length = shift = 0
            while True:
                packet += (byte := await reader.readexactly(1))
                length |= (byte[0] & 0x7F) << shift
                shift += 7
                if byte[0] < 0x80:
                    break
            body = await reader.readexactly(length)
            writer.write(packet + body)
            note(packet[0] >> 4, packet[0] & 0x0F, body)
            await writer.drain()
    writer.close()
