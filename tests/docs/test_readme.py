"""README's commands, run as a newcomer would paste them."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.building import eventually
from support.daemon import REPOSITORY
from support.processes import run_script
from support.running_demo import running_demo

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
SET_UP, SEND, USE = BLOCKS
CONFIG = "/tmp/gateway-demo-*/gateway.yaml"  # noqa: S108 - where the demo writes


def paste(script: str) -> str:
    """Run a block in bash, in the repository; return what it prints. `.venv/bin` is this Python's folder."""
    script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    return run_script(script)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run the demo; return what replaces the usual ports and the settings' path."""
    with running_demo(tmp_path_factory.mktemp("demo")) as demo:
        mqtt, modbus = demo.find(r"mosquitto_sub -p (\d+)"), demo.find(r"mbpoll -m tcp -p (\d+)")
        yield {"1883": mqtt, "5020": modbus, CONFIG: str(demo.config)}


def test_event_of_your_own(ports: dict[str, str]) -> None:
    """The block sends one event, and reads 21.5 from MQTT and from Modbus."""
    assert fnmatch(ports[CONFIG], CONFIG) or tempfile.gettempdir() != "/tmp"  # noqa: S108 - compared only
    script = SEND
    for usual, here in ports.items():
        script = script.replace(usual, here)
    send, *read = script.replace("-W 5", "-W 60").splitlines()
    assert ': 200 {"received":true}' in paste(send)

    def reads() -> tuple[bool, bool, bool]:
        printed = paste("\n".join(read))
        return (
            '{"value":21.5,"unit":"degC","quality":"good"' in printed,
            '"tag":"L03-RM301","point":"ZN-T"' in printed,
            re.search(r"\[1064\]:\s+21\.5$", printed, re.MULTILINE) is not None,
        )

    eventually(reads, (True, True, True))  # each receiver gets it in its own time


def test_commands_on_the_examples() -> None:
    """Check, test and points run on the shipped files."""
    printed = paste(USE)
    assert "ok: " in printed
    assert "failures: 0" in printed
    assert "gw/v1/hq-tower/L03-RM312/ZN-T" in printed


def test_claims_have_their_figures() -> None:
    """Figures of the first screen are those of the table of measurements."""
    claims, _, table = README.partition("## How fast")
    measured = [line for line in claims.splitlines() if "[figure](#how-fast)" in line]
    figures = [figure for line in measured for figure in re.findall(r"\b\d[\d,.]*(?= )", line)]
    assert len(figures) > 3
    assert [figure for figure in figures if f" {figure} " not in table] == []


def test_every_command_is_named() -> None:
    """README names every command."""
    listed = run_script(f"{sys.executable} -m gateway --help")
    commands = re.findall(r"^    ([a-z]+) ", listed, re.MULTILINE)
    assert "deadletters" in commands
    assert [
        name for name in commands if not re.search(rf"`(gateway |make ){name}\b|, `{name}`", README)
    ] == []


def test_set_up_commands_are_targets_of_make() -> None:
    """README's two commands exist and are enough."""
    assert SET_UP.splitlines() == ["make demo", "make test"]
    for line in SET_UP.splitlines():
        subprocess.run([*line.split(), "--dry-run"], cwd=REPOSITORY, check=True, capture_output=True)


def test_demo_ends_by_itself() -> None:
    """`--for` ends the demo of one's own tables cleanly, with every point and asset shown."""
    (options,) = re.findall(r'`make demo ARGS="(--mappings .*)"`', README)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--for", "12s", *options.split()],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 12 <= time.monotonic() - began < 200
    rows = [line for line in done.stdout.splitlines() if line.startswith("AHU-1/SA-T")]
    assert "good" in rows[-1]
    assert "assets: 6 known" in done.stdout
