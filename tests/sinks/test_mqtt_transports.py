"""The ways to a broker that firewalls leave open: websockets, and TLS that names its protocol (ALPN)."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.certificates import make_authority
from support.mosquitto import Mosquitto, free_port, subscribe
from support.mqtt_parts import MqttRig, make_point, make_update

if TYPE_CHECKING:
    from pathlib import Path

MANY = 1_000


async def deliver_many(url: str, port: int, **settings: object) -> None:
    """Deliver to `url`, and see with a plain subscriber at `port` that everything came, in one connection."""
    updates = [make_update(make_point(f"T/P{n}"), n) for n in range(MANY)]
    rig = MqttRig(url, [update.point for update in updates], **settings)
    async with rig.sink:
        await rig.deliver(*updates)
        assert rig.status.state == "up"
    async with subscribe(port) as subscriber:
        values = [m.json["value"] for m in subscriber.seen if m.topic.startswith("gw/v1/hq/")]
        offline = subscriber.last("gw/v1/$gateway/edge-1/status")
    assert sorted(values) == list(range(MANY))
    assert offline.payload == "offline"
    assert rig.status.reconnects == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_websockets(tmp_path: Path, protocol: str) -> None:
    """`ws://` carries the same messages, all of them, and the same farewell."""
    plain = free_port()
    lines = ("protocol websockets", "allow_anonymous true", f"listener {plain} 127.0.0.1")
    with Mosquitto(tmp_path, *lines) as broker:
        await deliver_many(f"ws://127.0.0.1:{broker.port}/mqtt", plain, protocol=protocol)


async def test_websockets_within_tls(tmp_path: Path) -> None:
    """`wss://` checks the broker's certificate as mqtts:// does."""
    plain, files = free_port(), make_authority(tmp_path)
    tls = (f"certfile {files / 'broker.pem'}", f"keyfile {files / 'broker.key'}")
    lines = ("protocol websockets", "allow_anonymous true", *tls, f"listener {plain} 127.0.0.1")
    with Mosquitto(tmp_path, *lines) as broker:
        url = f"wss://127.0.0.1:{broker.port}"
        await deliver_many(url, plain, ca=files / "ca.pem")
        stranger = MqttRig(url, [])
        async with stranger.sink:
            await stranger.until("away")
        assert "certificate verify failed" in str(stranger.status.last_error)


async def test_a_server_without_websockets_is_said_and_left_alone(tmp_path: Path) -> None:
    """A plain MQTT port asked for a websocket keeps the sink away, with words that help."""
    with Mosquitto(tmp_path) as broker:
        rig = MqttRig(f"ws://127.0.0.1:{broker.port}", [])
        async with rig.sink:
            await rig.until("away")
        assert "cannot connect: WebSocket handshake error" in str(rig.status.last_error)


class AlpnFront:
    """A TLS front that passes to a broker only whoever names the protocol `mqtt`, as shared ports do."""

    def __init__(self, files: Path, broker_port: int) -> None:
        self.port = free_port()
        self.chosen: list[str | None] = []
        self._broker_port = broker_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files / "broker.pem", files / "broker.key")
        self._context.set_alpn_protocols(["mqtt"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection, or close it."""
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
    """`alpn: [mqtt]` opens a port that several protocols share; without it the sink stays away."""
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
