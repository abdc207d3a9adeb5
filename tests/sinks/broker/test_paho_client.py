"""The replaced methods of paho's client: partial writes and acknowledgements."""

from __future__ import annotations

import asyncio
import socket
from typing import Literal

import pytest
from support.mqtt_parts import MqttRig, make_point, make_update
from support.odd_broker import odd_broker

from gateway.errors import RefusedError
from gateway.sinks.broker.paho_client import PahoClient

_SIP_BYTES = 4096  # what the listener's network takes at a time


async def test_many_packets_over_a_slow_network_arrive_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,000 messages arrive unchanged, though the socket accepts a few at a time."""
    connect = PahoClient._create_socket_connection

    def connect_narrowly(client: PahoClient) -> socket.socket:
        sock = connect(client)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SIP_BYTES)
        return sock

    monkeypatch.setattr(PahoClient, "_create_socket_connection", connect_narrowly)
    points = [make_point(f"T/P{number}") for number in range(2_000)]
    updates = [make_update(point, f"{number:04}" * 400) for number, point in enumerate(points)]

    async with odd_broker(sip_bytes=_SIP_BYTES) as broker:
        rig = MqttRig(broker.url, points, payload="value", in_flight=1000, protocol="3.1.1")
        async with rig.sink:
            await rig.until("up")
            await rig.deliver(*updates)
            values = [received for received in broker.received if received[0].startswith("gw/v1/hq/T/P")]
    expected = [(f"gw/v1/hq/{one.point.name}", str(one.value).encode()) for one in updates]
    assert [value for value in values if not value[0].endswith("/$meta")] == expected


async def test_an_unknown_reason_code_refuses_one_message() -> None:
    """Other messages go on in the same connection."""

    def answer(topic: str, _: bytes) -> int:
        return 0x33 if topic.endswith("T/ODD") else 0

    odd, even = make_point("T/ODD"), make_point("T/EVEN")
    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, [odd, even], payload="value")
        async with rig.sink:
            await rig.until("up")
            with pytest.raises(RefusedError, match="Unspecified error") as refused:
                await rig.deliver(make_update(odd, 1), make_update(even, 2))
            await rig.deliver(make_update(even, 3))
    assert [refusal.update.point for refusal in refused.value.refusals] == [odd]
    assert rig.status.reconnects == 0


@pytest.mark.parametrize("layout", ["point", "asset"])
async def test_state_refused_for_now_is_published_later(layout: Literal["point", "asset"]) -> None:
    """A quota that is exceeded right after connecting leaves no topic without its value."""
    answers = iter([0x97])
    accepted = asyncio.Event()

    def answer(topic: str, _: bytes) -> int:
        if "$" in topic:
            return 0
        if (answer := next(answers, 0)) == 0:
            accepted.set()
        return answer

    point = make_point()
    async with odd_broker(answer) as broker:
        rig = MqttRig(broker.url, [point], layout=layout)
        rig.latest.take([make_update(point, 21.5)])
        async with rig.sink, asyncio.timeout(60):
            await accepted.wait()
