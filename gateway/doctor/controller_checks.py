"""Checks of the controllers that are written to: nothing is asked of them, and nothing written."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from functools import partial
from typing import TYPE_CHECKING

from gateway.doctor.findings import About, Finding, bundled, ok, problem
from gateway.doctor.side_by_side import side_by_side
from gateway.errors import TransientError
from gateway.sinks.modbus_client.link import open_link
from gateway.sinks.modbus_client.sink import ModbusClientConfig

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.doctor.daemon_answers import Running
    from gateway.doctor.setup import Setup

_WITHIN_S = 4.0


async def check_controllers(setup: Setup) -> list[Finding]:
    """Look whether each controller can be reached; nothing is asked of it, and nothing written."""
    daemon = await setup.daemon()
    clients = {
        name: sink for name, sink in setup.settings.sinks.items() if isinstance(sink, ModbusClientConfig)
    }
    seen = [partial(_controller, name, sink, daemon) for name, sink in clients.items()]
    return bundled(await side_by_side(seen))


async def _controller(name: str, config: ModbusClientConfig, daemon: Running) -> About:
    where = f"{name}: {config.line}"
    if daemon.is_connected(name):
        # Some controllers have room for one connection only: it stays the gateway's.
        return About(name, "connected", ok(f"{where} is connected, as the running gateway says"))
    if config.serial is not None:
        return About(name, where, await asyncio.to_thread(_serial_port, where, config.serial.port))
    try:
        async with asyncio.timeout(_WITHIN_S), open_link(config, on_end=_ignore):
            pass
    except (TransientError, TimeoutError) as error:
        reason = str(error) or f"no connection within {_WITHIN_S:g} s"
        is_unknown = isinstance(error.__cause__, socket.gaierror)
        remedy = (
            f"correct sinks.{name}.host, or see this machine's name servers: getent hosts {config.host}"
            if is_unknown
            else "is the controller on, is Modbus TCP enabled there, and is the way to it open?"
        )
        return About(name, reason, problem(f"{where}: {reason}", remedy))
    return About(name, "open", ok(f"{where} takes connections"))


def _ignore() -> None:
    """Nobody waits for the connection's end."""


def _serial_port(where: str, port: Path) -> Finding:
    try:
        mode = port.stat().st_mode
    except OSError as error:
        return problem(
            f"{where}: {error.strerror}",
            "is the adapter plugged in? ls -l /dev/serial/by-id shows those that are",
        )
    if not stat.S_ISCHR(mode):
        return problem(f"{where} is no serial port", "correct serial.port: ls -l /dev/serial/by-id")
    if not os.access(port, os.R_OK | os.W_OK):
        return problem(
            f"{where} may not be used by this user",
            "the service needs DeviceAllow= and SupplementaryGroups=dialout, see systemd/gateway.service",
        )
    return ok(f"{where} is there and may be used")
