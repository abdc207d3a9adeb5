"""The main job, seen from outside: signed by openssl, posted by curl, read by mosquitto_sub and mbpoll."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from support.building import eventually, gateway, poll
from support.daemon import ORGANIZATION, SECRET, telemetry

if TYPE_CHECKING:
    from support.daemon import Daemon
    from support.mosquitto import Mosquitto

ROOM = "ast-a1b2c3d4"
TOPIC = "gw/v1/hq-tower/L03-RM312"


def subscribe(port: int, topic: str) -> str:
    """Return the first message on `topic`."""
    command = ["mosquitto_sub", "-p", str(port), "-t", topic, "-C", "1", "-W", "60"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def eventually_polled(daemon: Daemon, address: int, kind: str, expected: str) -> None:
    """Poll until the value is there."""
    eventually(lambda: poll(daemon.modbus_port, address, kind), [expected])


def test_event_signed_by_openssl_reaches_subscriber_and_poller(daemon: Daemon, broker: Mosquitto) -> None:
    """An event that our code has not made has the right value in both protocols."""
    script = r"""
    object='{"id":"ast-a1b2c3d4","telemetry":{"temperature":"21.5","humidity":48.3}}'
    body='{"id":"evt_openssl","type":"asset.telemetry.updated","organizationId":"'$2'",'
    body+='"created":'$(date +%s)',"data":{"object":'$object'}}'
    t=$(date +%s)
    signature=$(printf '%s.%s' "$t" "$body" | openssl dgst -sha256 -hmac "$1" | sed 's/.* //')
    curl -sS -w ' %{http_code}' -H "X-Infodeck-Signature: t=$t,v1=$signature" -d "$body" "$3"
    """
    done = subprocess.run(
        ["bash", "-euc", script, "bash", SECRET, ORGANIZATION, daemon.url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '{"received":true} 200'
    message = json.loads(subscribe(broker.port, f"{TOPIC}/ZN-T"))
    assert {key: message[key] for key in ("value", "unit", "quality", "event")} == {
        "value": 21.5,
        "unit": "degC",
        "quality": "good",
        "event": "evt_openssl",
    }
    eventually_polled(daemon, 1000, "3:float", "21.5")
    eventually_polled(daemon, 1002, "3", "483")


def test_sentinels_before_the_first_reading(daemon: Daemon) -> None:
    """Registers show sentinels before any event, never zero."""
    assert poll(daemon.modbus_port, 1000, "3:float") == ["nan"]
    assert poll(daemon.modbus_port, 1002, "3:hex") == ["0xFFFF"]


def test_send_check_points_and_test(daemon: Daemon) -> None:
    """The commands do what README says, with the daemon's own settings."""
    sent = gateway(daemon, "send", "--asset", ROOM, "temperature=22.25", "occupancy=occupied")
    assert (sent.returncode, sent.stderr) == (0, "")
    assert sent.stdout.endswith('200 {"received":true}\n')
    eventually_polled(daemon, 1000, "3:float", "22.25")
    eventually_polled(daemon, 1004, "3", "1")
    slip = gateway(daemon, "send", "--asset", ROOM, "temprature=22.25", "occupancy=occupied").stdout
    assert slip.endswith(
        '200 {"received":true}\nnote: no point reads `temprature`, did you mean `temperature`?\n'
    )
    tested = gateway(daemon, "send", "--test", "--asset", ROOM, "temperature=99")
    assert tested.stdout.endswith('200 {"received":true}\n')
    assert gateway(daemon, "check", "--secrets").returncode == 0
    assert gateway(daemon, "test").returncode == 0
    points = json.loads(gateway(daemon, "points", "--format", "json").stdout)
    assert f"{TOPIC}/ZN-T" in json.dumps(points)
    time.sleep(0.5)
    assert poll(daemon.modbus_port, 1000, "3:float") == ["22.25"], "a test event reached the building"
    assert daemon.status()["intake"]["test_events"] == 1


def test_older_reading_never_overwrites(daemon: Daemon, broker: Mosquitto) -> None:
    """A late event goes to history; live topic and register keep the newer value."""
    now_ms = int(time.time() * 1000)
    history = subprocess.Popen(
        ["mosquitto_sub", "-p", str(broker.port), "-t", f"{TOPIC}/ZN-T/$history", "-C", "1", "-W", "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: "$history (QoS" in broker.log, expected=True)
    assert daemon.post(telemetry("evt_new", ROOM, {"temperature": 21}, time_ms=now_ms))[0] == 200
    eventually_polled(daemon, 1000, "3:float", "21")
    assert daemon.post(telemetry("evt_old", ROOM, {"temperature": 5}, time_ms=now_ms - 60_000))[0] == 200
    late, _ = history.communicate(timeout=90)
    assert json.loads(late)["event"] == "evt_old"
    assert json.loads(subscribe(broker.port, f"{TOPIC}/ZN-T"))["event"] == "evt_new"
    assert poll(daemon.modbus_port, 1000, "3:float") == ["21"]


def test_restart_restores_state_before_the_first_event(daemon: Daemon, broker: Mosquitto) -> None:
    """After an orderly stop, registers and retained topics are restored, also on an empty broker."""
    assert daemon.post(telemetry("evt_1", ROOM, {"temperature": 20.25}))[0] == 200
    eventually_polled(daemon, 1000, "3:float", "20.25")
    assert daemon.stop() == 0
    broker.kill()
    broker.start()
    daemon.start()
    assert poll(daemon.modbus_port, 1000, "3:float") == ["20.25"]
    assert json.loads(subscribe(broker.port, f"{TOPIC}/ZN-T"))["value"] == 20.25
    assert subscribe(broker.port, "gw/v1/$gateway/test-box/status") == "online"


def test_hostile_input_is_refused(daemon: Daemon) -> None:
    """Broken signatures and bodies get their answers, and the log shows nothing of them."""
    unsigned = daemon.post(b"{}", "garbage")
    assert unsigned[0] == 401
    assert daemon.post(b"\xff" * 1000, "")[0] == 401
    for body in (b"[" * 5000, b"\xff\xfe", b"[1,2]", b'{"id":"evt_1","type":"x","v":NaN}'):
        assert daemon.post(body)[0] == 400
    assert daemon.post(b"x" * (2 << 20))[0] == 413
    assert daemon.post(telemetry("evt_after", ROOM, {"temperature": 20}))[0] == 200
    assert "Traceback" not in daemon.log
    assert SECRET not in daemon.log
    assert SECRET not in unsigned[1]


def test_an_unknown_asset_is_acknowledged_and_counted(daemon: Daemon) -> None:
    """An event that no table maps is no dead letter."""
    assert daemon.post(telemetry("evt_1", "ast-nobody", {"temperature": 20}))[0] == 200
    eventually(lambda: daemon.status()["mapping"]["unmapped"], 1)
    assert daemon.status()["mapping"]["unreadable"] == 0


def test_a_second_gateway_and_a_used_port_are_refused(daemon: Daemon) -> None:
    """The start fails with one line and no traceback."""
    again = gateway(daemon, "run")
    assert again.returncode == 1
    (line,) = again.stderr.splitlines()
    assert json.loads(line)["reason"].endswith("journal.db: another gateway is running on this journal")
    assert "Traceback" not in again.stderr
