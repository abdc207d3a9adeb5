"""A reload of 10,000 assets with 8 points each, while events come in and both sinks are served.

The gateway runs as it is in a process of its own, with a real mosquitto and the Modbus server. A task on
its event loop wakes every millisecond: the longest gap between two wakings is how long nothing else got
its turn, intake included. Events are posted one after the other at a steady rate; what is printed is the
longest gap and the slowest answer, during reloads and in a run without any, and the ratio of both.

With `--aggregates 1000`, as many means are computed, each of 20 of the points.

    python bench/reload.py [--assets 10000] [--rate 100] [--rounds 3] [--aggregates 0]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _load import ORGANIZATION, PATH, SECRET
from whole_path import SETTINGS, free_port, running, write_files

from gateway.app import App, new_event_loop
from gateway.cli.loading import load_to_run, reread_tables
from gateway.delivery.reload import TableFiles
from gateway.intake.signature import HEADER, sign
from gateway.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from multiprocessing.connection import Connection

POINTS = 8
MEMBERS = 20  # of an aggregate: two points of each of ten assets
UNITS = 10  # Modbus units: one has 65,536 registers, and 80,000 float32 need 160,000
QUIET_CPU = 0.15  # the share of a core below which the gateway is done with what came before
QUIETLY = "log: {{level: warning}}\n"  # added to `SETTINGS`


def table(assets: int, aggregates: int = 0, *, gain: float, tag: str) -> str:
    """Return a point table; `gain` is that of every point, `tag` that of the first asset."""
    tags = [tag, *(f"RM{number}" for number in range(1, assets))]
    lines = ["schema: gateway.points/1", "site: bench", "defaults: {modbus: {to: regs, table: input}}"]
    lines.append("templates:")
    for unit in range(UNITS):
        lines += [f"  t{unit}:", "    points:"]
        lines += [
            f"      P{number}: {{from: k{number}, unit: degC, gain: {gain}, range: [-1000, 1000],"
            f" modbus: {{unit: {unit + 1}, register: {2 * number}, type: float32}}}}"
            for number in range(POINTS)
        ]
    lines.append("assets:")
    lines += [
        f"  - {{id: ast-{number}, tag: {tags[number]}, use: t{number % UNITS},"
        f" base: {number // UNITS * 2 * POINTS}}}"
        for number in range(assets)
    ]
    lines += ["points:"] if aggregates else []
    for number in range(aggregates):
        of = [
            f"{tags[(number * MEMBERS // 2 + at) % assets]}/P{point}" for at in range(10) for point in (0, 1)
        ]
        lines.append(
            f"  - {{tag: ZONE{number}, point: MEAN, mean: {{of: [{', '.join(of)}], at_least: 10%}}}}"
        )
    return "\n".join((*lines, ""))


@dataclass
class Ticker:
    """Wakes every millisecond, and keeps the longest gap between two wakings."""

    longest_s: float = 0.0

    async def run(self) -> None:
        """Tick until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest_s, last = max(self.longest_s, now - last), now


def make_app(config: Path, *, reloads: bool = True) -> App:
    """Build the gateway; with `reloads` it reads its tables again when there is a reason."""
    configure_logging(level="warning", form="console")
    began_ns = time.time_ns()
    settings, secrets, tables = load_to_run(config)
    assert tables.point_map is not None
    files = TableFiles(
        folder=settings.mappings,
        read=partial(reread_tables, settings),
        warnings=(),
        read_ns=began_ns,
        settings_file=config,
        settings_written=b"",
    )
    return App(settings=settings, secrets=secrets, points=tables.point_map, files=files if reloads else None)


async def serve(config: Path, pipe: Connection) -> None:
    """Run the gateway; answer "mark" with the longest gap since the last one, "reload" once it is done."""
    app = make_app(config)
    ticker = Ticker()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(app.run())
        ticking = tasks.create_task(ticker.run())
        while (asked := await asyncio.to_thread(pipe.recv)) != "stop":
            if asked == "mark":
                usage = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send((ticker.longest_s, usage.ru_utime + usage.ru_stime, app.status.snapshot()))
                ticker.longest_s = 0.0
        app.stop()
        ticking.cancel()


def gateway(config: Path, pipe: Connection) -> None:
    """Be the gateway's process."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(config, pipe))


@dataclass
class Sender:
    """Posts events of all assets in turn on one connection, and keeps how long answers took."""

    port: int
    assets: int
    rate: float
    sent: int = 0
    took_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Post at the rate until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        due = time.perf_counter()
        with contextlib.closing(writer):
            while True:
                due += 1 / self.rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                began = time.perf_counter()
                await self.post(reader, writer)
                self.took_s.append(time.perf_counter() - began)

    async def post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Post one event and read its answer."""
        now = int(time.time())
        readings = ",".join(f'"k{number}":{20 + self.sent % 10}' for number in range(POINTS))
        body = (
            f'{{"id":"evt_{self.sent}","type":"asset.telemetry.updated","organizationId":"{ORGANIZATION}",'
            f'"created":{now},"livemode":true,"data":{{"object":{{"assetId":"ast-{self.sent % self.assets}",'
            f'"telemetry":{{{readings}}}}}}}}}'
        ).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"{HEADER}: {sign(body, SECRET, now)}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        self.sent += 1


class Gateway:
    """The gateway's process, as this one sees it."""

    def __init__(self, config: Path, *, intake_port: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=gateway, args=(config, theirs))
        self._process.start()
        self.intake_port = intake_port

    async def mark(self) -> tuple[float, float, dict[str, Any]]:
        """Return the longest gap since the last mark, the CPU seconds used so far, and the status."""
        self._pipe.send("mark")
        answer: tuple[float, float, dict[str, Any]] = await asyncio.to_thread(self._pipe.recv)
        return answer

    async def quiet(self) -> None:
        """Return once it has nothing more to do."""
        _, used_s, _ = await self.mark()
        while True:
            await asyncio.sleep(1)
            _, now_s, status = await self.mark()
            if status["ready"] and now_s - used_s < QUIET_CPU:
                return
            used_s = now_s

    def stop(self) -> None:
        """End it."""
        self._pipe.send("stop")
        self._process.join()


@contextlib.asynccontextmanager
async def posting(sender: Sender) -> AsyncIterator[None]:
    """Post at the sender's rate within the context."""
    task = asyncio.create_task(sender.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@dataclass
class Measured:
    """One run: longest gap, slowest answer, and how long it took, all in seconds."""

    gap_s: float
    answer_s: float
    took_s: float


async def measure(
    server: Gateway, sender: Sender, change: tuple[Path, str] | None, seconds: float
) -> Measured:
    """Post for some time, and change the table meanwhile where there is a change."""
    await server.quiet()
    sender.took_s.clear()
    async with posting(sender):
        await asyncio.sleep(0.5)
        _, _, status = await server.mark()
        began = time.perf_counter()
        if change is None:
            await asyncio.sleep(seconds)
        else:
            file, text = change
            aside = file.with_suffix(".new")
            aside.write_text(text)
            aside.rename(file)
            reloads, longest = status["tables"]["reloads"], 0.0
            while status["tables"]["reloads"] == reloads:
                await asyncio.sleep(0.1)
                gap_s, _, status = await server.mark()
                longest = max(longest, gap_s)
            took_s = time.perf_counter() - began
            await asyncio.sleep(seconds)
            gap_s, _, _ = await server.mark()
            return Measured(max(longest, gap_s), max(sender.took_s), took_s)
        gap_s, _, _ = await server.mark()
    return Measured(gap_s, max(sender.took_s), 0.0)


async def bench(arguments: argparse.Namespace, folder: Path, ports: dict[str, int]) -> None:
    """Measure in turns and print."""
    file = folder / "mappings" / "bench.yaml"
    make_table = partial(table, arguments.assets, arguments.aggregates)
    first = make_table(gain=1.0, tag="RM0")
    config = write_files(folder, ports, table=first, settings=SETTINGS + QUIETLY)
    server = Gateway(config, intake_port=ports["intake"])
    try:
        await server.quiet()
        sender = Sender(ports["intake"], arguments.assets, rate=2_000)
        async with posting(sender):
            while sender.sent < arguments.assets:  # noqa: ASYNC110 - a plain count
                await asyncio.sleep(0.1)
        sender.rate = arguments.rate
        rows: dict[str, list[Measured]] = {"idle": [], "one tag": [], "every gain": []}
        for number in range(arguments.rounds):
            rows["idle"].append(await measure(server, sender, None, 5))
            tag, gain = f"NEW{number}", 1.0 + number / 10
            for name, text in (
                ("one tag", make_table(gain=gain, tag=tag)),
                ("every gain", make_table(gain=gain + 0.1, tag=tag)),
            ):
                rows[name].append(await measure(server, sender, (file, text), 3))
        show(rows, arguments.assets)
    finally:
        server.stop()


def show(rows: dict[str, list[Measured]], assets: int) -> None:
    """Print the worst of each kind and its ratio to the idle runs."""
    idle_gap_s = statistics.median(row.gap_s for row in rows["idle"])
    idle_answer_s = statistics.median(row.answer_s for row in rows["idle"])
    for name, measured in rows.items():
        gaps, answers = [row.gap_s for row in measured], [row.answer_s for row in measured]
        print(
            f"{assets * POINTS} points, {name:10}: longest gap of the event loop"
            f" {statistics.median(gaps) * 1e3:4.0f} ms (worst {max(gaps) * 1e3:4.0f}), ratio to idle"
            f" {statistics.median(gaps) / idle_gap_s:4.1f}; slowest answer"
            f" {statistics.median(answers) * 1e3:4.0f} ms (worst {max(answers) * 1e3:4.0f}), ratio"
            f" {statistics.median(answers) / idle_answer_s:4.1f};"
            f" change to reload {statistics.median(row.took_s for row in measured):.1f} s",
            flush=True,
        )


def main() -> None:
    """Set up folder and broker, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="events per second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--aggregates", type=int, default=0)
    arguments = parser.parse_args()
    ports = {name: free_port() for name in ("intake", "mqtt", "modbus", "admin")}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, running("mosquitto", "-p", str(ports["mqtt"])):
        asyncio.run(bench(arguments, Path(name), ports))


if __name__ == "__main__":
    main()
