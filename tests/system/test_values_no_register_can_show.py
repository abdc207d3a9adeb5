"""The real daemon with values that no register can show: MQTT has them, with quality bad everywhere."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.commands import gateway
from support.daemon import Daemon, telemetry
from support.modbus_fixtures import connect
from support.mosquitto import subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.modbus_fixtures import Client
    from support.mosquitto import Mosquitto, Subscriber

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
points:
  - {tag: R, point: LEAK, asset: ast-1, from: leak, modbus: {register: 0, bit: 0}}
  - {tag: R, point: COUNT, asset: ast-1, from: count, modbus: {register: 1, type: uint16}}
  - tag: R
    point: HELD
    asset: ast-1
    from: held
    on_stale: hold
    modbus: {register: 2, type: int16, scale: 10}
  - {tag: R, point: SAFE, asset: ast-1, from: safe, on_stale: {value: 7}, modbus: {register: 3, type: uint16}}
  - {tag: R, point: WORD, asset: ast-1, from: word, modbus: {register: 4, type: string(4)}}
  - {tag: R, point: MODE, asset: ast-1, from: mode, map: {heat: 1}, modbus: {register: 6, type: uint16}}
  - {tag: R, point: QUAL, asset: ast-1, from: $quality, modbus: {register: 7, type: uint16}}
"""
GOOD = {"leak": 1, "count": 65534, "held": 3276.7, "safe": 1, "word": "abcd", "mode": "heat"}
BAD = {"leak": 2, "count": 70000, "held": 3276.8, "safe": -1, "word": "abcde", "mode": "auto"}
POINTS = [f"R/{key.upper()}" for key in BAD]
IN_THEIR_PLACE = b"\0\0\xff\xff\x7f\xff\0\7\0\0\0\0\xff\xff"


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the gateway with the table."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(TABLE)
    running = Daemon(tmp_path, broker.port, tables)
    running.start()
    yield running
    running.kill()


async def until_read(client: Client, quality: int) -> None:
    """Poll until the asset's quality is this one."""
    for _ in range(3000):
        if await client.read(4, 7, 1) == quality.to_bytes(2, "big"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the quality is not {quality}")


def messages(watching: Subscriber, event: str) -> dict[str, Any]:
    """Return value and quality of each point after an event, by telemetry key."""
    found = [seen for seen in watching.seen if seen.topic.startswith("gw/v1/hq/R/")]
    by_key = {seen.topic.rpartition("/")[2].lower(): seen.json for seen in found if event in seen.payload}
    return {key: (each["value"], each["quality"]) for key, each in by_key.items()}


async def test_what_no_register_can_show_is_bad_everywhere(daemon: Daemon, broker: Mosquitto) -> None:
    """`$quality`, MQTT and the status show it, and the log once, until values fit again."""
    async with subscribe(broker.port) as watching, connect(daemon.modbus_port) as client:
        daemon.post(telemetry("evt_1", "ast-1", GOOD))
        await watching.wait_for(lambda: len(messages(watching, "evt_1")) == len(GOOD))
        await until_read(client, 0)
        for event in ("evt_2", "evt_3"):
            daemon.post(telemetry(event, "ast-1", BAD))
            await watching.wait_for(lambda event=event: len(messages(watching, event)) == len(BAD))  # type: ignore[misc]
        expected = BAD | {"mode": None}  # what it is no value of
        assert messages(watching, "evt_3") == {key: (value, "bad") for key, value in expected.items()}
        await until_read(client, 3)
        assert await client.read(4, 0, 7) == IN_THEIR_PLACE
        assert daemon.status()["qualities"]["bad"] == len(BAD)
        listed = (await asyncio.to_thread(gateway, "status", "-c", daemon.config)).stdout
        assert "R/COUNT: regs, unit 1, input 1: 70000 is beyond uint16" in listed
        assert list(daemon.status()["mapping"]["unshown"]) == POINTS
        daemon.post(telemetry("evt_4", "ast-1", GOOD))
        await until_read(client, 0)
        assert daemon.status()["mapping"]["unshown"] == {}
    lines = [json.loads(line) for line in daemon.log.splitlines() if "point." in line]
    assert [(line["event"], line["level"], line["point"]) for line in lines] == [
        *(("point.unshown", "warning", point) for point in POINTS),
        *(("point.shown", "info", point) for point in POINTS),
    ]
