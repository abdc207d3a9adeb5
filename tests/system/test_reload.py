"""Point tables that change while the daemon runs, for subscribers, controllers and administrators."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import struct
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from support.daemon import Daemon, sign, telemetry
from support.edited_tables import post, put, reloaded, running, until
from support.modbus_fixtures import connect
from support.mosquitto import subscribe
from support.notified import notification_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
points:
  - {tag: R, point: T, asset: a, from: t, unit: degC, modbus: {register: 0, type: float32}}
  - {tag: R, point: H, asset: a, from: h, unit: percent, modbus: {register: 2, type: uint16}}
"""
ILLEGAL_ADDRESS = b"\x84\x02"
TOPIC = "gw/v1/hq/R"


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the gateway on a folder of tables of its own."""
    with running(tmp_path, broker, TABLE) as gateway:
        yield gateway


async def test_an_edited_table_moves_topics_and_registers(daemon: Daemon, broker: Mosquitto) -> None:
    """New topics are live, old ones cleared, removed registers refused, connections open."""
    async with subscribe(broker.port) as subscriber, connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=21.5, h=40)
        await subscriber.wait_for(lambda: bool(subscriber.payloads(f"{TOPIC}/H")))
        put(daemon, TABLE.replace("point: H,", "point: RH,").replace("register: 2,", "register: 9,"))
        await reloaded(daemon, 1)
        assert await client.read(4, 2, 1) == ILLEGAL_ADDRESS
        assert await client.read(4, 9, 1) == struct.pack(">H", 40)  # the same reading under another name
        await subscriber.wait_for(lambda: bool(subscriber.payloads(f"{TOPIC}/RH")))
        assert subscriber.last(f"{TOPIC}/RH").json["value"] == 40
        await post(daemon, "evt_2", t=21.5, h=41)
        await subscriber.wait_for(lambda: subscriber.last(f"{TOPIC}/RH").json["value"] == 41)
        await subscriber.wait_for(lambda: "" in subscriber.payloads(f"{TOPIC}/H"))
        assert await client.read(4, 9, 1) == struct.pack(">H", 41)
    async with subscribe(broker.port) as late:
        topics = {message.topic for message in (*late.seen, *late.meta) if "$gateway" not in message.topic}
        assert topics == {f"{TOPIC}/{name}{meta}" for name in ("T", "RH") for meta in ("", "/$meta")}
    assert daemon.status()["sinks"]["bms"]["reconnects"] == 0
    assert '"event": "points.reloaded"' in daemon.log


async def test_a_corrected_gain_applies_without_a_new_event(daemon: Daemon, broker: Mosquitto) -> None:
    """The newest reading is converted again, on MQTT and Modbus, also after a restart."""
    async with subscribe(broker.port) as subscriber, connect(daemon.modbus_port) as client:
        await post(daemon, "evt_1", t=21.5)
        await subscriber.wait_for(lambda: bool(subscriber.payloads(f"{TOPIC}/T")))
        put(daemon, TABLE.replace("from: t,", "from: t, gain: 10,"))
        await subscriber.wait_for(lambda: subscriber.last(f"{TOPIC}/T").json["value"] == 215)
        assert subscriber.last(f"{TOPIC}/T").json["event"] == "evt_1"
        assert await client.read(4, 0, 2) == struct.pack(">f", 215)
    await asyncio.to_thread(daemon.stop)
    await asyncio.to_thread(daemon.start)
    async with connect(daemon.modbus_port) as client:
        assert await client.read(4, 0, 2) == struct.pack(">f", 215)


async def test_a_broken_table_changes_nothing(daemon: Daemon) -> None:
    """The problem is shown with its place until the table is corrected."""
    async with connect(daemon.modbus_port) as client:
        put(daemon, TABLE.replace("type: uint16", "type: unit16"))
        await until(lambda: daemon.status()["tables"]["refused"] == 1)
        (problem,) = daemon.status()["tables"]["problems"]
        assert problem.startswith(f"{daemon.tables}/a.yaml:6:")
        await post(daemon, "evt_1", t=20.5, h=40)
        await until(lambda: daemon.status()["sinks"]["regs"]["cursor"] == 1)
        assert await client.read(4, 0, 3) == struct.pack(">fH", 20.5, 40)
        put(daemon, TABLE)
        await until(lambda: not daemon.status()["tables"]["problems"])
        assert daemon.status()["tables"]["reloads"] == 0
        assert not math.isnan(struct.unpack(">f", (await client.read(4, 0, 2)))[0])


async def test_no_event_is_lost_over_reloads(daemon: Daemon, broker: Mosquitto) -> None:
    """Each event posted during many reloads is published, live or as history."""
    posted: list[str] = []
    stop = asyncio.Event()

    async def load() -> None:
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                event_id = f"evt_{len(posted)}"
                body = telemetry(event_id, "a", {"t": len(posted)}, time_ms=time.time_ns() // 1_000_000)
                headers = {"x-infodeck-signature": sign(body)}
                async with session.post(daemon.url, data=body, headers=headers) as answer:
                    assert answer.status == 200
                posted.append(event_id)

    async with subscribe(broker.port) as subscriber:
        loading = asyncio.create_task(load())
        for number in range(1, 7):
            put(daemon, TABLE.replace("from: t,", f"from: t, gain: {number + 1},"))
            await reloaded(daemon, number)
            await until(lambda: len(posted) > 40 * number)  # noqa: B023 - at once
        stop.set()
        await loading
        expected = set(posted)
        places = {f"{TOPIC}/T", f"{TOPIC}/T/$history"}
        await subscriber.wait_for(
            lambda: expected <= {m.json["event"] for m in subscriber.seen if m.topic in places}
        )
        assert subscriber.last(f"{TOPIC}/T").json["value"] == (len(posted) - 1) * 7
    assert len(posted) > 200
    assert daemon.status()["sinks"]["bms"]["dead_letters"] == 0


def test_a_reload_is_reported_to_systemd(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGHUP sends `RELOADING=1` with the time, then `READY=1`; changed settings need a restart."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(TABLE)
    with notification_socket(tmp_path, monkeypatch) as notified:
        daemon = Daemon(tmp_path, broker.port, tables=tables)
        daemon.start()
        try:
            assert notified.next().startswith("READY=1\n")
            assert daemon.process is not None
            began_us = time.monotonic_ns() // 1000
            for table, is_refused in ((TABLE, False), ("nothing", True)):
                daemon.config.write_text(daemon.config.read_text() + "\n")
                (tables / "a.yaml").write_text(table)
                daemon.process.send_signal(signal.SIGHUP)
                reloading, moment = notified.next().split("\n")
                assert reloading == "RELOADING=1"
                assert began_us <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
                ready, status = notified.next().split("\n")
                assert ready == "READY=1"
                assert ("changed point tables are refused" in status) is is_refused
        finally:
            daemon.kill()
    lines = [json.loads(line) for line in daemon.log.splitlines()]
    assert [line["event"] for line in lines].count("settings.changed") == 2
