"""A server of another project, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from signal import SIGCONT, SIGSTOP, Signals
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WITHIN_S = 60.0


class ServerProcess(ABC):
    """A context manager; the server can be stopped, killed, frozen and started again within."""

    def __init__(self, command: Sequence[str | Path], *, log: Path) -> None:
        """`log` is the file for all that it prints."""
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether it accepts connections; it may raise OSError if not."""

    @property
    def log(self) -> str:
        """All that the server has printed."""
        return self._log.read_text()

    @property
    def pid(self) -> int | None:
        """The number of the process, None if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def start(self) -> None:
        """Start the server; return once it accepts connections."""
        self.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return once it accepts connections; fail if it ends before that."""
        deadline = time.monotonic() + _WITHIN_S
        while time.monotonic() < deadline and self.pid is not None:
            with suppress(OSError):
                if self.is_ready():
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self._command[0]} did not start: {self.log}")

    def kill(self) -> None:
        """Kill the server (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Stop the server in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def freeze(self) -> None:
        """Let the server hang: connections stay, nothing is answered."""
        assert self._process is not None
        self.signal(SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # until all its threads stand still

    def thaw(self) -> None:
        """Let the server go on."""
        self.signal(SIGCONT)

    def signal(self, number: Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
