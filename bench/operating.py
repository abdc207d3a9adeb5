"""What the gateway needs of its box: time to start, memory idle and loaded, CPU at a building's pace.

The real daemon in a process of its own with 1,000 points on MQTT and Modbus, a real mosquitto. Aims: ready
within 1.0 s, 90 MB resident when idle and 150 MB under full load, at 200 events/s 15 % of one core.

    python bench/operating.py [--rate 200] [--for-s 15] [--events 20000] [--starts 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from _load import load, make_requests
from whole_path import (
    ask,
    cpu_s,
    free_port,
    resident_mib,
    running,
    small_table,
    wait_until_delivered,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.005
_IDLE_S = 5.0
_WITHIN_S = 120.0
_CONNECTIONS = 50


@contextmanager
def ready_daemon(settings: Path, ports: dict[str, int]) -> Iterator[tuple[int, float]]:
    """Run the daemon; give its process id, and the seconds from its start until it was ready."""
    began = time.perf_counter()
    with running(sys.executable, "-m", "gateway", "run", "-c", settings) as daemon:
        while not ask(ports["admin"], "/readyz").get("ready"):
            assert time.perf_counter() - began < _START_WITHIN_S
            time.sleep(_LOOK_EVERY_S)
        yield daemon.pid, time.perf_counter() - began


def resident_now_mib(pid: int) -> float:
    """Return the memory that a process has resident now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def send_paced(port: int, requests: list[bytes], rate: float) -> None:
    """Send requests one after the other, so many a second, each answered before the next one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    for number, request in enumerate(requests):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        writer.write(request)
        answer = await reader.readuntil(b'{"received":true}')
        assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()


def measure_starts(settings: Path, ports: dict[str, int], *, starts: int) -> list[float]:
    """Return how long each of some starts took, in seconds."""
    took = []
    for _ in range(starts):
        with ready_daemon(settings, ports) as (_, took_s):
            took.append(took_s)
    return took


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--for-s", type=float, default=15.0)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--starts", type=int, default=5)
    arguments = parser.parse_args()
    ports = {name: free_port() for name in ("intake", "mqtt", "modbus", "admin")}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, running("mosquitto", "-p", str(ports["mqtt"])):
        settings = write_files(Path(name), ports, table=small_table())
        took = measure_starts(settings, ports, starts=arguments.starts)
        print(f"start to ready, 1,000 points: {statistics.median(took):.2f} s (worst {max(took):.2f})")
        with ready_daemon(settings, ports) as (pid, _):
            time.sleep(_IDLE_S)
            print(f"resident when idle, 1,000 points: {resident_now_mib(pid):.0f} MiB")
            paced = make_requests(round(arguments.rate * arguments.for_s))
            used_s, began = cpu_s(pid), time.perf_counter()
            asyncio.run(send_paced(ports["intake"], paced, arguments.rate))
            wait_until_delivered(ports["admin"], len(paced))
            share = (cpu_s(pid) - used_s) / (time.perf_counter() - began)
            print(
                f"CPU at {arguments.rate:g} events/s, 2 points each to MQTT and Modbus: {share:.0%} of a core"
            )
            asyncio.run(load(ports["intake"], make_requests(arguments.events), _CONNECTIONS, _WITHIN_S))
            wait_until_delivered(ports["admin"], len(paced) + arguments.events)
            print(f"resident at most, under full load: {resident_mib(pid):.0f} MiB")


if __name__ == "__main__":
    main()
