"""The real daemon on a damaged journal: it starts, delivers the rest and raises an alarm."""

from __future__ import annotations

import sqlite3
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any

from support.building import eventually, gateway, retained
from support.daemon import telemetry
from support.processes import run_gateway

if TYPE_CHECKING:
    from support.daemon import Daemon
    from support.mosquitto import Mosquitto

ROOMS = ("ast-a1b2c3d4", "ast-b7c8d9e0")
TOPIC = "gw/v1/hq-tower/L03-RM312/ZN-T"


def alarms(daemon: Daemon) -> dict[str, Any]:
    """Return the current alarms by name."""
    return {alarm["name"]: alarm for alarm in daemon.status()["alarms"]}


def shown(broker: Mosquitto) -> tuple[Any, Any]:
    """Return the value of the room's temperature on the broker, and its event."""
    message = retained(broker.port, TOPIC)
    return message["value"], message["event"]


def test_an_event_damaged_during_an_outage(daemon: Daemon, broker: Mosquitto) -> None:
    """The sink gets all other events, the damaged one is a dead letter, and an alarm needs acknowledging."""
    broker.stop()
    for number in range(1, 4):
        assert daemon.post(telemetry(f"evt_{number}", ROOMS[0], {"temperature": 20.0 + number}))[0] == 200
    daemon.kill()
    with closing(sqlite3.connect(daemon.folder / "journal.db")) as database, database:
        database.execute("UPDATE events SET body = CAST(substr(body, 1, 40) AS BLOB) WHERE seq = 2")
        database.execute("DELETE FROM last_values")
        database.execute("DELETE FROM cursors WHERE sink = '$kept'")
    daemon.start()
    broker.start()
    eventually(lambda: shown(broker), (23.0, "evt_3"), within_s=60)
    eventually(lambda: {sink["state"] for sink in daemon.status()["sinks"].values()}, {"up"}, within_s=60)
    assert "are dead letters now: number 2;" in alarms(daemon)["journal-damaged"]["reason"]
    listed = run_gateway("deadletters", "list", "-c", daemon.config).stdout
    assert "evt_2" in listed
    assert "damaged in the journal" in listed
    for arguments in (("show", "1"), ("show", "1", "--body"), ("retry", "1")):
        printed = run_gateway("deadletters", *arguments, "-c", daemon.config)
        assert printed.stdout
        assert "internal error" not in printed.stdout + printed.stderr
    daemon.kill()
    daemon.start()
    assert "journal-damaged" in alarms(daemon)
    acknowledged = run_gateway("alarms", "ack", "journal-damaged", "-c", daemon.config)
    assert acknowledged.returncode == 0
    eventually(lambda: alarms(daemon), {})


def test_a_corrupt_file_is_replaced(daemon: Daemon, broker: Mosquitto) -> None:
    """Values and undelivered events are there, and status, metrics, doctor and an alarm name the file."""
    assert daemon.post(telemetry("evt_1", ROOMS[1], {"temperature": 19.0}))[0] == 200
    eventually(lambda: daemon.status()["sinks"]["bms"]["lag"], 0)
    broker.stop()
    assert daemon.post(telemetry("evt_2", ROOMS[0], {"temperature": 22.0}))[0] == 200
    assert daemon.stop() == 0
    file = daemon.folder / "journal.db"
    with closing(sqlite3.connect(file)) as database:
        page = database.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'unmapped_assets'"
        ).fetchone()[0]
    content = bytearray(file.read_bytes())
    content[(page - 1) * 2048 : page * 2048] = b"\xa5" * 2048
    file.write_bytes(content)
    daemon.start()
    broker.start()
    eventually(lambda: shown(broker), (22.0, "evt_2"), within_s=60)
    (moved,) = daemon.status()["journal"]["corrupt_files"]
    assert moved.startswith(f"{file}.corrupt-")
    assert moved in alarms(daemon)["journal-damaged"]["reason"]
    assert moved in gateway(daemon, "status").stdout
    assert moved in gateway(daemon, "doctor").stdout
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin_port}/metrics", timeout=60) as answer:
        assert "gateway_journal_corrupt_files 1.0" in answer.read().decode()
