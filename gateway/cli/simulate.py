"""`gateway simulate`: signed traffic to this gateway for every mapped asset, to try it out and to train.

Each event has a plausible value for every point of its asset: within its range, a word of its map, a
counter that only rises. Values move slowly. Without --test they reach the building as real ones.

    gateway simulate -c config/gateway.yaml --rate 20 --for 10m --test

Exit code 0: all that was sent was accepted; 1: something was refused, or the gateway does not answer.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import count, cycle
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.app import new_event_loop
from gateway.cli.arguments import duration_option
from gateway.cli.loading import add_config_argument, load_with_secrets, require_intake
from gateway.cli.send import ANSWER_WITHIN_S, intake_url, own_tls, readings_event, signed_headers
from gateway.clock import now_ms
from gateway.demo.plausible import plausible_signals
from gateway.errors import CommandError
from gateway.http_server import answers
from gateway.infodeck.request_errors import failure_of
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.demo.demo_building import Signal
    from gateway.mapping.plan import PointMap

_OK = 200
_CONNECTIONS = 50
_LATE_S = 0.25  # a later event shifts the schedule, so that no burst follows
_LONGEST_REASON = 120
_USUAL_PERIOD_S = 60.0  # of each asset's reports
_HIGHEST_RATE = 100_000.0
_LOOK_WITHIN_S = 5.0
_MOST_TIMES = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--rate",
        type=_rate,
        metavar="N",
        help="events per second, over all assets (default: each asset once a minute)",
    )
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        help="stop after this long, such as 10m; default: run on",
    )
    parser.add_argument(
        "--asset",
        dest="assets",
        action="append",
        metavar="ID",
        help="only this asset; may be given more than once (default: every asset in the point tables)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed gives other values (default: 0)"
    )
    parser.add_argument(
        "--test",
        action="store_true",
        help="mark the events as tests: signed, accepted and counted, but they never reach the building",
    )


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= _HIGHEST_RATE:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a rate is a number of events per second, such as 20 or 0.5"
        )
    return rate


def run(arguments: argparse.Namespace) -> int:
    """Send until the time is over or Ctrl-C, and print a summary; return 1 if anything was refused."""
    for_s = None if arguments.duration is None else duration_option("--for", arguments.duration)
    settings, found, points = load_with_secrets(arguments.config)
    intake = require_intake(settings)
    signals = _signals(points, arguments.assets, seed=arguments.seed)
    traffic = Traffic(
        url=intake_url(intake),
        secret=found.signing_secrets[0].reveal(),
        rate=arguments.rate or len(signals) / _USUAL_PERIOD_S,
        events=_events(
            signals,
            organization=settings.infodeck.organization,
            random=Random(arguments.seed),  # noqa: S311 - simulated noise is no cryptography
            is_test=arguments.test,
        ),
    )
    if not arguments.test:
        sinks = ", ".join(settings.sinks) or "no sink"
        print(
            f"warning: these values reach the building as real ones, on {sinks}; with --test they never do",
            file=sys.stderr,
        )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        is_there = answers(intake.listen.reachable, tls=intake.tls is not None, within_s=_LOOK_WITHIN_S)
        if not runner.run(is_there):
            raise CommandError(f"{traffic.url}: no answer; is the gateway running?")
        runner.run(traffic.run(for_s=for_s))
    print(*traffic.summary(assets=len(signals)), sep="\n")
    return 1 if traffic.refused else 0


def _signals(points: PointMap, selected: Sequence[str] | None, *, seed: int) -> dict[str, dict[str, Signal]]:
    for asset in selected or ():
        if asset not in points.by_asset:
            raise CommandError(f"--asset {asset}: {unknown_name('asset', asset, points.by_asset)}")
    signals = {
        asset: plausible_signals(plan, seed=seed)
        for asset, plan in points.by_asset.items()
        if plan.measured and (selected is None or asset in selected)
    }
    if not signals:
        raise CommandError("no point table has a point that is measured, so there is nothing to send")
    return signals


def _events(
    signals: Mapping[str, Mapping[str, Signal]], *, organization: str, random: Random, is_test: bool
) -> Iterator[dict[str, Any]]:
    """Yield events asset by asset in turns, each as of the moment when it is requested."""
    for asset, sources in cycle(signals.items()):
        at_ms = now_ms()
        yield readings_event(
            asset=asset,
            telemetry={source: signal(at_ms / 1000, random) for source, signal in sources.items()},
            timestamp=at_ms,
            organization=organization,
            is_test=is_test,
        )


@dataclass(kw_only=True, eq=False)
class Traffic:
    """Posts the events of an endless iterator at an even pace, `rate` of them a second, and counts."""

    url: str
    secret: bytes
    rate: float
    events: Iterator[dict[str, Any]]
    sent: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by code and reason
    took_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_TIMES))
    slipped_s: float = 0.0  # how far the schedule slipped, since answers came too slowly
    lasted_s: float = 0.0

    async def run(self, *, for_s: float | None) -> None:
        """Post until the time is over or Ctrl-C, then wait for the answers under way."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=own_tls())
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            began_s = time.monotonic()
            pacing = group.create_task(self._pace(session, group, for_s=for_s), name="pace")
            _stop_on_signals(pacing)
            await asyncio.wait([pacing])
            self.lasted_s = time.monotonic() - began_s

    async def _pace(
        self, session: aiohttp.ClientSession, group: asyncio.TaskGroup, *, for_s: float | None
    ) -> None:
        """Post each event at its own time: number n at n / rate, whenever the one before was posted."""
        connections = asyncio.Semaphore(_CONNECTIONS)
        began_s = time.monotonic()
        end_s = None if for_s is None else began_s + for_s
        for number in count():
            due_s = began_s + number / self.rate
            if end_s is not None and due_s >= end_s:
                await asyncio.sleep(end_s - time.monotonic())
                return
            await asyncio.sleep(due_s - time.monotonic())
            await connections.acquire()
            late_s = time.monotonic() - due_s
            if late_s > _LATE_S:
                began_s += late_s
                self.slipped_s += late_s
            self.sent += 1
            posting = group.create_task(self._post(session, next(self.events)), name=f"event {number}")
            posting.add_done_callback(lambda _: connections.release())

    async def _post(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        body = orjson.dumps(event)
        began_s = time.perf_counter()
        try:
            headers = signed_headers(body, self.secret)
            async with session.post(self.url, data=body, headers=headers) as response:
                answer = await response.text(errors="replace")
            reason = None if response.status == _OK else f"{response.status} {' '.join(answer.split())}"
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = failure_of(error, within_s=ANSWER_WITHIN_S).reason
        self.took_ms.append(float(f"{(time.perf_counter() - began_s) * 1000:.2g}"))
        if reason is None:
            self.accepted += 1
        else:
            self.refused[reason[:_LONGEST_REASON].strip()] += 1

    def summary(self, *, assets: int) -> Iterator[str]:
        """Yield lines about what was sent, and what became of it."""
        of_whom = f"{assets} asset{'' if assets == 1 else 's'}"
        yield f"sent      {self.sent} events of {of_whom} in {self.lasted_s:.1f} s"
        yield f"accepted  {self.accepted}"
        yield f"refused   {self.refused.total()}"
        for reason, times in self.refused.most_common():
            yield f"  {times} x {reason}"
        reached = self.sent / self.lasted_s if self.lasted_s else 0.0
        yield f"rate      {reached:.2f} events/s, {self.rate:.2f} asked for"
        if self.slipped_s > 1:
            yield f"          {self.slipped_s:.1f} s behind: answers came too slowly for this rate"
        if took_ms := sorted(self.took_ms):
            p50, p95, p99 = (took_ms[int(share * len(took_ms))] for share in (0.5, 0.95, 0.99))
            yield f"answered  within {p50:g} ms (half of them), {p95:g} ms (95%), {p99:g} ms (99%)"


def _stop_on_signals(pacing: asyncio.Task[None]) -> None:
    """Stop in order at the first signal; a second one ends the command at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        pacing.cancel()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
