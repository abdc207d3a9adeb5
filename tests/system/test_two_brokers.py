"""Two brokers as two sinks of one daemon, each with its own prefix, payload and layout."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest
from support.building import retained
from support.commands import gateway
from support.daemon import Daemon, telemetry
from support.mosquitto import Mosquitto, subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = "ast-a1b2c3d4"
FIRST = "bms: {type: mqtt, "
SECOND = (
    'cloud: {type: mqtt, url: "mqtt://127.0.0.1:PORT", prefix: site, payload: value, layout: asset,'
    ' asset_topic: "{prefix}/{gateway}/{tag}", protocol: 3.1.1}'
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return the second broker."""
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def stopped(tmp_path: Path, broker: Mosquitto, cloud: Mosquitto) -> Iterator[Daemon]:
    """Write the files of a daemon with both brokers; the test starts it."""
    daemon = Daemon(tmp_path, broker.port)
    settings = daemon.config.read_text()
    second = SECOND.replace("PORT", str(cloud.port))
    daemon.config.write_text(settings.replace(f"  {FIRST}", f"  {second}\n  {FIRST}"))
    yield daemon
    daemon.kill()


async def test_each_broker_gets_its_own_form(stopped: Daemon, broker: Mosquitto, cloud: Mosquitto) -> None:
    """One event is JSON per point on one broker and bare values of the asset on the other."""
    async with subscribe(broker.port) as there, subscribe(cloud.port) as here:
        await asyncio.to_thread(stopped.start)
        readings = {"temperature": 21.5, "humidity": 48}
        body = telemetry("evt_1", ROOM, readings, time_ms=time.time_ns() // 1_000_000)
        assert (await asyncio.to_thread(stopped.post, body))[0] == 200
        point, asset = "gw/v1/hq-tower/L03-RM312/ZN-T", "site/test-box/L03-RM312"
        await there.wait_for(lambda: bool(there.payloads(point)))
        await here.wait_for(lambda: bool(here.payloads(asset)))
        assert there.last(point).json["value"] == 21.5
        assert here.last(asset).json["ZN-T"] == 21.5
        assert here.last(asset).json["ZN-RH"] == 48
        assert not any(message.topic.startswith("site/hq-tower") for message in here.seen)
        assert here.payloads("site/$gateway/test-box/status") == ["online"]
        cloud.kill()
        again = telemetry("evt_2", ROOM, {"temperature": 22.5}, time_ms=time.time_ns() // 1_000_000)
        assert (await asyncio.to_thread(stopped.post, again))[0] == 200
        await there.wait_for(lambda: there.last(point).json["value"] == 22.5)
    await asyncio.to_thread(cloud.start)
    async with asyncio.timeout(60), subscribe(cloud.port) as late:
        await late.wait_for(lambda: bool(late.payloads(asset)))
        assert late.last(asset).json["ZN-T"] == 22.5


async def test_every_command_shows_the_true_topics(stopped: Daemon) -> None:
    """The list, the document, an explanation and a forced value name the topics of both brokers."""
    listed = json.loads(gateway("points", "-c", stopped.config, "--format", "json").stdout)
    (row,) = [row for row in listed if row["name"] == "L03-RM312/ZN-T"]
    point, asset = "gw/v1/hq-tower/L03-RM312/ZN-T", "site/test-box/L03-RM312"
    assert (row["topic"], row["asset_topic"]) == (point, asset)
    document = gateway("points", "-c", stopped.config, "--format", "md").stdout
    assert f"| {point} | degC |" in document
    assert f"| {asset} | ZN-T | degC |" in document
    await asyncio.to_thread(stopped.start)
    forced = await asyncio.to_thread(
        gateway, "force", "-c", stopped.config, "L03-RM312/ZN-T", "19.5", "--for", "5m"
    )
    assert f"MQTT {point}" in forced.stdout
    assert f"MQTT {asset}" in forced.stdout
    value = await asyncio.to_thread(retained, stopped.broker_port, point)
    assert (value["value"], value["quality"]) == (19.5, "forced")
    body = telemetry("evt_1", ROOM, {"temperature": 21.5}, time_ms=time.time_ns() // 1_000_000)
    assert (await asyncio.to_thread(stopped.post, body))[0] == 200
    explained = await asyncio.to_thread(gateway, "explain", "-c", stopped.config, "evt_1")
    printed = " ".join(explained.stdout.split())
    assert f'mqtt bms {point} {{"value":21.5' in printed
    assert f'mqtt cloud {asset} {{… "ZN-T":21.5 …}}' in printed
