"""Checks of certificates, in files and at the public address, and of what answers at that address."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.doctor.daemon_status import HttpAnswer, get
from gateway.doctor.diagnosis import Finding, Findings, Level, ok, problem, warning
from gateway.errors import GatewayError
from gateway.infodeck.request_errors import Failure, Stage, failure_of
from gateway.settings.certificates import certificates_in
from gateway.text import count_text
from gateway.tls import Validity, client_context, server_context

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup
    from gateway.settings.certificates import CertificateFiles

_DAY_S = 86_400
_WARNING_DAYS = 30
_PROBLEM_DAYS = 7
_INTAKE = "intake.tls"
_WITHIN_S = 4.0
_HTTPS_PORT = 443
_FROM_HERE = (
    "if the building cannot reach its own public address, try from outside: curl -i {url}; otherwise check"
    " port forwarding, firewall and proxy"
)
_NOT_OURS = {
    401: "the proxy wants a login: let {path} through without one, the signature protects it",
    403: "the proxy refuses, or is none of intake.trusted_proxies: let {path} through",
    404: "have the proxy hand {path} on to the gateway",
    429: "the proxy limits requests: give Infodeck more",
    502: "the proxy does not reach the gateway: is it running, and on intake.listen?",
    503: "the proxy says that the gateway is away: is it running, and on intake.listen?",
    504: "the proxy waited in vain for the gateway: is it running, and on intake.listen?",
}
_METHOD_NOT_ALLOWED = 405
_NOT_FOUND = 404
_OUR_404 = b'"no such path"'
_OUR_405 = b'"only POST"'


async def check_certificates(setup: Setup) -> list[Finding]:
    """Check each certificate: whether it fits its key, until when it is valid, and for which names."""
    pairs = list(certificates_in(setup.settings))
    return [finding for pair in pairs for finding in await asyncio.to_thread(_file_findings, setup, pair)]


def _file_findings(setup: Setup, pair: CertificateFiles) -> list[Finding]:
    try:
        server_context(pair.setting, pair.certificate, pair.key)
        validity = Validity.from_pem(pair.certificate.read_bytes())
    except (GatewayError, ValueError, OSError) as error:
        return [
            problem(
                str(error),
                "both must be PEM files that the gateway's user may read, and belong together",
            )
        ]
    age = _age_finding(f"{pair.setting}: {pair.certificate}", validity, now_s=setup.clock_ms() / 1000)
    findings = Findings([age])
    webhook = setup.settings.infodeck.webhook
    if pair.setting != _INTAKE or webhook is None or setup.settings.intake.trusted_proxies:
        return findings  # it is not shown on the internet
    host = urlsplit(webhook.url).hostname or ""
    if not validity.covers(host):
        names = ", ".join(validity.names) or "no name at all"
        findings.warning(
            f"{pair.setting}: it is for {names}, but Infodeck posts to {host}",
            f"get one for {host}, unless a proxy in front of the gateway shows another one",
        )
    if validity.is_self_signed:
        findings.warning(
            f"{pair.setting}: it is self-signed, and Infodeck will not trust that",
            "get one from a public authority, unless a proxy in front shows another one",
        )
    return findings


async def check_public_address(setup: Setup) -> Finding | list[Finding]:
    """Check the certificate at the public address, and that the gateway answers there, to a GET with 405."""
    webhook = setup.settings.infodeck.webhook
    if webhook is None:
        return []
    if urlsplit(webhook.url).scheme == "http":
        return await _simulated(setup, webhook.url)
    shown = await _shown_certificate(webhook.url)
    if isinstance(shown, Failure):
        return await _unreachable(setup, webhook.url, shown)
    certificate = _age_finding("its certificate", Validity.from_der(shown), now_s=setup.clock_ms() / 1000)
    answer = await get(webhook.url, within_s=_WITHIN_S, tls=_context())
    if isinstance(answer, Failure):
        host = urlsplit(webhook.url).hostname
        return [certificate, problem(f"{host} {answer.reason}", _FROM_HERE.format(url=webhook.url))]
    answered = _who_answers(answer, webhook.url, intake_path=setup.settings.intake.path)
    if certificate.level is answered.level is Level.OK:
        return ok(f"{answered.found}; {certificate.found}")
    return [finding for finding in (certificate, answered) if finding.level is not Level.OK]


async def _simulated(setup: Setup, url: str) -> Finding:
    """Check an address without TLS, which the settings allow only for a simulated Infodeck."""
    answer = await get(url, within_s=_WITHIN_S)
    if isinstance(answer, Failure):
        return await _unreachable(setup, url, answer)
    return _who_answers(answer, url, intake_path=setup.settings.intake.path)


def _who_answers(answer: HttpAnswer, url: str, *, intake_path: str) -> Finding:
    path = urlsplit(url).path or "/"
    if answer.status == _METHOD_NOT_ALLOWED and _OUR_405 in answer.body:
        return ok(f"the gateway answers at {url}")
    if answer.status == _NOT_FOUND and _OUR_404 in answer.body:
        return problem(
            f"the gateway answers at {url}, but not under this path: 404",
            f"the proxy must hand it on as intake.path, {intake_path}; or change one of them",
        )
    if answer.status // 100 == 3:  # noqa: PLR2004 - redirects
        return problem(
            f"{url} redirects to {answer.headers.get('Location', 'nowhere')} ({answer.status})",
            "the address of the webhook must be the final one",
        )
    remedy = _NOT_OURS.get(answer.status, "have the proxy hand {path} on to the gateway, all methods of it")
    return problem(
        f"something else than the gateway answers at {url}: {answer.status}", remedy.format(path=path)
    )


async def _unreachable(setup: Setup, url: str, failure: Failure) -> Finding:
    host = urlsplit(url).hostname or ""
    found = f"{host} {failure.reason}"
    if failure.stage is Stage.NAME:
        return problem(found, "have the name entered in the public DNS, or correct infodeck.webhook.url")
    if failure.stage.is_certificate:
        seen = await _shown_certificate(url, verified=False)
        dates = "" if isinstance(seen, Failure) else _dates(setup, seen)
        return problem(
            f"{found}{dates}: Infodeck will not deliver to it",
            f"have a public authority certify {host}, and show the certificate with its whole chain",
        )
    if failure.stage in {Stage.PLAIN, Stage.TLS}:
        return problem(found, "have TLS served there: Infodeck posts to https only")
    return warning(f"{found}, from here", _FROM_HERE.format(url=url))


def _dates(setup: Setup, der: bytes) -> str:
    finding = _age_finding("it", Validity.from_der(der), now_s=setup.clock_ms() / 1000)
    return "" if finding.level is Level.OK else f" ({finding.found})"


async def _shown_certificate(url: str, *, verified: bool = True) -> bytes | Failure:
    """Return the certificate that is shown at an address."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_WITHIN_S):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or _HTTPS_PORT, ssl=_context(verified=verified)
            )
    except (OSError, TimeoutError) as error:
        return failure_of(error, within_s=_WITHIN_S)
    try:
        return bytes(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    finally:
        writer.close()


def _context(*, verified: bool = True) -> ssl.SSLContext:
    context = client_context("infodeck.webhook.url", authority=None, certificate=None, key=None)
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # only to read the dates of a refused certificate
    return context


def _age_finding(what: str, validity: Validity, *, now_s: float) -> Finding:
    """Report how long a certificate is still valid."""
    renew = "renew it, and see why that did not happen by itself"
    if now_s < validity.from_s:
        return problem(f"{what} is not valid yet", "check this machine's clock, and the certificate's dates")
    left_days = (validity.until_s - now_s) / _DAY_S
    if left_days <= 0:
        return problem(f"{what} expired {_days(-left_days)} ago", renew)
    if left_days < _PROBLEM_DAYS:
        return problem(f"{what} expires in {_days(left_days)}", renew)
    if left_days < _WARNING_DAYS:
        return warning(f"{what} expires in {_days(left_days)}", renew)
    names = f", for {', '.join(validity.names)}" if validity.names else ""
    return ok(f"{what} is valid for {_days(left_days)}{names}")


def _days(count: float) -> str:
    return "less than a day" if count < 1 else count_text(int(count), "day")
