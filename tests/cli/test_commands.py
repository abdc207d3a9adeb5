"""The commands as a user types them: output, exit codes, and messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.commands import gateway
from support.daemon import REPOSITORY
from support.ports import free_port
from support.processes import run_gateway

if TYPE_CHECKING:
    from pathlib import Path


def test_shipped_settings_and_tables_are_fine() -> None:
    """`check` and `test` pass on what is shipped, from a fresh clone."""
    checked = run_gateway("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("ok: ")
    tested = run_gateway("test")
    assert (tested.returncode, tested.stderr) == (0, "")
    assert "failures: 0" in tested.stdout


def test_missing_secret_is_reported_with_its_place() -> None:
    """`run` without the secret's variable names variable and place, and ends at once."""
    done = run_gateway("run", INFODECK_SIGNING_SECRET="", INFODECK_API_KEY="x")
    assert done.returncode == 1
    assert "config/gateway.yaml:" in done.stderr
    assert "INFODECK_SIGNING_SECRET" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "check", "test", "points"])
def test_missing_file_is_reported_plainly(command: str, tmp_path: Path) -> None:
    """A file that is not there is one message, not a traceback."""
    done = run_gateway(command, "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 1
    assert "none.yaml" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_broken_settings_and_tables_are_reported_together(tmp_path: Path) -> None:
    """`check` prints problems of gateway.yaml and of every table in one run, each with its place."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "a.yaml").write_text("schema: gateway.points/1\nsite: hq\nasets: []\n")
    (tmp_path / "mappings" / "b.yaml").write_text("schema: gateway.points/2\nsite: hq\n")
    settings = tmp_path / "gateway.yaml"
    settings.write_text(
        "infodeck: {organization: o-1}\n"
        "intake: {signing_secrets: [{env: S}], lisen: 1}\n"
        'sinks: {bms: {type: mqtt, url: "mqtt://127.0.0.1:1883"}}\n'
        "mappings: mappings\n"
    )
    done = run_gateway("check", "-c", str(settings))
    assert done.returncode == 1
    for place in ("gateway.yaml:2:", "a.yaml:3:", "b.yaml:1:"):
        assert place in done.stderr
    assert "did you mean" in done.stderr


def test_sinks_that_meet_on_a_topic_are_found_by_their_settings(tmp_path: Path) -> None:
    """`check` sees that two sinks have one broker, and that a table leads both to one topic there."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: hq\npoints:\n"
        "  - {tag: X, point: A, asset: a, from: t, mqtt: {topic: plate}}\n"
    )
    settings = tmp_path / "gateway.yaml"
    settings.write_text(
        "infodeck: {organization: o-1}\nintake: {signing_secrets: [{env: S}]}\nmappings: mappings\n"
        "sinks:\n  bms: {type: mqtt, url: mqtt://localhost}\n"
        "  plain: {type: mqtt, url: mqtt://127.0.0.1, prefix: gw/plain, payload: value}\n"
    )
    done = run_gateway("check", "-c", str(settings))
    assert (done.returncode, done.stdout) == (1, "1 problem\n")
    assert "a.yaml:4:57: points[0].mqtt.topic: the topic plate of X/A on plain already" in done.stderr


def test_reading_without_value_is_explained() -> None:
    """`send` says what a reading looks like."""
    done = run_gateway("send", "--asset", "ast-1", "temperature")
    assert done.returncode == 2
    assert "key=value" in done.stderr


def test_send_without_a_gateway_says_so(tmp_path: Path) -> None:
    """`send` with nobody listening tells what it tried."""
    example = (REPOSITORY / "config/gateway.yaml").read_text()
    settings = tmp_path / "gateway.yaml"
    settings.write_text(
        example.replace("../mappings", str(REPOSITORY / "mappings")).replace(":8080", f":{free_port()}")
    )
    command = ("send", "-c", str(settings), "--asset", "ast-1", "a=1")
    done = run_gateway(*command, INFODECK_SIGNING_SECRET="x", INFODECK_API_KEY="y")
    assert done.returncode == 1
    assert "can't be reached: Connection refused; is the gateway running?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "SSL" not in done.stderr


@pytest.mark.parametrize("command", [("send", "--asset", "ast-1"), ("force", "--for", "1m", "A/T")])
def test_a_decimal_comma_is_no_text_by_accident(command: tuple[str, ...]) -> None:
    """Both commands that take a value say how the number is written, and how the text is."""
    value = "21,5" if command[0] == "force" else "temperature=21,5"
    done = gateway(*command, value)
    assert done.returncode in {1, 2}
    assert "write 21.5, or '\"21,5\"' if it is to be text" in done.stderr


def test_a_folder_of_tables_that_is_not_there_is_a_mistake_of_the_settings(thai: Path) -> None:
    """The place is where the folder is named; a folder without tables is there, too."""
    thai.write_text(thai.read_text().replace("mappings: mappings", "mappings: tables"))
    printed = run_gateway("check", "-c", thai).stderr
    folder = thai.parent / "tables"
    assert (
        printed == f"{thai}:4:11: mappings: {folder}: cannot be read as a folder: No such file or directory\n"
    )
    folder.mkdir()
    printed = run_gateway("check", "-c", thai).stderr
    assert (
        printed == f"{thai}:4:11: mappings: {folder}: no point table in this folder: no file ends in .yaml;"
        " `schema` and `site` alone make one without points\n"
    )


@pytest.mark.parametrize("command", ["deadletters", "webhooks"])
def test_the_settings_may_stand_before_the_action(command: str, tmp_path: Path) -> None:
    """`-c FILE` is understood on both sides of it, and the one behind it counts."""
    nowhere, other = tmp_path / "nowhere.yaml", tmp_path / "other.yaml"
    assert f"{nowhere}:1:1: cannot be read" in gateway(command, "-c", nowhere, "list").stderr
    assert f"{other}:1:1: cannot be read" in gateway(command, "-c", nowhere, "list", "-c", other).stderr


@pytest.fixture
def thai(tmp_path: Path) -> Path:
    """Return settings with a table of a room whose name has no letter that older encodings have."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: hq\npoints:\n  - {tag: ห้อง, point: A, asset: a, from: t}\n",
        encoding="utf-8",
    )
    settings = tmp_path / "gateway.yaml"
    settings.write_text(
        "infodeck: {organization: o-1}\nintake: {signing_secrets: [{env: S}]}\n"
        'sinks: {bms: {type: mqtt, url: "mqtt://127.0.0.1:1883"}}\nmappings: mappings\n'
    )
    return settings


def test_files_and_pipes_get_utf8_whatever_the_terminal_speaks(thai: Path) -> None:
    """A list that is written to a file is complete, and reads back."""
    done = run_gateway("points", "-c", str(thai), PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ห้อง/A" in done.stdout


def test_a_terminal_shows_what_it_can(thai: Path) -> None:
    """What an older encoding lacks is shown as escapes: no fault of the gateway is reported."""
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "points", "-c", str(thai)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(REPOSITORY)},
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 65_536).decode("latin-1")
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\\u0e2b\\u0e49\\u0e2d\\u0e07/A" in shown


def test_output_can_be_cut_short() -> None:
    """`gateway points | head -1` ends quietly."""
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m gateway points | head -1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_output_that_was_cut_short_is_no_success(tmp_path: Path) -> None:
    """`gateway check 2>&1 | head -1` of a broken table does not end with 0."""
    points = "".join(f"  - {{tag: A, point: P{index}, asset: a, form: t}}\n" for index in range(3000))
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings/a.yaml").write_text(f"schema: gateway.points/1\nsite: hq\npoints:\n{points}")
    settings = (REPOSITORY / "config/gateway.yaml").read_text()
    (tmp_path / "gateway.yaml").write_text(settings.replace("mappings: ../mappings", "mappings: mappings"))
    command = f"'{sys.executable}' -m gateway check -c {tmp_path}/gateway.yaml 2>&1 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 141
    assert len(done.stdout.splitlines()) == 1


def test_demo_refuses_a_bad_duration() -> None:
    """`demo --for` explains how a duration is written."""
    done = run_gateway("demo", "--for", "soon")
    assert done.returncode == 1
    assert "90s, 15m or 2h" in done.stderr


def test_a_daemon_that_does_not_start_logs_why(tmp_path: Path) -> None:
    """Where nobody sits at a terminal, the reason is a line of its log like any other."""
    done = gateway("run", "-c", str(tmp_path / "gateway.yaml"))
    assert (done.returncode, done.stdout) == (1, "")
    line = json.loads(done.stderr)
    assert (line["event"], line["level"]) == ("gateway.failed", "critical")
    assert line["problems"] == [
        f"{tmp_path}/gateway.yaml:1:1: cannot be read: No such file or directory",
    ]
    assert "1 problem" in line["reason"]


def test_an_interrupted_start_shows_no_traceback() -> None:
    """Ctrl-C while the command is still being loaded ends it as a shell expects."""
    # Tests that are run in the background of a script inherit that SIGINT is ignored.
    command = ["env", "--default-signal=INT", sys.executable, "-X", "importtime", "-m", "gateway"]
    command += ["run", "-c", "config/gateway.yaml"]
    # The pipe has no room for the names of all modules: the command waits here until they are read.
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, pipesize=4096)
    assert process.stderr is not None
    for line in process.stderr:
        if line.endswith("| asyncio\n"):
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert "Traceback" not in rest
    assert process.returncode == 130
