"""`gateway demo`: everything in one process: a simulated Infodeck, an embedded broker, the real gateway."""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app import App, new_event_loop
from gateway.cli.loading import load_with_secrets
from gateway.clock import now_ms
from gateway.config.scalars import parse_duration
from gateway.errors import CommandError
from gateway.logs import configure_logging

if TYPE_CHECKING:
    import argparse

_ORGANIZATION = "o-demo"
_API_KEY = "idt_live_demo0000000000000000000000000000"  # no secret either
_SECRET = "demo-secret"  # noqa: S105 - no secret: the demo is on loopback only, and README.md signs with it
_USUAL_PORTS = {"mqtt": 1883, "modbus": 5020, "intake": 8080, "admin": 9680}
_SETTINGS = """\
name: demo
infodeck: {{organization: {organization}, api: "{api}", api_key: {{file: api-key}}}}
intake: {{listen: "127.0.0.1:{intake}", signing_secrets: [{{file: signing-secret}}]}}
journal: {{url: "sqlite://{folder}/journal.db"}}
sinks:
  bms: {{type: mqtt, url: "mqtt://127.0.0.1:{mqtt}", protocol: "3.1.1"}}
  regs: {{type: modbus_server, listen: "127.0.0.1:{modbus}"}}
mappings: {mappings}
admin: {{listen: "127.0.0.1:{admin}"}}
log: {{level: warning, format: console}}
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports: the usual ones where they are free, others where not."""

    mqtt: int
    modbus: int
    intake: int
    admin: int


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
    try:
        for_s = None if arguments.duration is None else parse_duration(arguments.duration)
    except ValueError as error:
        raise CommandError(f"--for {arguments.duration}: {error}") from error
    with (
        tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        runner.run(_demo(Path(folder), for_s))
    return 0


async def _demo(folder: Path, for_s: float | None) -> None:
    from gateway.demo.api import SimulatedApi  # noqa: PLC0415 - the demo's parts are an optional extra
    from gateway.demo.assets import DEMO_ASSETS, KNOWN_ASSETS, api_item  # noqa: PLC0415 - likewise
    from gateway.demo.broker import DemoBroker  # noqa: PLC0415 - likewise
    from gateway.demo.infodeck import SimulatedInfodeck  # noqa: PLC0415 - likewise
    from gateway.demo.screen import Screen  # noqa: PLC0415 - likewise

    ports = _free_ports()
    items = [api_item(asset, organization=_ORGANIZATION, now_s=now_ms() / 1000) for asset in KNOWN_ASSETS]
    async with AsyncExitStack() as stack:
        api = SimulatedApi(organization=_ORGANIZATION, api_key=_API_KEY, items=items)
        await stack.enter_async_context(api)
        settings, found, points = load_with_secrets(_write_settings(folder, ports, api=api.url))
        configure_logging(level=settings.log.level, form=settings.log.format)
        url = f"http://127.0.0.1:{ports.intake}{settings.intake.path}"
        app = App(settings=settings, secrets=found, points=points)
        _stop_on_signals(app)
        await stack.enter_async_context(DemoBroker(ports.mqtt))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(app.run(), name="gateway")
        infodeck = SimulatedInfodeck(
            url=url,
            secret=_SECRET.encode(),
            organization=_ORGANIZATION,
            assets=DEMO_ASSETS,
        )
        await stack.enter_async_context(infodeck)
        screen = stack.enter_context(
            Screen(
                points=points.points,
                latest=app.image,
                status=app.status,
                topics=settings.mqtt_topics["bms"],
                mqtt_port=ports.mqtt,
                modbus_port=ports.modbus,
                intake_url=url,
                clock_ms=now_ms,
            )
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await screen.show_until(running)
        app.stop()


def _write_settings(folder: Path, ports: Ports, *, api: str) -> Path:
    """Write what an integrator would write, and return the file."""
    for name, secret in (("signing-secret", _SECRET), ("api-key", _API_KEY)):
        secret_file = folder / name
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret)
    settings = folder / "gateway.yaml"
    settings.write_text(
        _SETTINGS.format(
            organization=_ORGANIZATION,
            api=api,
            folder=folder,
            mappings=Path(str(files("gateway.demo") / "mappings")),
            **asdict(ports),
        )
    )
    return settings


def _free_ports() -> Ports:
    """Return the usual ports, or for each that is taken, one that is free now."""
    return Ports(**{name: port if _is_free(port) else _any_free() for name, port in _USUAL_PORTS.items()})


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop_on_signals(app: App) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
