"""The line that `systemctl status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.daemon import Daemon, telemetry
from support.notified import notification_socket

from gateway.notify import in_one_line, notify
from gateway.records import Alarm
from gateway.status import SinkStatus, Status

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from support.mosquitto import Mosquitto

ROOM = "ast-a1b2c3d4"


def well() -> Status:
    """Return a status in which nothing is wrong."""
    status = Status(name="edge-1", started_ms=0)
    status.tables.points = 1240
    status.sinks = {name: SinkStatus(type="mqtt", state="up") for name in ("bms", "regs")}
    return status


def test_a_healthy_gateway_shows_its_numbers() -> None:
    """Points, sinks, and how far the slowest sink is behind."""
    status = well()
    assert in_one_line(status) == "1,240 points, 2 sinks up, nothing waits"
    status.sinks["bms"].lag, status.sinks["regs"].lag = 1, 1200
    assert in_one_line(status) == "1,240 points, 2 sinks up, 1,200 events behind"
    status.sinks = {"bms": status.sinks["bms"]}
    assert in_one_line(status) == "1,240 points, 1 sink up, 1 event behind"


def test_every_trouble_is_named() -> None:
    """The line names absent sinks, alarms, refused tables and a journal that is full."""
    status = well()
    status.sinks["bms"].state, status.sinks["bms"].lag = "away", 3
    status.alarms = (Alarm("webhook-silent", "no telemetry", 0), Alarm("reconcile-failing", "401", 0))
    assert in_one_line(status) == "bms is away: 3 events behind; alarm webhook-silent, reconcile-failing"
    status.sinks["bms"].lag = 0
    status.journal.state = "the journal is full"
    status.tables.problems = ["hq.yaml:1:1: …"]
    assert in_one_line(status) == (
        "takes no events: the journal is full; bms is away; changed point tables are refused, see /api/status"
        "; alarm webhook-silent, reconcile-failing"
    )


def test_a_line_break_adds_nothing_to_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of several lines cannot add another key."""
    with notification_socket(tmp_path, monkeypatch) as notified:
        notify(STATUS="full\nSTOPPING=1")
        assert notified.next_of_all() == "STATUS=full STOPPING=1"


def test_systemd_gets_every_change(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change is sent, up to the stop."""
    with notification_socket(tmp_path, monkeypatch) as notified:
        daemon = Daemon(tmp_path, broker.port)
        daemon.start()
        try:
            assert notified.next_of_all() == "STATUS=checking the journal"
            notified.status("43 points, 2 sinks up, nothing waits")
            broker.kill()
            assert daemon.post(telemetry("evt_1", ROOM, {"temperature": 20}))[0] == 200
            notified.status("bms is away: 1 event behind")
            broker.start()
            notified.status("43 points, 2 sinks up, nothing waits")
            daemon.stop()
            notified.status("stopped")
        finally:
            daemon.kill()
