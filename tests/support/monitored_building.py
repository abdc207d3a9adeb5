"""Simulated sensors, API and webhooks around a delivery monitor, on a clock of their own.

Times are Unix milliseconds. Nothing waits: weeks pass in seconds.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from gateway.alarms import Alarms
from gateway.infodeck.delivery_monitor import DeliveryMonitor, MonitorTimes
from gateway.status import Status
from support.arrival_parts import HOUR_MS, MINUTE_MS, MadeUpReports, telemetry_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.records import Alarm

DAY_MS = 24 * HOUR_MS
MONDAY_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z
API_EVERY_MS = 15 * MINUTE_MS
_LOOK_EVERY_MS = 60_000
_ASKED_SOON_MS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """One device. It reports about every `every_ms`; by night and at weekends every `quiet_ms` (0: never)."""

    asset: str
    every_ms: int
    quiet_ms: int | None = None

    def next_ms(self, at_ms: int, chance: random.Random) -> int:
        """Return when it reports next."""
        quiet_ms = self.every_ms if self.quiet_ms is None else self.quiet_ms
        every_ms = self.every_ms if is_busy(at_ms) else quiet_ms
        if every_ms:
            return at_ms + max(1000, round(every_ms * chance.uniform(0.9, 1.1)))
        return next_morning_ms(at_ms) + chance.randrange(self.every_ms)


def is_busy(at_ms: int) -> bool:
    """Return whether people are in the building: Monday to Friday, from 7 to 18."""
    since_ms = at_ms - MONDAY_MS
    return since_ms // DAY_MS % 7 < 5 and 7 * HOUR_MS <= since_ms % DAY_MS < 18 * HOUR_MS


def next_morning_ms(at_ms: int) -> int:
    """Return when people come next."""
    morning_ms = at_ms - (at_ms - MONDAY_MS) % DAY_MS + 7 * HOUR_MS
    while morning_ms <= at_ms or not is_busy(morning_ms):
        morning_ms += DAY_MS
    return morning_ms


def on_time(asset: str, at_ms: int) -> Iterator[int]:
    """Deliver within seconds."""
    yield at_ms + 1000 + len(asset) * 100


def never(_: str, __: int) -> Iterator[int]:
    """Deliver nothing."""
    return iter(())


@dataclass(slots=True)
class Episode:
    """An alarm with its begin and end, None while it lasts."""

    name: str
    since_ms: int
    until_ms: int | None = None


@dataclass(kw_only=True)
class MonitoredBuilding:
    """A monitor and its surroundings. `deliver` yields when an event arrives: once, late, often or never.

    `api_lists` returns the time that the API has of an asset's newest report.
    """

    sensors: list[Sensor]
    has_api: bool = True
    api_is_up: bool = True
    api_lists: Callable[[int], int] = lambda time_ms: time_ms
    deliver: Callable[[str, int], Iterator[int]] = on_time
    times: MonitorTimes = field(default_factory=MonitorTimes)
    now_ms: int = MONDAY_MS + 9 * HOUR_MS

    def __post_init__(self) -> None:
        """Switch everything on. The API has reports from before the gateway was installed."""
        self._chance = random.Random(1)
        self._number = count()
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._in_api = {one.asset: self.now_ms - self._chance.randrange(one.every_ms) for one in self.sensors}
        self._read: dict[str, int] = {}
        self._api_due_ms = self.now_ms + _ASKED_SOON_MS
        self.episodes: list[Episode] = []
        self._start_gateway(last_ms=None)
        for sensor in self.sensors:
            first_ms = self.now_ms + self._chance.randrange(sensor.every_ms)
            self._at(first_ms, partial(self._report, sensor))

    def restart(self) -> None:
        """Restart the gateway, with the time of the last webhook."""
        self._record(())
        self._start_gateway(last_ms=self.monitor.arrivals.received_ms or self._restored_ms)

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        until_ms = self.now_ms + for_ms
        while self.now_ms < until_ms:
            self.now_ms += _LOOK_EVERY_MS
            while self._due and self._due[0][0] <= self.now_ms:
                heapq.heappop(self._due)[2]()
            if self.has_api and self.now_ms >= self._api_due_ms:
                self._list()
            self.monitor.judge(self.now_ms)

    def stop_devices(self) -> None:
        """Stop all devices."""
        self._due.clear()

    @property
    def held(self) -> set[str]:
        """The names of the current alarms."""
        return {alarm.name for alarm in self.alarms.current()}

    def _start_gateway(self, *, last_ms: int | None) -> None:
        self.status = Status(name="edge-1", started_ms=self.now_ms)
        self.alarms = Alarms(clock_ms=lambda: self.now_ms)
        self.alarms.subscribe(lambda: self._record(self.alarms.current()))
        self.monitor = DeliveryMonitor(
            alarms=self.alarms,
            status=self.status,
            reports=MadeUpReports(self._in_api, self._read),
            times=self.times,
            clock_ms=lambda: self.now_ms,
            ask_api=self._ask,
        )
        self._restored_ms = last_ms
        if last_ms is not None:
            self.monitor.restore(last_ms)

    def _at(self, at_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at_ms, next(self._number), what))

    def _report(self, sensor: Sensor) -> None:
        made_ms = self.now_ms
        self._in_api[sensor.asset] = made_ms
        for arrives_ms in self.deliver(sensor.asset, made_ms):
            self._at(arrives_ms, lambda: self._arrive(sensor.asset, made_ms))
        self._at(sensor.next_ms(made_ms, self._chance), lambda: self._report(sensor))

    def _arrive(self, asset: str, made_ms: int) -> None:
        self.monitor.arrivals.accept(telemetry_event(asset, at_ms=made_ms, late_ms=self.now_ms - made_ms))
        self.status.mapping.from_webhooks += 1
        self._read[asset] = max(made_ms, self._read.get(asset, 0))

    def _ask(self) -> None:
        self._api_due_ms = min(self._api_due_ms, self.now_ms + _ASKED_SOON_MS)

    def _list(self) -> None:
        self._api_due_ms = self.now_ms + API_EVERY_MS
        reconcile = self.status.reconcile
        if not self.api_is_up:
            reconcile.state, reconcile.last_error = "failing", "the API answered 503"
            return
        shown = {asset: self.api_lists(time_ms) for asset, time_ms in self._in_api.items()}
        self.monitor.accept_page(shown)
        reconcile.state, reconcile.last_success_ms = "ok", self.now_ms
        self.monitor.finish_list()

    def _record(self, current: tuple[Alarm, ...]) -> None:
        names = {alarm.name for alarm in current}
        for episode in self.episodes:
            if episode.until_ms is None and episode.name not in names:
                episode.until_ms = self.now_ms
        still = {episode.name for episode in self.episodes if episode.until_ms is None}
        self.episodes += [Episode(name, self.now_ms) for name in names - still]
