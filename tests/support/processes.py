"""Programs run as users run them: in a process of their own, with what they print."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from io import TextIOWrapper
from pathlib import Path

from support.daemon import REPOSITORY

_WITHIN_S = 60.0
_COMMANDS = multiprocessing.get_context("forkserver")
_MODULES = [f"gateway.cli.{file.stem}" for file in (REPOSITORY / "gateway" / "cli").glob("[!_]*.py")]
_COMMANDS.set_forkserver_preload(["gateway.__main__", *_MODULES])


def run_gateway(
    *arguments: str | os.PathLike[str], folder: Path = REPOSITORY, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `gateway` in a folder, with these variables beside those that there are; `given` is its input.

    Its process is forked from one that has imported everything, for that is most of a short command's time.
    """
    command = [os.fspath(argument) for argument in arguments]
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    with tempfile.TemporaryDirectory(prefix="gateway-command-") as place:
        streams = [Path(place) / name for name in ("in", "out", "err")]
        streams[0].write_text(given)
        process = _COMMANDS.Process(target=_become_gateway, args=(command, folder, variables, streams))
        process.start()
        process.join(_WITHIN_S)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, _WITHIN_S)
        process.close()
        return subprocess.CompletedProcess(command, code, streams[1].read_text(), streams[2].read_text())


def _become_gateway(
    command: list[str], folder: Path, environment: dict[str, str], streams: list[Path]
) -> None:
    """Be what a new interpreter with this command would be, until the process ends."""
    from gateway.__main__ import main  # noqa: PLC0415 - the tests' own process has no use for it

    for number, file in enumerate(streams):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY)
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
