"""The real daemon with an API key: it lists every asset, and keeps the list without the API."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.asset_lists import API_KEY, ORGANIZATION, items, simulated_api
from support.daemon import Daemon, telemetry
from support.mosquitto import subscribe
from support.processes import run_gateway

from gateway.demo.simulated_answers import Answer
from gateway.journal.lookup import read_assets

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto

    from gateway.records import AssetSnapshot


@pytest.fixture
def stopped(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Write a daemon's files; the test starts it."""
    daemon = Daemon(tmp_path, broker.port)
    yield daemon
    daemon.kill()


def use_api(daemon: Daemon, url: str) -> None:
    """Add the API and a key's file to the settings."""
    key = daemon.folder / "api-key"
    key.touch(mode=0o600)
    key.write_text(API_KEY)
    settings = daemon.config.read_text()
    before = f"infodeck: {{organization: {ORGANIZATION}}}"
    assert before in settings
    after = f'infodeck: {{organization: {ORGANIZATION}, api: "{url}", api_key: {{file: api-key}}}}'
    daemon.config.write_text(settings.replace(before, after))


async def until(daemon: Daemon, state: str, *, is_troubled: bool = False) -> dict[str, Any]:
    """Return the status of reconciliation once it has this state, with or without a waiting request."""
    async with asyncio.timeout(60):
        while True:
            status = dict((await asyncio.to_thread(daemon.status))["reconcile"])
            if status["state"] == state and (status["trouble"] is not None) is is_troubled:
                return status
            await asyncio.sleep(0.02)


async def stored_assets(daemon: Daemon) -> AssetSnapshot:
    """Return the assets that commands find in the journal, once they are stored."""
    async with asyncio.timeout(60):
        while True:
            if found := read_assets(daemon.folder / "journal.db"):
                return found
            await asyncio.sleep(0.02)


async def test_assets_stay_known_without_the_api(stopped: Daemon) -> None:
    """The status counts them, commands read them from the journal, and a restart restores them."""
    async with simulated_api(150, locations=[{"id": "loc-0", "name": "HQ"}]) as api:
        await asyncio.to_thread(use_api, stopped, api.url)
        await asyncio.to_thread(stopped.start)
        status = await until(stopped, "ok")
        assert status["assets"] == 150
        assert len((await stored_assets(stopped)).assets) == 150
        assert await asyncio.to_thread(stopped.stop) == 0
    await asyncio.to_thread(stopped.start)
    again = await until(stopped, "failing")
    for part in ("assets", "types", "locations", "last_success_ms"):
        assert again[part] == status[part]
    assert (again["types"], again["locations"]) == (1, 1)
    assert "can't be reached" in again["last_error"]
    assert API_KEY not in stopped.log


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (Answer(delay_s=600), r"127\.0\.0\.1 has not answered for \d+ s"),
        (
            Answer(status=429, body=b'{"message":"Too many requests"}', headers={"Retry-After": "50"}),
            r"the API answered 429 \(Too many requests\); asked again in \d+ s",
        ),
        (Answer(status=500), r"the API answered 500"),
    ],
    ids=["hangs", "429", "500"],
)
async def test_a_waiting_request_is_shown(stopped: Daemon, fault: Answer, trouble: str) -> None:
    """Status and doctor show the cause during the minutes until the request fails."""
    async with simulated_api(3, faults=[fault] * 3) as api:
        await asyncio.to_thread(use_api, stopped, api.url)
        await asyncio.to_thread(stopped.start)
        found = await until(stopped, "starting", is_troubled=True)
        assert re.fullmatch(trouble, found["trouble"]), found
        if fault.status == 500:  # it is over within seconds
            await until(stopped, "ok")
            return
        shown = await asyncio.to_thread(run_gateway, "status", "-c", stopped.config)
        assert re.search(rf"^Infodeck +not heard of yet \(starting\); {trouble}$", shown.stdout, re.MULTILINE)
        examined = await asyncio.to_thread(run_gateway, "doctor", "--offline", "-c", stopped.config)
        assert re.search(rf"^warning +reconciliation +{trouble}$", examined.stdout, re.MULTILINE), (
            examined.stdout
        )


def test_without_a_key_reconciliation_is_off(stopped: Daemon) -> None:
    """The log explains it once, and the status shows it."""
    stopped.start()
    assert stopped.status()["reconcile"]["state"] == "off"
    assert stopped.log.count("off: no infodeck.api_key") == 1


ROOM_3 = "gw/v1/hq/Room 3-loc-3"
AUTOMATIC = """\
schema: gateway.points/1
site: hq
templates:
  room:
    match: {asset_type: at-iaq, name: "room ?"}
    auto: true
    tag: "{name}-{location}"
    stride: 4
    points:
      T: {from: temperature, unit: degC, modbus: {to: regs, table: input, register: 0, type: float32}}
      ON: {from: $online}
"""


async def test_automatic_assets_join_while_the_gateway_runs(stopped: Daemon, broker: Mosquitto) -> None:
    """Assets of the API that match a template appear on MQTT, with their connection."""
    stopped.tables = stopped.folder / "tables"
    stopped.tables.mkdir()
    (stopped.tables / "rooms.yaml").write_text(AUTOMATIC)
    stopped.write_settings()
    async with simulated_api(12) as api, subscribe(broker.port) as seen:
        await asyncio.to_thread(use_api, stopped, api.url)
        await asyncio.to_thread(stopped.start)
        await seen.wait_for(lambda: len(seen.payloads(f"{ROOM_3}/ON")) == 1)
        assert '"value":0' in seen.last(f"{ROOM_3}/ON").payload
        assert (await asyncio.to_thread(stopped.status))["tables"]["assets"] == 10
        body = telemetry("evt_1", "ast-3", {"temperature": 21.5}, time_ms=time.time_ns() // 1_000_000)
        assert (await asyncio.to_thread(stopped.post, body))[0] == 200
        await seen.wait_for(lambda: len(seen.payloads(f"{ROOM_3}/T")) == 1)
    assert '"value":21.5' in seen.last(f"{ROOM_3}/T").payload
    assert '"value":1' in seen.last(f"{ROOM_3}/ON").payload  # what it sends proves that it is connected


LISTED = """\
schema: gateway.points/1
site: hq
templates: {t: {points: {T: {from: temperature, unit: degC}}}}
assets: [{id: ast-3, tag: R3, use: t}]
points: [{tag: R4, point: T, asset: ast-4, from: temperature}]
"""


async def test_a_renamed_asset_is_described_anew(stopped: Daemon, broker: Mosquitto) -> None:
    """`$meta` of an asset in a table follows its name and location in the API."""
    stopped.tables = stopped.folder / "tables"
    stopped.tables.mkdir()
    (stopped.tables / "rooms.yaml").write_text(LISTED)
    stopped.write_settings()
    metas = {tag: f"gw/v1/hq/{tag}/T/$meta" for tag in ("R3", "R4")}
    async with simulated_api(5) as api, subscribe(broker.port) as seen:

        def described(tag: str) -> list[tuple[str | None, str | None]]:
            found = [message.json for message in seen.meta if message.topic == metas[tag]]
            return [(one.get("name"), one.get("location")) for one in found]

        await asyncio.to_thread(use_api, stopped, api.url)
        settings = stopped.config.read_text()
        stopped.config.write_text(settings.replace("api_key:", "reconcile: {every: 1s}, api_key:"))
        await asyncio.to_thread(stopped.start)
        await seen.wait_for(
            lambda: ("Room 3", "loc-3") in described("R3") and ("Room 4", "loc-4") in described("R4")
        )
        api.items = [item | {"name": "Hall"} if item["id"] == "ast-3" else item for item in api.items]
        await seen.wait_for(lambda: described("R3")[-1] == ("Hall", "loc-3"))
    assert described("R4")[-1] == ("Room 4", "loc-4")
    assert "Hall" not in {name for name, _ in described("R4")}


def tags(daemon: Daemon) -> set[str]:
    """Return the tags that commands show, from the journal alone."""
    listed = run_gateway("points", "-c", daemon.config, "--format", "json")
    assert listed.returncode == 0, listed.stderr
    return {row["tag"] for row in json.loads(listed.stdout)}


async def test_a_published_tag_stays(stopped: Daemon, broker: Mosquitto) -> None:
    """A namesake, a new name and a restart move no topic of an automatic asset; a new pattern does."""
    stopped.tables = stopped.folder / "tables"
    stopped.tables.mkdir()
    table = stopped.tables / "rooms.yaml"
    table.write_text(AUTOMATIC.replace("{name}-{location}", "{name}").replace('"room ?"', '"*"'))
    stopped.write_settings()

    def online(tag: str) -> list[str]:
        return seen.payloads(f"gw/v1/hq/{tag}/ON")

    async with simulated_api(2) as api, subscribe(broker.port) as seen:
        await asyncio.to_thread(use_api, stopped, api.url)
        settings = stopped.config.read_text()
        stopped.config.write_text(settings.replace("api_key:", "reconcile: {every: 1s}, api_key:"))
        await asyncio.to_thread(stopped.start)
        await seen.wait_for(lambda: bool(online("Room 0") and online("Room 1")))
        api.items.append(items(9)[8] | {"name": "Room 1"})
        await seen.wait_for(lambda: bool(online("Room 1-st-8")))
        api.items[1] = api.items[1] | {"name": "Hall"}
        api.items.append(items(8)[7] | {"name": "Last"})
        await seen.wait_for(lambda: bool(online("Last")))
        async with asyncio.timeout(60):  # the command reads the journal, which has it a moment later
            while await asyncio.to_thread(tags, stopped) != {"Room 0", "Room 1", "Room 1-st-8", "Last"}:  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(0.1)
        await asyncio.to_thread(stopped.kill)
        await asyncio.to_thread(stopped.start)
        api.items.append(items(7)[6] | {"name": "After"})
        await seen.wait_for(lambda: bool(online("After")))
        assert "" not in {*online("Room 0"), *online("Room 1"), *online("Room 1-st-8")}
        await asyncio.to_thread(table.write_text, table.read_text().replace("{name}", "{name}_"))
        await seen.wait_for(lambda: bool(online("Hall_") and online("Room 1_")))
    assert "" in online("Room 1")


def about_asset(event_id: str, of_type: str, asset: str) -> bytes:
    """Return the body of an event about an asset that was added, removed or edited."""
    event = {
        "id": event_id,
        "type": of_type,
        "organizationId": ORGANIZATION,
        "created": int(time.time()),
        "data": {"object": {"id": asset}},
        "livemode": True,
    }
    return json.dumps(event).encode()


async def test_a_webhook_about_assets_starts_a_reconciliation(stopped: Daemon, broker: Mosquitto) -> None:
    """Added, moved and removed assets are known seconds later."""
    stopped.tables = stopped.folder / "tables"
    stopped.tables.mkdir()
    (stopped.tables / "rooms.yaml").write_text(AUTOMATIC.replace("{name}-{location}", "{name}"))
    stopped.write_settings()
    level = {"id": "loc-3", "name": "Level 3", "parentId": "loc-hq"}
    meta = "gw/v1/hq/Room 3/T/$meta"

    def locations() -> list[str | None]:
        return [one.json.get("location") for one in seen.meta if one.topic == meta and one.payload]

    async with simulated_api(3, locations=[{"id": "loc-hq", "name": "HQ"}]) as api:
        async with subscribe(broker.port) as seen:
            await asyncio.to_thread(use_api, stopped, api.url)
            await asyncio.to_thread(stopped.start)
            await until(stopped, "ok")

            async def post(event_id: str, of_type: str) -> None:
                code, _ = await asyncio.to_thread(stopped.post, about_asset(event_id, of_type, "ast-3"))
                assert code == 200

            api.items.append(items(4)[3])
            await post("evt_1", "asset.created")
            await seen.wait_for(lambda: locations() == ["loc-3"])
            api.locations.append(level)
            api.items[3]["locationId"] = "loc-hq"
            await post("evt_2", "asset.updated")
            await seen.wait_for(lambda: locations()[-1] == "HQ")
            api.items[3]["locationId"] = "loc-3"
            await post("evt_3", "asset.updated")
            await seen.wait_for(lambda: locations()[-1] == "HQ / Level 3")
            del api.items[3]
            await post("evt_4", "asset.deleted")
            await seen.wait_for(
                lambda: [one.payload for one in seen.meta if one.topic == meta][-1] == "", timeout_s=20
            )
        asked = [one for one in api.asked if "/asset-types/" in one]
    assert len(asked) == 1  # what is known of the type is not asked for again


async def test_the_inventory_is_compared_after_each_list_and_reload(stopped: Daemon) -> None:
    """The status shows unknown assets, unmapped assets and unknown keys; each is logged once."""
    stopped.tables = stopped.folder / "tables"
    stopped.tables.mkdir()
    table = stopped.tables / "rooms.yaml"
    table.write_text(LISTED.replace("ast-3", "ast-99").replace("temperature}]", "temprature}]"))
    stopped.write_settings()

    async def shown() -> tuple[int, int, int]:
        status = await asyncio.to_thread(stopped.status)
        inventory = status["inventory"]
        return inventory["gone"], inventory["unmapped"], len(status["tables"]["warnings"])

    async def until_shown(*expected: int) -> None:
        async with asyncio.timeout(60):
            while await shown() != expected:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)

    async with simulated_api(6) as api:  # ast-0, -2 and -4 are online
        await asyncio.to_thread(use_api, stopped, api.url)
        await asyncio.to_thread(stopped.start)
        await until_shown(1, 2, 2)
        status = await asyncio.to_thread(stopped.status)
        assert status["inventory"]["gone_sample"] == ["ast-99"]
        lines = [f"warning: {line}" for line in status["tables"]["warnings"]]

        async def check() -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(run_gateway, "check", "-c", stopped.config)

        async with asyncio.timeout(60):  # the command reads the journal, which has it a moment later
            while (checked := await check()).stderr.splitlines()[:2] != lines:
                pass
        assert checked.returncode == 0
        assert "did you mean `temperature`?" in checked.stderr
        assert "no asset of this id in Infodeck" in checked.stderr
        table.write_text(LISTED.replace("ast-3", "ast-2"))
        await until_shown(0, 1, 0)
        checked = await check()
        assert (checked.returncode, checked.stderr) == (0, "")
    assert stopped.log.count("inventory.gone") == stopped.log.count("inventory.none_gone") == 1
    assert stopped.log.count("inventory.unmapped") == 1
