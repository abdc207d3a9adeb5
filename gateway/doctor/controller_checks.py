"""Checks of the controllers that are written to: nothing is asked of them, and nothing written."""

from __future__ import annotations

import asyncio
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, ok, problem
from gateway.doctor.side_by_side import side_by_side
from gateway.errors import system_reason
from gateway.sinks.modbus_client import ModbusClientConfig

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
    return await side_by_side([partial(_controller, name, sink, daemon) for name, sink in clients.items()])


async def _controller(name: str, config: ModbusClientConfig, daemon: Running) -> Finding:
    where = f"{name}: {config.line}"
    if daemon.is_connected(
        name
    ):  # some controllers have room for one connection only: it stays the gateway's
        return ok(f"{where} is connected, as the running gateway says")
    if config.serial is not None:
        return await asyncio.to_thread(_serial_port, where, config.serial.port)
    try:
        async with asyncio.timeout(_WITHIN_S):
            _, writer = await asyncio.open_connection(config.host, config.tcp_port)
    except (OSError, TimeoutError) as error:
        reason = f"no connection within {_WITHIN_S:g} s" if isinstance(error, TimeoutError) else ""
        return problem(
            f"{where}: {reason or system_reason(error)}",
            "is the controller on, is Modbus TCP enabled there, and is the way to it open?",
        )
    writer.close()
    return ok(f"{where} takes connections")


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
