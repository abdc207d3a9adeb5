"""The guides of docs/ as readers use them: settings, tables, commands and their output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from support.daemon import REPOSITORY, Daemon

if TYPE_CHECKING:
    from collections.abc import Mapping

_FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_SETTINGS, _TABLES = "config/gateway.yaml", "mappings/"
_SHOWN_WITHIN_S = 120.0
_FIRST_WITHIN_S = 60
_GOES_ON_S = 1  # what a reader would end with Ctrl-C
_COMMAND_WITHIN_S = 120
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?"
_HEAD = """\
infodeck: {organization: o-1}
intake: {signing_secrets: [{env: SIGNING_SECRET}]}
"""


class Block(NamedTuple):
    """A fenced block of a page: its language, the file it is for, its text."""

    kind: str
    name: str
    text: str


class Commands(NamedTuple):
    """A block of commands, and their output on the page; None: nothing."""

    script: str
    shown: str | None


class Guide:
    """One page."""

    def __init__(self, path: str) -> None:
        self._path = REPOSITORY / path
        self.text = self._path.read_text(encoding="utf-8")
        self.blocks = [Block(*found) for found in _FENCE.findall(self.text)]

    @property
    def commands(self) -> list[Commands]:
        """The blocks of commands in order; their output is in the block of text that follows."""
        following = [*self.blocks[1:], Block("", "", "")]
        return [
            Commands(block.text, after.text if after.kind == "text" else None)
            for block, after in zip(self.blocks, following, strict=True)
            if block.kind == "sh"
        ]

    @property
    def settings(self) -> list[str]:
        """The examples of `gateway.yaml`, completed."""
        return [_HEAD + text for kind, _, text in self.blocks if kind == "yaml" and text.startswith("sinks:")]

    @property
    def tables(self) -> list[str]:
        """The examples of point tables, completed."""
        head = "schema: gateway.points/1\nsite: hq-tower\n"
        return [
            text if text.startswith("schema:") else head + text
            for kind, _, text in self.blocks
            if kind == "yaml" and not text.startswith("sinks:")
        ]

    def broken_links(self) -> list[str]:
        """Return the links to missing files and headings."""
        return [link for link in re.findall(r"\]\(([^):]+)\)", self.text) if not self._leads_somewhere(link)]

    def _leads_somewhere(self, link: str) -> bool:
        file, _, heading = link.partition("#")
        target = self._path.parent / file if file else self._path
        if not heading or not target.exists():
            return target.exists()
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
        return heading in {_anchor(title) for title in titles}

    def words_in_code(self) -> set[str]:
        """Return every word in code marks or examples."""
        inline = re.findall(r"`([^`\n]+)`", self.text)
        examples = [text for kind, _, text in self.blocks if kind == "yaml"]
        return set(re.findall(r"\w+", " ".join((*inline, *examples))))


@dataclass
class Box(Daemon):
    """The gateway of a page: its settings, the shipped tables and those of the page.

    `stand_ins` are addresses and ports of the page with their replacements.
    """

    guide: Guide = field(kw_only=True)
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the files."""
        self.tables = self.folder / "mappings"
        shutil.copytree(REPOSITORY / "mappings", self.tables)
        for kind, name, text in self.guide.blocks:
            if kind == "yaml" and name.startswith(_TABLES):
                (self.folder / name).write_text(text, encoding="utf-8")
        ports = {"1883": self.broker_port, "5020": self.modbus_port, "9680": self.admin_port}
        self.stand_ins = {usual: str(port) for usual, port in ports.items()} | dict(self.stand_ins)
        super().__post_init__()

    def write_settings(self) -> None:
        """Write the settings with the page's sinks, if it has some for the whole box."""
        super().write_settings()
        text = self.config.read_text().replace("name: test-box", "name: edge-1")
        for kind, name, sinks in self.guide.blocks:
            if kind == "yaml" and name == _SETTINGS:
                before, rest = text.split("sinks:\n")
                text = before + self.here(sinks) + rest[rest.index("mappings:") :]
        self.config.write_text(text)

    def here(self, text: str) -> str:
        """Replace the page's addresses and ports by those of the test."""
        for written, here in self.stand_ins.items():
            text = re.sub(rf"(?<![\w.]){re.escape(written)}(?!\.?\w)", here, text)
        return text

    def run(self, commands: Commands) -> str:
        """Run a block until it prints what the page shows; return the last output.

        Messages reach brokers and registers a moment later, so a block is run again. Without output on the
        page it must succeed at once.
        """
        deadline = time.monotonic() + _SHOWN_WITHIN_S
        while True:
            code, printed = self._run(self.here(commands.script))
            if commands.shown is None:
                assert code == 0, printed
                return printed
            missing = not_printed(commands.shown, printed)
            if not missing:
                return printed
            assert time.monotonic() < deadline, f"{missing!r} is not in:\n{printed}"

    def _run(self, script: str) -> tuple[int, str]:
        script = script.replace(_SETTINGS, str(self.config))
        script = "\n".join(_ending(line) for line in script.splitlines())
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_COMMAND_WITHIN_S,
        )
        return done.returncode, done.stdout


def not_printed(shown: str, printed: str) -> str | None:
    """Return the first line of `shown` that `printed` lacks after the one before it; None: none is missing.

    Blanks count as one, `…` stands for anything, and times are any time.
    """
    lines = map(_one_blank, printed.splitlines())
    for line in filter(None, map(_one_blank, shown.splitlines())):
        constant = re.split(f"…|{_TIME}", line)
        varying = [".*" if found == "…" else _TIME for found in re.findall(f"…|{_TIME}", line)]
        pattern = "".join(
            f"{re.escape(text)}{rest}" for text, rest in zip(constant, [*varying, ""], strict=True)
        )
        if not any(re.fullmatch(pattern, there) for there in lines):
            return line
    return None


def _anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _one_blank(line: str) -> str:
    return " ".join(line.split())


def _ending(line: str) -> str:
    """Let a command end that would run until its reader stops it.

    One that ends with its first message may wait for it: a busy machine sends it late.
    """
    if line.startswith("mosquitto_sub") and " -W " not in line:
        return f"{line} -W {_GOES_ON_S}"
    return line.replace(" -C 1 -W 5", f" -C 1 -W {_FIRST_WITHIN_S}")
