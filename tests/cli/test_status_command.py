"""`gateway status`, of a real daemon with a real broker."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.building import eventually
from support.commands import gateway
from support.daemon import Daemon, telemetry
from support.mosquitto import Mosquitto
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = "ast-a1b2c3d4"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Run a broker."""
    with Mosquitto(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the daemon with the example tables."""
    running = Daemon(tmp_path, broker.port)
    running.start()
    yield running
    running.kill()


def rows(text: str) -> dict[str, str]:
    """Return the printed lines by their first column."""
    cells = [re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines()]
    return {cell[0]: cell[-1] for cell in cells}


def test_a_healthy_gateway_is_shown(daemon: Daemon) -> None:
    """Events, points and sinks have a line each, JSON has all of the status, and the exit code is 0."""
    assert daemon.post(telemetry("evt_1", ROOM, {"temperature": 21.5}))[0] == 200
    assert daemon.post(telemetry("evt_1", ROOM, {"temperature": 21.5}))[0] == 200
    assert daemon.post(b"{}", "t=1")[0] == 401
    eventually(lambda: gateway("status", "-c", daemon.config).returncode, 0)
    shown = rows(gateway("status", "-c", daemon.config).stdout)
    assert shown["test-box"].startswith("takes events, runs for ")
    assert re.fullmatch(
        r"1 event, the last one .+ ago; 1 came again; refused: 1 malformed", shown["intake"]
    ), shown["intake"]
    assert re.fullmatch(r"[1-9]\d*KiB of 2GiB, 0 dead letters", shown["journal"]), shown["journal"]
    assert re.match(r"\d+ points of \d+ assets, since 20", shown["tables"])
    assert re.match(r"\d+ good", shown["points"])
    assert re.match(r"mqtt, up, nothing waits, \d+ written$", shown["sink bms"])
    assert shown["sink regs"].startswith("modbus_server, up")
    assert shown["Infodeck"] == "not asked: there is no infodeck.api_key"
    assert shown["alarms"] == "none"
    asked = gateway("status", "-c", daemon.config, "--format", "json")
    assert asked.returncode == 0
    assert json.loads(asked.stdout)["sinks"].keys() == {"bms", "regs"}


def test_events_that_reach_no_point_are_counted(daemon: Daemon) -> None:
    """They are counted by reason; without any, there is no line."""
    eventually(lambda: gateway("status", "-c", daemon.config).returncode, 0)
    assert "no point" not in rows(gateway("status", "-c", daemon.config).stdout)
    event = json.loads(telemetry("evt_1", ROOM, {"temperature": 21.5}))
    for number, change in enumerate(
        (
            {"organizationId": "o-others"},
            {"type": "workorder.created"},
            {"type": "workorder.created"},
            {"type": "asset.created"},
            {"livemode": False},
            {"data": {"object": {"assetId": "ast-unknown", "telemetry": {"t": 1}}}},
        )
    ):
        body = json.dumps(event | change | {"id": f"evt_{number}"}).encode()
        assert daemon.post(body)[0] == 200
    eventually(
        lambda: rows(gateway("status", "-c", daemon.config).stdout).get("no point"),
        "1 of another organization, 1 for a test, 2 workorder.created, 1 of assets in no table",
    )


def test_a_broker_that_is_away_is_named_with_the_reason(daemon: Daemon, broker: Mosquitto) -> None:
    """The exit code is 1, and waiting events are counted."""
    eventually(lambda: gateway("status", "-c", daemon.config).returncode, 0)
    broker.kill()
    assert daemon.post(telemetry("evt_1", ROOM, {"temperature": 21.5}))[0] == 200
    eventually(lambda: gateway("status", "-c", daemon.config).returncode, 1)
    sink = rows(gateway("status", "-c", daemon.config).stdout)["sink bms"]
    assert re.match(r"mqtt, away, 1 event behind \(.+\), \d+ written; .+", sink), sink


def test_without_a_gateway_it_says_where_to_look(tmp_path: Path) -> None:
    """The message has the address and a command; the exit code is 1."""
    stopped = Daemon(tmp_path, free_port())
    asked = gateway("status", "-c", stopped.config)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr.startswith(
        f"gateway: the gateway is not running: 127.0.0.1:{stopped.admin_port} can't be reached"
    )
    assert asked.stderr.endswith("`systemctl status gateway` says more\n")
