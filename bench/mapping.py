"""The mapping alone: readings per second on one core, against `orjson.loads` of the same events, in turns.

Also how long a large point table takes to load, and how much memory, each in a process of its own: as
one file and split into many. Times are CPU seconds, so that a neighbour on the machine does not count.

    python bench/mapping.py [--events 20000] [--rounds 9] [--assets 10000] [--files 1 50]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from _tables import SINKS, TOPICS, make_bodies, write_tables

from gateway.events import parse_event, read_telemetry
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Event, Telemetry

ASSETS = 500
START_MS = 1_790_000_000_000

Prepared = tuple["AssetPlan", "Telemetry", "Event", int]
"""One event up to the mapping: its asset's plan, its readings, itself, its number."""


def load(folder: Path) -> PointMap:
    """Return the compiled tables."""
    tables = load_point_map(TableInputs(folder, SINKS, topics=TOPICS))
    assert tables.point_map is not None, tables.problems[:3]
    return tables.point_map


def prepare(points: PointMap, bodies: Sequence[bytes]) -> list[Prepared]:
    """Do everything that comes before the mapping."""
    prepared: list[Prepared] = []
    for seq, body in enumerate(bodies, start=1):
        event = parse_event(body, received_ms=START_MS + 1000 * seq)
        telemetry = read_telemetry(event)
        assert telemetry is not None
        plan = points.by_asset[telemetry.asset]
        prepared.append((plan, telemetry, event, seq))
    return prepared


def map_all(prepared: Sequence[Prepared]) -> None:
    """Map every event and let go of the result, as the running gateway soon does."""
    for plan, telemetry, event, seq in prepared:
        map_telemetry(plan, telemetry, event=event, seq=seq)


def accept_all(image: BuildingState, prepared: Sequence[Prepared]) -> float:
    """Take every event's updates into the image; return the CPU seconds of that alone."""
    mapped = [
        map_telemetry(plan, telemetry, event=event, seq=seq) for plan, telemetry, event, seq in prepared
    ]
    taken = sum(len(updates) for updates in mapped)
    readings = sum(len(telemetry.readings) for _, telemetry, _, _ in prepared)
    assert taken == readings, "a reading was not mapped"
    began = time.process_time()
    for (plan, telemetry, _, _), updates in zip(prepared, mapped, strict=True):
        image.apply_updates(plan, updates, now_ms=telemetry.time_ms)
    return time.process_time() - began


def parse_all(bodies: Sequence[bytes]) -> None:
    """Parse every body as JSON, and do nothing with it."""
    loads = orjson.loads
    for body in bodies:
        loads(body)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds that the work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure_mapping(*, events: int, rounds: int) -> None:
    """Measure parsing, mapping and taking into the image in turns; print medians and spread."""
    bodies = make_bodies(assets=ASSETS, count=events)
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), assets=ASSETS, files=1, quality=True)
        points = load(Path(folder))
    prepared = prepare(points, bodies)
    readings = sum(len(telemetry.readings) for _, telemetry, _, _ in prepared)
    gc.collect()
    gc.freeze()  # the prepared events are the bench's own: the gateway never holds so many
    rows = []
    for _ in range(rounds):
        parse_s = cpu_s(lambda: parse_all(bodies))
        map_s = cpu_s(lambda: map_all(prepared))
        accept_s = accept_all(BuildingState(points), prepared)
        rows.append((readings / map_s, map_s / parse_s, readings / accept_s, readings / (map_s + accept_s)))
    for name, unit, column in zip(
        ("mapping", "mapping against orjson.loads", "image", "both"),
        ("readings/s", "times its CPU", "readings/s", "readings/s"),
        zip(*rows, strict=True),
        strict=True,
    ):
        form = ",.0f" if unit == "readings/s" else ".2f"
        print(
            f"{name:29} {statistics.median(column):9{form}} {unit}"
            f" (from {min(column):{form}} to {max(column):{form}})",
            flush=True,
        )


def load_once(folder: str, pipe: Connection) -> None:
    """Load the tables in this process, and say how long it took and the highest memory."""
    before_mib = peak_mib()
    began_wall, began = time.perf_counter(), time.process_time()
    points = load(Path(folder))
    used_s, wall_s = time.process_time() - began, time.perf_counter() - began_wall
    pipe.send((used_s, wall_s, peak_mib(), before_mib, len(points.points)))


def peak_mib() -> float:
    """Return this process's highest resident memory; getrusage would give its parent's if that was higher."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) / 1024


def measure_loading(*, assets: int, files: int) -> None:
    """Load a table of that size in a process of its own and print time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), assets=assets, files=files)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=load_once, args=(folder, theirs))
        process.start()
        used_s, wall_s, highest_mib, before_mib, points = ours.recv()
        process.join()
    print(
        f"load {points:,} points of {assets:,} assets from {files:2} file{'s' if files > 1 else ' '}"
        f" {used_s:5.2f} s CPU, {wall_s:5.2f} s by the clock, peak {highest_mib:4.0f} MiB"
        f" ({before_mib:.0f} MiB before)",
        flush=True,
    )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--files", type=int, nargs="*", default=[1, 50])
    arguments = parser.parse_args()
    measure_mapping(events=arguments.events, rounds=arguments.rounds)
    for files in arguments.files:
        measure_loading(assets=arguments.assets, files=files)


if __name__ == "__main__":
    main()
