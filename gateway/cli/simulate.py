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
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING, Any

from gateway.app import new_event_loop
from gateway.cli.loading import add_config_argument, load_with_secrets
from gateway.cli.own_intake import intake_url, readings_event
from gateway.cli.traffic import Traffic
from gateway.clock import now_ms
from gateway.config.value_types import parse_duration
from gateway.demo.plausible import plausible_signals
from gateway.errors import CommandError
from gateway.http_server import answers
from gateway.mapping.paths import set_path
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.cli.traffic import Tally
    from gateway.demo.demo_building import Signal
    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

_USUAL_PERIOD_S = 60.0  # of each asset's reports
_HIGHEST_RATE = 100_000.0
_LOOK_WITHIN_S = 5.0
_SHOW_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
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
    """Send until the time is over or Ctrl-C, print what became of it; return 1 if anything was refused."""
    try:
        for_s = None if arguments.duration is None else parse_duration(arguments.duration)
    except ValueError as error:
        raise CommandError(f"--for {arguments.duration}: {error}") from error
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


def _signals(points: PointMap, wanted: Sequence[str] | None, *, seed: int) -> dict[str, dict[str, Signal]]:
    """Return the signals of each asset that is to report; assets without a measured point have none."""
    for asset in wanted or ():
        if asset not in points.by_asset:
            raise CommandError(f"--asset {asset}: {unknown_name('asset', asset, points.by_asset)}")
    signals = {
        asset: plausible_signals(plan, seed=seed)
        for asset, plan in points.by_asset.items()
        if plan.measured and (wanted is None or asset in wanted)
    }
    if not signals:
        raise CommandError("no point table has a point that is measured, so there is nothing to send")
    return signals


def _events(
    signals: Mapping[str, Mapping[str, Signal]], *, organization: str, random: Random, is_test: bool
) -> Iterator[dict[str, Any]]:
    """Yield one event after the other, asset by asset in turns, each as of the moment when it is taken."""
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
    """On a terminal, say every second how it goes, always on the same line."""
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
