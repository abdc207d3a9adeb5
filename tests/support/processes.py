"""The gateway's commands, each in a process of its own, and scripts.

Processes are forked from one that has imported everything: importing is most of the time of a start.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from multiprocessing.context import ForkServerProcess

REPOSITORY = Path(__file__).parents[2]

_WITHIN_S = 120.0
_COMMANDS = multiprocessing.get_context("forkserver")
_MODULES = [f"gateway.cli.{file.stem}" for file in (REPOSITORY / "gateway" / "cli").glob("[!_]*.py")]
_COMMANDS.set_forkserver_preload(["gateway.__main__", *_MODULES])


def run_gateway(
    *arguments: str | os.PathLike[str], folder: Path = REPOSITORY, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `gateway` in a folder, with these variables beside those that there are; `given` is its input."""
    command = [os.fspath(argument) for argument in arguments]
    with tempfile.TemporaryDirectory(prefix="gateway-command-") as place:
        streams = [Path(place) / name for name in ("in", "out", "err")]
        streams[0].write_text(given)
        process = GatewayProcess(command, folder=folder, streams=streams, environment=environment)
        code = process.wait(_WITHIN_S)
        return subprocess.CompletedProcess(command, code, streams[1].read_text(), streams[2].read_text())


class GatewayProcess:
    """A running `gateway` command, with the methods of `subprocess.Popen` that tests use.

    `streams` are the files for its input, output and errors; output is appended.
    """

    def __init__(
        self, command: list[str], *, folder: Path, streams: list[Path], environment: dict[str, str]
    ) -> None:
        variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
        self._process: ForkServerProcess = _COMMANDS.Process(
            target=_become_gateway, args=(command, folder, variables, streams)
        )
        self._command = command
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return the exit code once it has ended; kill it if that takes longer."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self._command, timeout)
        self._process.close()
        return code


def _become_gateway(
    command: list[str], folder: Path, environment: dict[str, str], streams: list[Path]
) -> None:
    """Behave like a new interpreter with this command."""
    from gateway.__main__ import main  # noqa: PLC0415 - the tests' own process has no use for it

    for number, file in enumerate(streams):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)  # a process of this kind is given none
    encoding, _, _ = environment.get("PYTHONIOENCODING", "").partition(":")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=encoding or None)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["gateway", *command]
    main()


def run_script(script: str, *, folder: Path = REPOSITORY) -> str:
    """Run a script in bash, in a folder, with this Python's `gateway` on the PATH; return what it prints."""
    commands = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": commands},
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
