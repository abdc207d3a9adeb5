"""The simulated Infodeck against a real HTTP server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from importlib.resources import files
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import yaml
from support.ports import free_port
from support.waiting import until
from support.webhook_receiver import Receiver, listening

from gateway.demo.demo_building import DEMO_ASSETS, DEMO_LOCATIONS, DEMO_TYPES, KNOWN_ASSETS
from gateway.demo.simulated_api import SimulatedApi
from gateway.demo.simulated_infodeck import SimulatedInfodeck
from gateway.events import parse_event, read_telemetry

if TYPE_CHECKING:
    import pytest

SECRET = b"demo-signing-secret"
ORGANIZATION = "o-demo"
BY_ID = {asset.id: asset for asset in DEMO_ASSETS}


def simulated(url: str, **options: Any) -> SimulatedInfodeck:
    """Make a fast simulation without duplicates and tests, unless `options` set them."""
    calm: dict[str, Any] = {"rate": 100.0, "duplicate_share": 0.0, "test_event": False, "first_retry_s": 0.01}
    return SimulatedInfodeck(
        api=SimulatedApi(organization=ORGANIZATION, api_key=""),
        url=url,
        secret=SECRET,
        organization=ORGANIZATION,
        assets=DEMO_ASSETS,
        **calm | options,
    )


async def test_every_delivery_is_signed_over_its_raw_body() -> None:
    """`v1` is HMAC-SHA256 of "t.body" under the secret, and `t` is now."""
    async with listening(Receiver()) as receiver, simulated(receiver.url):
        await receiver.until(lambda: len(receiver.requests) >= 10)
    for _, body, header in receiver.requests:
        timestamp, digest = (part.split("=")[1] for part in header.split(","))
        expected = hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert header == f"t={timestamp},v1={expected}"
        assert digest == expected
        assert abs(time.time() - int(timestamp)) < 60


async def test_events_have_the_documented_envelope_and_every_reading() -> None:
    """Each asset reports all its keys in an `asset.telemetry.updated` that the gateway can read."""
    async with listening(Receiver()) as receiver, simulated(receiver.url):
        await receiver.until(
            lambda: {event["data"]["object"]["id"] for event, _, _ in receiver.requests} == set(BY_ID)
        )
    for event, body, _ in receiver.requests:
        assert event["id"].startswith("evt_")
        assert event["organizationId"] == ORGANIZATION
        assert event["livemode"] is True
        assert abs(time.time() - event["created"]) < 60
        telemetry = read_telemetry(parse_event(body, received_ms=int(time.time() * 1000)))
        assert telemetry is not None
        asset = BY_ID[telemetry.asset]
        assert event["data"]["object"]["assetTypeId"] == asset.type
        assert {reading.key for reading in telemetry.readings} == set(asset.signals)
        assert all(reading.value is not None for reading in telemetry.readings)


async def test_an_event_is_repeated_until_it_is_accepted() -> None:
    """After two 503, the same events are sent again and delivered."""
    async with (
        listening(Receiver(refuse=2)) as receiver,
        simulated(receiver.url, rate=0.1) as infodeck,
    ):
        await receiver.until(lambda: len(receiver.requests) >= len(DEMO_ASSETS) + 2)
        await until(lambda: infodeck.deliveries.delivered == len(DEMO_ASSETS))
        sent = Counter(event["id"] for event, _, _ in receiver.requests)
        assert len(sent) == len(DEMO_ASSETS)
        assert sum(sent.values()) == len(DEMO_ASSETS) + 2
        assert (infodeck.deliveries.failed, infodeck.deliveries.given_up) == (2, 0)


async def test_an_unreachable_endpoint_is_given_up() -> None:
    """Attempts follow at 0, 0.5 and 1.5 s; the next one would be too late."""
    async with simulated(
        f"http://127.0.0.1:{free_port()}/", rate=0.001, first_retry_s=0.5, retry_for_s=3.4
    ) as infodeck:
        await until(lambda: infodeck.deliveries.given_up == len(DEMO_ASSETS))
        assert infodeck.deliveries.failed == 3 * len(DEMO_ASSETS)
        assert infodeck.deliveries.delivered == 0


async def test_some_events_come_twice_and_a_test_event_first() -> None:
    """With `duplicate_share` 1 every event is sent twice."""
    async with (
        listening(Receiver()) as receiver,
        simulated(receiver.url, rate=0.001, duplicate_share=1.0, test_event=True) as infodeck,
    ):
        await receiver.until(lambda: len(receiver.requests) >= 2 * (len(DEMO_ASSETS) + 1))
        assert infodeck.deliveries.duplicates == len(DEMO_ASSETS) + 1
    assert set(Counter(event["id"] for event, _, _ in receiver.requests).values()) == {2}
    (test, *_), *_ = [row for row in receiver.requests if row[0]["type"] == "webhook.test"]
    assert receiver.types()[0] == "webhook.test"
    assert test["isTest"] is True
    assert test["livemode"] is False


async def test_nothing_is_sent_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving the context stops reports and retries at once."""
    async with listening(Receiver(refuse=1000)) as receiver:
        async with simulated(receiver.url):
            await receiver.until(lambda: len(receiver.requests) >= 5)
        seen = len(receiver.requests)
        await asyncio.sleep(0.2)
        assert len(receiver.requests) - seen <= len(DEMO_ASSETS)  # what was under way
    assert not caplog.records


def test_readings_move_slowly_and_stay_plausible() -> None:
    """A room's temperature moves slowly and stays in bounds."""
    random = Random(1)
    room = DEMO_ASSETS[0]
    day = [room.telemetry(elapsed_s, random) for elapsed_s in range(0, 24 * 3600, 5)]
    temperatures = [float(report["temperature"] or 0) for report in day]
    assert all(abs(now - then) < 1 for then, now in pairwise(temperatures))
    assert all(15 < temperature < 30 for temperature in temperatures)
    assert all(300 < int(report["co2"] or 0) < 1200 for report in day)
    assert all(20 < float(report["humidity"] or 0) < 80 for report in day)
    assert {report["occupancy"] for report in day} == {"vacant", "occupied"}


def test_the_energy_counter_never_falls() -> None:
    """The meter only counts up."""
    random = Random(1)
    energy = [float(BY_ID["ast-demo-ahu1"].telemetry(s, random)["energy"] or 0) for s in range(0, 3600, 3)]
    assert energy == sorted(energy)
    assert energy[-1] > energy[0]


def test_the_demo_point_table_names_exactly_the_simulated_assets_and_keys() -> None:
    """The demo's table has the simulated assets and keys, plus room 301."""
    table = yaml.safe_load(files("gateway.demo").joinpath("mappings", "demo.yaml").read_text())
    asked: dict[str, set[str]] = {}
    for asset in table["assets"]:
        if asset["id"] == "ast-demo-rm301":
            continue
        points = table["templates"][asset["use"]]["points"].values()
        asked[asset["id"]] = {point["from"] for point in points if not point["from"].startswith("$")}
        assert table["templates"][asset["use"]]["match"] == {"asset_type": BY_ID[asset["id"]].type}
    for point in table["points"]:
        asked.setdefault(point["asset"], set()).add(point["from"])
    assert asked == {asset.id: set(asset.signals) for asset in DEMO_ASSETS}


def test_the_building_has_every_type_and_place_of_its_assets() -> None:
    """Types list exactly the reported keys; places lead to the building."""
    types = {asset_type["id"]: asset_type for asset_type in DEMO_TYPES}
    places = {place["id"]: place for place in DEMO_LOCATIONS}
    for asset in KNOWN_ASSETS:
        assert {prop["key"] for prop in types[asset.type]["properties"]} == set(asset.signals)
        assert places[asset.location]["parentId"] == "loc-tower"
    assert {place["parentId"] for place in DEMO_LOCATIONS} <= {None, *places}
