"""Checks of the certificates in files: those that the gateway serves with, and shows to brokers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gateway.doctor.certificates import age_finding, read_pem
from gateway.doctor.findings import Finding, problem, warning
from gateway.errors import GatewayError
from gateway.sinks.modbus_server import ModbusServerConfig
from gateway.sinks.mqtt_shared.config import BrokerConfig
from gateway.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.doctor.setup import Setup
    from gateway.settings import Settings

_INTAKE = "intake.tls"


class Pair(NamedTuple):
    """Certificate and key of one setting."""

    setting: str
    certificate: Path
    key: Path


async def check_certificates(setup: Setup) -> list[Finding]:
    """Look at each certificate: can it be used with its key, how long, and for which names."""
    pairs = list(_pairs(setup.settings))
    return [finding for pair in pairs for finding in await asyncio.to_thread(_looked_at, setup, pair)]


def _pairs(settings: Settings) -> Iterator[Pair]:
    if settings.intake.tls is not None:
        yield Pair(_INTAKE, settings.intake.tls.certificate, settings.intake.tls.key)
    for name, sink in settings.sinks.items():
        if isinstance(sink, ModbusServerConfig) and sink.tls is not None:
            yield Pair(f"sinks.{name}.tls", sink.tls.certificate, sink.tls.key)
        if isinstance(sink, BrokerConfig) and sink.certificate is not None and sink.key is not None:
            yield Pair(f"sinks.{name}", sink.certificate, sink.key)


def _looked_at(setup: Setup, pair: Pair) -> list[Finding]:
    try:
        server_context(pair.setting, pair.certificate, pair.key)
        validity = read_pem(pair.certificate.read_bytes())
    except (GatewayError, ValueError, OSError) as error:
        return [
            problem(
                str(error),
                "both must be PEM files that the gateway's user may read, and the key the certificate's",
            )
        ]
    findings = [age_finding(f"{pair.setting}: {pair.certificate}", validity, now_s=setup.clock_ms() / 1000)]
    webhook = setup.settings.infodeck.webhook
    if pair.setting != _INTAKE or webhook is None or setup.settings.intake.trusted_proxies:
        return findings  # nobody out there sees it
    host = urlsplit(webhook.url).hostname or ""
    if not validity.covers(host):
        names = ", ".join(validity.names) or "no name at all"
        findings.append(
            warning(
                f"{pair.setting}: it is for {names}, but Infodeck posts to {host}",
                f"have one made for {host}, unless a proxy in front of the gateway shows another one",
            )
        )
    if validity.is_self_signed:
        findings.append(
            warning(
                f"{pair.setting}: it is self-signed, and Infodeck will not trust that",
                "have one made by a public authority, unless a proxy in front shows another one",
            )
        )
    return findings
