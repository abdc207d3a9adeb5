"""What the gateway promises of values and topics, with table changes at the worst moment."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from support.building import ask_control, eventually
from support.edited_tables import post, running, swap, table, until
from support.modbus_fixtures import connect
from support.mosquitto import subscribe

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon
    from support.mosquitto import Mosquitto

T = "point: T, asset: a, from: t, modbus: {register: 0, type: uint16}"
TOPIC = "gw/v1/hq/R"


async def retained(broker: Mosquitto) -> dict[str, Any]:
    """Return the retained values that a new subscriber gets, by point."""
    async with subscribe(broker.port) as subscriber:
        return {
            message.topic.removeprefix(f"{TOPIC}/"): message.json
            for message in subscriber.seen
            if message.payload and "$gateway" not in message.topic
        }


async def until_retained(broker: Mosquitto, **expected: object) -> None:
    """Wait until exactly these points have retained values."""
    async with asyncio.timeout(60):
        while True:
            found = {point: seen["value"] for point, seen in (await retained(broker)).items()}
            if found == expected:
                return


def count(daemon: Daemon, rows: str) -> int:
    """Count rows of the journal's file."""
    with closing(sqlite3.connect(daemon.folder / "journal.db")) as database:
        return int(database.execute(f"SELECT count(*) FROM {rows}").fetchone()[0])  # noqa: S608 - the test's own


async def test_waiting_readings_are_ordered_by_time_for_a_new_table(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """A new point gets them in order, with their age, on every sink."""
    with running(tmp_path, broker, table(T)) as daemon:
        now_ms = time.time_ns() // 1_000_000
        broker.kill()
        await post(daemon, "evt_1", t=1)
        await post(daemon, "evt_2", asset="b", time_ms=now_ms - 7_200_000, x=22, y=22)
        await post(daemon, "evt_3", asset="b", time_ms=now_ms - 7_300_000, x=21, y=21)
        x = "point: X, asset: b, from: x, stale_after: 1h, modbus: {register: 1, type: uint16}"
        y = "point: Y, asset: b, from: y, stale_after: 3h, modbus: {register: 2, type: uint16}"
        await swap(daemon, table(T, x, y))
        broker.start()
        await until(lambda: daemon.status()["sinks"]["bms"]["cursor"] == 3)
        async with asyncio.timeout(60):
            while "Y" not in (found := await retained(broker)):
                pass
        assert found["Y"]["value"] == 22
        assert (found["X"]["value"], found["X"]["quality"]) == (None, "stale")
        async with connect(daemon.modbus_port) as client:
            assert await client.read(4, 1, 2) == b"\xff\xff\x00\x16"


async def test_a_topic_never_shows_what_another_device_measured(tmp_path: Path, broker: Mosquitto) -> None:
    """A point of another asset has no value until that reports, a point of another key the key's last one."""
    other = "point: {}, asset: a, from: {}"
    before = table(T, other.format("A", "a"), other.format("B", "b"))
    with running(tmp_path, broker, before) as daemon:
        await post(daemon, "evt_1", t=1, a=2, b=3)
        await until_retained(broker, T=1, A=2, B=3)
        await swap(
            daemon, table(T.replace("asset: a", "asset: z"), other.format("A", "b"), other.format("B", "a"))
        )
        await until_retained(broker, A=3, B=2)
        await post(daemon, "evt_2", a=5, b=6)
        await until_retained(broker, A=6, B=5)


async def test_topics_of_points_removed_while_the_gateway_is_down_are_cleared(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """After a kill and an edit, removed and moved points leave nothing on the broker."""
    other = "point: {}, asset: a, from: {}"
    with running(tmp_path, broker, table(T, other.format("A", "a"), other.format("B", "b"))) as daemon:
        await post(daemon, "evt_1", t=1, a=2, b=3)
        await until_retained(broker, T=1, A=2, B=3)
        await until(lambda: count(daemon, "retained WHERE has_value") == 3)
        await asyncio.to_thread(daemon.kill)
        (daemon.tables / "a.yaml").write_text(table(T, other.format("B", "other")))
        await asyncio.to_thread(daemon.start)
        await until_retained(broker, T=1)
        async with asyncio.timeout(60):
            while await described(broker) != {f"{TOPIC}/T/$meta", f"{TOPIC}/B/$meta"}:
                pass


async def described(broker: Mosquitto) -> set[str]:
    """Return the topics of retained metadata."""
    async with subscribe(broker.port) as subscriber:
        return {message.topic for message in subscriber.meta if message.payload}


async def test_the_heartbeat_goes_on_over_a_reload(tmp_path: Path, broker: Mosquitto) -> None:
    """Its register never shows the sentinel and never goes back."""
    beat = "system: {heartbeat: {every: 1s, modbus: {to: regs, register: 9, type: uint16}}}\n"
    with running(tmp_path, broker, table(T, system=beat)) as daemon:
        async with connect(daemon.modbus_port) as client:
            seen: list[int] = []
            for gain in range(2, 5):
                swapping = asyncio.create_task(
                    swap(daemon, table(T.replace("from: t", f"from: t, gain: {gain}"), system=beat))
                )
                while not swapping.done():
                    seen.append(int.from_bytes(await client.read(4, 9, 1)))
                    await asyncio.sleep(0.001)
                await swapping
                seen += [int.from_bytes(await client.read(4, 9, 1)) for _ in range(20)]
    while seen[0] == 0xFFFF:  # before the first one
        del seen[0]
    assert all(0 <= after - before <= 60 for before, after in pairwise(seen)), set(seen)


def force(daemon: Daemon, **what: Any) -> None:
    """Force a point for an hour."""
    code, answer = ask_control(daemon, "/force", json.dumps({"for_s": 3600, **what}).encode())
    assert code == 200, answer


async def test_an_override_ends_with_its_point(tmp_path: Path, broker: Mosquitto) -> None:
    """It returns neither with the point nor at the next start."""
    with running(tmp_path, broker, table(T, "point: A, asset: a, from: a")) as daemon:
        await asyncio.to_thread(force, daemon, point="R/A", value=7)
        assert set(daemon.status()["mapping"]["forced"]) == {"R/A"}
        await swap(daemon, table(T))
        await swap(daemon, table(T, "point: A, asset: a, from: a"))
        assert daemon.status()["mapping"]["forced"] == {}
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        assert daemon.status()["mapping"]["forced"] == {}
        assert '"reason": "no point of the tables any more"' in daemon.log


async def test_an_override_ends_if_its_point_changes(tmp_path: Path, broker: Mosquitto) -> None:
    """Another range, register or unit would show another value."""
    points = (
        "point: A, asset: a, from: a, unit: degC, modbus: {{register: 1, type: uint16{0}}}",
        "point: B, asset: a, from: b{1}",
        "point: C, asset: a, from: c, unit: {2}",
        "point: D, asset: a, from: d",
    )

    def tables(*details: str) -> str:
        return table(*(point.format(*details) for point in points))

    with running(tmp_path, broker, tables("", ", range: [0, 100]", "degC")) as daemon:
        await post(daemon, "evt_1", a=1, b=1, c=1, d=1)
        for name, value in (("A", 700), ("B", 70), ("C", 20), ("D", 4)):
            await asyncio.to_thread(force, daemon, point=f"R/{name}", value=value)
        await until_retained(broker, A=700, B=70, C=20, D=4)
        await swap(daemon, tables(", scale: 1000", ", range: [0, 50]", "degF"))
        await until_retained(broker, A=1, B=1, C=1, D=4)
        await asyncio.to_thread(eventually, lambda: set(daemon.status()["mapping"]["forced"]), {"R/D"})
