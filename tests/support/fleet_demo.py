"""`make demo-fleet`: three nats-servers, two intakes behind nginx, two edge boxes; kill what you like.

Signed events are posted about three sites, one of them without an edge. What is killed is started again a few
seconds later. Everything is on loopback, in a scratch folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gateway.cli.arguments import duration_option
from support.fleet_ledger import journalled
from support.many_buildings import SITES, STREAM, WITHOUT_EDGE, ManyBuildings

if TYPE_CHECKING:
    from support.many_buildings import Edge, Intake, Part
    from support.nats_servers import NatsServer

_ASSETS = 10  # of each site
_PAUSE_S = 0.3  # of each asset between its events
_STARTED_AGAIN_AFTER_S = 5.0
_REFRESH_S = 1.0
_WITHOUT_TERMINAL_S = 5.0


class FleetDemo:
    """Posts events, shows who has them, and starts again what was killed."""

    def __init__(self, fleet: ManyBuildings, console: Console) -> None:
        self._fleet = fleet
        self._console = console
        self._ledger = fleet.ledger("demo", pause_s=_PAUSE_S)
        self._down_since: dict[str, float] = {}  # by name
        self._restarts: dict[str, int] = {}

    async def run(self, for_s: float | None) -> None:
        """Run until the time is over or a signal comes."""
        done = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, done.set)
        posting = asyncio.create_task(self._ledger.run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self._show_until(done)
        if not done.is_set():
            await self._settle(posting)
        posting.cancel()

    async def _show_until(self, done: asyncio.Event) -> None:
        is_live = self._console.is_terminal
        with Live(console=self._console, auto_refresh=False) as live:
            while not done.is_set():
                picture = await asyncio.to_thread(self._look)
                if is_live:
                    live.update(picture, refresh=True)
                else:
                    self._console.print(picture)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), _REFRESH_S if is_live else _WITHOUT_TERMINAL_S)

    async def _settle(self, posting: asyncio.Task[None]) -> None:
        """End the traffic, wait until each edge has what it should have, and print what the ledger says."""
        self._ledger.stop()
        while not posting.done():
            await asyncio.to_thread(self._start_again, 0)
            await asyncio.wait([posting], timeout=_REFRESH_S)
        for edge in self._fleet.edges:
            await asyncio.to_thread(self._start_again, 0)
            await asyncio.to_thread(self._ledger.until_in, edge.journal, site=edge.name)
            expected, seen = self._ledger.events(edge.name), self._ledger.seen_by(edge.journal)
            lost = set(expected) - {event_id for events in seen.values() for event_id in events}
            foreign = sum(map(len, seen.values())) - (len(expected) - len(lost))
            self._console.print(
                f"{edge.name}: {len(expected)} events answered with 200, {len(lost)} lost,"
                f" {foreign} of other sites or twice",
                highlight=False,
            )

    def _look(self) -> Table:
        self._start_again(_STARTED_AGAIN_AFTER_S)
        ledger = self._ledger
        table = Table(
            title=f"{len(ledger.events())} events answered with 200, {ledger.repeated} posted again",
            caption=f"kill -9 any pid: it is started again {_STARTED_AGAIN_AFTER_S:g} s later",
            box=None,
        )
        for heading in ("part", "pid", "starts", "state"):
            table.add_column(heading, justify="right" if heading in {"pid", "starts"} else "left")
        streams = [stream_of(server) for server in self._fleet.cluster.servers]
        for server, stream in zip(self._fleet.cluster.servers, streams, strict=True):
            self._add(table, server, _server_text(server, stream))
        for intake in self._fleet.intakes:
            self._add(table, intake, _intake_text(intake))
        lags = consumer_lags(self._fleet.cluster.servers, streams)
        for edge in self._fleet.edges:
            self._add(table, edge, _edge_text(edge, ledger.events(edge.name), lags.get(edge.name)))
        return table

    def _add(self, table: Table, part: Part, text: str) -> None:
        is_up = part.name not in self._down_since
        state = text if is_up else f"[red]down[/red]; {text}"
        table.add_row(part.name, str(part.pid or ""), str(1 + self._restarts.get(part.name, 0)), state)

    def _start_again(self, after_s: float) -> None:
        """Start parts that ended, once they were down for so long."""
        now_s = time.monotonic()
        for part in self._fleet.parts:
            if part.pid is not None:
                self._down_since.pop(part.name, None)
            elif now_s - self._down_since.setdefault(part.name, now_s) >= after_s:
                part.launch()
                del self._down_since[part.name]
                self._restarts[part.name] = self._restarts.get(part.name, 0) + 1


def stream_of(server: NatsServer) -> dict[str, Any]:
    """Return what a server's monitoring port reports of the stream, empty if it does not answer."""
    try:
        with urlopen(f"{server.monitor}/jsz?streams=1&consumers=1", timeout=1) as answer:
            accounts = json.load(answer).get("account_details") or [{}]
    except OSError:
        return {}
    streams = [one for account in accounts for one in account.get("stream_detail") or []]
    return next((one for one in streams if one["name"] == STREAM), {})


def consumer_lags(servers: list[NatsServer], streams: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of messages that each consumer has yet to acknowledge, as its leader reports it."""
    return {
        consumer["name"]: consumer.get("num_pending", 0) + consumer.get("num_ack_pending", 0)
        for server, stream in zip(servers, streams, strict=True)
        for consumer in stream.get("consumer_detail") or []
        if (consumer.get("cluster") or {}).get("leader") == server.name
    }


def _server_text(server: NatsServer, stream: dict[str, Any]) -> str:
    if not stream:
        return "no stream"
    leads = "leads, " if (stream.get("cluster") or {}).get("leader") == server.name else ""
    return f"{leads}{stream['state']['messages']} messages"


def _intake_text(intake: Intake) -> str:
    try:
        status = intake.status()
    except OSError:
        return "does not answer"
    journal, sink = status["journal"], status["sinks"]["fan"]
    return f"{journal['accepted']} events received since its start; {sink['lag']} wait for the stream"


def _edge_text(edge: Edge, answered: list[str], lag: int | None) -> str:
    has = set(journalled(edge.journal, answered)) & set(answered)
    waiting = "" if lag is None else f", {lag} wait in the stream"
    point = f"{edge.name}-0/ZN-T"
    try:
        with urlopen(f"http://127.0.0.1:{edge.admin_port}/api/points/{point}", timeout=1) as answer:
            state = json.load(answer)
        shown = f"{point} is {state.get('raw', '-')} degC, {state['quality']}"
    except OSError:
        shown = "does not answer"
    return f"has {len(has)} of its {len(answered)}{waiting}; {shown}"


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="make demo-fleet", description=__doc__)
    parser.add_argument("--for", dest="duration", metavar="DURATION", help="end after this long, such as 30s")
    arguments = parser.parse_args()
    for_s = None if arguments.duration is None else duration_option("--for", arguments.duration)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(
        "Starting three nats-servers, two intakes behind nginx and two edge boxes …\n"
        f"Events come of three sites: {' and '.join(SITES)} have an edge box, {WITHOUT_EDGE} has none yet."
        " Ctrl-C ends it; docs/fleet.md explains it.",
        highlight=False,
        soft_wrap=True,
    )
    with (
        tempfile.TemporaryDirectory(prefix="gateway-demo-fleet-") as folder,
        ManyBuildings(
            Path(folder), acknowledge="{forwarded: fan}", assets=_ASSETS, program=["-m", "gateway"]
        ) as fleet,
    ):
        asyncio.run(FleetDemo(fleet, console).run(for_s))


if __name__ == "__main__":
    main()
