"""Durable intake against a bare aiohttp handler: requests/s, in turns, in one run on one machine.

Both servers run in a process of their own on the same kind of event loop; one client process sends
signed events, each with an id of its own, that no point table maps. Prints the median ratio.

    python bench/intake.py [--connections 50] [--rounds 5] [--seconds 3]
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
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from _load import PATH, SECRET, load, make_requests
from aiohttp import web

from gateway.config.value_types import HostPort
from gateway.delivery.event_copies import EventCopies
from gateway.delivery.pipeline import Pipeline
from gateway.events import EventPatterns
from gateway.http_server import ConnectionLimit, listen
from gateway.intake.event_filter import EventFilter
from gateway.intake.server import IntakeServer
from gateway.intake.signature import Verifier
from gateway.journal.sqlite import SqliteJournal
from gateway.mapping.plan import PointMap
from gateway.state.building_state import BuildingState
from gateway.status import ConnectionsStatus, IntakeStatus, JournalStatus, MappingStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from multiprocessing.connection import Connection

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


async def bare(request: web.Request) -> web.Response:
    """Read the body and answer: the least that a handler can do."""
    await request.read()
    return web.Response(body=b'{"received":true}', content_type="application/json")


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[asyncio.Server]:
    """Serve an aiohttp Application with one POST handler."""
    application = web.Application()
    application.router.add_post(PATH, bare)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    assert runner.server is not None
    yield await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
    await runner.cleanup()


@contextlib.asynccontextmanager
async def durable_server() -> AsyncIterator[asyncio.Server]:
    """Serve the real intake over a real journal on disk, with the real head of the delivery behind it."""
    points = PointMap(points=(), by_asset={})
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "journal.db"
        journal = SqliteJournal(
            path, sinks=(), retention_s=1e6, max_bytes=1 << 31, clock_ms=now_ms, status=JournalStatus()
        )
        async with journal:
            pipeline = Pipeline(
                event_log=journal,
                state_store=journal,
                state=BuildingState(points),
                status=MappingStatus(),
                clock_ms=now_ms,
                steady_ms=now_ms,
                copies=EventCopies({}),
            )
            await pipeline.start([])
            status = IntakeStatus()
            intake = IntakeServer(
                path=PATH,
                max_body_bytes=1 << 20,
                verifier=Verifier([SECRET], tolerance_s=300),
                event_filter=EventFilter(
                    organization="o-bench",
                    published=EventPatterns(()),
                    status=status,
                    on_assets_changed=lambda: None,
                ),
                event_log=journal,
                status=status,
                clock_ms=now_ms,
            )
            limit = ConnectionLimit("bench", 512, status=ConnectionsStatus())
            async with listen("bench", HostPort("127.0.0.1", 0), intake.server(), limit=limit) as server:
                yield server


def serve(kind: str, loop: str, pipe: Connection) -> None:
    """Run one server until told to stop; then say how much CPU it used."""

    async def run() -> None:
        async with (bare_server if kind == "bare" else durable_server)() as listener:
            pipe.send(listener.sockets[0].getsockname()[1])
            await asyncio.to_thread(pipe.recv)
            usage = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(usage.ru_utime + usage.ru_stime)
            listener.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


def measure(kind: str, loop: str, connections: int, seconds: float) -> tuple[float, float]:
    """Start one server, load it, and return requests/s and CPU seconds per request."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(kind, loop, theirs))
    process.start()
    port = ours.recv()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load(port, make_requests(12_000), 1, 0.3))
        requests = make_requests(int(70_000 * seconds))
        rate = runner.run(load(port, requests, connections, seconds))
        assert requests, "the prepared requests ran out; prepare more"
    ours.send("stop")
    cpu_s = ours.recv()
    process.join()
    return rate, cpu_s / (rate * seconds)


def main() -> None:
    """Measure in turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="*", default=[50, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--loops", nargs="*", default=list(LOOPS))
    arguments = parser.parse_args()
    for loop in arguments.loops:
        for connections in arguments.connections:
            rows = []
            for _ in range(arguments.rounds):
                bare_rate, _ = measure("bare", loop, connections, arguments.seconds)
                rate, cpu_s = measure("durable", loop, connections, arguments.seconds)
                rows.append((rate / bare_rate, bare_rate, rate, cpu_s))
            ratio, bare_rate, rate, cpu_s = (statistics.median(column) for column in zip(*rows, strict=True))
            print(
                f"{loop:8} {connections:4} connections: bare {bare_rate:7.0f}/s, durable {rate:7.0f}/s"
                f" ({cpu_s * 1e6:4.0f} µs CPU each), ratio {ratio:.2f}"
                f" (from {min(row[0] for row in rows):.2f} to {max(row[0] for row in rows):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
