"""The real daemon after an outage longer than Infodeck's retries: nothing is lost or delivered twice."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from support.asset_lists import API_KEY, ORGANIZATION, simulated_api
from support.building import eventually, gateway, polled, retained
from support.daemon import Daemon, telemetry
from support.mosquitto import subscribe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto, Subscriber

    from gateway.demo.simulated_api import SimulatedApi

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
templates:
  room:
    stride: 4
    points:
      T: {from: temperature, unit: degC, refill: history, modbus: {register: 0, type: float32}}
      H: {from: humidity, unit: percent, modbus: {register: 2, type: uint16}}
assets:
  - {id: ast-1, tag: R1, use: room, base: 0}
  - {id: ast-2, tag: R2, use: room, base: 10}
points:
  - {tag: R1, point: MODE, asset: ast-1, from: $.data.object.shadows.DeviceUplink.state.reported.mode}
"""
T1, H1, T2, MODE = (f"gw/v1/hq/{name}" for name in ("R1/T", "R1/H", "R2/T", "R1/MODE"))


@pytest.fixture
def stopped(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Write a daemon's files; the test starts it."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "rooms.yaml").write_text(TABLE)
    daemon = Daemon(tmp_path, broker.port, tables=tables)
    yield daemon
    daemon.kill()


def use_api(daemon: Daemon, url: str, *, refill: str) -> None:
    """Add the API and a key's file to the settings; it is asked every second."""
    key = daemon.folder / "api-key"
    key.touch(mode=0o600)
    key.write_text(API_KEY)
    settings = daemon.config.read_text()
    before = f"infodeck: {{organization: {ORGANIZATION}}}"
    assert before in settings
    more = f'api: "{url}", api_key: {{file: api-key}}, reconcile: {{every: 1s}}, refill: {refill}'
    daemon.config.write_text(settings.replace(before, f"infodeck: {{organization: {ORGANIZATION}, {more}}}"))


def show(api: SimulatedApi, asset: str, at_ms: int, **reported: Any) -> None:
    """Set a device's last report in the API."""
    shadow = {"state": {"reported": {**reported, "timestamp": at_ms // 1000}}}
    others = [item for item in api.items if item["id"] != asset]
    api.items = [*others, {"id": asset, "name": asset, "shadows": {"DeviceUplink": shadow}}]


async def post(daemon: Daemon, number: int, asset: str, at_ms: int, **readings: Any) -> None:
    """Post a webhook's event of what a device reported."""
    body = telemetry(f"evt_{number}", asset, readings, time_ms=at_ms)
    assert (await asyncio.to_thread(daemon.post, body))[0] == 200


async def reconciled(daemon: Daemon) -> dict[str, Any]:
    """Return the status of backfilling after a complete reconciliation."""
    status = await asyncio.to_thread(daemon.status)
    async with asyncio.timeout(60):
        while True:
            now = await asyncio.to_thread(daemon.status)
            before = status["reconcile"]["last_success_ms"]
            if now["reconcile"]["state"] == "ok" and now["reconcile"]["last_success_ms"] != before:
                return dict(now["refill"])
            await asyncio.sleep(0.05)


def of_topic(seen: Subscriber, topic: str) -> list[tuple[Any, str]]:
    """Return value and time of every message on a topic, without earlier retained ones."""
    return [(message.json["value"], message.json["ts"]) for message in seen.seen if message.topic == topic]


def utc(time_ms: int) -> str:
    """Return a time as MQTT messages have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time_ms // 1000))


async def until(look: Callable[[], Any], expected: Any) -> None:
    """Wait, in a thread, until `look` returns what is expected."""
    await asyncio.to_thread(eventually, look, expected)


def check_origin(daemon: Daemon, broker: Mosquitto, times_ms: dict[str, int]) -> None:
    """Check that topics show good values of these times, and that `gateway explain` names their origin."""
    for topic, time_ms in times_ms.items():
        message = retained(broker.port, topic)
        assert (message["ts"], message["quality"]) == (utc(time_ms), "good")
        assert message["event"].startswith("reconcile_")
        explained = gateway(daemon, "explain", message["event"]).stdout
        assert "Infodeck's API, not a webhook" in explained


async def test_an_outage_is_backfilled_once(stopped: Daemon, broker: Mosquitto) -> None:
    """Newest values reach MQTT and registers with their times, all values in between `$history`."""
    start_ms = int(time.time()) // 60 * 60_000 - 600_000
    minute = [start_ms + number * 60_000 for number in range(9)]
    async with simulated_api(0) as api, subscribe(broker.port) as seen:
        show(api, "ast-1", minute[0], temperature=20, humidity=40)
        show(api, "ast-2", minute[0], temperature=30)
        await asyncio.to_thread(use_api, stopped, api.url, refill="{tolerance: 1s, history_after: 2m}")
        await asyncio.to_thread(stopped.start)
        await post(stopped, 1, "ast-1", minute[0], temperature=20, humidity=40)
        await post(stopped, 2, "ast-2", minute[0], temperature=30)
        await until(partial(polled, stopped.modbus_port, 10, "3:float"), "30")
        await reconciled(stopped)

        await asyncio.to_thread(stopped.kill)  # and what devices report from now on is lost for good
        api.metrics["ast-1", "temperature"] = [
            {"timestamp": at_ms // 1000, "value": 20 + number} for number, at_ms in enumerate(minute[:6])
        ]
        api.metrics["ast-1", "humidity"] = [{"timestamp": minute[2] // 1000, "value": 42}]
        show(api, "ast-1", minute[5], temperature=25, humidity=45, mode="eco")
        show(api, "ast-2", minute[4], temperature=34)

        await asyncio.to_thread(stopped.start)
        await until(partial(polled, stopped.modbus_port, 0, "3:float"), "25")
        await until(partial(polled, stopped.modbus_port, 2, "3"), "45")
        await until(partial(polled, stopped.modbus_port, 10, "3:float"), "34")
        await until(lambda: retained(broker.port, MODE)["value"], "eco")
        await asyncio.to_thread(check_origin, stopped, broker, {T1: minute[5], H1: minute[5], T2: minute[4]})

        await post(stopped, 3, "ast-1", minute[7], temperature=27, humidity=47)
        await post(stopped, 4, "ast-2", minute[7], temperature=37)
        between = [(20 + number, utc(minute[number])) for number in range(1, 5)]
        await seen.wait_for(lambda: of_topic(seen, f"{T1}/$history") == between)
        assert (await reconciled(stopped))["history_readings"] == 4
        await seen.catch_up()
        assert of_topic(seen, f"{T1}/$history") == between
        assert of_topic(seen, f"{H1}/$history") == []
        live = [(20, utc(minute[0])), (25, utc(minute[5])), (27, utc(minute[7]))]
        assert list(dict.fromkeys(of_topic(seen, T1))) == live

        await asyncio.to_thread(stopped.stop)
        before = len(seen.seen)
        await asyncio.to_thread(stopped.start)
        await reconciled(stopped)
        await post(stopped, 5, "ast-1", minute[8], temperature=28, humidity=48)
        await seen.wait_for(lambda: (28, utc(minute[8])) in of_topic(seen, T1))
        status = await reconciled(stopped)
        await seen.catch_up()
        assert (status["events"], status["history_readings"], status["open_gaps"]) == (0, 0, 0)
        later = {message.topic for message in seen.seen[before:]}
        assert not [topic for topic in later if topic.endswith("$history")]
        values = [json.loads(each.payload)["value"] for each in seen.seen[before:] if each.topic == T1]
        assert list(dict.fromkeys(values)) == [27, 28]


async def test_backfill_can_be_turned_off(stopped: Daemon, broker: Mosquitto) -> None:
    """What webhooks missed stays missing, and assets are listed all the same."""
    async with simulated_api(0) as api:
        show(api, "ast-1", int(time.time()) * 1000 - 60_000, temperature=20, humidity=40)
        await asyncio.to_thread(use_api, stopped, api.url, refill="{enabled: false}")
        await asyncio.to_thread(stopped.start)
        status = await reconciled(stopped)
        assert (status["events"], status["readings"]) == (0, 0)
        assert (await asyncio.to_thread(stopped.status))["reconcile"]["assets"] == 1
        async with subscribe(broker.port) as seen:
            assert of_topic(seen, T1) == []
            assert await asyncio.to_thread(polled, stopped.modbus_port, 0, "3:float") == "nan"


async def test_missing_webhooks_are_backfilled_while_the_gateway_runs(
    stopped: Daemon, broker: Mosquitto
) -> None:
    """Each reconciliation brings newer values until webhooks return."""
    start_ms = int(time.time()) * 1000 - 600_000

    def newest() -> Any:
        return retained(broker.port, T1)["value"]

    async with simulated_api(0) as api, subscribe(broker.port) as seen:
        await asyncio.to_thread(use_api, stopped, api.url, refill="{tolerance: 1s, history_after: 2m}")
        await asyncio.to_thread(stopped.start)
        await post(stopped, 1, "ast-1", start_ms, temperature=20)
        for number in range(1, 4):
            show(api, "ast-1", start_ms + number * 100_000, temperature=20 + number)
            await until(newest, 20 + number)
        await post(stopped, 2, "ast-1", start_ms + 500_000, temperature=25)
        await until(newest, 25)
        await seen.catch_up()
        # The asset's becoming known has the tables compiled anew, and what is being written then comes again.
        assert [value for (value, _), _ in groupby(of_topic(seen, T1))] == [20, 21, 22, 23, 25]
        assert of_topic(seen, f"{T1}/$history") == []


async def test_a_new_point_gets_the_value_of_the_api(stopped: Daemon, broker: Mosquitto) -> None:
    """Another point had it before, and the new one does not wait for the device's next report."""
    at_ms = int(time.time()) * 1000 - 60_000
    async with simulated_api(0) as api, subscribe(broker.port) as seen:
        show(api, "ast-1", at_ms, temperature=20)
        await asyncio.to_thread(use_api, stopped, api.url, refill="{tolerance: 1s}")
        await asyncio.to_thread(stopped.start)
        await seen.wait_for(lambda: of_topic(seen, T1) == [(20, utc(at_ms))])
        await reconciled(stopped)
        table = stopped.folder / "tables" / "rooms.yaml"
        table.write_text(
            table.read_text().replace("      H: {", "      WARM: {from: temperature}\n      H: {")
        )
        await seen.wait_for(lambda: of_topic(seen, "gw/v1/hq/R1/WARM") == [(20, utc(at_ms))])
        status = await reconciled(stopped)
        assert status["last_error"] is None
