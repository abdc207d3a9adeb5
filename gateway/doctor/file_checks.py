"""Checks of the settings, the point tables, and values left over from the examples."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.doctor.diagnosis import Finding, Findings, ok, problem, warning
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.modbus_client.sink import ModbusClientConfig
from gateway.text import count_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.doctor.setup import Setup
    from gateway.settings import Settings

_MOST_SHOWN = 5
_EXAMPLE_ORGANIZATIONS = {"o-xxxx", "o-demo"}
_EXAMPLE_DOMAINS = ("example.com", "example.org", "example.net", "example")
# RFC 5737 and RFC 3849: addresses for documentation.
_EXAMPLE_NETWORKS = tuple(
    ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


def settings_findings(
    file: Path, settings: Settings | None, problems: Sequence[Problem], left_out: Sequence[str]
) -> list[Finding]:
    """Return the findings about gateway.yaml; `left_out` are the checks that its problems prevent."""
    if not problems and settings is not None:
        sinks = ", ".join(f"{name} ({sink.type})" for name, sink in settings.sinks.items())
        return [ok(f"{file}: gateway {settings.name}, sinks {sinks or 'none'}")]
    findings = _first_problems(problems, see=f"`gateway check -c {file}`")
    if left_out:
        findings.warning(
            f"not checked because of that: {', '.join(left_out)}", "correct the settings, try again"
        )
    return findings


async def check_tables(setup: Setup) -> list[Finding]:
    """Report what compiling the point tables found, as `gateway check` does."""
    folder = setup.settings.mappings
    findings = _first_problems(setup.table_problems, see="`gateway check`")
    warnings = [one for one in setup.warnings if one.steps[:1] != ("journal",)]  # reported by its own check
    if warnings:
        first = "; ".join(str(one) for one in warnings[:2])
        findings.warning(f"{count_text(len(warnings), 'warning')}: {first}", "see `gateway check`")
    if setup.point_map is None or findings:
        return findings
    if not setup.point_map.points:
        return [warning(f"{folder} has no points", "write one, `gateway discover` drafts it")]
    assets = count_text(len(setup.point_map.by_asset), "asset")
    return [ok(f"{folder}: {assets}, {count_text(len(setup.point_map.points), 'point')}")]


async def check_examples(setup: Setup) -> list[Finding]:
    """Look for values that were left over from the example."""
    return [
        problem(f"{path}: {value} is an example", "replace it with this building's value")
        for path, value in _example_values(setup.settings)
    ]


def _first_problems(problems: Sequence[Problem], *, see: str) -> Findings:
    findings = Findings()
    for one in problems[:_MOST_SHOWN]:
        findings.problem(str(one), f"correct it there; {see} shows all of them")
    if (more := len(problems) - _MOST_SHOWN) > 0:
        findings.problem(f"{more} more problems", f"see {see}")
    return findings


def _example_values(settings: Settings) -> Iterator[tuple[str, str]]:
    infodeck = settings.infodeck
    is_simulated = urlsplit(infodeck.api).scheme == "http"  # the settings allow that on loopback only
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
