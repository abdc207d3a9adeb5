"""docs/bacnet.md: every command prints what is shown, with a demo and two clients; settings are explained."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.bacnet_clients import MODULES
from support.config_files import complaints, write
from support.guides import Commands, Guide, not_printed
from support.ports import free_port
from support.running_demo import running_demo

from gateway.settings import load_settings
from gateway.sinks.bacnet.config import BacnetConfig, ForeignDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Guide("docs/bacnet.md")
SETTINGS = "/tmp/gateway-demo-*/gateway.yaml"  # noqa: S108 - where the demo writes
EXAMPLE = "config/gateway.yaml"
BUSY_MACHINE = {  # waits for the subscription, lets sending take longer, and keeps lines of both apart
    "node subscribe.js &": "node subscribe.js >came &",
    "sleep 2": "until grep -q NaN came; do sleep 0.1; done",
    "\nwait\n": "\nwait\ncat came\n",
    "-50 seconds": "-15 seconds",
    "broadcastAddress:": "apduTimeout: 60000, broadcastAddress:",
}


@dataclass
class Reader:
    """Types the page's commands in a folder with its files; `stand_ins` replace its ports and paths."""

    folder: Path
    stand_ins: dict[str, str]

    def here(self, text: str) -> str:
        """Return a text of the page with the demo's ports and paths."""
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
            timeout=300,
        ).stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Run the demo, and write the page's program."""
    folder = tmp_path_factory.mktemp("bms")
    with running_demo(folder) as demo:
        port, config = demo.find(r"whois 127\.0\.0\.2:(\d+)"), str(demo.config)
        stand_ins = {"47809": str(free_port()), "47808": port, SETTINGS: config, EXAMPLE: config}
        stand_ins |= BUSY_MACHINE
        reader = Reader(folder, stand_ins)
        for kind, name, text in GUIDE.blocks:
            if kind == "js":
                (folder / name).write_text(reader.here(text))
        yield reader


@pytest.mark.parametrize("commands", GUIDE.commands, ids=lambda commands: commands.script.splitlines()[0])
def test_commands(reader: Reader, commands: Commands) -> None:
    """Each block prints what the page shows: discovery, reads, a subscription, a stale value, EDE files."""
    printed = reader.run(commands.script)
    assert not_printed(commands.shown or "", printed) is None, printed


@pytest.mark.parametrize("text", GUIDE.settings)
def test_settings(tmp_path: Path, text: str) -> None:
    """Each example of sinks is valid."""
    assert complaints(load_settings(write(tmp_path, text, "gateway.yaml"))) == []


def test_every_setting_is_explained() -> None:
    """The page names every key of the device's settings in code marks."""
    keys = {field.name for shape in (BacnetConfig, ForeignDevice) for field in fields(shape)}
    assert keys - GUIDE.words_in_code() == set()
