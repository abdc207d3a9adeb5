"""Pauses between connections, and what is read again at each."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from itertools import pairwise
from typing import TYPE_CHECKING

from support.certificates import make_authority
from support.mosquitto import Mosquitto
from support.mqtt_parts import MqttRig, make_point, make_update
from support.ports import free_port

from gateway.backoff import Backoff

if TYPE_CHECKING:
    from pathlib import Path


async def test_pauses_grow_though_the_broker_accepts() -> None:
    """Pauses grow until a connection lasts."""
    loop = asyncio.get_running_loop()
    came_s: list[float] = []
    enough = asyncio.Event()

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came_s.append(loop.time())
        with contextlib.suppress(OSError):
            await reader.read(100)
            writer.write(bytes([0x20, 2, 0, 0]))  # CONNACK: welcome
            await writer.drain()
            await reader.read(100)  # `online`
        writer.close()
        if len(came_s) == 4:
            enough.set()

    server = await asyncio.start_server(drop, "127.0.0.1", port := free_port())
    rig = MqttRig(f"mqtt://127.0.0.1:{port}", [], protocol="3.1.1")
    async with server, rig.sink:
        async with asyncio.timeout(60):
            await enough.wait()
    pauses_s = [later - earlier for earlier, later in pairwise(came_s)]
    assert all(pause_s >= least_s for pause_s, least_s in zip(pauses_s, (0.25, 0.5, 1.0), strict=True))
    assert rig.status.state == "away"


def test_pauses_are_jittered() -> None:
    """Each pause is between half and all of its time, so that gateways do not reconnect in step."""
    boxes = [Backoff() for _ in range(20)]
    for longest_s in (0.5, 1, 2, 4, 8, 16, 30, 30):
        pauses_s = {box.next_s() for box in boxes}
        assert len(pauses_s) == len(boxes)
        assert all(longest_s / 2 <= pause_s <= longest_s for pause_s in pauses_s)


async def test_certificates_are_read_at_each_connection(tmp_path: Path) -> None:
    """A replaced certificate is used by the next connection, without a restart."""
    ours, theirs, used = (tmp_path / name for name in ("ours", "theirs", "used"))
    for folder in (ours, theirs, used):
        folder.mkdir()
    make_authority(ours)
    make_authority(theirs)
    tls = [f"{key} {ours / name}" for key, name in
           (("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"))]  # fmt: skip
    shutil.copy(ours / "ca.pem", used)
    for name in ("client.pem", "client.key"):
        shutil.copy(theirs / name, used)
    with Mosquitto(tmp_path, "allow_anonymous true", "require_certificate true", *tls) as broker:
        files = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
        point = make_point()
        rig = MqttRig(
            f"mqtts://127.0.0.1:{broker.port}", [point], **{key: used / name for key, name in files.items()}
        )
        async with rig.sink:
            await rig.until("away")
            for name in ("client.pem", "client.key"):
                shutil.copy(ours / name, used)
            await rig.until("up")
            await rig.deliver(make_update(point, 1))
