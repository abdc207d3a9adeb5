"""Checks of what is written down: gateway.yaml, point tables, and values that are examples only."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.doctor.findings import Finding, counted, ok, problem, warning
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.modbus_client.sink import ModbusClientConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.doctor.setup import Setup
    from gateway.settings import Settings

_MOST_SHOWN = 5
_EXAMPLE_ORGANIZATIONS = {"o-xxxx", "o-demo"}
_EXAMPLE_DOMAINS = ("example.com", "example.org", "example.net", "example")
# RFC 5737 and RFC 3849: for documentation, nobody has these addresses.
_EXAMPLE_NETWORKS = tuple(
    ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


def settings_findings(
    file: Path, settings: Settings | None, problems: Sequence[Problem], left_out: Sequence[str]
) -> list[Finding]:
    """Say how gateway.yaml is; `left_out` are the checks that cannot be made because of its problems."""
    if not problems and settings is not None:
        sinks = ", ".join(f"{name} ({sink.type})" for name, sink in settings.sinks.items())
        return [ok(f"{file}: gateway {settings.name}, sinks {sinks or 'none'}")]
    findings = [
        problem(str(one), f"correct it there; `gateway check -c {file}` shows all of them")
        for one in problems[:_MOST_SHOWN]
    ]
    if len(problems) > _MOST_SHOWN:
        findings.append(
            problem(f"{len(problems) - _MOST_SHOWN} more problems", f"see `gateway check -c {file}`")
        )
    if left_out:
        findings.append(
            warning(f"not checked because of that: {', '.join(left_out)}", "correct the settings, try again")
        )
    return findings


async def check_tables(setup: Setup) -> list[Finding]:
    """Compile the point tables, as `gateway check` does."""
    folder = setup.settings.mappings
    findings = [
        problem(str(one), "correct it there; `gateway check` shows all of them")
        for one in setup.table_problems[:_MOST_SHOWN]
    ]
    if (more := len(setup.table_problems) - _MOST_SHOWN) > 0:
        findings.append(problem(f"{more} more problems", "see `gateway check`"))
    warnings = [one for one in setup.warnings if one.steps[:1] != ("journal",)]  # told by its own check
    if warnings:
        count = len(warnings)
        first = "; ".join(str(one) for one in warnings[:2])
        findings.append(warning(f"{counted(count, 'warning')}: {first}", "see `gateway check`"))
    if setup.point_map is None or findings:
        return findings
    if not setup.point_map.points:
        return [warning(f"{folder} has no points", "write one, `gateway discover` drafts it")]
    assets = counted(len(setup.point_map.by_asset), "asset")
    return [ok(f"{folder}: {assets}, {counted(len(setup.point_map.points), 'point')}")]


async def check_examples(setup: Setup) -> list[Finding]:
    """Look for what was left standing of the example."""
    places = list(_example_values(setup.settings))
    return [
        problem(f"{path}: {value} is an example", "write what it is in this building")
        for path, value in places
    ]


def _example_values(settings: Settings) -> Iterator[tuple[str, str]]:
    infodeck = settings.infodeck
    is_simulated = urlsplit(infodeck.api).scheme == "http"  # loopback only, by the settings' own rule
    if infodeck.organization in _EXAMPLE_ORGANIZATIONS and not is_simulated:
        yield "infodeck.organization", infodeck.organization
    if infodeck.webhook is not None and _is_example(urlsplit(infodeck.webhook.url).hostname or ""):
        yield "infodeck.webhook.url", infodeck.webhook.url
    for name, sink in settings.sinks.items():
        if isinstance(sink, BrokerConfig) and _is_example(sink.url.host):
            yield f"sinks.{name}.url", str(sink.url)
        if isinstance(sink, ModbusClientConfig) and sink.host is not None and _is_example(sink.host):
            yield f"sinks.{name}.host", sink.host


def _is_example(host: str) -> bool:
    if any(host == domain or host.endswith(f".{domain}") for domain in _EXAMPLE_DOMAINS):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _EXAMPLE_NETWORKS)
