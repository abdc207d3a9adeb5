"""Alarms about the gateway itself: sinks, certificates, tables, journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.certificates import make_authority
from support.daemon import Daemon, telemetry
from support.dated_certificates import issue_dated
from support.journal_parts import START_MS
from support.ports import free_port
from support.waiting import until

from gateway.admin.gateway_alarms import GatewayAlarms, ends_soon
from gateway.alarms import Alarms
from gateway.status import SinkStatus, SourceStatus, Status
from gateway.tls import Validity

if TYPE_CHECKING:
    from pathlib import Path

MINUTE_S = 60
DAY_S = 86_400


class Watched:
    """A status that is checked once a second, by a clock that the test moves."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.status = Status(name="gw", started_ms=START_MS)
        self.alarms = Alarms(clock_ms=lambda: self.now_ms)
        self.sink = self.status.sinks["bms"] = SinkStatus(type="mqtt", state="up")
        self.status.journal.bytes_room = 1000
        self._gateway_alarms = GatewayAlarms(
            status=self.status,
            alarms=self.alarms,
            certificates={},
            clock_ms=lambda: self.now_ms,
            steady_ms=lambda: self.now_ms,
        )

    def for_(self, seconds: int) -> dict[str, str]:
        """Let seconds pass; return the current alarms with their reasons."""
        for _ in range(seconds):
            self.now_ms += 1000
            self._gateway_alarms.tick()
        return {alarm.name: alarm.reason for alarm in self.alarms.current()}


def test_a_sink_that_is_away_for_minutes_is_an_alarm() -> None:
    """It is raised after five minutes, and ends once the sink is up for one."""
    watched = Watched()
    assert watched.for_(10 * MINUTE_S) == {}
    watched.sink.state = "away"
    watched.sink.record_error("connection refused", at_ms=START_MS)
    assert watched.for_(4 * MINUTE_S) == {}
    assert watched.for_(2 * MINUTE_S) == {
        "sink-away:bms": "away for more than 5 minutes: connection refused; its values wait in the journal"
    }
    watched.sink.state = "up"
    assert watched.for_(2 * MINUTE_S) == {}


def test_a_source_that_is_away_for_minutes_is_an_alarm() -> None:
    """Without events, a building must not wait until its values are stale."""
    watched = Watched()
    source = watched.status.source = SourceStatus(type="nats", stream="INFODECK", consumer="hq")
    source.record_error("no answer", at_ms=START_MS)
    assert watched.for_(6 * MINUTE_S) == {
        "source-away": "starting for more than 5 minutes: no answer; no events come; what is shown ages"
    }
    source.state = "up"
    assert watched.for_(2 * MINUTE_S) == {}


async def test_a_receiver_that_stays_away_has_one_reason(tmp_path: Path) -> None:
    """The reason does not change with each attempt to connect."""
    daemon = Daemon(tmp_path, free_port())
    daemon.start()
    try:
        daemon.post(telemetry("evt_waits", "ast-a1b2c3d4", {"temperature": 21.5}))
        reasons = set()
        while daemon.status()["sinks"]["bms"]["retries"] < 3:
            reasons.add(daemon.status()["sinks"]["bms"]["last_error"])
            await asyncio.sleep(0.05)
        assert len(reasons - {None}) == 1
    finally:
        daemon.kill()


def test_a_mistake_that_is_corrected_is_no_alarm_any_more() -> None:
    """The alarm of refused tables ends at once, however often it occurs."""
    watched = Watched()
    for _ in range(3):
        watched.status.tables.problems = ["a.yaml:1:1: mistake"]
        assert list(watched.for_(MINUTE_S)) == ["tables-refused"]
        watched.status.tables.problems = []
        assert watched.for_(1) == {}


def test_a_receiver_that_is_there_for_moments_is_away() -> None:
    """A sink that is up for a second every 30 s has one lasting alarm."""
    watched = Watched()
    for number in range(30):
        watched.sink.state = "failed"
        shown = watched.for_(29)
        assert list(shown) == (["sink-away:bms"] if number >= 10 else [])
        watched.sink.state = "up"
        assert watched.for_(1) == shown
    assert watched.alarms.past() == ()


def test_a_journal_that_fills_up_behind_a_sink_is_an_alarm() -> None:
    """A full journal without waiting events is none."""
    watched = Watched()
    watched.status.journal.bytes_used, watched.status.journal.bytes_room = 0, 0
    watched.sink.lag_s = 3600.0
    assert watched.for_(1) == {}, "nothing is measured yet"
    watched.sink.lag_s = 0.0
    watched.status.journal.bytes_used, watched.status.journal.bytes_room = 950, 50
    assert watched.for_(10 * MINUTE_S) == {}
    watched.sink.lag, watched.sink.lag_s = 100, 3600.0
    (reason,) = watched.for_(1).values()
    assert "and bms is behind" in reason
    watched.status.journal.bytes_used, watched.status.journal.bytes_room = 500, 300
    assert watched.for_(1) == {}


@pytest.mark.parametrize(
    ("life_days", "left_days", "is_soon"),
    [
        (365, 15, False),
        (365, 13, True),
        (90, 29, False),
        (45, 10, False),
        (45, 8, True),
        (6, 2, False),
        (6, 1, True),
    ],
)
def test_a_certificate_ends_soon_by_its_own_life(life_days: int, left_days: int, is_soon: bool) -> None:  # noqa: FBT001 - a case
    """It ends soon two weeks before its end, or in the last fifth of a shorter life."""
    now_s = START_MS / 1000
    validity = Validity(now_s + (left_days - life_days) * DAY_S, now_s + left_days * DAY_S, (), False)  # noqa: FBT003
    assert ends_soon(validity, now_s=now_s) == is_soon


async def test_a_certificate_that_ends_soon_is_an_alarm_of_the_daemon(tmp_path: Path) -> None:
    """The alarm names file and end, and ends after the renewal."""
    make_authority(tmp_path)
    certificate, key = issue_dated(tmp_path, days=3)
    key.chmod(0o600)
    daemon = Daemon(tmp_path, free_port())
    text = daemon.config.read_text()
    tls = f"tls: {{certificate: {certificate}, key: {key}}}"
    daemon.config.write_text(text.replace("intake: {", f"intake: {{{tls}, "))
    daemon.start()
    try:
        await until(lambda: bool(daemon.status()["alarms"]), within_s=60)
        (alarm,) = daemon.status()["alarms"]
        assert alarm["name"] == "certificate-ends:intake.tls"
        assert f"{certificate} is valid until 20" in alarm["reason"]
        assert "renew it" in alarm["reason"]
        issue_dated(tmp_path, days=80)
        await until(lambda: not daemon.status()["alarms"], within_s=60)
    finally:
        daemon.kill()
