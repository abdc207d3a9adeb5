"""Websockets and ALPN, for brokers behind firewalls."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from support.certificates import make_authority
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import MqttRig, make_point, make_update
from support.ports import free_port

from gateway.sinks.broker.paho_client import PahoClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MANY = 1_000
SIP_BYTES = 4096  # what a narrow network takes at a time


async def deliver_many(url: str, port: int, **settings: object) -> None:
    """Deliver to `url` in one connection; check with a plain subscriber at `port` that everything arrived."""
    updates = [make_update(make_point(f"T/P{n}"), n) for n in range(MANY)]
    rig = MqttRig(url, [update.point for update in updates], **settings)
    async with rig.sink:
        await rig.until("up")
        await rig.deliver(*updates)
    async with subscribe(port) as subscriber:
        values = [m.json["value"] for m in subscriber.seen if m.topic.startswith("gw/v1/hq/")]
        offline = subscriber.last("gw/v1/$gateway/edge-1/status")
    assert sorted(values) == list(range(MANY))
    assert offline.payload == "offline"
    assert rig.status.reconnects == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_websockets(tmp_path: Path, protocol: str) -> None:
    """All messages arrive, and the status at the end."""
    plain = free_port()
    lines = ("protocol websockets", "allow_anonymous true", f"listener {plain} 127.0.0.1")
    with Mosquitto(tmp_path, *lines) as broker:
        await deliver_many(f"ws://127.0.0.1:{broker.port}/mqtt", plain, protocol=protocol)


async def test_websockets_within_tls(tmp_path: Path) -> None:
    """`wss://` checks the broker's certificate."""
    plain, files = free_port(), make_authority(tmp_path)
    tls = (f"certfile {files / 'broker.pem'}", f"keyfile {files / 'broker.key'}")
    lines = ("protocol websockets", "allow_anonymous true", *tls, f"listener {plain} 127.0.0.1")
    with Mosquitto(tmp_path, *lines) as broker:
        url = f"wss://127.0.0.1:{broker.port}"
        await deliver_many(url, plain, ca=files / "ca.pem")
        untrusting = MqttRig(url, [])
        async with untrusting.sink:
            await untrusting.until("away")
        assert "certificate verify failed" in str(untrusting.status.last_error)


async def test_a_server_without_websockets_keeps_the_sink_away(tmp_path: Path) -> None:
    """The status has the reason."""
    with Mosquitto(tmp_path) as broker:
        rig = MqttRig(f"ws://127.0.0.1:{broker.port}", [])
        async with rig.sink:
            await rig.until("away")
        assert "cannot connect: WebSocket handshake error" in str(rig.status.last_error)


async def test_websockets_over_a_slow_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages arrive whole and once, though the socket accepts frames in parts."""
    connect = PahoClient._create_socket_connection

    def connect_narrowly(client: PahoClient) -> socket.socket:
        sock = connect(client)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SIP_BYTES)
        return sock

    monkeypatch.setattr(PahoClient, "_create_socket_connection", connect_narrowly)
    updates = [make_update(make_point(f"T/P{n}"), f"{n:04}" * (10 + 5 * n % 500)) for n in range(300)]
    with Mosquitto(tmp_path) as broker:
        async with websocket_front(broker.port) as url:
            points = [update.point for update in updates]
            rig = MqttRig(url, points, payload="value", in_flight=100, keepalive="10s")
            async with rig.sink:
                await rig.until("up")
                await rig.deliver(*updates)
        async with subscribe(broker.port) as subscriber:
            found = {one.topic.removeprefix("gw/v1/"): one.payload for one in subscriber.seen}
        received = re.findall(r"Received PUBLISH .* 'gw/v1/(hq/T/P\d+)', ", broker.log)
    expected = {f"hq/{update.point.name}": update.value for update in updates}
    assert found == {"$gateway/edge-1/status": "offline"} | expected
    assert received == list(expected)
    assert rig.status.reconnects == 0


@asynccontextmanager
async def websocket_front(broker_port: int) -> AsyncIterator[str]:
    """Listen for websockets with small buffers and forward to a plain broker; yield the URL."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        front = web.WebSocketResponse(protocols=("mqtt",))
        await front.prepare(request)
        there, back = await asyncio.open_connection("127.0.0.1", broker_port)

        async def answer() -> None:
            while data := await there.read(65536):
                await front.send_bytes(data)

        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(answer())
            async for frame in front:
                if frame.type is aiohttp.WSMsgType.BINARY:
                    back.write(frame.data)
                    await back.drain()
            answering.cancel()
        back.close()
        return front

    app = web.Application()
    app.router.add_get("/mqtt", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP_BYTES)
        await web.SockSite(runner, listening).start()
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}/mqtt"
        finally:
            await runner.cleanup()


class AlpnFront:
    """A TLS server that forwards only clients that offer the protocol `mqtt`."""

    def __init__(self, files: Path, broker_port: int) -> None:
        self.port = free_port()
        self.chosen: list[str | None] = []
        self._broker_port = broker_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files / "broker.pem", files / "broker.key")
        self._context.set_alpn_protocols(["mqtt"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection, or close it."""
        self.chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        with suppress(OSError):
            if self.chosen[-1] == "mqtt":
                there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        writer.close()

    async def start(self) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_server(self.serve, "127.0.0.1", self.port, ssl=self._context)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_alpn_names_the_protocol(tmp_path: Path) -> None:
    """`alpn: [mqtt]` connects to a port that several protocols share; without it the sink is away."""
    files = make_authority(tmp_path)
    with Mosquitto(tmp_path) as broker:
        front = AlpnFront(files, broker.port)
        async with await front.start():
            url = f"mqtts://127.0.0.1:{front.port}"
            await deliver_many(url, broker.port, ca=files / "ca.pem", alpn=("mqtt",))
            mute = MqttRig(url, [], ca=files / "ca.pem")
            async with mute.sink:
                await mute.until("away")
    assert front.chosen[:2] == ["mqtt", None]
