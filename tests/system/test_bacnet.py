"""The daemon as a BACnet device, for a BMS that finds, reads and subscribes by bacpypes3."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest
from support.bacnet_clients import Maker, bacnet_client
from support.commands import gateway
from support.daemon import Daemon
from support.edited_tables import post, swap
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.bacnet_clients import BacnetClient, Notification
    from support.mosquitto import Mosquitto

TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t, unit: degC, stale_after: 3s, bacnet: {instance: 7}}
"""
AGE = "  - {tag: R, point: AGE, asset: a, from: $age, bacnet: {instance: 9}}\n"
NEW_POINT = "  - {tag: R, point: H, asset: a, from: h, unit: percent, bacnet: {instance: 8}}\n"
GOOD, FAULT = [[0, 0, 0, 0]], [[1, 1, 0, 0]]
NO_SENSOR, COMMUNICATION_FAILURE = [1], [12]
DEVICE, TEMPERATURE = "device,3101", "analog-input,7"


@pytest.fixture
def address() -> str:
    """Return the device's `ip:port`."""
    return f"127.0.0.2:{free_port()}"


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto, address: str) -> Iterator[Daemon]:
    """Run the gateway as a BACnet device with one object."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(TABLE + AGE)
    running = Daemon(tmp_path, broker.port, tables=tables)
    sink = f'  bac: {{type: bacnet, listen: "{address}", device: 3101, allow: [127.0.0.3/32]}}\n'
    running.config.write_text(running.config.read_text().replace("mappings:", f"{sink}mappings:"))
    running.start()
    yield running
    running.kill()


async def next_notification(client: BacnetClient) -> Notification:
    """Return the oldest notification that was not returned yet."""
    await client.wait_for(lambda: bool(client.notifications))
    return client.notifications.pop(0)


async def test_a_subscriber_sees_a_value_come_go_stale_and_come_back(daemon: Daemon, address: str) -> None:
    """Before a reading there is no number; a stale value stays, as a communication failure."""
    async with bacnet_client(Maker.BACPYPES, address) as client:
        assert (await client.discover(3101, 3101)).address == address
        assert await client.read(TEMPERATURE, "reliability") == NO_SENSOR
        await client.subscribe(TEMPERATURE, is_confirmed=True)
        assert (await next_notification(client)).values == {"present-value": ["NaN"], "status-flags": FAULT}
        for event, value in (("evt_1", 21.5), ("evt_2", 22.0)):
            await post(daemon, event, time_ms=time.time_ns() // 1_000_000, t=value)
            shown = (await next_notification(client)).values
            assert shown == {"present-value": [value], "status-flags": GOOD}
            shown = (await next_notification(client)).values
            assert shown == {"present-value": [value], "status-flags": FAULT}
            assert await client.read(TEMPERATURE, "reliability") == COMMUNICATION_FAILURE


async def test_an_age_counts_on_while_nothing_comes(daemon: Daemon, address: str) -> None:
    """Whoever reads sees it; subscribers are notified every minute."""
    async with bacnet_client(Maker.BACPYPES, address) as client:
        await post(daemon, "evt_1", t=21.5)
        async with asyncio.timeout(60):
            while await client.read("analog-input,9", "present-value") in ([0], [1]):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)
        assert await client.read("analog-input,9", "cov-increment") == [60.0]


async def test_the_status_shows_who_asks(daemon: Daemon, address: str) -> None:
    """It has the last client, subscriptions, and what came from networks that are not allowed."""
    async with bacnet_client(Maker.BACPYPES, address) as client:
        await client.subscribe(TEMPERATURE)
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x81", ("127.0.0.2", int(address.split(":")[1])))
        await client.read(TEMPERATURE, "present-value")
        shown = (await asyncio.to_thread(gateway, "status", "-c", daemon.config)).stdout
    asked = "2 requests, the last from 127.0.0.3; 1 subscription of 1 client"
    assert f"{asked}; 1 datagram ignored: from outside of `allow`\n" in shown


async def test_a_reload_and_a_restart_for_a_client(daemon: Daemon, address: str) -> None:
    """New objects are there at once, and the revision grows; a restart shows the last values."""
    async with bacnet_client(Maker.BACPYPES, address) as client:
        await post(daemon, "evt_1", t=21.5, h=40)
        before = await client.read(DEVICE, "database-revision")
        await swap(daemon, TABLE.replace("3s", "1h") + NEW_POINT)
        assert await client.read(DEVICE, "database-revision") > before
        assert await client.read(DEVICE, "object-list") == [[8, 3101], [0, 7], [0, 8]]
        assert await client.read("analog-input,8", "object-name") == ["R/H"]
        await post(daemon, "evt_2", h=41)
        await client.subscribe("analog-input,8")
        await client.wait_for(
            lambda: any(each.values["present-value"] == [41] for each in client.notifications)
        )
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)
        read = await client.read_many({TEMPERATURE: ["present-value"], "analog-input,8": ["present-value"]})
        assert [each["present-value"] for each in read.values()] == [[21.5], [41]]
