"""The real daemon without webhooks: it raises an alarm with the cause, and ends it when they return."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.asset_lists import API_KEY, ORGANIZATION
from support.daemon import SECRET, Daemon, sign, telemetry
from support.mosquitto import subscribe
from support.waiting import until

from gateway.demo.simulated_api import SimulatedApi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto, Subscriber

TOKEN = "made-up-token"
URL = "https://gateway.example.com/webhooks/infodeck"
ALARMS_TOPIC = "gw/v1/$gateway/test-box/alarms"
TABLE = """\
schema: gateway.points/1
site: hq
templates:
  room:
    points: {T: {from: temperature, unit: degC}}
assets:
  - {id: ast-0, tag: A, use: room}
  - {id: ast-1, tag: B, use: room}
"""


@pytest.fixture
def stopped(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Write a daemon's files; the test starts it."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "rooms.yaml").write_text(TABLE)
    daemon = Daemon(tmp_path, broker.port, tables)
    yield daemon
    daemon.kill()


def item(number: int, *, age_s: float = 0.0) -> dict[str, Any]:
    """Return an asset whose shadow is so many seconds old."""
    reported = {"temperature": 20 + number, "timestamp": round(1000 * (time.time() - age_s))}
    shadow = {"state": {"reported": reported}}
    return {"id": f"ast-{number}", "name": f"Room {number}", "shadows": {"DeviceUplink": shadow}}


def simulated() -> SimulatedApi:
    """Return an API with two assets, a webhook for this daemon, and a log of failed deliveries."""
    webhook = {"id": "wh-1", "url": URL, "events": ["asset.telemetry.updated"], "status": "Failing"}
    api = SimulatedApi(
        organization=ORGANIZATION,
        api_key=API_KEY,
        items=[item(0, age_s=3600), item(1, age_s=3600)],
        webhooks=[webhook],
        bearer_token=TOKEN,
    )
    failed = {"statusCode": 502, "failureReason": "Bad Gateway", "createdAt": int(time.time())}
    api.deliveries["wh-1"] = [failed] * 5
    return api


def watch_closely(daemon: Daemon, api: SimulatedApi | None, *, silence: str = "1h") -> None:
    """Shorten the daemon's periods, and name the API if there is one."""
    infodeck: dict[str, Any] = {"organization": ORGANIZATION, "silence": silence}
    infodeck["refill"] = {"tolerance": "1s"}
    if api is not None:
        for name, secret in (("api-key", API_KEY), ("token", TOKEN)):
            (daemon.folder / name).touch(mode=0o600)
            (daemon.folder / name).write_text(secret)
        infodeck |= {
            "api": api.url,
            "api_key": {"file": "api-key"},
            "bearer_token": {"file": "token"},
            "webhook": {"url": URL},
            "reconcile": {"every": "500ms"},
        }
    settings = daemon.config.read_text()
    before = f"infodeck: {{organization: {ORGANIZATION}}}"
    assert before in settings
    settings = settings.replace(before, f"infodeck: {json.dumps(infodeck)}")
    settings = settings.replace("signing_secrets", "tolerance: 2s, signing_secrets", 1)
    daemon.config.write_text(settings)


def report(daemon: Daemon, number: int, *, late_s: float = 0.0) -> None:
    """Deliver an asset's event."""
    at_ms = round(1000 * (time.time() - late_s))
    body = telemetry(f"evt_{time.time_ns()}", f"ast-{number}", {"temperature": 20}, time_ms=at_ms)
    assert daemon.post(body)[0] == 200


def alarms(daemon: Daemon) -> dict[str, str]:
    """Return the alarms that `/api/status` shows, and their reasons."""
    return {alarm["name"]: alarm["reason"] for alarm in daemon.status()["alarms"]}


async def until_shown(daemon: Daemon, name: str, reason: str) -> None:
    """Wait until `/api/status` shows an alarm with this reason."""
    async with asyncio.timeout(60):
        while reason not in (await asyncio.to_thread(alarms, daemon)).get(name, ""):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)


async def until_published(subscriber: Subscriber, *names: str) -> None:
    """Wait until these alarms are on MQTT."""

    def published() -> list[str]:
        if not subscriber.payloads(ALARMS_TOPIC):
            return ["nothing"]
        return [alarm["alarm"] for alarm in subscriber.last(ALARMS_TOPIC).json["alarms"]]

    await subscriber.wait_for(lambda: published() == list(names))


async def test_webhooks_stop_while_the_api_goes_on(stopped: Daemon, broker: Mosquitto) -> None:
    """The alarm is on MQTT and in the status, with the delivery log's cause, also after a restart.

    It is logged once per start, and ends when webhooks return.
    """
    async with simulated() as api, subscribe(broker.port) as seen:
        await asyncio.to_thread(watch_closely, stopped, api)
        await asyncio.to_thread(stopped.start)
        await until_published(seen)
        reporting = asyncio.create_task(keep_reporting(api), name="shadows go on")
        await until_published(seen, "webhook-missed")
        await until_shown(
            stopped, "webhook-missed", "5x 502 (Bad Gateway); the proxy does not reach the gateway"
        )
        await until_shown(stopped, "webhook-missed", "Infodeck says that the webhook is Failing")
        reason = (await asyncio.to_thread(alarms, stopped))["webhook-missed"]
        assert reason.startswith(
            "Infodeck's API has newer data of 2 assets than any webhook brought (ast-0, ast-1)"
        )

        await asyncio.to_thread(stopped.stop)
        await asyncio.to_thread(stopped.start)
        await until_published(seen)
        await until_published(seen, "webhook-missed")
        assert stopped.log.count('"alarm.raised"') == 2

        reporting.cancel()
        for number in range(2):
            await asyncio.to_thread(report, stopped, number)
        await until_published(seen)
        assert await asyncio.to_thread(alarms, stopped) == {}
        assert stopped.log.count('"alarm.cleared"') == 1
        assert SECRET not in stopped.log
        assert TOKEN not in stopped.log


async def keep_reporting(api: SimulatedApi) -> None:
    """Let both devices report to Infodeck again and again."""
    while True:
        api.items = [item(0), item(1)]
        await asyncio.sleep(0.2)


async def test_late_or_silent_sensors_raise_no_alarm(stopped: Daemon, broker: Mosquitto) -> None:
    """A sensor that is silent in the API too, late webhooks, and a silent night are normal."""
    async with simulated() as api, subscribe(broker.port) as seen:
        await asyncio.to_thread(watch_closely, stopped, api, silence="6s")
        await asyncio.to_thread(stopped.start)
        await until_published(seen)
        for _ in range(8):
            api.items = [item(0), api.items[1]]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(report, stopped, 0, late_s=0.5)
        asked = len(api.requests)
        await until(
            lambda: len(api.requests) >= asked + 24
        )  # nothing newer, for twice as long as may be silent
        assert await asyncio.to_thread(alarms, stopped) == {}
        assert len(seen.payloads(ALARMS_TOPIC)) == 1
        assert "alarm.raised" not in stopped.log


async def test_silence_without_an_api_key(stopped: Daemon, broker: Mosquitto) -> None:
    """Without the API, `infodeck.silence` without webhooks is an alarm until the next one."""
    await asyncio.to_thread(watch_closely, stopped, None, silence="2s")
    async with subscribe(broker.port) as seen:
        await asyncio.to_thread(stopped.start)
        await until_published(seen)
        await until_published(seen, "webhook-silent")
        await until_shown(
            stopped, "webhook-silent", "no current telemetry has come by webhook as far as is known"
        )
        await asyncio.to_thread(report, stopped, 0)
        await until_published(seen)
    assert stopped.log.count('"alarm.raised"') == stopped.log.count('"alarm.cleared"') == 1


async def test_events_without_readings_raise_an_alarm(stopped: Daemon, broker: Mosquitto) -> None:
    """It lasts until the first event with a reading."""
    await asyncio.to_thread(watch_closely, stopped, None, silence="2s")
    strange = {"assetId": "ast-0", "measured": [[20.5, "degC"]]}
    async with subscribe(broker.port) as seen:
        await asyncio.to_thread(stopped.start)
        await until_published(seen)
        async with asyncio.timeout(60):
            while "none with a reading for a point" not in (await asyncio.to_thread(alarms, stopped)).get(
                "webhook-silent", ""
            ):
                at_ns = time.time_ns()
                document = {
                    "id": f"evt_{at_ns}",
                    "type": "asset.telemetry.updated",
                    "created": at_ns // 10**9,
                    "data": {"object": strange},
                }
                status, _ = await asyncio.to_thread(stopped.post, json.dumps(document).encode())
                assert status == 200
        await asyncio.to_thread(report, stopped, 0)
        await until_published(seen)


async def test_refused_signatures_raise_an_alarm(stopped: Daemon, broker: Mosquitto) -> None:
    """A wrong secret and a wrong time have different reasons; a good delivery ends the alarm."""
    await asyncio.to_thread(watch_closely, stopped, None)
    async with subscribe(broker.port) as seen:
        await asyncio.to_thread(stopped.start)
        body = telemetry("evt_1", "ast-0", {"temperature": 20})
        for _ in range(3):
            wrong = sign(body)[:-4] + "0000"
            assert (await asyncio.to_thread(stopped.post, body, wrong))[0] == 401
        await until_published(seen, "signature-failing")
        await until_shown(stopped, "signature-failing", "none of intake.signing_secrets is this webhook's")
        ahead = sign(body, int(time.time()) + 400)
        assert (await asyncio.to_thread(stopped.post, body, ahead))[0] == 401
        await until_shown(stopped, "signature-failing", "400 s ahead of this machine's clock")
        await asyncio.to_thread(report, stopped, 0)
        await until_published(seen)
