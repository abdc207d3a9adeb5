"""What the MQTT client does in another way than paho: many packets in one write, quick acknowledgements."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import pytest
from support.mqtt_parts import MqttRig, make_point, make_update

from gateway.errors import RefusedError
from gateway.sinks.mqtt_shared.client import BrokerClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_SIP_BYTES = 4096  # what the listener's network takes at a time


async def test_packets_that_leave_together_arrive_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 messages arrive one by one as they were, over a network that takes a part of a few at a time."""
    connect = BrokerClient._create_socket_connection

    def connect_narrowly(client: BrokerClient) -> socket.socket:
        sock = connect(client)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SIP_BYTES)
        return sock

    monkeypatch.setattr(BrokerClient, "_create_socket_connection", connect_narrowly)
    points = [make_point(f"T/P{number}") for number in range(2_000)]
    updates = [make_update(point, f"{number:04}" * 400) for number, point in enumerate(points)]
    received: list[tuple[bytes, bytes]] = []

    def take(topic: bytes, payload: bytes) -> int:
        received.append((topic, payload))
        return 0

    async with acknowledging(take) as url:
        rig = MqttRig(url, points, payload="value", in_flight=1000, protocol="3.1.1")
        async with rig.sink:
            await rig.until("up")
            await rig.deliver(*updates)
            values = [(topic, payload) for topic, payload in received if topic.startswith(b"gw/v1/hq/T/P")]
    expected = [(f"gw/v1/hq/{one.point.name}".encode(), str(one.value).encode()) for one in updates]
    assert [value for value in values if not value[0].endswith(b"/$meta")] == expected


async def test_a_reason_that_nobody_knows_refuses_one_message_and_no_other() -> None:
    """A broker that acknowledges one topic with a code outside of the standard goes on being used."""

    def take(topic: bytes, _: bytes) -> int:
        return 0x33 if topic.endswith(b"T/ODD") else 0

    odd, even = make_point("T/ODD"), make_point("T/EVEN")
    async with acknowledging(take, properties=b"\0") as url:
        rig = MqttRig(url, [odd, even], payload="value")
        async with rig.sink:
            await rig.until("up")
            with pytest.raises(RefusedError, match="Unspecified error") as refused:
                await rig.deliver(make_update(odd, 1), make_update(even, 2))
            await rig.deliver(make_update(even, 3))
    assert [refusal.update.point for refusal in refused.value.refusals] == [odd]
    assert rig.status.reconnects == 0


@pytest.mark.parametrize("layout", ["point", "asset"])
async def test_state_that_a_broker_refuses_for_now_is_told_later(layout: Literal["point", "asset"]) -> None:
    """A quota that was exceeded right after connecting leaves no topic without its value."""
    answers = iter([0x97])
    taken = asyncio.Event()

    def take(topic: bytes, _: bytes) -> int:
        if b"$" in topic:
            return 0
        if (answer := next(answers, 0)) == 0:
            taken.set()
        return answer

    point = make_point()
    async with acknowledging(take, properties=b"\0") as url:
        rig = MqttRig(url, [point], layout=layout)
        rig.latest.take([make_update(point, 21.5)])
        async with rig.sink, asyncio.timeout(10):
            await taken.wait()


@asynccontextmanager
async def acknowledging(
    take: Callable[[bytes, bytes], int], *, properties: bytes = b""
) -> AsyncIterator[str]:
    """Listen as a broker with a slow network; yield its URL. `take` gets topic and payload, gives the reason.

    `properties` are those of CONNACK and of every PUBLISH: none, or an empty list of MQTT 5.
    """

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind = (await reader.readexactly(1))[0] >> 4
                body = await reader.readexactly(await _length(reader))
                if kind == 1:
                    writer.write(bytes([0x20, 2 + len(properties), 0, 0]) + properties)
                elif kind == 3:
                    end = 2 + int.from_bytes(body[:2], "big")
                    skipped = 1 + body[end + 2] if properties else 0
                    reason = take(body[2:end], body[end + 2 + skipped :])
                    told = bytes([reason]) if reason else b""
                    writer.write(bytes([0x40, 2 + len(told)]) + body[end : end + 2] + told)
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SIP_BYTES)
        server = await asyncio.start_server(listen, sock=listening, limit=_SIP_BYTES)
        async with server:
            yield f"mqtt://127.0.0.1:{listening.getsockname()[1]}"


async def _length(reader: asyncio.StreamReader) -> int:
    """Read MQTT's variable byte integer."""
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return length
