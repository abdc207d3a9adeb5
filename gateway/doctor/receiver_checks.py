"""Checks of the receivers: brokers that must let the gateway in, controllers that must be reachable."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import stat
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gateway.doctor.diagnosis import Finding, bundled, ok, problem
from gateway.errors import ConfigError, GatewayError, TransientError
from gateway.infodeck.request_errors import Failure, Stage, failure_of
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.modbus_client.link import open_link
from gateway.sinks.modbus_client.sink import ModbusClientConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from gateway.doctor.daemon_status import DaemonStatus
    from gateway.doctor.setup import Setup

T = TypeVar("T")

_AT_ONCE = 128  # a building may have hundreds of controllers
_BROKER_WITHIN_S = 6.0
_CONTROLLER_WITHIN_S = 4.0
_REFUSED = "the broker refuses the connection: "
_OTHER_PROTOCOL = "protocol version"
_RUNNING = "is the broker running, is its port open for this machine? See its log, and the way to {host}"
_OTHER_PORT = "does the broker serve TLS on this port? That is 8883 as a rule, and 1883 without TLS: mqtt://"
_CERTIFICATE = (
    "set the authority that issued it as sinks.{name}.ca, and the broker's name as in the certificate; or"
    " have it renewed"
)
_REMEDIES = {
    Stage.NAME: "correct the name in sinks.{name}.url, or see this machine's name servers: getent hosts"
    " {host}",
    Stage.PLAIN: _OTHER_PORT,
    Stage.TLS: _OTHER_PORT,
}


async def check_brokers(setup: Setup) -> list[Finding]:
    """Connect to each broker as its sink does, with another client id: the gateway stays connected."""
    brokers = {name: sink for name, sink in setup.settings.sinks.items() if isinstance(sink, BrokerConfig)}
    found = await _side_by_side(partial(_broker, name, sink) for name, sink in brokers.items())
    return [finding for finding in found if finding is not None]


async def check_controllers(setup: Setup) -> list[Finding]:
    """Connect to each controller; nothing is read from it or written to it."""
    daemon = await setup.daemon()
    controllers = {
        name: sink for name, sink in setup.settings.sinks.items() if isinstance(sink, ModbusClientConfig)
    }
    checks = (partial(_controller, name, sink, daemon) for name, sink in controllers.items())
    return bundled(await _side_by_side(checks))


async def _side_by_side(checks: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return what each check found, in their order."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def run(check: Callable[[], Awaitable[T]]) -> T:
        async with places:
            return await check()

    return await asyncio.gather(*map(run, checks))


async def _broker(name: str, config: BrokerConfig) -> Finding | None:
    where = f"{name}: {config.url}"
    try:
        async with asyncio.timeout(_BROKER_WITHIN_S):
            connection = await connect(config, client_id=f"gateway-doctor-{secrets.token_hex(4)}")
    except TimeoutError:
        failure = Failure(Stage.TIME, f"does not answer within {_BROKER_WITHIN_S:g} s")
        return _unreachable_broker(name, config, failure)
    except ConfigError:
        return None  # a secret, reported by the check of the secrets
    except TransientError as error:
        if isinstance(error.__cause__, OSError):
            failure = failure_of(error.__cause__, within_s=_BROKER_WITHIN_S)
            return _unreachable_broker(name, config, failure)
        return _refused_by_broker(name, config, str(error))
    except GatewayError as error:
        return problem(f"{where}: {error}", f"correct the files that sinks.{name} names")
    await connection.close()
    return ok(f"{where} lets the gateway in")


def _unreachable_broker(name: str, config: BrokerConfig, failure: Failure) -> Finding:
    host, stage = config.url.host, failure.stage
    if stage is Stage.TIME and config.url.tls:
        stage = Stage.TLS  # a broker without TLS waits for MQTT
    usual = _CERTIFICATE if stage.is_certificate else _RUNNING
    remedy = _REMEDIES.get(stage, usual).format(name=name, host=host)
    return problem(f"{name}: {config.url} {failure.reason}", remedy)


def _refused_by_broker(name: str, config: BrokerConfig, reason: str) -> Finding:
    """Report why a broker, or whatever answers in its place, does not let the gateway in."""
    found, _, advice = reason.partition("; ")
    if not reason.startswith(_REFUSED) and advice:
        remedy = f"{advice} (sinks.{name})"
    elif not reason.startswith(_REFUSED):
        remedy = "is that the broker's port, and not another service's? See the broker's log, too"
    elif _OTHER_PROTOCOL in reason.lower():
        remedy = f"{advice or 'set `protocol`'} (sinks.{name}.protocol)"
    else:
        remedy = (
            "compare user, password, certificate and access list with the broker's; the gateway's own client"
            " id may be the only one that is let in"
        )
    return problem(f"{name}: {config.url}: {found}", remedy)


async def _controller(name: str, config: ModbusClientConfig, daemon: DaemonStatus) -> Finding:
    where = f"{name}: {config.line}"
    if daemon.is_connected(name):
        # Some controllers accept only one connection, and the gateway has it.
        return ok(f"{where} is connected, as the running gateway says").alike(name, "connected")
    if config.serial is not None:
        return (await asyncio.to_thread(_serial_port, where, config.serial.port)).alike(name, where)
    try:
        async with asyncio.timeout(_CONTROLLER_WITHIN_S), open_link(config, on_end=lambda: None):
            pass
    except (TransientError, TimeoutError) as error:
        reason = str(error) or f"no connection within {_CONTROLLER_WITHIN_S:g} s"
        is_unknown = isinstance(error.__cause__, socket.gaierror)
        remedy = (
            f"correct sinks.{name}.host, or see this machine's name servers: getent hosts {config.host}"
            if is_unknown
            else "is the controller on, is Modbus TCP enabled there, and is the way to it open?"
        )
        return problem(f"{where}: {reason}", remedy).alike(name, reason)
    return ok(f"{where} accepts connections").alike(name, "open")


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
