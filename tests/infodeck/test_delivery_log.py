"""Infodeck's delivery log as the explanation of an alarm, read over HTTP."""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson
import pytest
from support.asset_lists import ORGANIZATION

from gateway.config.secrets import Secret
from gateway.demo.simulated_answers import Answer
from gateway.demo.simulated_api import SimulatedApi
from gateway.errors import ApiRefusalError, GatewayError
from gateway.events import TELEMETRY
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.webhooks import summarise_deliveries

TOKEN = "made-up-token"
URL = "https://gateway.example.com/webhooks/infodeck"
WEBHOOK = {"id": "wh-1", "url": URL, "events": [TELEMETRY], "status": "Active"}


async def explained(
    *webhooks: dict[str, Any],
    log: list[dict[str, Any]] | None = None,
    token: str = TOKEN,
    webhook_id: str | None = None,
) -> str:
    """Return the explanation for these webhooks, and this log of the first one."""
    api = SimulatedApi(
        organization=ORGANIZATION,
        api_key="made-up-key",
        items=[],
        webhooks=list(webhooks),
        bearer_token=TOKEN,
    )
    api.deliveries["wh-1"] = log or []
    async with api:
        access = ApiAccess(api=api.url, organization=ORGANIZATION, bearer_token=Secret(token.encode()))
        async with connect(access, share=1) as infodeck:
            return await summarise_deliveries(infodeck, url=URL, webhook_id=webhook_id)


async def test_endless_lists_are_an_error() -> None:
    """A list with ever new cursors ends after 100 pages."""
    endless = [Answer(body=orjson.dumps({"data": [], "nextToken": str(number)})) for number in range(100)]
    async with SimulatedApi(
        organization=ORGANIZATION,
        api_key="made-up-key",
        items=[],
        bearer_token=TOKEN,
        faults=deque(endless),
    ) as api:
        access = ApiAccess(api=api.url, organization=ORGANIZATION, bearer_token=Secret(TOKEN.encode()))
        async with connect(access, share=1) as infodeck:
            with pytest.raises(GatewayError, match=r"does not end after 100 pages \(/webhooks\)"):
                await infodeck.webhooks()


def attempt(**fields: Any) -> dict[str, Any]:
    """Return an attempt as the log lists it."""
    return {"id": "dlv-1", "createdAt": 1_771_911_526, **fields}


async def test_a_log_that_is_listed_oldest_first() -> None:
    """The newest attempts are read from the last page."""
    log = [
        attempt(createdAt=1_771_911_526 + each, statusCode=200 if each < 140 else 502) for each in range(150)
    ]
    assert "of its last 5 deliveries (the last one at 2026-02-24T05:41:15Z): 5x 502" in await explained(
        WEBHOOK, log=log
    )


async def test_no_webhook_leads_here() -> None:
    """The explanation says that no webhook has the address or id."""
    other = {**WEBHOOK, "url": "https://other.example.com/"}
    assert await explained(other) == (
        f"none of Infodeck's webhooks (1) has the address {URL}: see infodeck.webhook, and"
        " `gateway webhooks register`"
    )
    assert "has the id wh-9" in await explained(WEBHOOK, webhook_id="wh-9")


async def test_the_webhook_is_not_active() -> None:
    """The status is in the API's own word."""
    log = [attempt(statusCode=200)]
    assert "Infodeck says that the webhook is Failing" in await explained(
        {**WEBHOOK, "status": "Failing"}, log=log
    )
    assert "the webhook is inactive" in await explained({**WEBHOOK, "status": None, "active": False}, log=log)
    assert "says that" not in await explained(WEBHOOK, log=log)


async def test_the_webhook_has_other_events() -> None:
    """A webhook without telemetry among its events is named as the fault."""
    text = await explained({**WEBHOOK, "events": ["asset.created"]})
    assert f"the webhook is not subscribed to {TELEMETRY}" in text
    assert "its delivery log is empty" in text


async def test_the_last_attempts_failed() -> None:
    """Outcomes are counted; the most frequent failure has its reason and advice."""
    log = [
        attempt(statusCode=401, failureReason="Unauthorized"),
        attempt(statusCode=401),
        attempt(statusCode=None, failureReason="Request timed out after 30000ms"),
        attempt(statusCode=401),
        attempt(statusCode=200),
        attempt(statusCode=500),
    ]
    text = await explained(WEBHOOK, log=log)
    assert text.startswith(
        "of its last 5 deliveries (the last one at 2026-02-24T05:38:46Z): 3x 401,"
        " 1x time-out, 1x delivered (Unauthorized); the signature does"
    )


async def test_fields_of_other_names_are_read() -> None:
    """Undocumented fields are found by their usual names."""
    log = [{"timestamp": "2026-11-24T08:00:00Z", "responseStatus": 503, "reason": "Service Unavailable"}]
    assert "1x 503 (Service Unavailable); the gateway's journal was full" in await explained(WEBHOOK, log=log)


async def test_everything_was_delivered() -> None:
    """If all attempts succeeded, something else answers at that address."""
    assert await explained(WEBHOOK, log=[attempt(statusCode=200)] * 7) == (
        "of its last 5 deliveries (the last one at 2026-02-24T05:38:46Z): 5x delivered; if they were not for"
        " this gateway, something else answers at that address"
    )


async def test_it_was_delivered_again() -> None:
    """A failure before a success is named; nothing else is suspected."""
    text = await explained(WEBHOOK, log=[attempt(statusCode=200, createdAt=None), attempt(statusCode=502)])
    assert "1x 502" in text
    assert "something else" not in text


async def test_the_webhook_leads_elsewhere() -> None:
    """A webhook found by id may have another URL; the query is not shown."""
    other = {**WEBHOOK, "url": "https://old.example.com/hook?key=hush"}
    text = await explained(other, webhook_id="wh-1", log=[attempt(statusCode=200)])
    assert text.startswith(
        f"the webhook's URL is https://old.example.com/hook, but infodeck.webhook.url is {URL}; of its last"
    )
    assert "hush" not in text


async def test_a_former_webhook_of_the_same_address() -> None:
    """Of two webhooks with the address, the active one is explained."""
    former = {**WEBHOOK, "id": "wh-0", "status": "disabled"}
    text = await explained(former, WEBHOOK, log=[attempt(statusCode=401)])
    assert "disabled" not in text
    assert "1x 401" in text
    assert "is disabled" in await explained(former)


async def test_a_refused_token_is_an_error() -> None:
    """An expired token raises the error with its advice."""
    with pytest.raises(ApiRefusalError, match=r"infodeck\.bearer_token"):
        await explained(WEBHOOK, token="expired")
