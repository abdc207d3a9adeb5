"""Webhooks of the simulated Infodeck: registration, log and faults."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from support.asset_lists import API_KEY, ORGANIZATION, items
from support.ports import free_port
from support.simulation import SIGNING_SECRET, TOKEN, calm_infodeck, manage_webhooks
from support.waiting import until
from support.webhook_receiver import Receiver, listening

from gateway.demo.simulated_api import SimulatedApi

if TYPE_CHECKING:
    import pytest

    from gateway.demo.simulated_infodeck import SimulatedInfodeck


def api_of(**options: Any) -> SimulatedApi:
    """Return an API with one asset, not yet started."""
    return SimulatedApi(
        organization=ORGANIZATION, api_key=API_KEY, bearer_token=TOKEN, items=items(1), **options
    )


def report(infodeck: SimulatedInfodeck, count: int = 1) -> None:
    """Have the asset report so many times."""
    for number in range(count):
        infodeck.report("ast-0", {"temperature": number})


async def register(api: SimulatedApi, url: str, *events: str) -> Any:
    """Register a webhook through the API and return it."""
    document = {"url": url, "events": events or ("asset.telemetry.updated",), "description": "test"}
    return await manage_webhooks(api, "/webhooks", method="POST", document=document)


async def test_a_registered_webhook_gets_its_subscribed_events() -> None:
    """Telemetry goes to the one that is subscribed to it, signed with its secret, and not to the other."""
    async with (
        api_of() as api,
        listening(Receiver()) as telemetry,
        listening(Receiver()) as status,
        calm_infodeck(api=api) as infodeck,
    ):
        telemetry.secret = (await register(api, telemetry.url))["signingSecret"].encode()
        status.secret = (await register(api, status.url, "asset.status.changed"))["signingSecret"].encode()
        report(infodeck)
        await telemetry.until(lambda: len(telemetry.requests) == 1)
    assert (telemetry.types(), telemetry.refused) == (["asset.telemetry.updated"], [])
    assert (status.requests, status.refused) == ([], [])


async def test_after_a_rotation_the_new_secret_signs() -> None:
    """A refused event is sent again with the new secret."""
    async with api_of() as api, listening(Receiver()) as receiver, calm_infodeck(api=api) as infodeck:
        made = await register(api, receiver.url)
        receiver.secret = b"what the next one will be"
        report(infodeck)
        await until(lambda: 401 in receiver.refused)
        rotated = await manage_webhooks(api, f"/webhooks/{made['id']}/rotate", method="POST")
        receiver.secret = rotated["signingSecret"].encode()
        await receiver.until(lambda: len(receiver.requests) == 1)
        await until(lambda: infodeck.deliveries.delivered == 1)


async def test_a_test_event_goes_to_the_webhook_that_is_tested() -> None:
    """A test event is sent to the tested webhook only."""
    async with (
        api_of() as api,
        listening(Receiver()) as receiver,
        listening(Receiver()) as other,
        calm_infodeck(api=api),
    ):
        made = await register(api, receiver.url)
        await register(api, other.url)
        await manage_webhooks(api, f"/webhooks/{made['id']}/test", method="POST")
        await receiver.until(lambda: len(receiver.requests) == 1)
        assert other.requests == []
    event = receiver.requests[0][0]
    assert (event["type"], event["isTest"], event["livemode"]) == ("webhook.test", True, False)


async def test_the_delivery_log_has_every_attempt_newest_first() -> None:
    """Two refusals and a success are three entries."""
    async with (
        api_of() as api,
        listening(Receiver(refuse=2)) as receiver,
        calm_infodeck(receiver.url, api=api) as infodeck,
    ):
        report(infodeck)
        await until(lambda: infodeck.deliveries.delivered == 1)
        webhook = api.webhooks[0]
        log = (await manage_webhooks(api, f"/webhooks/{webhook['id']}/deliveries"))["data"]
    assert [(entry["attempt"], entry["statusCode"], entry["failureReason"]) for entry in log] == [
        (3, 200, None),
        (2, 503, "HTTP 503"),
        (1, 503, "HTTP 503"),
    ]
    assert {entry["eventId"] for entry in log} == set(receiver.ids())
    assert {entry["eventType"] for entry in log} == {"asset.telemetry.updated"}
    assert len({entry["id"] for entry in log}) == 3
    assert all(isinstance(entry["responseTimeMs"], int) for entry in log)
    assert all(abs(entry["createdAt"] - time.time()) < 30 for entry in log)


async def test_a_failing_endpoint_is_marked_until_it_recovers() -> None:
    """The status is Failing, and Active after a success."""
    async with api_of() as api, calm_infodeck(f"http://127.0.0.1:{free_port()}/", api=api) as infodeck:
        (webhook,) = api.webhooks
        report(infodeck)
        assert webhook["status"] == "Active"
        await until(lambda: webhook["status"] == "Failing")
        newest = api.deliveries[webhook["id"]][0]
        assert newest["statusCode"] is None
        assert "Cannot connect" in newest["failureReason"]
        async with listening(Receiver(secret=SIGNING_SECRET)) as receiver:
            webhook["url"] = receiver.url
            await until(lambda: webhook["status"] == "Active")


async def test_events_may_arrive_out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `shuffle_share`, events arrive out of order, each once."""
    monkeypatch.setattr("gateway.demo.deliveries._HELD_BACK_S", 0.3)
    async with (
        listening(Receiver()) as receiver,
        calm_infodeck(receiver.url, api=api_of(), shuffle_share=0.3) as infodeck,
    ):
        for _ in range(10):
            report(infodeck, 5)
            await asyncio.sleep(0.02)
        await receiver.until(lambda: len(receiver.requests) == 50)
        stamps = [event["data"]["object"]["timestamp"] for event, _, _ in receiver.requests]
    assert len(set(receiver.ids())) == 50
    assert any(later < earlier - 50 for earlier, later in pairwise(stamps))


async def test_nothing_is_sent_while_paused() -> None:
    """Events are delivered after the pause."""
    async with listening(Receiver()) as receiver, calm_infodeck(receiver.url, api=api_of()) as infodeck:
        infodeck.webhook.paused = True
        report(infodeck, 5)
        await asyncio.sleep(0.3)
        assert receiver.requests == []
        infodeck.webhook.paused = False
        await receiver.until(lambda: len(receiver.requests) == 5)


async def test_a_clock_that_is_off_shows_in_the_signature() -> None:
    """A signature ten minutes ahead is refused."""
    async with (
        listening(Receiver(secret=SIGNING_SECRET)) as receiver,
        calm_infodeck(receiver.url, api=api_of()) as infodeck,
    ):
        infodeck.webhook.skew_s = 600
        report(infodeck)
        await until(lambda: 401 in receiver.refused)
        infodeck.webhook.skew_s = 0
        await receiver.until(lambda: len(receiver.requests) == 1)


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events beyond the bound are counted and dropped."""
    monkeypatch.setattr("gateway.demo.deliveries._MOST_WAITING", 50)
    async with listening(Receiver()) as receiver, calm_infodeck(receiver.url, api=api_of()) as infodeck:
        infodeck.webhook.paused = True
        report(infodeck, 60)
        assert infodeck.deliveries.overflowed == 10
        infodeck.webhook.paused = False
        await receiver.until(lambda: len(receiver.requests) == 50)
    assert Counter(receiver.ids()).most_common(1)[0][1] == 1
