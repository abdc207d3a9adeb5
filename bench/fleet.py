"""Many buildings on one machine: intake, NATS and edge, with one nats-server (R1) and with three (R3).

All of them, and the client, share the machine's cores, so each would be faster alone. Servers have
`sync_interval: always`. In turns, real daemons in processes of their own:

- events/s that an intake answers with the sink, against the same intake without it, and publishes;
- events/s at which an edge that was away fetches, journals and shows what waits in the stream;
- from a webhook until the edge's register shows it, at 100 events/s;
- at last, events answered with 200 that an edge lacks after kill -9 of each part in turn under load.

    python bench/fleet.py [--seconds 4] [--rounds 3] [--rate 100] [--for-s 20] [--kills 30]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from _load import ASSETS, ORGANIZATION, load, make_requests
from _servers import wait_for
from latency import Times, percentiles, send_and_read
from latency import table as register_table
from whole_path import ask, cpu_s, free_port, resident_mib, running, small_table, write_files

from gateway.app import new_event_loop

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # support/ starts the real parts
from support.many_buildings import ManyBuildings
from support.nats_servers import NatsCluster, NatsServer, add_stream

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.fleet_ledger import DeliveryLedger

_CONNECTIONS = 50
_SITE = "bench"
_WITHIN_S = 300.0
_BOX = """\
name: bench
infodeck: {{organization: {organization}}}
WAY_IN
journal: {{url: "sqlite://{folder}/journal.db"}}
sinks: SINKS
mappings: mappings
admin: {{listen: "127.0.0.1:{admin}"}}
"""
_INTAKE = 'intake: {{listen: "127.0.0.1:{intake}", signing_secrets: [{{file: secret}}]}}'
_SOURCE = (
    f"source: {{{{type: nats, SERVERS, consumer: {_SITE}, subjects: [infodeck.{ORGANIZATION}.{_SITE}.>]}}}}"
)
_PUBLISHED = "{{fan: {{type: nats, SERVERS}}}}"
_SHOWN = '{{regs: {{type: modbus_server, listen: "127.0.0.1:{modbus}"}}}}'
_SITES = """\
schema: gateway.points/1
site: bench
templates: {t: {points: {V: {from: [temperature, v]}}}}
assets:
"""


class Box:
    """A gateway with files in a folder of its own; a context manager."""

    def __init__(self, folder: Path, *, way_in: str, sinks: str, table: str, servers: list[str]) -> None:
        folder.mkdir()
        self.ports = {name: free_port() for name in ("intake", "modbus", "admin")}
        listed = ", ".join(f'"{url}"' for url in servers)
        settings = _BOX.replace("WAY_IN", way_in).replace("SINKS", sinks)
        settings = settings.replace("SERVERS", f"servers: [{listed}], stream: INFODECK")
        self.config = write_files(folder, self.ports, table=table, settings=settings)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the daemon within the context."""
        with running(sys.executable, "-m", "gateway", "run", "-c", self.config) as process:
            wait_for(lambda: bool(ask(self.ports["admin"], "/readyz").get("ready")))
            yield process

    @property
    def accepted(self) -> int:
        """How many events the journal accepted since the start."""
        return int(ask(self.ports["admin"], "/api/status").get("journal", {}).get("accepted", 0))

    @property
    def lag(self) -> int:
        """How many events the NATS sink has yet to publish."""
        return int(ask(self.ports["admin"], "/api/status")["sinks"]["fan"]["lag"])


def intake(folder: Path, servers: list[str]) -> Box:
    """Return an intake that knows the site of every asset; without servers, it publishes nothing."""
    assets = (f"  - {{id: ast-{n}, tag: RM{n}, use: t}}\n" for n in range(ASSETS))
    name, sinks = ("intake", _PUBLISHED) if servers else ("alone", "{{}}")
    return Box(folder / name, way_in=_INTAKE, sinks=sinks, table=_SITES + "".join(assets), servers=servers)


def edge(folder: Path, table: str, servers: list[str]) -> Box:
    """Return an edge box with a Modbus server."""
    return Box(folder / "edge", way_in=_SOURCE, sinks=_SHOWN, table=table, servers=servers)


@contextmanager
def servers_of(kind: str) -> Iterator[tuple[Path, list[str]]]:
    """Run one server or three with the stream; yield a scratch folder and their addresses."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="tmp") as name:
        folder = Path(name)
        servers = (
            NatsServer(folder, sync_always=True) if kind == "R1" else NatsCluster(folder, sync_always=True)
        )
        with servers:
            urls = [servers.url] if isinstance(servers, NatsServer) else servers.urls
            asyncio.run(add_stream(urls, replicas=len(urls)))
            yield folder, urls


def answered_per_s(box: Box, seconds: float) -> float:
    """Return how many events a second an intake answers."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(load(box.ports["intake"], make_requests(2_000), _CONNECTIONS, 0.5))
        requests = make_requests(int(12_000 * seconds))
        rate = runner.run(load(box.ports["intake"], requests, _CONNECTIONS, seconds))
    assert requests, "the prepared requests ran out; prepare more"
    return rate


def measure_load(kind: str, seconds: float) -> Iterator[float]:
    """Yield events/s with the sink, without, their ratio, events/s published; and what `caught_up` yields."""
    with servers_of(kind) as (folder, urls):
        alone = intake(folder, [])
        with alone.running():
            without = answered_per_s(alone, seconds)
        box, building = intake(folder, urls), edge(folder, small_table(), urls)
        set_up(building)
        with box.running():
            began = time.perf_counter()
            rate = answered_per_s(box, seconds)
            wait_for(lambda: box.lag == 0)
            published = box.accepted / (time.perf_counter() - began)
            events = box.accepted
        yield from (rate, without, rate / without, published)
        yield from caught_up(building, events)


def caught_up(building: Box, events: int) -> Iterator[float]:
    """Yield events/s at which an edge fetches and journals what waits, µs of CPU per event, and MiB."""
    with building.running() as process:
        used_s, first, began = cpu_s(process.pid), building.accepted, time.perf_counter()
        wait_for(lambda: building.accepted >= events)
        yield (events - first) / (time.perf_counter() - began)
        yield (cpu_s(process.pid) - used_s) / (events - first) * 1e6
        yield resident_mib(process.pid)


def set_up(building: Box) -> None:
    """Make the consumer of an edge."""
    with running(
        sys.executable, "-m", "gateway", "nats", "setup", "-c", building.config, "--apply"
    ) as process:
        assert process.wait(timeout=60) == 0


def measure_latency(kind: str, rate: float, for_s: float) -> list[float]:
    """Return the ms from when each event was due until its register showed it."""
    times = Times()
    with servers_of(kind) as (folder, urls):
        box, building = intake(folder, urls), edge(folder, register_table(), urls)
        set_up(building)
        with box.running(), building.running(), asyncio.Runner(loop_factory=new_event_loop) as runner:
            ports = {"intake": box.ports["intake"], "modbus": building.ports["modbus"]}
            runner.run(send_and_read(ports, times, rate, for_s))
    return times.latencies_ms(times.register)


async def kill_in_turn(fleet: ManyBuildings, ledger: DeliveryLedger, kills: int) -> None:
    """Kill each part in turn under load, and start it again."""
    posting = asyncio.create_task(ledger.run())
    for part in islice(cycle(fleet.parts), kills):
        await ledger.until_answered(100)  # an election of servers takes some seconds
        part.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(part.start)
    ledger.stop()
    await posting


def count_lost(kills: int) -> tuple[int, int, int]:
    """Return how many assets have a wrong event at an edge after kills, and events answered and repeated."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="tmp") as name,
        ManyBuildings(Path(name), acknowledge="{forwarded: fan}") as fleet,
    ):
        ledger = fleet.ledger("bench")
        asyncio.run(kill_in_turn(fleet, ledger, kills))
        wrong = 0
        for box in fleet.edges:
            ledger.until_in(box.journal, site=box.name)
            seen = ledger.seen_by(box.journal)
            wrong += sum(seen[asset] != events for asset, events in ledger.expected_at(box.name).items())
        return wrong, len(ledger.events()), ledger.repeated


def print_load(kind: str, rows: list[tuple[float, ...]]) -> None:
    """Print the medians of some rounds."""
    rate, without, ratio, published, caught, cpu_us, mib = map(statistics.median, zip(*rows, strict=True))
    print(
        f"{kind}: intake answers {rate:.0f} events/s with the sink, {without:.0f} without: ratio {ratio:.2f}"
        f" ({min(row[2] for row in rows):.2f} to {max(row[2] for row in rows):.2f}); all are published at"
        f" {published:.0f} events/s; an edge catches up at {caught:.0f} events/s"
        f" ({cpu_us:.0f} µs CPU each, {mib:.0f} MiB)",
        flush=True,
    )


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--for-s", type=float, default=20.0)
    parser.add_argument("--kills", type=int, default=30)
    arguments = parser.parse_args()
    for kind in ("R1", "R3"):
        print_load(kind, [tuple(measure_load(kind, arguments.seconds)) for _ in range(arguments.rounds)])
        latencies = measure_latency(kind, arguments.rate, arguments.for_s)
        print(
            f"{kind}: webhook to edge register at {arguments.rate:g} events/s, p50/p99/max in ms of"
            f" {len(latencies)} events: {percentiles(latencies)}",
            flush=True,
        )
    wrong, answered, repeated = count_lost(arguments.kills)
    print(
        f"{arguments.kills} kills under load: {answered} events answered with 200, {repeated} posts repeated;"
        f" assets with a lost, doubled or misplaced event at an edge: {wrong}"
    )


if __name__ == "__main__":
    main()
