"""Checks of the gateway's own ports, and of who may poll there."""

from __future__ import annotations

import asyncio
import errno
from ipaddress import ip_network
from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, ok, problem, warning
from gateway.errors import system_reason
from gateway.sinks.modbus_server.sink import ModbusServerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.scalars import HostPort
    from gateway.doctor.setup import Setup

_WITHIN_S = 4.0
_FIRST_FREE_PORT = 1024
_EVERYONE = frozenset({ip_network("0.0.0.0/0"), ip_network("::/0")})


async def check_ports(setup: Setup) -> list[Finding]:
    """Look at each port of the gateway's own: free while it is down, its own while it runs."""
    settings, daemon = setup.settings, await setup.daemon()
    servers = {name: sink for name, sink in settings.sinks.items() if isinstance(sink, ModbusServerConfig)}
    listeners = {
        "intake.listen": settings.intake.listen,
        "admin.listen": settings.admin.listen,
        **{f"sinks.{name}.listen": sink.listen for name, sink in servers.items()},
    }
    findings = [finding for name, sink in servers.items() for finding in _allowed(name, sink)]
    if daemon.is_silent:
        return findings  # a gateway that hangs has them all
    if daemon.is_other:
        del listeners["admin.listen"]  # told by the check of the gateway
    if daemon.status is None:
        findings = [*await _are_free(listeners), *findings]
    else:
        seen = [await _is_open(f"sinks.{name}.listen", sink.listen) for name, sink in servers.items()]
        findings = [*filter(None, seen), *findings]
    how = "free" if daemon.status is None else "the gateway's"
    return findings or [ok(f"{', '.join(map(str, listeners.values()))}: {how}")]


async def _are_free(listeners: Mapping[str, HostPort]) -> list[Finding]:
    """Try to listen on each; all that are taken are one finding, for whoever has one may have the others."""
    taken, findings = [], []
    for setting, address in listeners.items():
        try:
            server = await asyncio.get_running_loop().create_server(
                asyncio.Protocol, address.host, address.port
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                taken.append((setting, address))
            else:
                findings.append(_not_ours(setting, address, system_reason(error)))
        else:
            server.close()
    return [_taken(taken), *findings] if taken else findings


def _taken(ports: Sequence[tuple[str, HostPort]]) -> Finding:
    shown = ", ".join(f"{setting}: {address}" for setting, address in ports)
    is_one = len(ports) == 1
    which = " or ".join(f"sport = :{address.port}" for _, address in ports)
    return problem(
        f"{shown} {'is' if is_one else 'are'} in use already",
        f"see who has {'it' if is_one else 'them'}: ss -ltnp '{which}' (a gateway with another admin.listen,"
        f" perhaps); or change {' and '.join(setting for setting, _ in ports)}",
    )


def _not_ours(setting: str, address: HostPort, reason: str) -> Finding:
    return problem(
        f"{setting}: {address} cannot be listened on: {reason}",
        f"give an address of this machine, and for ports below {_FIRST_FREE_PORT} the right that"
        " systemd/gateway.service names",
    )


async def _is_open(setting: str, address: HostPort) -> Finding | None:
    here = address.reachable
    try:
        async with asyncio.timeout(_WITHIN_S):
            _, writer = await asyncio.open_connection(here.host, here.port)
    except (OSError, TimeoutError) as error:
        return problem(
            f"{setting}: nobody listens on {address}: {str(error) or 'no answer'}",
            "restart the gateway if the settings were changed; `journalctl -u gateway` says more",
        )
    writer.close()
    return None


def _allowed(name: str, config: ModbusServerConfig) -> list[Finding]:
    """Say where `listen` and `allow` let everybody in, or nobody."""
    if _EVERYONE & set(config.allow) and not config.listen.is_loopback and config.tls is None:
        return [
            warning(
                f"sinks.{name}.allow lets every machine poll {config.listen}",
                "name the networks of the controllers: allow: [10.1.0.0/16]",
            )
        ]
    are_here = all(network.is_loopback for network in config.allow)
    if config.listen.is_loopback and not are_here:
        return [
            warning(
                f"sinks.{name}.listen is {config.listen}, where no other machine gets to",
                f"listen on the address in the controllers' network: listen: 0.0.0.0:{config.listen.port}",
            )
        ]
    if not config.listen.is_loopback and are_here:
        return [
            warning(
                f"sinks.{name}.allow lets in no other machine",
                "name the networks of the controllers: allow: [10.1.0.0/16]",
            )
        ]
    return []
