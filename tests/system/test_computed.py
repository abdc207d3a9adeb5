"""Computed points of the running daemon, on a real broker and in Modbus registers."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from support.building import ask_control, eventually, polled, retained
from support.edited_tables import post, running, swap, table, until
from support.modbus_fixtures import connect
from support.mosquitto import subscribe

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon
    from support.mosquitto import Mosquitto

HOUR_MS = 3_600_000
ROOMS = (
    "point: A, asset: a, from: t, unit: degC, stale_after: 10s, modbus: {register: 0, type: float32}",
    "point: B, asset: b, from: t, unit: degC, stale_after: 10s, modbus: {register: 2, type: float32}",
    "point: MEAN, mean: {of: [R/A, R/B]}, modbus: {register: 4, type: float32}",
)
METERS = (
    "point: KWH, asset: a, from: kwh, unit: kWh, stale_after: 9h",
    "point: KW, rate: {of: KWH, per: 1h, rollover: 1000}, unit: kW, modbus: {register: 0, type: float32}",
    "point: FAN, asset: a, from: fan, stale_after: 9h",
    "point: HOURS, runtime: {of: FAN}, modbus: {register: 2, type: float32}",
)


def shown(broker: Mosquitto, point: str) -> tuple[Any, str]:
    """Return value and quality that a new subscriber gets."""
    message = retained(broker.port, f"gw/v1/hq/R/{point}")
    return message["value"], message["quality"]


async def test_a_mean_follows_its_members(tmp_path: Path, broker: Mosquitto) -> None:
    """One event changes member and mean in one batch; so does ageing; an override of a member counts."""
    with running(tmp_path, broker, table(*ROOMS)) as daemon:
        now_ms = time.time_ns() // 1_000_000
        await post(daemon, "evt_1", asset="a", time_ms=now_ms - 10, t=20)
        async with connect(daemon.modbus_port) as client, subscribe(broker.port) as subscriber:
            await post(daemon, "evt_2", asset="b", time_ms=now_ms, t=30)
            read = b""
            while read[4:8] != b"\x41\xf0\0\0":  # 30.0
                read = await client.read(4, 0, 6)
            assert read == b"\x41\xa0\0\0\x41\xf0\0\0\x41\xc8\0\0"
            await until(lambda: shown(broker, "MEAN") == (25, "good"))
            mean = next(seen.json for seen in reversed(subscriber.seen) if seen.topic.endswith("/MEAN"))
        assert mean["unit"] == "degC"
        first = await asyncio.to_thread(retained, broker.port, "gw/v1/hq/R/A")
        assert mean["ts"] == first["ts"]
        await keep_fresh(daemon, broker)
        code, _ = await asyncio.to_thread(force, daemon, "R/A", 10)
        assert code == 200
        await until(lambda: shown(broker, "MEAN") == (10, "good"))
        assert await asyncio.to_thread(polled, daemon.modbus_port, 4, "3:float") == "10"


async def keep_fresh(daemon: Daemon, broker: Mosquitto) -> None:
    """Let A become stale while B reports, then both."""
    for number in range(60):
        await post(daemon, f"evt_fresh{number}", asset="b", t=30)
        await asyncio.sleep(0.5)
        if await asyncio.to_thread(shown, broker, "MEAN") == (30, "good"):
            break
    assert await asyncio.to_thread(shown, broker, "A") == (None, "stale")
    await until(lambda: shown(broker, "MEAN") == (None, "stale"))
    assert await asyncio.to_thread(polled, daemon.modbus_port, 4, "3:float") == "nan"


def force(daemon: Daemon, point: str, value: float) -> tuple[int, dict[str, Any]]:
    """Force a point for an hour."""
    body = json.dumps({"point": point, "value": value, "for_s": 3600}).encode()
    return ask_control(daemon, "/force", body)


async def test_counters_go_on_after_kills_and_reloads(tmp_path: Path, broker: Mosquitto) -> None:
    """A rate and a runtime go on where they were after SIGKILL and a reload; a rollover is no reset."""
    now_ms = time.time_ns() // 1_000_000
    with running(tmp_path, broker, table(*METERS)) as daemon:
        await post(daemon, "evt_1", time_ms=now_ms - 4 * HOUR_MS, kwh=980, fan=1)
        await post(daemon, "evt_2", time_ms=now_ms - 3 * HOUR_MS, kwh=990, fan=1)
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)
        await until(lambda: (shown(broker, "KW"), shown(broker, "HOURS")) == ((10, "good"), (1, "good")))
        await post(daemon, "evt_late", time_ms=now_ms - 3 * HOUR_MS - 1, kwh=0, fan=0)
        await post(daemon, "evt_3", time_ms=now_ms - 2 * HOUR_MS, kwh=5, fan=1)
        await until(lambda: (shown(broker, "KW"), shown(broker, "HOURS")) == ((15, "good"), (2, "good")))
        await swap(daemon, table(*METERS, "point: MORE, expr: 'KW * 2'"))
        await until(lambda: shown(broker, "MORE") == (30, "good"))
        await post(daemon, "evt_4", time_ms=now_ms - HOUR_MS, kwh=6, fan=0)
        await until(lambda: (shown(broker, "KW"), shown(broker, "HOURS")) == ((1, "good"), (3, "good")))
        await asyncio.sleep(1.5)  # everything is saved
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        await until(lambda: (shown(broker, "KW"), shown(broker, "HOURS")) == ((1, "good"), (3, "good")))
        await post(daemon, "evt_5", time_ms=now_ms, kwh=6, fan=0)
        await until(lambda: (shown(broker, "KW"), shown(broker, "HOURS")) == ((0, "good"), (3, "good")))
        assert await asyncio.to_thread(polled, daemon.modbus_port, 2, "3:float") == "3"


async def test_a_reload_changes_members(tmp_path: Path, broker: Mosquitto) -> None:
    """With other members, a mean changes without an event; a sink that was away gets the present one only."""
    rooms = [point.replace("stale_after: 10s", "stale_after: 1h") for point in ROOMS]
    only_a = table(rooms[0], rooms[1], rooms[2].replace("[R/A, R/B]", "A"))
    with running(tmp_path, broker, only_a) as daemon:
        await post(daemon, "evt_1", asset="a", t=20)
        await post(daemon, "evt_2", asset="b", t=30)
        await until(lambda: shown(broker, "MEAN") == (20, "good"))
        await swap(daemon, table(*rooms))
        await until(lambda: shown(broker, "MEAN") == (25, "good"))
        broker.kill()
        for number in range(5):
            await post(daemon, f"evt_away{number}", asset="a", t=40 + number)
        broker.start()
        async with subscribe(broker.port) as subscriber:
            await until(lambda: daemon.status()["sinks"]["bms"]["cursor"] == 7)
            await until(lambda: shown(broker, "MEAN") == (37, "good"))
            means = [seen.topic for seen in subscriber.seen if "MEAN" in seen.topic]
        assert not any(topic.endswith("$history") for topic in means)
        eventually(lambda: polled(daemon.modbus_port, 4, "3:float"), "37")
