"""Checks of the certificates in files: those that the gateway serves with, and shows to brokers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.doctor.certificates import age_finding
from gateway.doctor.findings import Finding, problem, warning
from gateway.errors import GatewayError
from gateway.settings.certificates import certificates_in
from gateway.tls import Validity, server_context

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup
    from gateway.settings.certificates import CertificateFiles

_INTAKE = "intake.tls"


async def check_certificates(setup: Setup) -> list[Finding]:
    """Look at each certificate: can it be used with its key, how long, and for which names."""
    pairs = list(certificates_in(setup.settings))
    return [finding for pair in pairs for finding in await asyncio.to_thread(_looked_at, setup, pair)]


def _looked_at(setup: Setup, pair: CertificateFiles) -> list[Finding]:
    try:
        server_context(pair.setting, pair.certificate, pair.key)
        validity = Validity.from_pem(pair.certificate.read_bytes())
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
