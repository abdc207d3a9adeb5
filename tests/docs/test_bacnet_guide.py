"""docs/bacnet.md: every command prints what is shown, with a demo and two clients; settings are explained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.bacnet_clients import MODULES
from support.config_files import complaints, write
from support.daemon import REPOSITORY
from support.guides import Commands, Guide, not_printed
from support.ports import free_port

from gateway.settings import load_settings
from gateway.sinks.bacnet.config import BacnetConfig, ForeignDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Guide("docs/bacnet.md")
SETTINGS = "/tmp/gateway-demo-*/gateway.yaml"  # noqa: S108 - where the demo writes
EXAMPLE = "config/gateway.yaml"


@dataclass
class RunningDemo:
    """A demo, and a folder with the page's files; `stand_ins` replace the page's ports and paths."""

    folder: Path
    stand_ins: dict[str, str]

    def here(self, text: str) -> str:
        """Return a text of the page for this demo."""
        for written, here in self.stand_ins.items():
            text = text.replace(written, here)
        return text

    def run(self, script: str) -> str:
        """Run commands in bash, and return what they print."""
        commands = Path(sys.executable).parent
        return subprocess.run(
            ["bash", "-euc", self.here(script)],
            cwd=self.folder,
            env=os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "NODE_PATH": str(MODULES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=60,
        ).stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """Run the demo, and write the page's program."""
    folder = tmp_path_factory.mktemp("bms")
    out = folder / "out"
    with out.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", "--for", "120s"],
            cwd=REPOSITORY,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    deadline = time.monotonic() + 60
    while "L01-RM101/ZN-T  " not in (printed := out.read_text()):
        assert process.poll() is None, printed
        assert time.monotonic() < deadline, printed
        time.sleep(0.05)
    (port,) = re.findall(r"whois 127\.0\.0\.2:(\d+)", printed)
    (config,) = re.findall(r"gateway check -c (\S+gateway\.yaml)", printed)
    running = RunningDemo(
        folder, {"47808": port, "47809": str(free_port()), SETTINGS: config, EXAMPLE: config}
    )
    for kind, name, text in GUIDE.blocks:
        if kind == "js":
            (folder / name).write_text(running.here(text))
    yield running
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in out.read_text()


@pytest.mark.parametrize("commands", GUIDE.commands, ids=lambda commands: commands.script.splitlines()[0])
def test_commands(demo: RunningDemo, commands: Commands) -> None:
    """Each block prints what the page shows: discovery, reads, a subscription, a stale value, EDE files."""
    printed = demo.run(commands.script)
    assert not_printed(commands.shown or "", printed) is None, printed


@pytest.mark.parametrize("text", GUIDE.settings)
def test_settings(tmp_path: Path, text: str) -> None:
    """Each example of sinks is valid."""
    assert complaints(load_settings(write(tmp_path, text, "gateway.yaml"))) == []


def test_every_setting_is_explained() -> None:
    """The page names every key of the device's settings in code marks."""
    keys = {field.name for shape in (BacnetConfig, ForeignDevice) for field in fields(shape)}
    assert keys - GUIDE.words_in_code() == set()
