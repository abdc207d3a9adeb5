"""The two halves of the simulated Infodeck: what happens to assets is in its API and goes out by webhook."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.asset_lists import API_KEY, ORGANIZATION, items
from support.simulation import ask_api, calm_infodeck
from support.waiting import until
from support.webhook_receiver import Receiver, listening

from gateway.demo.demo_building import DEMO_ASSETS
from gateway.demo.simulated_api import SimulatedApi
from gateway.events import parse_event, read_online

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.demo.simulated_infodeck import SimulatedInfodeck

ROOM = DEMO_ASSETS[0]


class Cloud:
    """The simulation, its API and who gets its webhooks."""

    def __init__(self, infodeck: SimulatedInfodeck, receiver: Receiver) -> None:
        self.infodeck = infodeck
        self.receiver = receiver

    async def ask(self, path: str) -> Any:
        """Ask the API."""
        return await ask_api(self.infodeck.api, path)

    async def asset(self, number: int) -> Any:
        """Return an asset as the API lists it."""
        return (await self.ask("/assets"))["data"][number]

    async def event(self, kind: str) -> dict[str, Any]:
        """Return the first event of a type, once it is there."""
        await self.receiver.until(lambda: kind in self.receiver.types())
        return next(event for event, _, _ in self.receiver.requests if event["type"] == kind)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """Run a simulation with two assets that report when a test says so."""
    api = SimulatedApi(organization=ORGANIZATION, api_key=API_KEY, items=items(2))
    async with (
        api,
        listening(Receiver()) as receiver,
        calm_infodeck(receiver.url, api=api, rate=50.0) as infodeck,
    ):
        yield Cloud(infodeck, receiver)


async def test_a_report_is_in_event_shadow_and_history(cloud: Cloud) -> None:
    """The same values at the same time, whichever way one looks; other keys of the shadow stay."""
    cloud.infodeck.report("ast-0", {"temperature": 23.5, "co2": 700})
    event = await cloud.event("asset.telemetry.updated")
    thing = event["data"]["object"]
    assert (thing["id"], thing["telemetry"]) == ("ast-0", {"temperature": 23.5, "co2": 700})
    asset = await cloud.asset(0)
    assert asset["shadows"]["DeviceUplink"]["state"]["reported"] == {
        "temperature": 23.5,
        "humidity": 48,
        "co2": 700,
    }
    assert asset["shadows"]["DeviceUplink"]["metadata"]["reported"]["co2"] == {"timestamp": event["created"]}
    assert thing["timestamp"] // 1000 == event["created"]
    assert abs(asset["updatedAt"] - time.time()) < 5
    history = await cloud.ask("/assets/ast-0/metrics?metricName=co2&days=1")
    assert history["data"] == [{"timestamp": thing["timestamp"], "value": 700}]


async def test_a_disconnected_asset_is_offline_everywhere_until_it_reports(cloud: Cloud) -> None:
    """`asset.status.changed` with the previous attributes, and the API's status; a report ends it."""
    cloud.infodeck.disconnect("ast-0")
    event = await cloud.event("asset.status.changed")
    assert event["data"]["previousAttributes"] == {"status": None}
    read = read_online(parse_event(cloud.receiver.requests[0][1], received_ms=int(time.time() * 1000)))
    assert read is not None
    assert (read.asset, read.online) == ("ast-0", False)
    asset = await cloud.asset(0)
    assert (asset["status"], asset["connectionStatus"]) == ("Offline", False)
    assert cloud.receiver.types() == ["asset.status.changed"]
    cloud.infodeck.report("ast-0", {"temperature": 23.5})
    await cloud.event("asset.telemetry.updated")
    asset = await cloud.asset(0)
    assert (asset["status"], asset["connectionStatus"]) == ("Online", True)


async def test_a_new_asset_is_announced_listed_and_reports(cloud: Cloud) -> None:
    """`asset.created` has the asset as it is documented for events, which is not as the API lists it."""
    cloud.infodeck.add_asset(ROOM)
    event = await cloud.event("asset.created")
    listed = (await cloud.ask("/assets"))["data"][-1]
    assert event["data"]["object"] == {
        "id": ROOM.id,
        "name": ROOM.name,
        "assetTypeId": ROOM.type,
        "locationId": ROOM.location,
        "status": "Online",
        "metadata": {
            "manufacturer": "Simulated",
            "model": ROOM.model,
            "serialNumber": listed["serialNumber"],
        },
        "created": listed["createdAt"],
        "updated": listed["createdAt"],
    }
    assert listed["id"] == ROOM.id
    report = await cloud.event("asset.telemetry.updated")
    assert report["data"]["object"]["id"] == ROOM.id


async def test_a_removed_asset_is_gone_and_silent(cloud: Cloud) -> None:
    """`asset.deleted` goes out, the API lists it no more, and it reports no more."""
    cloud.infodeck.add_asset(ROOM)
    await cloud.event("asset.telemetry.updated")
    cloud.infodeck.remove_asset(ROOM.id)
    event = await cloud.event("asset.deleted")
    assert event["data"]["object"]["id"] == ROOM.id
    assert [item["id"] for item in (await cloud.ask("/assets"))["data"]] == ["ast-0", "ast-1"]
    tasks = asyncio.all_tasks
    await until(lambda: not any(task.get_name() == f"report {ROOM.id}" for task in tasks()))
    with pytest.raises(LookupError):
        cloud.infodeck.report(ROOM.id, {})


async def test_a_renamed_asset_is_told(cloud: Cloud) -> None:
    """`asset.updated` has the new name, and the former one as previous attribute."""
    cloud.infodeck.rename("ast-1", "Hall")
    event = await cloud.event("asset.updated")
    assert event["data"]["object"]["name"] == "Hall"
    assert event["data"]["previousAttributes"] == {"name": "Room 1"}
    assert (await cloud.asset(1))["name"] == "Hall"


async def test_a_disconnected_device_does_not_report_by_itself(cloud: Cloud) -> None:
    """Its history stands still until it is connected again."""
    cloud.infodeck.add_asset(ROOM)
    history = cloud.infodeck.api.metrics
    await until(lambda: len(history.get((ROOM.id, "co2"), ())) >= 2)
    cloud.infodeck.disconnect(ROOM.id)
    before = len(history[ROOM.id, "co2"])
    cloud.infodeck.add_asset(DEMO_ASSETS[1])
    await until(lambda: len(history.get((DEMO_ASSETS[1].id, "co2"), ())) >= 3)
    assert len(history[ROOM.id, "co2"]) == before
    cloud.infodeck.connect(ROOM.id)
    await until(lambda: len(history[ROOM.id, "co2"]) > before)


async def test_history_is_bounded(cloud: Cloud) -> None:
    """The oldest values go, the newest stay."""
    for number in range(2100):
        cloud.infodeck.report("ast-0", {"co2": number})
    history = cloud.infodeck.api.metrics["ast-0", "co2"]
    assert (len(history), history[-1]["value"]) == (2000, 2099)
