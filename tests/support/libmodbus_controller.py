"""A controller in a process of its own, made of libmodbus: started, killed, misbehaving, inspected."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from support.ports import free_port

if TYPE_CHECKING:
    import signal

_PROGRAM = Path(__file__).with_name("libmodbus_process.py")


class Request(NamedTuple):
    """A request as the controller received it."""

    unit: int
    function: int
    address: int
    size: int


class LibmodbusController:
    """A context manager; `kill` and `start` it within as often as needed, it always comes back empty.

    On a free loopback port, or as unit 1 on a serial port. `rule` has it answer some requests otherwise:
    conditions are `units`, `functions`, `addresses` (first and last), `from_count` and `times`; what it does
    is `exception`, `is_mute`, `delay_s`, `forgets` (all values), `hangs_up` (after its
    answer), `noise` (as hex, before it) or `pdu` (as hex, in the request's transaction or `transactions_on`
    from it).
    """

    def __init__(self, *, serial_port: Path | None = None, port: int | None = None) -> None:
        self.port = port or free_port()
        place = ["tcp", str(self.port)] if serial_port is None else ["rtu", str(serial_port), "1"]
        self._command = [sys.executable, str(_PROGRAM), *place]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and return once it can be connected to."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "ready"

    def kill(self) -> None:
        """Kill the process, which closes nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def rule(self, **rule: Any) -> None:
        """Have requests answered otherwise from now on."""
        self._ask("rule", **rule)

    def no_rules(self) -> None:
        """Have all requests answered normally again."""
        self._ask("no rules")

    def registers(self, first: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Return holding registers."""
        return list(self._ask("registers", unit=unit, first=first, end=first + count))

    def floats(self, first: int, count: int = 1, *, unit: int = 1) -> list[float]:
        """Return float32 values, high word first."""
        words = self.registers(first, 2 * count, unit=unit)
        return list(struct.unpack(f">{count}f", struct.pack(f">{2 * count}H", *words)))

    def coils(self, first: int, count: int = 1, *, unit: int = 1) -> list[int]:
        """Return coils."""
        return list(self._ask("coils", unit=unit, first=first, end=first + count))

    def fill(self, first: int, *words: int, unit: int = 1) -> None:
        """Set holding registers as the controller's own program does."""
        for offset, word in enumerate(words):
            self._ask("fill", unit=unit, first=first + offset, word=word)

    def requests(self) -> list[Request]:
        """Return the requests since the last call."""
        return [request for request, _ in self.timed_requests()]

    def timed_requests(self) -> list[tuple[Request, float]]:
        """Return the same, each with the seconds of a monotonic clock."""
        return [(Request(*request[:4]), request[4]) for request in self._ask("requests")]

    def hang_up(self) -> None:
        """Close all connections, as many controllers do with idle ones."""
        self._ask("hang up")

    def connections(self) -> tuple[int, int]:
        """Return how many connections are open, and how many there have been."""
        is_open, accepted = self._ask("connections")
        return is_open, accepted

    def _ask(self, what: str, **arguments: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())
