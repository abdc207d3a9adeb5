"""Items of Infodeck's webhook list and delivery logs, as the gateway reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.infodeck.webhooks import (
    advice_for,
    attempt_of,
    attempts_of,
    failures_of,
    kind_of,
    leads_to,
    signing_secret_of,
    webhook_of,
)

URL = "https://gateway.example.com/webhooks/infodeck"
NOW_S = 1_771_911_526


def test_webhook_as_documented() -> None:
    """Documented fields are read; the status is the API's own word."""
    item = {
        "id": "wh-1",
        "url": URL,
        "events": ["asset.created", 7],
        "description": "hq",
        "status": "Failing",
    }
    webhook = webhook_of(item)
    assert (webhook.id, webhook.url, webhook.status) == ("wh-1", URL, "Failing")
    assert (webhook.events, webhook.description) == (("asset.created", "7"), "hq")


def test_webhook_in_other_words() -> None:
    """Other spellings, a switch as status, and no control characters."""
    webhook = webhook_of({"webhook_id": 12, "url": f"{URL}\x1b[2J", "event_types": ["a"], "isActive": False})
    assert (webhook.id, webhook.url, webhook.status) == ("12", f"{URL} [2J", "inactive")
    assert webhook.events == ("a",)


@pytest.mark.parametrize(
    ("events", "subscribed"),
    [
        (["asset.created"], False),
        (["asset.created", "asset.telemetry.updated"], True),
        (["*"], True),
        ([], True),
    ],
)
def test_subscription_to_telemetry(events: list[str], subscribed: bool) -> None:  # noqa: FBT001 - a column
    """A webhook that states no events counts as subscribed."""
    assert webhook_of({"events": events}).is_subscribed_to("asset.telemetry.updated") is subscribed


@pytest.mark.parametrize(
    ("item", "healthy", "failing"),
    [
        ({"status": "Active"}, True, False),
        ({}, True, False),
        ({"status": "Failing"}, False, True),
        ({"enabled": False}, False, True),
        ({"status": "Draft"}, False, False),
    ],
)
def test_health_of_a_webhook(item: dict[str, Any], healthy: bool, failing: bool) -> None:  # noqa: FBT001 - columns
    """An unknown status is neither healthy nor failing."""
    webhook = webhook_of(item)
    assert (webhook.is_healthy, webhook.is_failing) == (healthy, failing)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://GATEWAY.example.com:443/webhooks/infodeck", True),
        ("https://gateway.example.com/webhooks/infodeck/", False),
        ("https://gateway.example.com:8443/webhooks/infodeck", False),
        ("http://gateway.example.com/webhooks/infodeck", False),
        ("https://gateway.example.com:port/", False),
        (None, False),
    ],
)
def test_which_webhook_leads_here(other: str | None, same: bool) -> None:  # noqa: FBT001 - a column of the table
    """Spellings of one address are equal; paths differ by every character."""
    assert leads_to(webhook_of({"url": other}), url=URL, webhook_id=None) is same


def test_the_id_in_the_settings_decides() -> None:
    """With an id in the settings, the URL does not matter."""
    assert leads_to(webhook_of({"id": "wh-1", "url": "https://x"}), url=URL, webhook_id="wh-1")
    assert not leads_to(webhook_of({"id": "wh-2", "url": URL}), url=URL, webhook_id="wh-1")
    assert not leads_to(webhook_of({"url": URL}), url=None, webhook_id=None)


@pytest.mark.parametrize(
    "item",
    [
        {"statusCode": 401, "responseTimeMs": 12, "failureReason": "Unauthorized", "createdAt": NOW_S},
        {"status_code": "401", "duration_ms": 12, "error": "Unauthorized", "timestamp": NOW_S * 1000},
        {
            "response": {"status": 401, "latencyMs": 12.0},
            "status": "failed",
            "reason": "Unauthorized",
            "sentAt": "2026-02-24T05:38:46Z",
        },
    ],
)
def test_attempt_by_any_of_its_names(item: dict[str, Any]) -> None:
    """Code, duration, reason and time are found by any of their names."""
    attempt = attempt_of({"event": {"id": "evt_1", "type": "asset.created"}} | item)
    assert (attempt.code, attempt.took, attempt.reason) == (401, "12 ms", "Unauthorized")
    assert (attempt.at_ms, attempt.succeeded) == (NOW_S * 1000, False)
    assert (attempt.event_id, attempt.event_type) == ("evt_1", "asset.created")


def test_response_time_without_a_unit_gets_none() -> None:
    """A duration without a unit is shown without one."""
    assert attempt_of({"responseTime": 12}).took == "12"
    assert attempt_of({"responseTime": "12ms"}).took == "12ms"


@pytest.mark.parametrize(
    ("item", "succeeded"),
    [
        ({"statusCode": 200}, True),
        ({"statusCode": 204}, False),  # the guide: other than 200 is retried
        ({"status": "Delivered"}, True),
        ({"status": "failed"}, False),
        ({"success": False}, False),
        ({"success": True}, True),
        ({"failureReason": "timeout of 30000ms exceeded"}, False),
        ({"status": "pending"}, None),
        ({}, None),
    ],
)
def test_whether_an_attempt_succeeded(item: dict[str, Any], succeeded: bool | None) -> None:  # noqa: FBT001 - a column
    """Only 200 is a success; without a code, the log's own words or a reason count."""
    assert attempt_of(item).succeeded is succeeded


@pytest.mark.parametrize(
    ("item", "kind", "advice"),
    [
        ({"statusCode": 401}, "401", "signing secret is not this webhook's"),
        ({"statusCode": 404}, "404", "intake.path"),
        ({"statusCode": 413}, "413", "intake.max_body"),
        ({"statusCode": 503}, "503", "journal.max_size"),
        ({"statusCode": 502}, "502", "does not reach the gateway"),
        ({"statusCode": 301}, "3xx", "final address"),
        ({"statusCode": 418}, "418", "what stands in front"),
        ({"statusCode": 599}, "599", "what stands in front"),
        ({"failureReason": "timeout of 30000ms exceeded"}, "time-out", "no answer in 30 s"),
        ({"failureReason": "Request timed out"}, "time-out", "no answer in 30 s"),
        ({"failureReason": "no answer within 30 s"}, "time-out", "overloaded"),
        ({"failureReason": "self signed certificate in certificate chain"}, "TLS", "whole chain"),
        ({"failureReason": "getaddrinfo ENOTFOUND gateway.example.com"}, "name", "DNS"),
        ({"failureReason": "connect ECONNREFUSED 192.0.2.1:443"}, "refused", "firewall"),
        (
            {"failureReason": "Cannot connect to host 192.0.2.1:443 ssl:default [Connect call failed]"},
            "refused",
            "firewall",
        ),
        ({"failureReason": "socket hang up"}, "broken off", "harmless when rare"),
    ],
)
def test_advice_for_each_kind_of_failure(item: dict[str, Any], kind: str, advice: str) -> None:
    """Every known kind of failure has advice."""
    attempt = attempt_of(item)
    assert (kind_of(attempt), failures_of([attempt])) == (kind, {kind: 1})
    assert advice in (advice_for(kind) or "")


def test_unclear_failure_gets_no_advice() -> None:
    """An unknown reason has no advice."""
    assert kind_of(attempt_of({"failureReason": "Computer says no"})) == "unclear"
    assert advice_for("unclear") is None


def test_newest_attempts_first() -> None:
    """Attempts without a time are last."""
    items: list[dict[str, Any]] = [
        {"eventId": "b", "createdAt": NOW_S},
        {"eventId": "c"},
        {"eventId": "a", "createdAt": NOW_S + 1},
    ]
    assert [attempt.event_id for attempt in attempts_of(items)] == ["a", "b", "c"]


@pytest.mark.parametrize("secret", [None, 7, "", " ", "two\nlines", "blank behind "])
def test_unusable_signing_secret_is_none(secret: object) -> None:
    """A secret that cannot be used is not accepted."""
    assert signing_secret_of({"signingSecret": secret}) is None
    assert signing_secret_of({"signingSecret": "whsec-1"}) == "whsec-1"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
)
NAMES = st.sampled_from(
    [
        "id",
        "url",
        "events",
        "status",
        "statusCode",
        "response",
        "event",
        "createdAt",
        "responseTimeMs",
        "error",
    ]
)


@given(st.dictionaries(NAMES, ANYTHING))
def test_no_item_is_an_error(item: dict[str, Any]) -> None:
    """Any item can be read without an error."""
    leads_to(webhook_of(item), url=URL, webhook_id=None)
    attempt = attempt_of(item)
    advice_for(kind_of(attempt))
    attempts_of([item, item])
