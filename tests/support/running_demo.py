"""`gateway demo` in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITHIN_S = 60.0


@dataclass(frozen=True)
class RunningDemo:
    """The process, and what it has printed up to its first table of points."""

    process: subprocess.Popen[bytes]
    printed: str

    def find(self, pattern: str) -> str:
        """Return the first group of a regular expression, where it matches first."""
        return str(re.findall(pattern, self.printed, re.MULTILINE)[0])

    @property
    def config(self) -> Path:
        """The path of its settings."""
        return Path(self.find(r"gateway check -c (\S+gateway\.yaml)"))


@contextmanager
def running_demo(folder: Path, *, for_s: int = 600) -> Iterator[RunningDemo]:
    """Run the demo, which must end in order; its output goes to a file in a folder."""
    output = folder / "out"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", "--for", f"{for_s}s"],
            cwd=REPOSITORY,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        deadline = time.monotonic() + _WITHIN_S
        while "L03-RM301/ZN-T" not in (printed := output.read_text()):
            assert process.poll() is None, printed
            assert time.monotonic() < deadline, printed
            time.sleep(0.05)
        yield RunningDemo(process, printed)
    finally:
        process.terminate()
        code = process.wait(timeout=_WITHIN_S)
    assert code == 0
    assert "Traceback" not in output.read_text()
