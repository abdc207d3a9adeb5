"""`gateway force` and `gateway release`."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.building import ask_control, eventually, gateway, polled, retained
from support.daemon import telemetry

from gateway.__main__ import parser
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.daemon import Daemon
    from support.mosquitto import Mosquitto

FLOAT, WORD = "3:float", "3"
FORCED = 4


def shown_on_mqtt(daemon: Daemon, name: str) -> Callable[[], tuple[Any, str]]:
    """Return a function that returns value and quality of a point's retained message."""

    def look() -> tuple[Any, str]:
        message = retained(daemon.broker_port, f"gw/v1/hq/{name}")
        return message["value"], message["quality"]

    return look


def shown_in_register(daemon: Daemon, address: int, kind: str = FLOAT) -> Callable[[], str]:
    """Return a function that returns a register."""
    return lambda: polled(daemon.modbus_port, address, kind)


def logged(daemon: Daemon, event: str, point: str) -> list[dict[str, Any]]:
    """Return the log lines of one event about one point."""
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event and line.get("point") == point]


def forced_points(daemon: Daemon) -> dict[str, Any]:
    """Return a room's forced points in `/api/status`."""
    return dict(daemon.status()["mapping"]["forced"])


def test_forced_value_is_shown_until_released(daemon: Daemon) -> None:
    """MQTT and the register show it, events do not replace it; after release, the newest reading shows."""
    assert daemon.post(telemetry("evt_0a", "ast-0", {"temperature": 20}))[0] == 200
    eventually(shown_in_register(daemon, 0), "20")
    done = gateway(daemon, "force", "R0/ZN-T", "55.5", "--for", "10m")
    assert (done.returncode, done.stderr) == (0, "")
    eventually(shown_in_register(daemon, 0), "55.5")
    eventually(shown_on_mqtt(daemon, "R0/ZN-T"), (55.5, "forced"))
    eventually(shown_in_register(daemon, 4, WORD), str(FORCED))
    assert daemon.post(telemetry("evt_0b", "ast-0", {"temperature": 23, "humidity": 40}))[0] == 200
    eventually(shown_in_register(daemon, 2, WORD), "400")  # of the same event, and not forced
    assert shown_in_register(daemon, 0)() == "55.5"
    assert shown_on_mqtt(daemon, "R0/ZN-T")() == (55.5, "forced")
    released = gateway(daemon, "release", "R0/ZN-T")
    assert released.returncode == 0
    assert released.stdout == "R0/ZN-T is released: what is measured is shown again\n"
    eventually(shown_in_register(daemon, 0), "23")
    eventually(shown_on_mqtt(daemon, "R0/ZN-T"), (23, "good"))
    eventually(shown_in_register(daemon, 4, WORD), "0")
    assert [line["reason"] for line in logged(daemon, "point.released", "R0/ZN-T")] == ["asked"]


def test_the_answer_names_value_end_topic_and_register(daemon: Daemon) -> None:
    """The end is in local time and UTC; log and status have the override, too."""
    before = time.time()
    done = gateway(daemon, "force", "R1/ZN-T", "-5.5", "--for", "90s")
    assert done.returncode == 0
    first, topic, register, hint = done.stdout.splitlines()
    match = re.fullmatch(r"R1/ZN-T = -5\.5 degC holds, forced until (.+) \((.+Z)\)", first)
    assert match, first
    assert topic == "  MQTT gw/v1/hq/R1/ZN-T"
    assert register == "  Modbus regs: unit 1, input 10 (30011), float32"
    assert hint == f"End it earlier: gateway release -c {daemon.config} R1/ZN-T"
    status = forced_points(daemon)["R1/ZN-T"]
    assert status["value"] == -5.5
    assert before + 89 < status["until_ms"] / 1000 < time.time() + 91
    [line] = logged(daemon, "point.forced", "R1/ZN-T")
    assert (line["value"], line["until"], line["uid"]) == (-5.5, match[2], os.getuid())


def test_override_ends_by_itself(daemon: Daemon) -> None:
    """After its time, the reading is shown again, and the log says that it expired."""
    assert daemon.post(telemetry("evt_2", "ast-2", {"temperature": 21}))[0] == 200
    assert gateway(daemon, "force", "R2/ZN-T", "50", "--for", "8s").returncode == 0
    eventually(shown_in_register(daemon, 20), "50")
    eventually(shown_in_register(daemon, 20), "21")
    eventually(shown_on_mqtt(daemon, "R2/ZN-T"), (21, "good"))
    eventually(lambda: [line["reason"] for line in logged(daemon, "point.released", "R2/ZN-T")], ["expired"])
    assert "R2/ZN-T" not in forced_points(daemon)


def test_never_measured_point_has_no_value_again(daemon: Daemon) -> None:
    """Released, a point without a reading shows no value, and never 0."""
    assert gateway(daemon, "force", "R3/ZN-T", "50", "--for", "1h").returncode == 0
    eventually(shown_in_register(daemon, 30), "50")
    assert gateway(daemon, "release", "R3/ZN-T").returncode == 0
    eventually(shown_in_register(daemon, 30), "nan")
    eventually(lambda: shown_on_mqtt(daemon, "R3/ZN-T")()[0], None)
    assert shown_on_mqtt(daemon, "R3/ZN-T")()[1] != "good"


def test_list_and_release_all(daemon: Daemon) -> None:
    """`--list` shows each forced point with its end and places; `release --all` ends all of them."""
    ask_control(daemon, "/release", b'{"all": true}')
    assert gateway(daemon, "force", "--list").stdout == "nothing is forced\n"
    ask_control(daemon, "/force", b'{"point": "R4/ZN-T", "value": 30, "for_s": 3600}')
    ask_control(daemon, "/force", b'{"point": "R4/OCC", "value": true, "for_s": 7200}')
    occupancy, temperature = sorted(gateway(daemon, "force", "--list").stdout.splitlines())
    assert re.fullmatch(
        r"R4/OCC = 1 +until .+Z\)  MQTT gw/v1/hq/R4/OCC; Modbus regs: unit 1, input 43 \(30044\), bit 0",
        occupancy,
    )
    assert temperature.startswith("R4/ZN-T = 30 degC  until ")
    released = gateway(daemon, "release", "--all")
    assert sorted(line.partition(" ")[0] for line in released.stdout.splitlines()) == ["R4/OCC", "R4/ZN-T"]
    assert gateway(daemon, "release", "--all").stdout == "nothing was forced\n"


def test_refusal_of_the_gateway_is_one_line(daemon: Daemon) -> None:
    """The command prints the gateway's reason, and nothing is forced."""
    done = gateway(daemon, "force", "R5/ZNT", "20", "--for", "1m")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gateway: R5/ZNT: there is no point of this name, did you mean `R5/ZN-T`?\n"
    assert not [name for name in forced_points(daemon) if name.startswith("R5/")]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("force R5/ZN-T 20", "say for how long: --for 10m, at most 24h"),
        ("force R5/ZN-T 20 --for soon", "--for soon: a duration is a number and its unit"),
        ("force R5/ZN-T 20 --for 25h", "--for 25h: must be more than 0s and at most 24h"),
        ("force R5/ZN-T 20 --for 0s", "--for 0s: must be more than 0s and at most 24h"),
        ("force R5/ZN-T", "say which point and what value"),
        ("force", "say which point and what value"),
        ("force --list R5/ZN-T", "--list shows all forced points; it takes no point"),
        ("release", "say which point to release, or --all"),
        ("release --all R5/ZN-T", "say which point to release, or --all"),
    ],
)
def test_incomplete_command_says_what_is_missing(command: str, message: str) -> None:
    """The message needs no running gateway."""
    arguments = parser().parse_args(command.split())
    with pytest.raises(CommandError) as refusal:
        arguments.run(arguments)
    assert message in str(refusal.value)


def test_overrides_outlive_a_kill(daemon: Daemon, broker: Mosquitto) -> None:
    """A point stays forced until the same end; an expired override ends."""
    for event, asset in (("evt_6", "ast-6"), ("evt_7", "ast-7")):
        assert daemon.post(telemetry(event, asset, {"temperature": 22}))[0] == 200
    eventually(shown_in_register(daemon, 70), "22")
    _, soon = ask_control(daemon, "/force", b'{"point": "R7/ZN-T", "value": 45, "for_s": 1}')
    _, later = ask_control(daemon, "/force", b'{"point": "R6/ZN-T", "value": 44, "for_s": 3600}')
    daemon.kill()  # the answer promises that it is on disk
    broker.kill()  # comes back empty: what is retained then is what the gateway restored
    broker.start()
    eventually(lambda: time.time() * 1000 > soon["until_ms"], expected=True)
    daemon.start()
    assert shown_in_register(daemon, 60)() == "44"
    assert shown_in_register(daemon, 70)() == "22"
    eventually(shown_on_mqtt(daemon, "R6/ZN-T"), (44, "forced"))
    eventually(shown_on_mqtt(daemon, "R7/ZN-T"), (22, "good"))
    assert forced_points(daemon)["R6/ZN-T"]["until_ms"] == later["until_ms"]
    assert [line.get("restored") for line in logged(daemon, "point.forced", "R6/ZN-T")] == [None, True]
    assert "R7/ZN-T" not in forced_points(daemon)
    assert gateway(daemon, "release", "R6/ZN-T").returncode == 0
    eventually(shown_in_register(daemon, 60), "22")
