"""Programs run as users run them: in a process of their own, with what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.daemon import REPOSITORY


def run_gateway(
    *arguments: str | os.PathLike[str], folder: Path = REPOSITORY, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `gateway` in a folder, with these variables beside those that there are.

    `given` is its standard input.
    """
    return _run(
        [sys.executable, "-m", "gateway", *(os.fspath(argument) for argument in arguments)],
        folder=folder,
        environment={"PYTHONPATH": str(REPOSITORY)} | environment,
        given=given,
    )


def run_script(script: str, *, folder: Path = REPOSITORY) -> str:
    """Run a script in bash, in a folder, with this Python's `gateway` on the PATH; return what it prints."""
    commands = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = _run(["bash", "-euo", "pipefail", "-c", script], folder=folder, environment={"PATH": commands})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _run(
    command: list[str], *, folder: Path, environment: dict[str, str], given: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
