"""`gateway alarms`: current and past alarms, and acknowledging, also over restarts."""

from __future__ import annotations

import json
import os
import pwd
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from support.daemon import Daemon
from support.journal_parts import START_MS, sqlite_journal
from support.mosquitto import Mosquitto, subscribe
from support.processes import run_gateway
from support.waiting import until

from gateway.alarms import Alarms
from gateway.journal.lookup import open_read_only
from gateway.records import Alarm, StateChanges

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.journal_parts import Journal

TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: ast-1, from: temperature}
"""
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def gateway(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run a gateway with its own tables for one test."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "rooms.yaml").write_text(TABLE)
    daemon = Daemon(tmp_path, broker.port, tables=tmp_path / "mappings")
    daemon.start()
    yield daemon
    daemon.kill()


def recorded(daemon: Daemon) -> dict[str, list[dict[str, Any]]]:
    """Return the alarms that the dashboard gets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin_port}/api/alarms", timeout=60) as answer:
        found: dict[str, list[dict[str, Any]]] = json.load(answer)
    return found


def alarms(daemon: Daemon, *arguments: str) -> list[str]:
    """Run the command; return its lines."""
    done = run_gateway("alarms", *arguments, "-c", daemon.config)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def test_an_alarm_is_acknowledged_and_stays_in_the_history(gateway: Daemon) -> None:
    """The user's name is stored; the alarm lasts until its cause is gone."""
    assert alarms(gateway) == ["No alarm holds."]
    (gateway.tables / "rooms.yaml").write_text(TABLE.replace("points:", "pionts:"))
    await until(lambda: bool(recorded(gateway)["current"]), within_s=60)
    assert alarms(gateway, "ack", "tables-refused") == ["tables-refused is acknowledged"]
    (alarm,) = recorded(gateway)["current"]
    assert (alarm["name"], alarm["acknowledged_by"], alarm["latched"]) == ("tables-refused", ME, False)
    lines = alarms(gateway, "list")
    assert lines[0] == "Alarms that hold:"
    assert lines[1].startswith("  tables-refused since ")
    assert lines[1].endswith(f" by {ME}")
    async with subscribe(gateway.broker_port) as subscriber:
        topic = "gw/v1/$gateway/test-box/alarms"
        await subscriber.wait_for(lambda: "acknowledged" in subscriber.last(topic).json["alarms"][0])
    (gateway.tables / "rooms.yaml").write_text(TABLE)
    await until(lambda: not recorded(gateway)["current"], within_s=60)
    gateway.stop()
    gateway.start()
    (past,) = recorded(gateway)["past"]
    assert (past["name"], past["since_ms"], past["acknowledged_by"]) == (
        "tables-refused",
        alarm["since_ms"],
        ME,
    )
    assert past["cleared_ms"] is not None


def test_an_unknown_alarm_cannot_be_acknowledged(gateway: Daemon) -> None:
    """The message lists the current alarms."""
    done = run_gateway("alarms", "ack", "-c", gateway.config, "journal-full")
    assert done.returncode == 1
    assert "no alarm `journal-full` holds (those that do: none)" in done.stderr


class Run:
    """One run of a gateway's alarms on a real journal."""

    def __init__(self, journal: Journal, now_ms: int) -> None:
        self.journal = journal
        self.alarms = Alarms(clock_ms=lambda: now_ms)

    def start(self) -> None:
        """Restore the alarms of former runs."""
        self.alarms.start(self.journal.at_start.alarms, save=self._save)

    def _save(self, alarm: Alarm) -> None:
        self.journal.save(StateChanges(alarms={(alarm.name, alarm.since_ms): alarm}))


async def test_a_latched_alarm_holds_until_acknowledged_over_restarts(tmp_path: Path) -> None:
    """It keeps its first time and shows its newest reason."""
    async with sqlite_journal(tmp_path) as journal:
        run = Run(journal, START_MS)
        run.alarms.latch("latched", "first")
        run.start()
        run.alarms.set("passing", "holds at the stop")
    async with sqlite_journal(tmp_path) as journal:
        run = Run(journal, START_MS + 1000)
        run.alarms.latch("latched", "second")
        run.start()
        assert run.alarms.current() == (Alarm("latched", "second", START_MS, latched=True),)
        assert [alarm.name for alarm in run.alarms.past()] == ["passing"]
        run.alarms.set("latched", None)
        assert run.alarms.current(), "only a person ends it"
        assert run.alarms.acknowledge("latched", by="alice")
        assert not run.alarms.acknowledge("latched", by="bob")
    async with sqlite_journal(tmp_path) as journal:
        run = Run(journal, START_MS + 2000)
        run.start()
        assert run.alarms.current() == ()
        (ended,) = (alarm for alarm in run.alarms.past() if alarm.latched)
        assert (ended.acknowledged_by, ended.since_ms, ended.cleared_ms) == (
            "alice",
            START_MS,
            START_MS + 1000,
        )


async def test_the_history_is_bounded(tmp_path: Path) -> None:
    """The newest 500 past alarms are kept on disk and shown; a current one is always kept."""
    async with sqlite_journal(tmp_path) as journal:
        run = Run(journal, START_MS)
        run.start()
        run.alarms.latch("oldest", "holds")
        for number in range(1200):
            later = Alarm("passing", "over", START_MS + 1 + number, cleared_ms=START_MS + 2 + number)
            journal.save(StateChanges(alarms={(later.name, later.since_ms): later}))
            if number % 300 == 0:
                await journal.flush()
    async with sqlite_journal(tmp_path) as journal:
        run = Run(journal, START_MS + 10_000)
        run.start()
        assert [alarm.name for alarm in run.alarms.current()] == ["oldest"]
        assert len(run.alarms.past()) == 500
        assert run.alarms.past()[0].since_ms == START_MS + 1200
        with open_read_only(tmp_path / "journal.db") as database:
            stored = "SELECT count(*), min(since_ms), max(since_ms) FROM alarms"
            kept = (501, START_MS, START_MS + 1200)
            await until(lambda: database.execute(stored).fetchone() == kept)
