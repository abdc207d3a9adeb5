"""The real gateway as a Sparkplug edge node, from a webhook to a host's tags."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.edited_tables import post, put
from support.sparkplug_host import listen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto

TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t, unit: degC, stale_after: 6s}
  - {tag: R, point: H, asset: a, from: h, unit: percent, stale_after: never}
  - {tag: S, point: T, asset: b, from: t, unit: degC}
"""


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Return a gateway with a Sparkplug sink alone, on a folder of tables of its own."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(TABLE)
    gateway = Daemon(tmp_path, broker.port, tables=tables)
    settings = gateway.config.read_text().replace("test-box", "edge-1")
    bms, regs = (line for line in settings.splitlines() if line.startswith(("  bms:", "  regs:")))
    scada = f'  scada: {{type: mqtt_sparkplug, url: "mqtt://127.0.0.1:{broker.port}", group: hq}}'
    gateway.config.write_text(settings.replace(bms, scada).replace(f"{regs}\n", ""))
    yield gateway
    gateway.kill()


async def test_a_hosts_tags_are_right_throughout(daemon: Daemon, broker: Mosquitto) -> None:
    """Births, changes, ageing values, an edited table, a stop and a start are followed."""
    async with listen(broker.port) as host:
        await asyncio.to_thread(daemon.start)
        await host.until(lambda: set(host.tags) == {"", "R", "S"})
        await post(daemon, "evt_1", time_ms=time.time_ns() // 1_000_000, t=21.5, h=40)
        await host.until(lambda: host.value("R", "H") == 40 and host.tags["R"]["T"].quality == 192)
        await host.until(lambda: host.tags["R"]["T"].quality == 500)
        assert host.tags["R"]["T"].is_null
        assert host.value("R", "H") == 40

        put(daemon, TABLE.replace("tag: S, point: T", "tag: Z, point: T"))
        await host.until(lambda: "S" in host.stale and not host.is_dead("Z"))
        assert not host.is_dead("R")

        await asyncio.to_thread(daemon.stop)
        await host.until(lambda: not host.is_online)
        await asyncio.to_thread(daemon.start)
        await host.until(lambda: not host.is_dead("R") and not host.is_dead("Z"))
        assert (host.value("R", "H"), host.tags["R"]["T"].quality) == (40, 500)
