"""Reconciliation of 10,000 assets with 8 readings each in their shadows, 20 types and 300 locations.

The gateway runs as it is in a process of its own, with a table that maps all of them, its journal, a real
mosquitto and the Modbus server; the simulated API in another one, with the limit of the real API. The first
look finds everything new, later ones find nothing changed. Printed are the requests of each look, its
seconds at the limiter's pace, the gateway's memory (resident, before, at its highest, and after), and the
longest gap of its event loop, against one while nothing is asked. With `--refill`, the readings of all
shadows are new to the gateway, and are taken from there; with `--compile`, tables are compiled anew after
the first look, which tells of every asset what nobody knew before: that costs what `reload.py` measures.
`--all` is all three, one after the other: plain, with `--compile`, with `--refill`; four minutes.

    python bench/reconcile.py [--assets 10000] [--looks 2] [--refill] [--compile] [--all]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _load import ORGANIZATION
from reload import QUIET_CPU, QUIETLY, Ticker, make_app, table
from whole_path import SETTINGS, free_port, running, write_files

from gateway.app import App, new_event_loop
from gateway.demo.simulated_answers import Answer
from gateway.demo.simulated_api import SimulatedApi

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

API_KEY = "idt_live_0123456789abcdef0123456789abcdef"
TYPES, LOCATIONS, READINGS = 20, 300, 8
HELD_S = 22.0  # how long the API takes for its first answer: so long the gateway is idle
IDLE_S = 5.0
EVERY_S = 5.0


def simulated(assets: int, port: int) -> SimulatedApi:
    """Return the API with so many assets."""
    now_s = int(time.time())
    items = [
        {
            "id": f"ast-{number}",
            "organizationId": ORGANIZATION,
            "assetTypeId": f"at-{number % TYPES}",
            "locationId": f"loc-{number % LOCATIONS}",
            "name": f"Room {number}",
            "modelName": "Room-1",
            "nameOfManufacturer": "Maker",
            "serialNumber": f"sn-{number}",
            "connectionStatus": True,
            "shadows": {
                "DeviceUplink": {
                    "state": {
                        "reported": {f"k{key}": 20 + key for key in range(READINGS)} | {"timestamp": now_s}
                    }
                }
            },
            "createdAt": now_s,
            "updatedAt": now_s,
        }
        for number in range(assets)
    ]
    properties = [{"key": f"k{key}", "name": f"K {key}", "unit": "°C"} for key in range(READINGS)]
    return SimulatedApi(
        organization=ORGANIZATION,
        api_key=API_KEY,
        items=items,
        types=[
            {"id": f"at-{each}", "name": f"Type {each}", "properties": properties} for each in range(TYPES)
        ],
        locations=[
            {"id": f"loc-{each}", "name": f"Level {each}", "parentId": f"loc-{each // 10}"}
            for each in range(LOCATIONS)
        ],
        faults=deque([Answer(delay_s=HELD_S, is_usual=True)]),
        port=port,
    )


class Asked(list[str]):
    """Keeps what was asked, and when the first and the last of it was."""

    first_s = last_s = 0.0

    def append(self, asked: str, /) -> None:
        """Keep one more."""
        self.last_s = time.perf_counter()
        self.first_s = self.first_s if self else self.last_s
        super().append(asked)


async def answer(assets: int, port: int, pipe: Connection) -> None:
    """Serve the API; tell how often each of its lists was asked since that was told last, and how long."""
    async with simulated(assets, port) as api:
        api.asked = asked = Asked()
        pipe.send("ready")
        while await asyncio.to_thread(pipe.recv) != "stop":
            paths = (one.partition("?")[0].rsplit(ORGANIZATION, 1)[-1].split("/")[1] for one in asked)
            pipe.send((Counter(paths), asked.last_s - asked.first_s))
            asked.clear()


def api_process(assets: int, port: int, pipe: Connection) -> None:
    """Be the API's process."""
    asyncio.run(answer(assets, port, pipe))


async def quiet() -> None:
    """Return once this process has nothing more to do."""
    used_s = -QUIET_CPU
    while time.process_time() - used_s >= QUIET_CPU:
        used_s = time.process_time()
        await asyncio.sleep(1)


async def settle(ticker: Ticker) -> None:
    """Leave no garbage, and begin to count gaps."""
    gc.collect()
    await asyncio.sleep(0.1)
    ticker.longest_s = 0.0


def count_anew() -> None:
    """Have the highest memory so far counted from now on."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def memory_mb(field: str) -> float:
    """Return a line of this process's memory: VmRSS is what it has now, VmHWM the highest so far."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


async def until_looked(app: App, since_ms: int | None) -> None:
    """Return once another look than that of `since_ms` is over."""
    while app.status.reconcile.last_success_ms == since_ms:
        assert app.status.reconcile.last_error is None, app.status.reconcile
        await asyncio.sleep(0.1)


async def measure(config: Path, pipe: Connection, arguments: argparse.Namespace) -> None:
    """Run the gateway, and send what each look has cost."""
    app = make_app(config, reloads=arguments.compile)
    ticker = Ticker()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(app.run())
        ticking = tasks.create_task(ticker.run())
        while not app.status.ready:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.1)
        await quiet()
        await settle(ticker)
        await asyncio.sleep(IDLE_S)
        pipe.send(ticker.longest_s)
        for _ in range(arguments.looks):
            await settle(ticker)
            count_anew()
            before_mb = memory_mb("VmRSS")
            await until_looked(app, app.status.reconcile.last_success_ms)
            await quiet()
            gap_s, peak_mb = ticker.longest_s, memory_mb("VmHWM")
            gc.collect()
            status: dict[str, Any] = app.status.snapshot()
            pipe.send((before_mb, peak_mb, memory_mb("VmRSS"), gap_s, status))
        app.stop()
        ticking.cancel()


def gateway_process(config: Path, pipe: Connection, arguments: argparse.Namespace) -> None:
    """Be the gateway's process."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(measure(config, pipe, arguments))


def write_settings(folder: Path, arguments: argparse.Namespace, ports: dict[str, int]) -> Path:
    """Write settings, secrets and a table of all assets; return the settings file."""
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_text(API_KEY)
    api = (
        f'api: "http://127.0.0.1:{ports["api"]}/api/v2", api_key: {{{{file: key}}}},'
        f" reconcile: {{{{every: {EVERY_S:.0f}s}}}}, refill: {{{{enabled: {str(arguments.refill).lower()}}}}}"
    )
    settings = (SETTINGS + QUIETLY).replace("{organization}", f"{{organization}}, {api}")
    return write_files(folder, ports, table=table(arguments.assets, gain=1.0, tag="RM0"), settings=settings)


def bench(arguments: argparse.Namespace, config: Path, api_port: int) -> None:
    """Run both processes, and print."""
    context = multiprocessing.get_context("spawn")
    api, api_end = multiprocessing.Pipe()
    ours, theirs = multiprocessing.Pipe()
    processes = [
        context.Process(target=api_process, args=(arguments.assets, api_port, api_end)),
        context.Process(target=gateway_process, args=(config, theirs, arguments)),
    ]
    processes[0].start()
    assert api.recv() == "ready"
    processes[1].start()
    try:
        idle_gap_s = ours.recv()
        print(f"{arguments.assets} assets, idle: longest gap of the event loop {idle_gap_s * 1e3:.0f} ms")
        for look in range(arguments.looks):
            before_mb, peak_mb, after_mb, gap_s, status = ours.recv()
            api.send("count")
            asked, took_s = api.recv()
            lists = ", ".join(f"{count} {path}" for path, count in asked.items())
            held = f", {HELD_S:.0f} s of them held back by the API" if look == 0 else ""
            print(
                f"look {look + 1}: {asked.total()} requests ({lists}) within {took_s:.1f} s{held},"
                f" {status['reconcile']['assets']} assets, {status['refill']['readings']} readings refilled;"
                f" memory {before_mb:.0f} MB before, {peak_mb - before_mb:+.0f} at its highest,"
                f" {after_mb - before_mb:+.0f} after; longest gap {gap_s * 1e3:.0f} ms",
                flush=True,
            )
    finally:
        api.send("stop")
        for process in processes:
            process.join()


def main() -> None:
    """Read what is wanted, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--looks", type=int, default=2)
    parser.add_argument("--refill", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if not arguments.all:
        run(arguments)
        return
    for kind in ("plain", "compile", "refill"):
        print(f"{kind}:", flush=True)
        arguments.compile, arguments.refill = kind == "compile", kind == "refill"
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Set up folder and broker, and measure once."""
    ports = {name: free_port() for name in ("intake", "mqtt", "modbus", "admin", "api")}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        config = write_settings(Path(name), arguments, ports)
        with running("mosquitto", "-p", str(ports["mqtt"])):
            bench(arguments, config, ports["api"])


if __name__ == "__main__":
    main()
