"""`gateway demo`: everything in one process: a simulated Infodeck, an embedded broker, the real gateway."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app import App, new_event_loop
from gateway.cli.arguments import duration_option
from gateway.cli.demo_files import API_KEY, ORGANIZATION, SECRET, demo_ports, demo_token, write_files
from gateway.cli.loading import inputs_of, read_config
from gateway.clock import now_ms
from gateway.demo.demo_building import DEMO_BUILDING, api_item
from gateway.demo.how_to import bacnet_command, poll_command, send_command
from gateway.demo.own_building import automatic_assets, demo_sinks, own_building
from gateway.demo.simulated_api import SimulatedApi
from gateway.demo.simulated_infodeck import SimulatedInfodeck
from gateway.errors import CommandError
from gateway.logs import configure_logging
from gateway.mapping.compile.object_lock import OBJECT_LOCK_NAME
from gateway.mapping.compile.sources import read_sources
from gateway.mapping.compiler import load_point_map
from gateway.settings import resolve_secrets
from gateway.text import count_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from gateway.cli.demo_files import Ports
    from gateway.config.decode import Document
    from gateway.demo.demo_building import SimulatedBuilding
    from gateway.demo.screen import Screen
    from gateway.mapping.plan import PointMap
    from gateway.mapping.table import Table
    from gateway.settings import Secrets, Settings

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
    parser.add_argument(
        "--mappings",
        type=Path,
        metavar="DIR",
        help="your own point tables, with plausible readings for all their assets; nothing is written there",
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
        runner.run(_demo(Path(folder), for_s, mappings=arguments.mappings))
    return 0


async def _demo(folder: Path, for_s: float | None, *, mappings: Path | None) -> None:
    from gateway.demo.demo_broker import DemoBroker  # noqa: PLC0415 - it needs an optional extra

    now_s = now_ms() / 1000
    token = demo_token(now_s)
    async with AsyncExitStack() as stack:
        ports = stack.enter_context(demo_ports())
        await stack.enter_async_context(DemoBroker(ports.mqtt))
        api = SimulatedApi(organization=ORGANIZATION, api_key=API_KEY, bearer_token=token)
        await stack.enter_async_context(api)
        tables = [] if mappings is None else read_sources(mappings).tables
        has_instances = mappings is None or (mappings / OBJECT_LOCK_NAME).exists()
        sinks = demo_sinks(tables, has_instances=has_instances)
        config = write_files(folder, ports, api=api.url, token=token, mappings=mappings, sinks=sinks)
        settings, found, points = _load(config, tables, mappings=mappings)
        building = DEMO_BUILDING if mappings is None else own_building(points)
        _list_building(building, api, now_s=now_s)
        configure_logging(level=settings.log.level, form=settings.log.format)
        app = App(settings=settings, secrets=found, points=points)
        _stop_on_signals(app)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(app.run(), name="gateway")
        while not (app.status.ready or running.done()):  # noqa: ASYNC110 - or the log begins with failures
            await asyncio.sleep(_LOOK_AGAIN_S)
        await stack.enter_async_context(_infodeck(api, building, ports))
        screen = stack.enter_context(_screen(app, settings, points, building, ports=ports, config=config))
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await screen.show_until(running)
        app.stop()


def _load(
    config: Path, tables: Iterable[Document[Table]], *, mappings: Path | None
) -> tuple[Settings, Secrets, PointMap]:
    """Return settings, secrets and tables; report problems and warnings as `gateway check` does."""
    loaded = read_config(config, folder=mappings)
    if loaded.problems:
        summary = f"{count_text(len(loaded.problems), 'problem')} in the point tables of {mappings}"
        raise CommandError(summary, problems=[str(problem) for problem in loaded.problems])
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    settings, points = loaded.require()
    if mappings is not None and points.has_automatic:
        points = load_point_map(inputs_of(settings, automatic_assets(tables))).point_map or points
    return settings, resolve_secrets(loaded.settings), points


def _list_building(building: SimulatedBuilding, api: SimulatedApi, *, now_s: float) -> None:
    api.items += [api_item(asset, organization=ORGANIZATION, now_s=now_s) for asset in building.known]
    api.types += building.types
    api.locations += building.locations


def _infodeck(api: SimulatedApi, building: SimulatedBuilding, ports: Ports) -> SimulatedInfodeck:
    return SimulatedInfodeck(
        url=ports.webhook,
        secret=SECRET.encode(),
        organization=ORGANIZATION,
        assets=building.assets,
        api=api,
        shuffle_share=_OUT_OF_ORDER_SHARE,
    )


def _screen(
    app: App,
    settings: Settings,
    points: PointMap,
    building: SimulatedBuilding,
    *,
    ports: Ports,
    config: Path,
) -> Screen:
    from gateway.demo.screen import Screen  # noqa: PLC0415 - it needs an optional extra

    return Screen(
        points=points.points,
        latest=app.state,
        status=app.status,
        topics=settings.mqtt_topics,
        mqtt_port=ports.mqtt,
        how_to=[*_how_to(settings, points, building, config)],
        dashboard_url=f"http://127.0.0.1:{ports.admin}/",
        config=config,
        clock_ms=now_ms,
    )


def _how_to(
    settings: Settings, points: PointMap, building: SimulatedBuilding, config: Path
) -> Iterator[tuple[str, str]]:
    """Yield how to poll and send, and where the sinks are that the other lines do not name."""
    servers = {name: one.listen.port for name, one in settings.sinks.items() if one.type == "modbus_server"}
    if (poll := poll_command(points.points, ports=servers)) is not None:
        yield "poll", poll
    devices = {name: str(one.listen) for name, one in settings.bacnet_devices.items()}
    if (discover := bacnet_command(points.points, devices=devices)) is not None:
        yield "bacnet", discover
    if building.known:
        yield "send", send_command(building.known[-1], config=config)
    others = [f"{name}: topics {topics.prefix}/#" for name, topics in [*settings.mqtt_topics.items()][1:]]
    others += [f"{name}: Modbus server on port {port}" for name, port in [*servers.items()][1:]]
    others += [f"{name}: BACnet device at {address}" for name, address in [*devices.items()][1:]]
    if others:
        yield "more sinks", ", ".join(others)


def _stop_on_signals(app: App) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
