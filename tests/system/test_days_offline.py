"""A building that was cut off from NATS for days: everything comes at once, and nothing old looks fresh."""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
from support.building import eventually
from support.daemon import ORGANIZATION
from support.edited_tables import until
from support.libmodbus import libmodbus
from support.mosquitto import subscribe
from support.nats_box import SourceBox, add_consumer, headers_of, publish
from support.nats_servers import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

    from support.mosquitto import Mosquitto, Subscriber

HOUR_MS = 3_600_000
DAYS_MS = 72 * HOUR_MS
TABLE = """\
schema: gateway.points/1
site: hq-tower
defaults: {stale_after: 90m, on_stale: sentinel, modbus: {to: regs, unit: 1, table: input}}
templates:
  room:
    points:
      T: {from: temperature, modbus: {register: 0, type: float32}}
      AGE: {from: $age, modbus: {register: 2, type: uint32}}
assets:
  - {id: silent, tag: SILENT, use: room, base: 0}
  - {id: alive, tag: ALIVE, use: room, base: 10}
"""
HOURS = range(72, 0, -3)


def hourly(now_ms: int) -> list[tuple[str, bytes, dict[str, str]]]:
    """Return three days of events; only those of one asset go on until a minute ago.

    None has a time of its own: they are as old as their first receipt.
    """
    sent = []
    for number, hours in enumerate([*HOURS, 1 / 60]):
        for asset in ("silent", "alive") if hours > 2 else ("alive",):
            event_id = f"evt_{asset}_{number}"
            event: dict[str, Any] = {"id": event_id, "type": "asset.telemetry.updated"}
            event |= {"organizationId": ORGANIZATION}
            event |= {"data": {"object": {"assetId": asset, "telemetry": {"temperature": number}}}}
            received_ms = now_ms - round(hours * HOUR_MS)
            sent.append((asset, orjson.dumps(event), headers_of(event_id, received_ms=received_ms)))
    return sent


def check_shown(box: SourceBox) -> None:
    """Check registers: one asset's newest value and age, and that the other has none to trust."""
    with libmodbus(box.modbus_port) as client:
        eventually(lambda: client.input_float(10, "abcd"), len(HOURS))
        assert math.isnan(client.input_float(0, "abcd"))
        silent, alive = (
            high << 16 | low for high, low in (client.input_registers(2, 2), client.input_registers(12, 2))
        )
        assert 3 * 3600 <= silent < 3 * 3600 + 600
        assert 60 <= alive < 660


def values(seen: Subscriber, tag: str, *, history: bool) -> list[Any]:
    """Return the values that were published of a tag, live with good quality, or as history."""
    topic = f"gw/v1/hq-tower/{tag}/T{'/$history' if history else ''}"
    found = [message.json for message in seen.seen if message.topic == topic]
    return [each["value"] for each in found if history or each["quality"] == "good"]


async def test_days_offline(tmp_path: Path, broker: Mosquitto) -> None:
    """Old readings become history, the newest is live, stale ones never; also after a kill and a replay."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "hq.yaml").write_text(TABLE)
    now_ms = time.time_ns() // 1_000_000
    with NatsServer(tmp_path) as server:
        await add_consumer(server.url)
        await publish(server.url, hourly(now_ms))
        box = SourceBox(tmp_path, broker.port, tables, servers=[server.url])
        async with subscribe(broker.port) as seen:
            try:
                box.start()
                await until(lambda: len(values(seen, "SILENT", history=True)) == len(HOURS))
                await until(lambda: len(HOURS) in values(seen, "ALIVE", history=False))
                assert values(seen, "SILENT", history=True) == list(range(len(HOURS)))
                await until(lambda: set(values(seen, "ALIVE", history=True)) == set(range(len(HOURS))))
                assert values(seen, "SILENT", history=False) == []
                assert set(values(seen, "ALIVE", history=False)) == {len(HOURS)}
                check_shown(box)
                newest = seen.last("gw/v1/hq-tower/ALIVE/T").json
                box.kill()
                with closing(sqlite3.connect(tmp_path / "journal.db")) as journal, journal:
                    journal.execute("DELETE FROM last_values")  # so that all is mapped again
                    journal.execute("UPDATE cursors SET seq = 0")
                box.start()
                check_shown(box)
                await until(lambda: not box.status()["sinks"]["bms"]["lag"])
                assert values(seen, "SILENT", history=False) == []
                assert set(values(seen, "ALIVE", history=False)) == {len(HOURS)}
                assert seen.last("gw/v1/hq-tower/ALIVE/T").json == newest
            finally:
                box.kill()
