"""When webhooks came, in all and by asset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrival_parts import (
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    Everything,
    backfilled_event,
    telemetry_event,
)

from gateway.infodeck.missing_webhooks import WebhookArrivals
from gateway.model import Event


@given(st.permutations([0, 1, 2, 3, 4, 5]))
def test_order_of_delivery_does_not_move_an_asset_back(order: list[int]) -> None:
    """In any order of delivery, an asset keeps its newest event's time."""
    arrivals = WebhookArrivals(Everything)
    for number, minute in enumerate(order):
        late_ms = HOUR_MS // 2 + number - minute * MINUTE_MS
        arrivals.accept(telemetry_event("a", at_ms=NOW_MS + minute * MINUTE_MS, late_ms=late_ms))
    assert arrivals.made_ms("a") == NOW_MS + 5 * MINUTE_MS
    assert arrivals.received_ms == NOW_MS + HOUR_MS // 2 + 5


def test_late_events_do_not_count() -> None:
    """Events that are more than an hour late do not count."""
    arrivals = WebhookArrivals(Everything)
    arrivals.accept(telemetry_event("a", at_ms=NOW_MS))
    arrivals.accept(telemetry_event("a", at_ms=NOW_MS + HOUR_MS, late_ms=20 * HOUR_MS))
    assert (arrivals.received_ms, arrivals.mapped_ms) == (NOW_MS, NOW_MS)
    assert arrivals.made_ms("a") == NOW_MS
    arrivals.accept(telemetry_event("a", at_ms=NOW_MS + 21 * HOUR_MS, late_ms=HOUR_MS))
    assert arrivals.received_ms == arrivals.mapped_ms == NOW_MS + 22 * HOUR_MS


def test_only_mapped_assets_are_distinguished() -> None:
    """Only mapped assets take memory."""
    arrivals = WebhookArrivals(lambda: {"ours"})
    for number in range(1_000):
        arrivals.accept(telemetry_event(f"ast-{number}", at_ms=NOW_MS))
    arrivals.accept(telemetry_event("ours", at_ms=NOW_MS + 1000))
    assert arrivals.made_ms("ast-999") == 0
    assert arrivals.made_ms("ours") == NOW_MS + 1000
    assert arrivals.received_ms == arrivals.mapped_ms == NOW_MS + 1000


@pytest.mark.parametrize("created", ["soon", None, -1, 0, 1e300, True, NOW_MS, NOW_MS // 1000 + 3600])
def test_an_event_without_a_plausible_time_counts_when_it_came(created: object) -> None:
    """An implausible `created` is replaced by the time of receipt."""
    event = telemetry_event("a", at_ms=NOW_MS, late_ms=500, created=created)
    event.document["created"] = created
    arrivals = WebhookArrivals(Everything)
    arrivals.accept(event)
    assert arrivals.made_ms("a") == NOW_MS + 500


def test_other_events_do_not_count() -> None:
    """The gateway's own events and other types do not count."""
    arrivals = WebhookArrivals(Everything)
    arrivals.accept(backfilled_event("a", at_ms=NOW_MS))
    arrivals.accept(Event("evt_2", "asset.status.changed", b"", {"data": {"object": {"id": "a"}}}, NOW_MS))
    assert (arrivals.received_ms, arrivals.made_ms("a")) == (None, 0)
    arrivals.accept(Event("evt_3", "asset.telemetry.updated", b"", {"data": {"object": {}}}, NOW_MS))
    assert arrivals.received_ms == NOW_MS
