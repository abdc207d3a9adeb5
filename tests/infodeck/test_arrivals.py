"""When webhooks came, and how often they are expected."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrival_parts import (
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    Everything,
    arrivals_of,
    refilled_event,
    telemetry_event,
)

from gateway.infodeck.delivery_monitor.arrivals import Arrivals
from gateway.model import Event

SECONDS = st.integers(min_value=1, max_value=7200)


def expectation(*pauses_ms: int, keep_alive_ms: int | None = None) -> int | None:
    """Return what is expected of an asset after these pauses between its events."""
    times = accumulate(pauses_ms, initial=NOW_MS)
    return arrivals_of(*(("a", at_ms) for at_ms in times)).expectation_ms("a", keep_alive_ms=keep_alive_ms)


@given(st.lists(SECONDS, min_size=3, max_size=30), st.none() | SECONDS)
def test_nothing_that_was_usual_lately_is_unexpected(pauses_s: list[int], keep_alive_s: int | None) -> None:
    """The expectation is no shorter than any recent pause, nor `keepAlive`, and no longer than all."""
    keep_alive_ms = None if keep_alive_s is None else keep_alive_s * 1000
    found = expectation(*(1000 * pause_s for pause_s in pauses_s), keep_alive_ms=keep_alive_ms)
    assert found is not None
    longest_ms = max(1000 * max(pauses_s), keep_alive_ms or 0)
    assert found <= longest_ms
    # Some of the longest pause is forgotten: by at most the part of a week that has passed since.
    assert found >= longest_ms * (1 - sum(pauses_s) / (7 * 86_400)) - len(pauses_s)


@given(st.lists(SECONDS, max_size=2))
def test_two_pauses_are_no_cadence(pauses_s: list[int]) -> None:
    """Without enough of them only `keepAlive` says what to expect."""
    pauses_ms = [1000 * pause_s for pause_s in pauses_s]
    assert expectation(*pauses_ms) is None
    assert expectation(*pauses_ms, keep_alive_ms=5000) == 5000


def test_bursts_do_not_shorten_it_but_a_week_forgets() -> None:
    """A day of reports by the minute leaves a quiet night expected; one long outage does not last."""
    day = [MINUTE_MS] * (24 * 60)
    after_a_day = expectation(HOUR_MS, *day)
    after_three_weeks = expectation(HOUR_MS, *day * 21)
    assert after_a_day is not None
    assert after_three_weeks is not None
    assert 0.8 * HOUR_MS < after_a_day < HOUR_MS
    assert after_three_weeks < 0.1 * HOUR_MS


@given(st.permutations([0, 1, 2, 3, 4, 5]))
def test_order_of_delivery_does_not_move_an_asset_back(order: list[int]) -> None:
    """Webhooks come in any order; the newest event counts, and what came last came last."""
    arrivals = Arrivals(Everything)
    for number, minute in enumerate(order):
        late_ms = HOUR_MS // 2 + number - minute * MINUTE_MS
        arrivals.take(telemetry_event("a", at_ms=NOW_MS + minute * MINUTE_MS, late_ms=late_ms))
    assert arrivals.event_ms("a") == NOW_MS + 5 * MINUTE_MS
    assert arrivals.received_ms == NOW_MS + HOUR_MS // 2 + 5
    assert arrivals.has_come("a", since_ms=NOW_MS + HOUR_MS // 2 + 4)
    assert not arrivals.has_come("a", since_ms=NOW_MS + HOUR_MS // 2 + 5)


def test_what_is_old_when_it_comes_is_no_sign_of_life() -> None:
    """Infodeck repeats for a day: what is more than an hour old says nothing of webhooks now."""
    arrivals = Arrivals(Everything)
    arrivals.take(telemetry_event("a", at_ms=NOW_MS))
    arrivals.take(telemetry_event("a", at_ms=NOW_MS + HOUR_MS, late_ms=20 * HOUR_MS))
    assert (arrivals.received_ms, arrivals.mapped_ms) == (NOW_MS, NOW_MS)
    assert not arrivals.has_come("a", since_ms=NOW_MS)
    assert arrivals.event_ms("a") == NOW_MS + HOUR_MS
    assert arrivals.late_ms == 20 * HOUR_MS
    arrivals.take(telemetry_event("a", at_ms=NOW_MS + 21 * HOUR_MS, late_ms=HOUR_MS))
    assert arrivals.received_ms == arrivals.mapped_ms == NOW_MS + 22 * HOUR_MS
    assert arrivals.late_ms == 0


def test_assets_beyond_number_are_told_apart_only_where_they_are_mapped() -> None:
    """Memory is bounded, whatever Infodeck sends, and no asset of the tables is left out for it."""
    arrivals = Arrivals(lambda: {"ours"})
    for number in range(100_001):
        arrivals.take(telemetry_event(f"ast-{number}", at_ms=NOW_MS))
    arrivals.take(telemetry_event("ours", at_ms=NOW_MS + 1000))
    assert arrivals.event_ms("ast-99999") == NOW_MS
    assert arrivals.event_ms("ast-100000") == 0
    assert arrivals.event_ms("ours") == NOW_MS + 1000
    assert arrivals.received_ms == arrivals.mapped_ms == NOW_MS + 1000


@pytest.mark.parametrize("created", ["soon", None, -1, 0, 1e300, True, NOW_MS, NOW_MS // 1000 + 3600])
def test_an_event_without_a_plausible_time_counts_when_it_came(created: object) -> None:
    """Nonsense, milliseconds and a clock that is an hour ahead: then only its receipt is known."""
    event = telemetry_event("a", at_ms=NOW_MS, late_ms=500, created=created)
    event.document["created"] = created
    arrivals = Arrivals(Everything)
    arrivals.take(event)
    assert arrivals.event_ms("a") == NOW_MS + 500


def test_what_no_webhook_brought_does_not_count() -> None:
    """Neither the gateway's own events nor those without readings are a sign of telemetry."""
    arrivals = Arrivals(Everything)
    arrivals.take(refilled_event("a", at_ms=NOW_MS))
    arrivals.take(Event("evt_2", "asset.status.changed", b"", {"data": {"object": {"id": "a"}}}, NOW_MS))
    assert (arrivals.received_ms, arrivals.event_ms("a")) == (None, 0)
    arrivals.take(Event("evt_3", "asset.telemetry.updated", b"", {"data": {"object": {}}}, NOW_MS))
    assert arrivals.received_ms == NOW_MS


def test_shortest_expectation_needs_several_assets() -> None:
    """One fast sensor may die: only what several of them agree on is an expectation of all together."""
    arrivals = arrivals_of(
        *(("fast", NOW_MS + minute * MINUTE_MS) for minute in range(20)),
        *(("b", NOW_MS + hour * HOUR_MS) for hour in range(5)),
        *(("c", NOW_MS + hour * HOUR_MS) for hour in range(4)),
    )

    def shortest(of: int, *, seen_for_ms: int = 0, keep_alive_ms: int | None = None) -> int | None:
        return arrivals.shortest_expectation_ms(
            of=of, seen_for_ms=seen_for_ms, keep_alive_ms=lambda _: keep_alive_ms
        )

    assert shortest(1) == MINUTE_MS
    assert shortest(3) == HOUR_MS
    assert shortest(4) is None
    assert shortest(3, seen_for_ms=4 * HOUR_MS) is None
    assert shortest(1, seen_for_ms=4 * HOUR_MS) == HOUR_MS
    assert shortest(1, seen_for_ms=24 * HOUR_MS, keep_alive_ms=2 * MINUTE_MS) == 2 * MINUTE_MS
