"""`gateway run`: the daemon."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from gateway.app import App, new_event_loop
from gateway.cli.loading import add_config_argument, load_to_run, reread_tables
from gateway.delivery.reload import TableFiles
from gateway.errors import GatewayError
from gateway.logs import configure_logging

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; return 0 after an orderly stop."""
    configure_logging(level="info", form=None)  # until the settings are read
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it is handled, which finds changes since `began_ns`
    began_ns = time.time_ns()
    written = arguments.config.read_bytes() if arguments.config.is_file() else b""
    settings, secrets, tables = load_to_run(arguments.config)
    assert tables.point_map is not None  # noqa: S101 - tables with problems end the command
    configure_logging(level=settings.log.level, form=settings.log.format)
    files = TableFiles(
        folder=settings.mappings,
        read=partial(reread_tables, settings),
        warnings=tables.warnings,
        read_ns=began_ns,
        settings_file=arguments.config,
        settings_written=written,
    )
    app = App(settings=settings, secrets=secrets, points=tables.point_map, files=files)
    del tables  # so that the first reload frees them
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_until_signal(app))
    return 0


async def run_until_signal(app: App) -> None:
    """Run the gateway; SIGTERM and SIGINT stop it, SIGHUP makes it read signing secrets and tables again."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    try:
        await app.run()
    except ExceptionGroup as group:
        foreseen, others = group.split(GatewayError)
        if foreseen is None or others is not None:
            raise
        raise GatewayError("; ".join(dict.fromkeys(_texts(foreseen)))) from group


def _texts(group: ExceptionGroup[GatewayError]) -> list[str]:
    return [
        text
        for error in group.exceptions
        for text in (_texts(error) if isinstance(error, ExceptionGroup) else [str(error)])
    ]
