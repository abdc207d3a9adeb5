"""`gateway run`: the daemon."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog

from gateway.app import App, new_event_loop
from gateway.cli.loading import add_config_argument, load_with_secrets
from gateway.errors import GatewayError
from gateway.logs import configure_logging

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; return 0 after an orderly stop."""
    settings, secrets, points = load_with_secrets(arguments.config)
    configure_logging(level=settings.log.level, form=settings.log.format)
    app = App(settings=settings, secrets=secrets, points=points)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_until_signal(app))
    return 0


async def run_until_signal(app: App) -> None:
    """Run the gateway; SIGTERM and SIGINT stop it in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    loop.add_signal_handler(signal.SIGHUP, _refuse_reload)
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


def _refuse_reload() -> None:
    structlog.get_logger().warning(
        "gateway.reload_refused",
        reason="this version reads its files at start only; restart it to apply changes",
    )
