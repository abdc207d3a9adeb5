"""`gateway demo`: everything in one process: a simulated Infodeck, an embedded broker, the real gateway."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app import App, new_event_loop
from gateway.cli.arguments import duration_option
from gateway.cli.demo_files import API_KEY, ORGANIZATION, SECRET, demo_token, free_ports, write_files
from gateway.cli.loading import load_with_secrets
from gateway.clock import now_ms
from gateway.demo.demo_building import DEMO_ASSETS, DEMO_LOCATIONS, DEMO_TYPES, KNOWN_ASSETS, api_item
from gateway.demo.simulated_api import SimulatedApi
from gateway.demo.simulated_infodeck import SimulatedInfodeck
from gateway.errors import CommandError
from gateway.logs import configure_logging

if TYPE_CHECKING:
    import argparse

    from gateway.cli.demo_files import Ports
    from gateway.demo.screen import Screen
    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

_LOOK_AGAIN_S = 0.02
_OUT_OF_ORDER_SHARE = 0.02  # of the events are overtaken by later ones, as it may happen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        help="stop after this long, such as 30s; default: run on",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo until its time is over or Ctrl-C; return 0."""
    if find_spec("amqtt") is None or find_spec("rich") is None:
        raise CommandError(
            "the demo needs its extra parts: pip install 'building-gateway[demo]', or `make demo`"
        )
    for_s = None if arguments.duration is None else duration_option("--for", arguments.duration)
    with (
        tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        runner.run(_demo(Path(folder), for_s))
    return 0


async def _demo(folder: Path, for_s: float | None) -> None:
    from gateway.demo.demo_broker import DemoBroker  # noqa: PLC0415 - it needs an optional extra

    ports, now_s = free_ports(), now_ms() / 1000
    token = demo_token(now_s)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(_api(token, now_s=now_s))
        config = write_files(folder, ports, api=api.url, token=token)
        settings, found, points = load_with_secrets(config)
        configure_logging(level=settings.log.level, form=settings.log.format)
        app = App(settings=settings, secrets=found, points=points)
        _stop_on_signals(app)
        await stack.enter_async_context(DemoBroker(ports.mqtt))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(app.run(), name="gateway")
        while not (app.status.ready or running.done()):  # noqa: ASYNC110 - or the log begins with failures
            await asyncio.sleep(_LOOK_AGAIN_S)
        await stack.enter_async_context(_infodeck(api, ports))
        screen = stack.enter_context(_screen(app, settings, points, ports=ports, config=config))
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await screen.show_until(running)
        app.stop()


def _api(token: str, *, now_s: float) -> SimulatedApi:
    return SimulatedApi(
        organization=ORGANIZATION,
        api_key=API_KEY,
        bearer_token=token,
        items=[api_item(asset, organization=ORGANIZATION, now_s=now_s) for asset in KNOWN_ASSETS],
        types=list(DEMO_TYPES),
        locations=list(DEMO_LOCATIONS),
    )


def _infodeck(api: SimulatedApi, ports: Ports) -> SimulatedInfodeck:
    return SimulatedInfodeck(
        url=ports.webhook,
        secret=SECRET.encode(),
        organization=ORGANIZATION,
        assets=DEMO_ASSETS,
        api=api,
        shuffle_share=_OUT_OF_ORDER_SHARE,
    )


def _screen(app: App, settings: Settings, points: PointMap, *, ports: Ports, config: Path) -> Screen:
    from gateway.demo.screen import Screen  # noqa: PLC0415 - it needs an optional extra

    return Screen(
        points=points.points,
        latest=app.state,
        status=app.status,
        topics=settings.mqtt_topics["bms"],
        mqtt_port=ports.mqtt,
        modbus_port=ports.modbus,
        intake_url=ports.webhook,
        dashboard_url=f"http://127.0.0.1:{ports.admin}/",
        config=config,
        clock_ms=now_ms,
    )


def _stop_on_signals(app: App) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
