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
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, cycle
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.app import new_event_loop
from gateway.cli.arguments import duration_option
from gateway.cli.loading import add_config_argument, load_with_secrets
from gateway.cli.send import ANSWER_WITHIN_S, intake_url, own_tls, readings_event, signed_headers
from gateway.clock import now_ms
from gateway.demo.plausible import plausible_signals
from gateway.errors import CommandError
from gateway.http_server import answers
from gateway.infodeck.request_errors import failure_of
from gateway.mapping.paths import set_path
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.demo.demo_building import Signal
    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

_OK = 200
_CONNECTIONS = 50
_LATE_S = 0.25  # a later event shifts the schedule, so that no burst follows
_LONGEST_REASON = 120
_USUAL_PERIOD_S = 60.0  # of each asset's reports
_HIGHEST_RATE = 100_000.0
_LOOK_WITHIN_S = 5.0
_SHOW_EVERY_S = 1.0


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
    signals = _signals(points, arguments.assets, seed=arguments.seed)
    rate = arguments.rate or len(signals) / _USUAL_PERIOD_S
    events = _events(
        signals,
        organization=settings.infodeck.organization,
        random=Random(arguments.seed),  # noqa: S311 - simulated noise is no cryptography
        is_test=arguments.test,
    )
    if not arguments.test:
        _warn(settings)
    secret = found.signing_secrets[0].reveal()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        tally = runner.run(_send(settings, secret=secret, events=events, rate=rate, for_s=for_s))
    print(*_summary(tally, asked=rate, assets=len(signals)), sep="\n")
    return 1 if tally.refused else 0


def _warn(settings: Settings) -> None:
    print(
        f"warning: these values reach the building as real ones, on {', '.join(settings.sinks) or 'no sink'};"
        " with --test they never do",
        file=sys.stderr,
    )


def _signals(points: PointMap, selected: Sequence[str] | None, *, seed: int) -> dict[str, dict[str, Signal]]:
    """Return the signals of each asset that reports; assets without a measured point have none."""
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
        readings = {source: signal(at_ms / 1000, random) for source, signal in sources.items()}
        event = readings_event(
            asset=asset,
            telemetry={key: value for key, value in readings.items() if not key.startswith("$.")},
            timestamp=at_ms,
            organization=organization,
            is_test=is_test,
        )
        for path, value in readings.items():
            if path.startswith("$."):
                set_path(path, event, value)
        yield event


async def _send(
    settings: Settings, *, secret: bytes, events: Iterator[dict[str, Any]], rate: float, for_s: float | None
) -> Tally:
    url, intake = intake_url(settings), settings.intake
    if not await answers(intake.listen.reachable, tls=intake.tls is not None, within_s=_LOOK_WITHIN_S):
        raise CommandError(f"{url}: no answer; is the gateway running?")
    stop = asyncio.Event()
    _stop_on_signals(stop)
    traffic = Traffic(url=url, secret=secret, events=events, rate=rate)
    async with asyncio.TaskGroup() as group:
        showing = group.create_task(_show(traffic), name="show")
        await traffic.run(for_s=for_s, stop=stop)
        showing.cancel()
    if sys.stderr.isatty():
        print(file=sys.stderr)  # the summary stands below the line
    return traffic.tally


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Stop in order at the first signal; a second one ends the command at once."""
    loop = asyncio.get_running_loop()

    def begin_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)


async def _show(traffic: Traffic) -> None:
    """On a terminal, print the progress every second, always on the same line."""
    while sys.stderr.isatty():
        await asyncio.sleep(_SHOW_EVERY_S)
        tally = traffic.tally
        print(
            f"\r{tally.lasted_s:.0f} s: {tally.sent} sent, {tally.accepted} accepted,"
            f" {tally.refused.total()} refused, {tally.rate:.1f}/s ",
            end="",
            file=sys.stderr,
            flush=True,
        )


def _summary(tally: Tally, *, asked: float, assets: int) -> Iterator[str]:
    of_whom = f"{assets} asset{'' if assets == 1 else 's'}"
    yield f"sent      {tally.sent} events of {of_whom} in {tally.lasted_s:.1f} s"
    yield f"accepted  {tally.accepted}"
    yield f"refused   {tally.refused.total()}"
    for reason, times in tally.refused.most_common():
        yield f"  {times} x {reason}"
    yield f"rate      {tally.rate:.2f} events/s, {asked:.2f} asked for"
    if tally.slipped_s > 1:
        yield f"          {tally.slipped_s:.1f} s behind: answers came too slowly for this rate"
    p50, p95, p99 = (tally.percentile_ms(share) for share in (0.5, 0.95, 0.99))
    yield f"answered  within {p50:g} ms (half of them), {p95:g} ms (95%), {p99:g} ms (99%)"


@dataclass(slots=True)
class Tally:
    """Counts the answers: `refused` by code and reason, `took_ms` by time with two significant digits."""

    sent: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    took_ms: Counter[float] = field(default_factory=Counter)
    slipped_s: float = 0.0  # how far the schedule slipped, since answers came too slowly
    began_s: float = field(default_factory=time.monotonic)
    ended_s: float | None = None

    @property
    def lasted_s(self) -> float:
        """How long events were sent."""
        return (self.ended_s or time.monotonic()) - self.began_s

    @property
    def rate(self) -> float:
        """Events per second that were sent."""
        return self.sent / self.lasted_s if self.lasted_s > 0 else 0.0

    def percentile_ms(self, share: float) -> float:
        """Return the milliseconds within which this share of the answers came."""
        needed, seen = share * self.took_ms.total(), 0
        for took_ms in sorted(self.took_ms):
            seen += self.took_ms[took_ms]
            if seen >= needed:
                return took_ms
        return 0.0

    def count_answer(self, reason: str | None, *, took_s: float) -> None:
        """Count an answer; `reason` None: accepted."""
        if reason is None:
            self.accepted += 1
        else:
            self.refused[reason] += 1
        self.took_ms[float(f"{took_s * 1000:.2g}")] += 1


class Traffic:
    """Posts the events of an endless iterator at an even pace; `tally` is always up to date."""

    def __init__(self, *, url: str, secret: bytes, events: Iterator[dict[str, Any]], rate: float) -> None:
        """`rate`: events per second."""
        self.tally = Tally()
        self._url = url
        self._secret = secret
        self._events = events
        self._rate = rate
        self._connections = asyncio.Semaphore(_CONNECTIONS)

    async def run(self, *, for_s: float | None, stop: asyncio.Event) -> None:
        """Post until the time is over or `stop` is set, then wait for the answers under way."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=own_tls())
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            self.tally = Tally()
            pacing = group.create_task(self._pace(session, group, for_s=for_s), name="pace")
            stopping = group.create_task(stop.wait(), name="stop")
            await asyncio.wait([pacing, stopping], return_when=asyncio.FIRST_COMPLETED)
            self.tally.ended_s = time.monotonic()
            pacing.cancel()
            stopping.cancel()

    async def _pace(
        self, session: aiohttp.ClientSession, group: asyncio.TaskGroup, *, for_s: float | None
    ) -> None:
        """Post each event at its own time: number n at n / rate, whenever the one before was posted."""
        began_s = time.monotonic()
        end_s = None if for_s is None else began_s + for_s
        for number in count():
            due_s = began_s + number / self._rate
            if end_s is not None and due_s >= end_s:
                await asyncio.sleep(end_s - time.monotonic())
                return
            await asyncio.sleep(due_s - time.monotonic())
            await self._connections.acquire()
            late_s = time.monotonic() - due_s
            if late_s > _LATE_S:
                began_s += late_s
                self.tally.slipped_s += late_s
            self.tally.sent += 1
            group.create_task(self._post(session, next(self._events)), name=f"event {number}")

    async def _post(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        body = orjson.dumps(event)
        began_s = time.perf_counter()
        try:
            headers = signed_headers(body, self._secret)
            async with session.post(self._url, data=body, headers=headers) as response:
                answer = await response.read()
            reason = None if response.status == _OK else f"{response.status} {_reason_in(answer)}".strip()
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = failure_of(error, within_s=ANSWER_WITHIN_S).reason[:_LONGEST_REASON]
        finally:
            self._connections.release()
        self.tally.count_answer(reason, took_s=time.perf_counter() - began_s)


def _reason_in(answer: bytes) -> str:
    """Return the reason that an answer states, on one line."""
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        document = None
    reason = document.get("error") if isinstance(document, dict) else None
    text = reason if isinstance(reason, str) else answer.decode(errors="replace")
    return " ".join(text.split())[:_LONGEST_REASON]
