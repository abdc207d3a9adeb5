"""Checks of the public address that Infodeck posts to, as far as it is to be seen from here."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.doctor.certificates import age_finding
from gateway.doctor.findings import Finding, Level, ok, problem, warning
from gateway.doctor.probe import Failure, Response, Stage, failure_of, get
from gateway.tls import Validity, client_context

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup

_WITHIN_S = 4.0
_HTTPS_PORT = 443
_FROM_HERE = (
    "where the building cannot reach its own public address, try from outside: curl -i {url}; else see port"
    " forwarding, firewall and proxy"
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


async def check_public_address(setup: Setup) -> Finding | list[Finding]:
    """Look at the certificate that is shown there, and who answers a GET: the gateway wants POST."""
    webhook = setup.settings.infodeck.webhook
    if webhook is None:
        return []
    if urlsplit(webhook.url).scheme == "http":
        return await _simulated(setup, webhook.url)
    shown = await _shown_certificate(webhook.url)
    if isinstance(shown, Failure):
        return await _unreachable(setup, webhook.url, shown)
    certificate = age_finding("its certificate", Validity.from_der(shown), now_s=setup.clock_ms() / 1000)
    answer = await get(webhook.url, within_s=_WITHIN_S, tls=_context())
    if isinstance(answer, Failure):
        host = urlsplit(webhook.url).hostname
        return [certificate, problem(f"{host} {answer.reason}", _FROM_HERE.format(url=webhook.url))]
    answered = _who_answers(answer, webhook.url, intake_path=setup.settings.intake.path)
    if certificate.level is answered.level is Level.OK:
        return ok(f"{answered.found}; {certificate.found}")
    return [finding for finding in (certificate, answered) if finding.level is not Level.OK]


async def _simulated(setup: Setup, url: str) -> Finding:
    """Look at an address without TLS, which the settings allow for a simulated Infodeck only."""
    answer = await get(url, within_s=_WITHIN_S)
    if isinstance(answer, Failure):
        return await _unreachable(setup, url, answer)
    return _who_answers(answer, url, intake_path=setup.settings.intake.path)


def _who_answers(answer: Response, url: str, *, intake_path: str) -> Finding:
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
    finding = age_finding("it", Validity.from_der(der), now_s=setup.clock_ms() / 1000)
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
        context.verify_mode = ssl.CERT_NONE  # only to read the dates of what was refused
    return context
