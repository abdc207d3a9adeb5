"""The two halves of the simulated Infodeck: what assets report is in its API and goes out by webhook."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.asset_lists import API_KEY, ORGANIZATION, items
from support.simulation import ask_api, calm_infodeck
from support.webhook_receiver import Receiver, listening

from gateway.demo.simulated_api import SimulatedApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.demo.simulated_infodeck import SimulatedInfodeck


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listen for webhooks."""
    async with listening(Receiver()) as listener:
        yield listener


@pytest.fixture
async def infodeck(receiver: Receiver) -> AsyncIterator[SimulatedInfodeck]:
    """Run a simulation with two assets that report when a test has them report."""
    api = SimulatedApi(organization=ORGANIZATION, api_key=API_KEY, items=items(2))
    async with api, calm_infodeck(receiver.url, api=api) as simulation:
        yield simulation


async def test_a_report_is_in_event_shadow_and_history(
    infodeck: SimulatedInfodeck, receiver: Receiver
) -> None:
    """All three have the same values at the same time; other keys of the shadow stay."""
    infodeck.report("ast-0", {"temperature": 23.5, "co2": 700})
    await receiver.until(lambda: len(receiver.requests) == 1)
    event = receiver.requests[0][0]
    thing = event["data"]["object"]
    assert (thing["id"], thing["telemetry"]) == ("ast-0", {"temperature": 23.5, "co2": 700})
    asset = (await ask_api(infodeck.api, "/assets"))["data"][0]
    shadow = asset["shadows"]["DeviceUplink"]
    assert shadow["state"]["reported"] == {"temperature": 23.5, "humidity": 48, "co2": 700}
    assert shadow["metadata"]["reported"]["co2"] == {"timestamp": event["created"]}
    assert thing["timestamp"] // 1000 == event["created"]
    assert abs(asset["updatedAt"] - time.time()) < 5
    history = await ask_api(infodeck.api, "/assets/ast-0/metrics?metricName=co2&days=1")
    assert history["data"] == [{"timestamp": thing["timestamp"], "value": 700}]


async def test_history_is_bounded(infodeck: SimulatedInfodeck) -> None:
    """The oldest values go, the newest stay."""
    for number in range(2100):
        infodeck.report("ast-0", {"co2": number})
    history = infodeck.api.metrics["ast-0", "co2"]
    assert (len(history), history[-1]["value"]) == (2000, 2099)
