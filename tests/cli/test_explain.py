"""`gateway explain` as a user runs it: on a file, on standard input, and on the journal of a daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.commands import gateway
from support.daemon import REPOSITORY, Daemon, telemetry
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = "ast-a1b2c3d4"


def event(asset: str = ROOM, **more: Any) -> str:
    """Return the body of an event with one reading."""
    document = {
        "id": "evt_file",
        "type": "asset.telemetry.updated",
        "organizationId": "o-xxxx",
        "created": 1_780_000_000,
        "data": {"object": {"id": asset, "telemetry": {"temperature": "21.5", "lux": 300}}},
    }
    return json.dumps(document | more)


def test_a_file_is_explained_from_reading_to_register(tmp_path: Path) -> None:
    """An event in a file is shown with its readings, points, values, topics, payloads and register words."""
    file = tmp_path / "event.json"
    file.write_text(event())
    done = gateway("explain", file)
    assert (done.returncode, done.stderr) == (0, "")
    printed = " ".join(done.stdout.split())
    for expected in (
        "event evt_file type asset.telemetry.updated asset ast-a1b2c3d4 L03-RM312",
        "readings found in data.object.telemetry",
        'L03-RM312/ZN-T from temperature reading "21.5" as a number 21.5 value 21.5 degC good',
        'gw/v1/hq-tower/L03-RM312/ZN-T {"value":21.5,"unit":"degC","quality":"good",',
        '"ts":"2026-05-28T20:26:40.000Z","event":"evt_file"}',
        "modbus regs unit 1 input 1000-1001 31001 float32 ABCD 41AC 0000 = 21.5",
        "read as ABCD (configured) 21.5 CDAB",
        "not used by any point: lux 300",
        "without a reading in this event: L03-RM312/ZN-RH from humidity",
    ):
        assert expected in printed
    assert "delivery" not in printed


def test_a_backfilled_event_names_its_source(tmp_path: Path) -> None:
    """The source of an event that the gateway made is Infodeck's API."""
    file = tmp_path / "event.json"
    file.write_text(event(id="reconcile_0123456789abcdef", source="reconcile"))
    printed = " ".join(gateway("explain", file).stdout.split())
    assert "source Infodeck's API, not a webhook" in printed
    file.write_text(event())
    assert "not a webhook" not in gateway("explain", file).stdout


def test_a_message_of_an_asset_is_shown_by_point(tmp_path: Path) -> None:
    """With `layout: asset`, a point has its asset's topic and its part of the message."""
    folder = tmp_path / "config"
    folder.mkdir()
    text = (REPOSITORY / "config" / "gateway.yaml").read_text(encoding="utf-8")
    config = folder / "gateway.yaml"
    config.write_text(text.replace("type: mqtt\n", "type: mqtt\n    layout: asset\n"), encoding="utf-8")
    shutil.copytree(REPOSITORY / "mappings", tmp_path / "mappings")
    file = tmp_path / "event.json"
    file.write_text(event())
    printed = " ".join(gateway("explain", "-c", config, file).stdout.split())
    part = '{… "ZN-T":{"value":21.5,"unit":"degC","quality":"good","ts":"2026-05-28T20:26:40.000Z"} …}'
    assert f"mqtt bms gw/v1/hq-tower/L03-RM312 {part}" in printed
    assert "hq-tower/L03-RM312/ZN-T {" not in printed


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (event("ast-a1b2c3d5"), "No point table names ast-a1b2c3d5: there is no asset of this name, did you"),
        (event(livemode=False), "A test event: it is answered with 200 and counted, and never reaches"),
        (
            event(organizationId="o-else"),
            "An event of another organization, o-else; this gateway's is",
        ),
        (event(type="booking.created"), "No telemetry, but booking.created: it is answered with 200"),
        (
            event(type="asset.status.changed", data={"object": {"id": ROOM, "status": "Offline"}}),
            f"{ROOM} is not connected: its points are offline until a newer reading",
        ),
        (
            event(type="asset.status.changed", data={"object": {"id": ROOM, "connectionStatus": True}}),
            f"{ROOM} is connected: its points show their readings.",
        ),
        (event(type="asset.status.changed"), "The status does not state a device's connection"),
        (event(data={"object": {"id": ROOM}}), "so it becomes a dead letter"),
        (event(data={"object": {}}), "No asset id or no readings are found"),
    ],
)
def test_events_that_change_nothing_are_explained(body: str, expected: str) -> None:
    """Unknown assets, test events, other organizations and types have a sentence each."""
    done = gateway("explain", "-", body=body)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


def test_a_test_event_is_mapped_on_paper() -> None:
    """A test event is mapped on paper, to show whether the tables read a real one."""
    printed = gateway("explain", "-", body=event(isTest=True)).stdout
    assert printed.index("If it were processed") < printed.index("L03-RM312/ZN-T")


@pytest.mark.parametrize(
    ("body", "expected"),
    [("{", "not JSON"), ('{"id": "e"}', "`type` is missing"), ("[]", "not a JSON object")],
)
def test_a_body_that_is_no_event_is_refused(body: str, expected: str) -> None:
    """A body that the intake answers with 400 is refused with the reason and exit code 1."""
    done = gateway("explain", "-", body=body)
    assert done.returncode == 1
    assert "the intake answers 400" in done.stderr
    assert expected in done.stderr


def test_missing_files_and_unknown_events_are_reported(tmp_path: Path) -> None:
    """A missing file and an unknown event are one message each."""
    assert "cannot be read: No such file" in gateway("explain", tmp_path / "none.json").stderr
    done = gateway("explain", "evt_none")
    assert done.returncode == 1
    assert "not in the journal" in done.stderr
    assert "2d (journal.retention)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Daemon, Mosquitto]]:
    """Run a broker and the gateway with a register that cannot hold every value."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: hq\n"
        "points:\n"
        "  - {tag: R, point: T, asset: ast-1, from: t, unit: degC, offset: -0.4,"
        " modbus: {to: regs, table: input, register: 0, type: float32}}\n"
        "  - {tag: R, point: N, asset: ast-1, from: n,"
        " modbus: {to: regs, table: input, register: 4, type: uint16}}\n"
    )
    with Mosquitto(tmp_path) as broker:
        gateway_process = Daemon(tmp_path, broker.port, tables=tables)
        gateway_process.start()
        yield gateway_process, broker
        gateway_process.kill()


def explain_until(daemon: Daemon, expected: str) -> str:
    """Explain evt_1 until the text is there: cursors are stored a moment after the delivery."""
    deadline = time.monotonic() + 60
    while expected not in (printed := gateway("explain", "-c", daemon.config, "evt_1").stdout):
        assert time.monotonic() < deadline, printed
        time.sleep(0.1)
    return printed


def test_an_event_of_the_running_daemon(daemon: tuple[Daemon, Mosquitto]) -> None:
    """The explanation shows the payload that the broker got, and the dead letter of a refused value."""
    running, broker = daemon
    assert running.post(telemetry("evt_1", "ast-1", {"t": 21.8, "n": 70000}))[0] == 200
    printed = explain_until(running, "dead letter 1: unit 1, input 4: 70000 is beyond uint16")
    explained = re.search(r"gw/v1/hq/R/T  (\{.*\})", printed)
    assert explained is not None
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", "gw/v1/hq/R/T", "-C", "1", "-W", "60"]
    published = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    assert explained[1] == published
    assert "shows the sentinel, and becomes a dead letter: 70000 is beyond uint16" in printed
    printed = explain_until(running, "  regs    ")
    delivery = printed[printed.index("delivery:") :]
    assert re.search(r"^  bms +done$", delivery, re.MULTILINE)

    running.stop()
    assert "number 1 of the journal" in explain_until(running, "  regs    ")


def test_a_sink_that_is_behind_is_shown(daemon: tuple[Daemon, Mosquitto]) -> None:
    """While the broker is away, its sink is behind, and the other sink is done."""
    running, broker = daemon
    broker.kill()
    assert running.post(telemetry("evt_1", "ast-1", {"t": 21.8}))[0] == 200
    printed = explain_until(running, "  regs  done")
    assert re.search(r"^  bms +waiting, 1 behind$", printed, re.MULTILINE)
