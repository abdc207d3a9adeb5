"""Simulated weeks of a building: alarms come in time when webhooks stop, and not when it sleeps."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.arrival_parts import HOUR_MS, MINUTE_MS
from support.monitored_building import DAY_MS, MonitoredBuilding, Sensor, never, on_time

from gateway.infodeck.delivery_monitor import MonitorTimes

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSED, SILENT = "webhook-missed", "webhook-silent"


def air(number: int) -> list[Sensor]:
    """Return sensors that report every 15 minutes, day and night."""
    return [Sensor(asset=f"air-{each}", every_ms=15 * MINUTE_MS) for each in range(number)]


def presence(number: int) -> list[Sensor]:
    """Return sensors that report changes: none at night or at weekends."""
    return [Sensor(asset=f"presence-{each}", every_ms=5 * MINUTE_MS, quiet_ms=0) for each in range(number)]


def battery(number: int, *, hours: int) -> list[Sensor]:
    """Return sensors that report a few times a day."""
    return [Sensor(asset=f"battery-{each}", every_ms=hours * HOUR_MS) for each in range(number)]


def leak(number: int) -> list[Sensor]:
    """Return sensors that report once in forty days."""
    return [Sensor(asset=f"leak-{each}", every_ms=40 * DAY_MS) for each in range(number)]


MIXED = air(20) + presence(10) + battery(5, hours=12) + leak(5)
BUILDINGS = {
    "one sensor": air(1),
    "one room": presence(1),
    "offices": presence(20),
    "batteries": battery(5, hours=12),
    "slow batteries": battery(3, hours=24),
    "mixed": MIXED,
}


def stopped(site: MonitoredBuilding, *, within_ms: int) -> dict[str, int]:
    """Run for a while; return the minutes after which each alarm was raised."""
    since_ms = site.now_ms
    site.episodes.clear()
    site.run(within_ms)
    return {each.name: (each.since_ms - since_ms) // MINUTE_MS for each in reversed(site.episodes)}


def running(sensors: list[Sensor], *, has_api: bool = True, days: int = 2) -> MonitoredBuilding:
    """Return a building that has run for some days without an alarm."""
    site = MonitoredBuilding(sensors=sensors, has_api=has_api)
    site.run(days * DAY_MS)
    assert site.episodes == []
    return site


@pytest.mark.parametrize("building", BUILDINGS)
def test_two_weeks_without_a_fault_raise_nothing(building: str) -> None:
    """Nights, weekends and slow sensors raise no alarm."""
    site = MonitoredBuilding(sensors=BUILDINGS[building])
    site.run(14 * DAY_MS)
    assert site.episodes == []


def test_a_busy_building_needs_no_api() -> None:
    """With enough sensors that report day and night, there is no silence."""
    site = MonitoredBuilding(sensors=MIXED, has_api=False)
    site.run(14 * DAY_MS)
    assert site.episodes == []


def test_short_failures_raise_nothing() -> None:
    """Three outages of 20 minutes a day raise nothing: Infodeck repeats what failed."""

    def is_down(at_ms: int) -> bool:
        return any(0 <= at_ms % DAY_MS - hour * HOUR_MS < 20 * MINUTE_MS for hour in (3, 11, 20))

    def repeated(_: str, at_ms: int) -> Iterator[int]:
        for after_s in (2, 60, 360, 2160, 9360):
            if not is_down(at_ms + after_s * 1000):
                yield at_ms + after_s * 1000
                return

    for sensors in (air(1), MIXED):
        site = MonitoredBuilding(sensors=sensors, deliver=repeated)
        while site.now_ms < site.status.started_ms + 7 * DAY_MS:
            site.api_is_up = not is_down(site.now_ms)
            site.run(MINUTE_MS)
        assert site.episodes == []


@pytest.mark.parametrize(
    ("sensors", "minutes"), [(MIXED, 35), (air(3), 35), (air(1), 50), (presence(20), 35)]
)
def test_all_webhooks_stop(sensors: list[Sensor], minutes: int) -> None:
    """The alarms are raised once the assets have reported twice."""
    site = running(sensors)
    site.deliver = never
    found = stopped(site, within_ms=2 * HOUR_MS)
    assert found[MISSED] <= minutes
    assert found[SILENT] <= 65
    assert [episode.until_ms for episode in site.episodes] == [None, None]


def test_some_webhooks_stop() -> None:
    """Assets that an event filter excludes raise the alarm once they have reported twice."""

    def without(gone: set[str], asset: str, at_ms: int) -> Iterator[int]:
        return never(asset, at_ms) if asset in gone else on_time(asset, at_ms)

    for gone in ({f"air-{each}" for each in range(0, 50, 2)}, {"air-7"}):
        site = running(air(50))
        site.deliver = partial(without, gone)
        found = stopped(site, within_ms=DAY_MS)
        assert found.keys() == {MISSED}
        assert found[MISSED] <= 50
        assert [episode.until_ms for episode in site.episodes] == [None]


@pytest.mark.parametrize("lost", [0.1, 0.5, 0.9])
def test_some_deliveries_are_lost(lost: float) -> None:
    """Random losses raise one lasting alarm, not dozens a day."""
    chance = random.Random(2)
    site = running(air(50))
    site.deliver = lambda asset, at_ms: (
        never(asset, at_ms) if chance.random() < lost else on_time(asset, at_ms)
    )
    found = stopped(site, within_ms=3 * DAY_MS)
    assert found.keys() == {MISSED}
    assert len(site.episodes) <= 4
    assert site.held == {MISSED}


@pytest.mark.parametrize("has_api", [True, False])
def test_all_webhooks_are_late(has_api: bool) -> None:  # noqa: FBT001 - the case itself
    """Deliveries that are 20 hours late raise lasting alarms."""
    site = running(MIXED, has_api=has_api)
    site.deliver = lambda _, at_ms: iter([at_ms + 20 * HOUR_MS])
    found = stopped(site, within_ms=3 * DAY_MS)
    assert found.keys() == ({MISSED, SILENT} if has_api else {SILENT})
    assert max(found.values()) <= 65
    assert {episode.until_ms for episode in site.episodes} == {None}


def test_webhooks_stop_and_the_api_too() -> None:
    """Both alarms are raised after an hour."""
    site = running(MIXED)
    site.deliver, site.api_is_up = never, False
    found = stopped(site, within_ms=2 * HOUR_MS)
    assert found.keys() == {"reconcile-failing", SILENT}
    assert max(found.values()) <= 65


@pytest.mark.parametrize("has_api", [True, False])
@pytest.mark.parametrize("building", BUILDINGS)
def test_webhooks_never_came(building: str, has_api: bool) -> None:  # noqa: FBT001 - the case itself
    """A new gateway that gets no webhook raises the alarm."""
    sensors = BUILDINGS[building]
    site = MonitoredBuilding(sensors=sensors, has_api=has_api, deliver=never)
    within_ms = max(2 * HOUR_MS, min(sensor.every_ms for sensor in sensors) if has_api else 0)
    site.run(within_ms)
    assert SILENT in site.held


def test_all_devices_die() -> None:
    """If nothing reaches Infodeck either, the alarm is raised after three days."""
    for sensors, days, hours in (
        (air(50), 2, 73),
        (leak(3) + battery(2, hours=12), 1, 73),
    ):
        site = running(sensors, days=days)
        site.stop_devices()
        assert stopped(site, within_ms=4 * DAY_MS)[SILENT] <= hours * 60


@settings(max_examples=6, deadline=None)
@given(
    sensors=st.sampled_from([*BUILDINGS.values(), leak(10)]),
    days_before=st.integers(0, 3),
    has_api=st.booleans(),
    api_is_honest=st.booleans(),
    silence_h=st.sampled_from([1, 24, 100]),
    restarts_h=st.lists(st.integers(1, 60), max_size=4),
    late_h=st.sampled_from([None, 2, 20]),
)
@example(
    sensors=air(1),
    days_before=1,
    has_api=True,
    api_is_honest=False,
    silence_h=1,
    restarts_h=[24, 24, 20],
    late_h=None,
)
def test_nothing_can_be_missing_for_long_without_an_alarm(
    *,
    sensors: list[Sensor],
    days_before: int,
    has_api: bool,
    api_is_honest: bool,
    silence_h: int,
    restarts_h: list[int],
    late_h: int | None,
) -> None:
    """Whatever the API answers, and despite restarts, the alarm comes within three days or `silence`."""
    times = MonitorTimes(silence_ms=silence_h * HOUR_MS)
    site = MonitoredBuilding(sensors=sensors, has_api=has_api, times=times)
    site.run(days_before * DAY_MS)
    began_ms = site.now_ms
    site.deliver = never if late_h is None else lambda _, at_ms: iter([at_ms + late_h * HOUR_MS])
    if not api_is_honest:
        site.api_lists = lambda _: began_ms - DAY_MS
    had_come = site.monitor.arrivals.received_ms is not None
    for hours in restarts_h:
        site.run(hours * HOUR_MS)
        if had_come:  # otherwise there is nothing before the start
            site.restart()
    site.run(max(10 * MINUTE_MS, began_ms + max(3 * DAY_MS, silence_h * HOUR_MS) + HOUR_MS - site.now_ms))
    assert SILENT in site.held
    site.run(5 * DAY_MS)
    assert SILENT in site.held
