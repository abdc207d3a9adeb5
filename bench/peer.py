"""The gateway beside Node-RED, which users would take instead: the same load, the same broker, in turns.

Node-RED does HTTP, HMAC, JSON and MQTT (`bench/node_red/`); it has no journal and serves no Modbus here, so
the gateway does more. A bare aiohttp handler shows the least that an HTTP request costs in Python. Each round
starts all of them anew with a mosquitto of their own and 1,000 points, and measures:

- the time from its start until it answers, and its memory when idle;
- at a building's pace: CPU per event, where events come at random times, as those of independent sensors;
- at full load: events/s from the first POST until the subscriber has every reading, CPU per event, memory.

At last it counts the acknowledged events that a subscriber never receives: after kill -9 under load, and over
an outage of the broker.

Needs npm, which installs Node-RED into `.node-red/` once; `--without-node-red` measures the rest.

    python bench/peer.py [--events 5000] [--rate 200] [--for-s 10] [--rounds 3] [--without-node-red]
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from _load import SECRET, load, make_requests, send_paced
from _servers import bare_handler, broker, has_webhook, subscribed, wait_for
from whole_path import ask, cpu_s, free_port, resident_mib, running, small_table, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Start = Callable[[Path, dict[str, int]], AbstractContextManager[subprocess.Popen[bytes]]]

_HERE = Path(__file__).parent
_NODE_RED = _HERE.parent / ".node-red"
_CONNECTIONS = 50
_WITHIN_S = 300.0
_STILL_S = 15.0  # a subscriber that receives nothing for so long receives nothing more
_KILL_AFTER_S = 1.0
_OUTAGE_S = 5.0
_EVENT_ID = re.compile(rb"evt_[0-9a-f]{24}")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_POINTS = 2  # of each event
_IDLE_S = 3.0


@contextmanager
def gateway(folder: Path, ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the gateway; the first start in a folder writes its files."""
    settings = folder / "gateway.yaml"
    if not settings.exists():
        write_files(folder, ports, table=small_table())
    with running(sys.executable, "-m", "gateway", "run", "-c", settings) as process:
        wait_for(lambda: bool(ask(ports["admin"], "/readyz").get("ready")))
        yield process


@contextmanager
def node_red(folder: Path, ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """Run Node-RED with the flow of `bench/node_red/`."""
    for name in ("settings.js", "flow.json"):
        shutil.copy(_HERE / "node_red" / name, folder)
    os.environ |= {"HTTP_PORT": str(ports["intake"]), "MQTT_PORT": str(ports["mqtt"])}
    os.environ["SIGNING_SECRET"] = SECRET.decode()
    program = _NODE_RED / "node_modules/node-red/red.js"
    with running("node", program, "--userDir", folder, "--settings", folder / "settings.js") as process:
        wait_for(lambda: has_webhook(ports["intake"]))
        yield process


def bare(_: Path, ports: dict[str, int]) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a bare aiohttp handler."""
    return bare_handler(ports["intake"])


CONTESTANTS: dict[str, Start] = {"gateway": gateway, "Node-RED": node_red, "bare handler": bare}


def install_node_red() -> None:
    """Install the pinned Node-RED, unless it is there."""
    if shutil.which("npm") is None:
        sys.exit("bench/peer.py needs npm (Debian's package npm) to install Node-RED")
    pinned = (_HERE / "node_red" / "package.json").read_bytes()
    file = _NODE_RED / "package.json"
    if file.exists() and file.read_bytes() == pinned:
        return
    _NODE_RED.mkdir(exist_ok=True)
    (_NODE_RED / "package.json.new").write_bytes(pinned)
    shutil.copy(_HERE / "node_red" / "package.json", _NODE_RED)
    subprocess.run(
        ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"],
        cwd=_NODE_RED,
        check=True,
    )


class Received:
    """The payloads that a subscriber adds to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()

    def wait(self, readings: int | None = None) -> float:
        """Wait until so many readings are there, or none comes any more; return when the last one came."""
        size, since = -1, time.perf_counter()
        while time.perf_counter() - since < _STILL_S:
            now = self._file.stat().st_size
            if now != size:
                size, since = now, time.perf_counter()
                if readings is not None and len(self._event_ids()) >= readings:
                    break
            time.sleep(0.02)
        return since

    def missing(self, events: set[bytes]) -> int:
        """Return how many of some events never came."""
        return len(events.difference(self._event_ids()))

    def _event_ids(self) -> list[bytes]:
        return _EVENT_ID.findall(self._file.read_bytes())


@contextmanager
def scratch() -> Iterator[tuple[Path, dict[str, int]]]:
    """Make a folder, and ports that are free."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="tmp") as name:
        yield Path(name), {port: free_port() for port in ("intake", "mqtt", "modbus", "admin")}


def measure_load(start: Start, events: int) -> Iterator[float]:
    """Yield events/s until all are published (the bare handler: answered), µs of CPU per event, and MiB."""
    with scratch() as (folder, ports), broker(folder, ports["mqtt"]):
        received = Received(file := folder / "received")
        with start(folder, ports) as process, subscribed(ports["mqtt"], file, line="%p"):
            asyncio.run(load(ports["intake"], make_requests(500), _CONNECTIONS, _WITHIN_S))
            warm = received.wait(500 * _POINTS) if start is not bare else 0.0
            requests = make_requests(events)
            used_s, began = cpu_s(process.pid), time.perf_counter()
            asyncio.run(load(ports["intake"], requests, _CONNECTIONS, _WITHIN_S))
            ended = time.perf_counter()
            if warm:
                ended = received.wait((500 + events) * _POINTS)
            yield events / (ended - began)
            yield (cpu_s(process.pid) - used_s) / events * 1e6
            yield resident_mib(process.pid)


def measure_pace(start: Start, rate: float, for_s: float) -> Iterator[float]:
    """Yield the ms until ready, the MiB when idle, and the µs of CPU per event at a rate."""
    with scratch() as (folder, ports), broker(folder, ports["mqtt"]):
        began = time.perf_counter()
        with start(folder, ports) as process:
            yield (time.perf_counter() - began) * 1e3
            time.sleep(_IDLE_S)
            yield resident_now_mib(process.pid)
            warm, requests = make_requests(round(rate)), make_requests(round(rate * for_s))
            asyncio.run(send_paced(ports["intake"], warm, rate))
            used_s = cpu_s(process.pid)
            asyncio.run(send_paced(ports["intake"], requests, rate))
            time.sleep(0.5)  # for what is still to be published
            yield (cpu_s(process.pid) - used_s) / len(requests) * 1e6


def resident_now_mib(pid: int) -> float:
    """Return the memory that a process has resident now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def send_until(
    port: int, requests: list[bytes], end: Callable[[], None], *, after_s: float
) -> set[bytes]:
    """Send over several connections, call `end` after some time, and return the acknowledged events."""
    acknowledged: set[bytes] = set()

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while requests:
                request = requests.pop()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                assert length is not None, head
                await reader.readexactly(int(length[1]))
                if head.startswith(b"HTTP/1.1 200"):
                    acknowledged.update(_EVENT_ID.findall(request))
        writer.close()

    asyncio.get_running_loop().call_later(after_s, end)
    await asyncio.gather(*(send() for _ in range(_CONNECTIONS)))
    return acknowledged


def count_lost_by_kill(start: Start) -> tuple[int, int]:
    """Return how many acknowledged events a kill -9 under load lost, and how many were acknowledged."""
    with scratch() as (folder, ports), broker(folder, ports["mqtt"]):
        received = Received(file := folder / "received")
        with subscribed(ports["mqtt"], file, line="%p"):
            with start(folder, ports) as process:
                requests = make_requests(50_000)
                sending = send_until(ports["intake"], requests, process.kill, after_s=_KILL_AFTER_S)
                acknowledged = asyncio.run(sending)
            with start(folder, ports):
                received.wait()
        return received.missing(acknowledged), len(acknowledged)


def count_lost_by_outage(start: Start, rate: float) -> tuple[int, int]:
    """Return how many acknowledged events an outage of the broker lost, and how many were acknowledged."""
    with scratch() as (folder, ports):
        received = Received(file := folder / "received")
        with ExitStack() as stack:
            with broker(folder, ports["mqtt"]) as mosquitto:
                process = stack.enter_context(start(folder, ports))
                time.sleep(1)  # until it is connected
                mosquitto.kill()
            requests = make_requests(round(rate * _OUTAGE_S))
            acknowledged = set(_EVENT_ID.findall(b"".join(requests)))
            asyncio.run(send_paced(ports["intake"], requests, rate))
            process.send_signal(signal.SIGSTOP)  # until the subscriber is there
            with broker(folder, ports["mqtt"]), subscribed(ports["mqtt"], file, line="%p"):
                process.send_signal(signal.SIGCONT)
                received.wait()
        return received.missing(acknowledged), len(acknowledged)


@dataclass(frozen=True)
class Row:
    """What is printed of one measurement: the value of each contestant in each round."""

    title: str
    unit: str
    values: dict[str, list[float]]

    def __str__(self) -> str:
        """Return the medians, and ratios of the gateway to the others with their spread."""
        medians = {name: statistics.median(values) for name, values in self.values.items()}
        shown = ", ".join(f"{name} {median:.0f} {self.unit}" for name, median in medians.items())
        return f"{self.title}: {shown}; {'; '.join(map(self._ratio, list(medians)[1:]))}"

    def _ratio(self, other: str) -> str:
        ratios = [
            ours / theirs for ours, theirs in zip(self.values["gateway"], self.values[other], strict=True)
        ]
        return f"{statistics.median(ratios):.2f} of {other} ({min(ratios):.2f} to {max(ratios):.2f})"


def measure_rounds(names: list[str], arguments: argparse.Namespace) -> Sequence[Row]:
    """Measure all contestants in turns."""
    titles = {
        "start until ready": "ms",
        "resident when idle": "MiB",
        f"at {arguments.rate:g} events/s, CPU per event": "µs",
        f"full load, {_CONNECTIONS} connections": "events/s",
        "full load, CPU per event": "µs",
        "resident at most": "MiB",
    }
    rows = [Row(title, unit, {name: [] for name in names}) for title, unit in titles.items()]
    for number in range(arguments.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            start = CONTESTANTS[name]
            paced = measure_pace(start, arguments.rate, arguments.for_s)
            for row, value in zip(rows, chain(paced, measure_load(start, arguments.events)), strict=True):
                row.values[name].append(value)
    return rows


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--for-s", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-node-red", action="store_true")
    arguments = parser.parse_args()
    program = Path(__file__).parents[1] / "gateway"
    compileall.compile_dir(program, quiet=1)  # as an installation has it
    names = list(CONTESTANTS)
    if arguments.without_node_red:
        names.remove("Node-RED")
    else:
        install_node_red()
    for row in measure_rounds(names, arguments):
        print(row, flush=True)
    for name in names[:-1]:
        lost, acknowledged = count_lost_by_kill(CONTESTANTS[name])
        print(f"{name}, kill -9 under load: {lost} of {acknowledged} acknowledged events lost", flush=True)
        lost, acknowledged = count_lost_by_outage(CONTESTANTS[name], arguments.rate)
        print(
            f"{name}, broker away for {_OUTAGE_S:g} s: {lost} of {acknowledged} acknowledged events lost",
            flush=True,
        )


if __name__ == "__main__":
    main()
