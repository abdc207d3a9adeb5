"""The whole path: from the first POST until MQTT (QoS 1) and Modbus server have every event.

The real daemon in a process of its own, a real mosquitto, 500 assets with two points each on both
sinks. Prints events/s, CPU per event of the daemon alone, and its memory.

    python bench/whole_path.py [--events 20000] [--connections 50] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _load import ASSETS, ORGANIZATION, SECRET, load, make_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLE = """\
schema: gateway.points/1
site: bench
defaults: {modbus: {to: regs, table: input}}
templates:
  iaq:
    points:
      ZN-T:  {from: temperature, unit: degC, range: [-20, 60], modbus: {register: 0, type: float32}}
      ZN-RH: {from: humidity, unit: percent, modbus: {register: 2, type: uint16, scale: 10}}
assets:
"""
SETTINGS = """\
name: bench
infodeck: {{organization: {organization}}}
intake: {{listen: "127.0.0.1:{intake}", signing_secrets: [{{file: secret}}]}}
journal: {{url: "sqlite://{folder}/journal.db"}}
sinks:
  bms: {{type: mqtt, url: "mqtt://127.0.0.1:{mqtt}"}}
  regs: {{type: modbus_server, listen: "127.0.0.1:{modbus}"}}
mappings: mappings
admin: {{listen: "127.0.0.1:{admin}"}}
"""
_START_WITHIN_S = 20.0
_DELIVER_WITHIN_S = 120.0


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def small_table() -> str:
    """Return a table of all assets that send events, two points each."""
    assets = (f"  - {{id: ast-{n}, tag: RM{n}, use: iaq, base: {4 * n}}}\n" for n in range(ASSETS))
    return _TABLE + "".join(assets)


def write_files(folder: Path, ports: dict[str, int], *, table: str, settings: str = SETTINGS) -> Path:
    """Write settings, secret and point table; return the settings file."""
    (folder / "mappings").mkdir()
    (folder / "mappings" / "bench.yaml").write_text(table)
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)
    file = folder / "gateway.yaml"
    file.write_text(settings.format(organization=ORGANIZATION, folder=folder, **ports))
    return file


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program within the context."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def ask(port: int, path: str) -> dict[str, Any]:
    """Return a JSON answer of the admin server, empty where there is none yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return dict(json.load(answer))
    except OSError:
        return {}


def wait_until_delivered(port: int, events: int) -> None:
    """Return once both sinks are done with every event."""
    deadline = time.monotonic() + _DELIVER_WITHIN_S
    while any(sink["cursor"] < events for sink in ask(port, "/api/status")["sinks"].values()):
        assert time.monotonic() < deadline, ask(port, "/api/status")
        time.sleep(0.01)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the most memory that a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(events: int, connections: int) -> tuple[float, float, float]:
    """Return events/s from first POST to last delivery, CPU seconds per event, and MiB."""
    ports = {name: free_port() for name in ("intake", "mqtt", "modbus", "admin")}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, running("mosquitto", "-p", str(ports["mqtt"])):
        settings = write_files(Path(name), ports, table=small_table())
        with running(sys.executable, "-m", "gateway", "run", "-c", settings) as daemon:
            deadline = time.monotonic() + _START_WITHIN_S
            while not ask(ports["admin"], "/readyz").get("ready"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            requests = make_requests(events)
            used_s, began = cpu_s(daemon.pid), time.perf_counter()
            asyncio.run(load(ports["intake"], requests, connections, _DELIVER_WITHIN_S))
            wait_until_delivered(ports["admin"], events)
            took_s = time.perf_counter() - began
            return events / took_s, (cpu_s(daemon.pid) - used_s) / events, resident_mib(daemon.pid)


def main() -> None:
    """Measure some rounds and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = [measure(arguments.events, arguments.connections) for _ in range(arguments.rounds)]
    rate, cpu, memory = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"whole path, {arguments.connections} connections, 2 points per event to MQTT QoS 1 and to"
        f" Modbus: {rate:.0f} events/s, {cpu * 1e6:.0f} µs CPU per event, at most {memory:.0f} MiB"
    )


if __name__ == "__main__":
    main()
