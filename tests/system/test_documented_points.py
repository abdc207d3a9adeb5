"""The real daemon with the examples of docs/point-tables.md, read by mosquitto_sub and mbpoll."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.building import eventually, gateway, polled, retained
from support.daemon import ORGANIZATION, REPOSITORY, Daemon, telemetry
from support.mosquitto import subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto

PAGE = (REPOSITORY / "docs/point-tables.md").read_text(encoding="utf-8")
HEAD = "schema: gateway.points/1\nsite: hq\n"
TOPIC = "gw/v1/hq/AIR-1"


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the gateway with all examples about the asset ast-air1."""
    tables = tmp_path / "tables"
    tables.mkdir()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    for number, block in enumerate(block for block in blocks if "ast-air1" in block):
        (tables / f"{number}.yaml").write_text(HEAD + block)
    running = Daemon(tmp_path, broker.port, tables)
    running.start()
    yield running
    running.kill()


def registers(daemon: Daemon, *addresses: int) -> list[str]:
    """Return input registers as unsigned numbers."""
    return [polled(daemon.modbus_port, address, "3").split()[0] for address in addresses]


def shown(broker: Mosquitto, *points: str) -> list[tuple[Any, str]]:
    """Return value and quality of points on MQTT."""
    messages = [retained(broker.port, f"{TOPIC}/{point}") for point in points]
    return [(message["value"], message["quality"]) for message in messages]


def test_the_first_key_and_bits(daemon: Daemon, broker: Mosquitto) -> None:
    """The first key that is there counts in each event; a bit and a number of a status word are points."""
    daemon.post(telemetry("evt_1", "ast-air1", {"pm2.5": 12, "status": 42}))
    eventually(lambda: registers(daemon, 600, 602, 603), ["12", "1", "2"])
    expected = [(12, "good"), (True, "good"), (2, "good"), ("auto", "good")]
    assert shown(broker, "PM25", "FAULT", "STAGE", "MODE") == expected
    daemon.post(telemetry("evt_2", "ast-air1", {"pm2.5": 12, "pm2_5": 11, "status": 21.5}))
    eventually(lambda: registers(daemon, 600, 602, 603), ["11", "0", "65535"])
    assert shown(broker, "PM25", "FAULT") == [(11, "good"), (None, "bad")]
    reason = "21.5 is not a whole number from 0 on, so it has no bits"
    assert daemon.status()["mapping"]["unshown"]["AIR-1/FAULT"] == reason


def test_a_quality_beside_its_value(daemon: Daemon, broker: Mosquitto) -> None:
    """It is that of its point alone; `$quality` is the worst of all, also of a forced one."""
    assert registers(daemon, 610, 611, 612, 613, 614) == ["65535"] * 5
    daemon.post(telemetry("evt_3", "ast-air1", {"tvoc": 120, "running": True, "name": "A"}))
    eventually(lambda: registers(daemon, 610, 611, 612, 613, 614), ["120", "0", "0", "0", "0"])
    daemon.post(telemetry("evt_4", "ast-air1", {"tvoc": 60001}))
    eventually(lambda: registers(daemon, 610, 611, 612, 613, 614), ["65535", "3", "0", "0", "3"])
    assert shown(broker, "TVOC") == [(60001, "bad")]
    gateway(daemon, "force", "AIR-1/RUN", "false", "--for", "5m")
    eventually(lambda: registers(daemon, 610, 611, 612, 613, 614), ["65535", "3", "4", "0", "4"])
    gateway(daemon, "release", "AIR-1/RUN")
    eventually(lambda: registers(daemon, 610, 611, 612, 613, 614), ["65535", "3", "0", "0", "3"])


async def test_a_list_of_readings(daemon: Daemon, broker: Mosquitto) -> None:
    """The newest is in the live topic and the register, the older one in `$history`, each with its time."""
    (body,) = re.findall(r"^```json readings.json\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    now_s = int(time.time())
    for written, moved in (("1795507200", now_s), ("1795505400", now_s - 1800), ("o-xxxx", ORGANIZATION)):
        body = body.replace(written, str(moved))
    async with subscribe(broker.port) as watching:
        daemon.post(body.encode())
        await watching.wait_for(lambda: bool(watching.payloads(f"{TOPIC}/ZN-T/$history")))
        await watching.wait_for(lambda: bool(watching.payloads(f"{TOPIC}/ZN-T")))
    live, older = watching.last(f"{TOPIC}/ZN-T").json, watching.last(f"{TOPIC}/ZN-T/$history").json
    assert (live["value"], older["value"]) == (21.5, 21.0)
    assert [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) for at_s in (now_s, now_s - 1800)] == [
        live["ts"][:19],
        older["ts"][:19],
    ]
    assert await asyncio.to_thread(registers, daemon, 601, 604) == ["640", "215"]


@pytest.fixture
def zones(tmp_path: Path, broker: Mosquitto) -> Iterator[tuple[Daemon, list[dict[str, Any]]]]:
    """Run the gateway with the example of computed points; also return its cases."""
    (block,) = re.findall(r"^```yaml\n((?:(?!```).)*FLOOR-3.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "zones.yaml").write_text(HEAD + block)
    running = Daemon(tmp_path, broker.port, tables)
    running.start()
    yield running, yaml.safe_load(block)["cases"]
    running.kill()


def post_case(daemon: Daemon, number: int, given: list[dict[str, Any]]) -> None:
    """Post the readings of a case, of which the last ones are made now."""
    minutes, now_ms = {"0m": 0, "30m": 30, "1h": 60}, time.time_ns() // 1_000_000
    after = [minutes[readings.get("after", "0m")] for readings in given]
    for at, readings in enumerate(given):
        time_ms = now_ms - sum(after[at + 1 :]) * 60_000
        body = telemetry(f"evt_{number}_{at}", readings["asset"], readings["telemetry"], time_ms=time_ms)
        assert daemon.post(body)[0] == 200


def test_computed_points(zones: tuple[Daemon, list[dict[str, Any]]], broker: Mosquitto) -> None:
    """Each computed point is on its topic and in its register as the cases of the example expect it."""
    daemon, cases = zones
    fresh = [case for case in cases if all("2h" not in str(each) for each in case["given"])]
    assert len(fresh) == 3
    for number, case in enumerate(fresh):
        post_case(daemon, number, case["given"])
        for name, expected in case["expect"].items():
            eventually(partial(computed, broker, name), (pytest.approx(expected), "good"))
    assert polled(daemon.modbus_port, 0, "3:float") == "22.5"
    assert polled(daemon.modbus_port, 1008, "3:float") == "10.2"
    assert polled(daemon.modbus_port, 0, "1") == "1"


def computed(broker: Mosquitto, name: str) -> tuple[Any, str]:
    """Return value and quality of a point."""
    message = retained(broker.port, f"gw/v1/hq/{name}")
    return message["value"], message["quality"]
