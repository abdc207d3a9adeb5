"""Checks of Infodeck: API and clock, organization and assets, the webhook, its deliveries, its address."""

from __future__ import annotations

import asyncio
import ctypes
import ssl
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.value_types import duration_text
from gateway.doctor.daemon_status import HttpAnswer, get
from gateway.doctor.diagnosis import Finding, Level, ok, problem, warning
from gateway.doctor.facts import MOST_ASSETS, MOST_ATTEMPTS
from gateway.doctor.machine_checks import check_validity
from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.events import TELEMETRY
from gateway.infodeck.inventory import known_asset
from gateway.infodeck.request_errors import API_ADVICE, Failure, Stage
from gateway.infodeck.webhooks import (
    DOCUMENTED_EVENTS,
    advice_for,
    attempts_of,
    failures_of,
    id_to_correct,
    published_types,
    twins_of,
    webhook_of,
)
from gateway.journal.lookup import read_assets
from gateway.text import count_text, short_list
from gateway.tls import Validity, client_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.doctor.facts import Facts
    from gateway.infodeck.webhooks import Webhook
    from gateway.records import KnownAsset
    from gateway.settings import Settings

_CLOCK_WARNING_S = 30.0
_CLOCK_ROUNDING_S = 2.0
_NOT_SYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_WAY_OUT = "let this machine out to {host}, port {port} (firewall, route, proxy), or correct infodeck.api"
_API_REMEDIES = {
    Stage.NAME: "correct infodeck.api, or see this machine's name servers: getent hosts {host}",
    **{stage: API_ADVICE[stage] for stage in (Stage.PROXY, *filter(lambda one: one.is_certificate, Stage))},
}
_ADDRESS_WITHIN_S = 4.0
_HTTPS_PORT = 443
_FROM_HERE = (
    "if the building cannot reach its own public address, try from outside: curl -i {url}; otherwise check"
    " port forwarding, firewall and proxy"
)
_ADDRESS_REMEDIES = {
    Stage.NAME: "have the name entered in the public DNS, or correct infodeck.webhook.url",
    Stage.PLAIN: "have TLS served there: Infodeck posts to https only",
    Stage.TLS: "have TLS served there: Infodeck posts to https only",
}
_PUBLIC_CERTIFICATE = "have a public authority certify {host}, and show the certificate with its whole chain"
_OURS = {405: b'"only POST"', 404: b'"no such path"'}


def check_clock(facts: Facts) -> Iterator[Finding]:
    """Compare this machine's clock with the API's: if they differ too much, signatures are refused."""
    tolerance_s = facts.settings.clock_skew_s
    offset_s = _offset_s(facts.api_host) if isinstance(facts.api_host, HttpAnswer) else None
    remedy = "have it set by a time service: timedatectl set-ntp true"
    if offset_s is None:
        found = "not compared with Infodeck's"
        yield ok(found) if _is_synchronised() else warning(f"{found}, and no time service sets it", remedy)
        return
    found = f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} Infodeck's"
    if abs(offset_s) > tolerance_s:
        tolerance = duration_text(tolerance_s)
        yield problem(
            f"{found}: beyond intake.tolerance ({tolerance}), every delivery is refused with 401"
            if facts.settings.source is None
            else f"{found}: values look too fresh or too old by as much",
            remedy,
        )
    elif abs(offset_s) > _CLOCK_WARNING_S:
        yield warning(found, remedy)
    else:
        yield ok("right to the second" if abs(offset_s) <= _CLOCK_ROUNDING_S else found)


def _offset_s(answer: HttpAnswer) -> float | None:
    """Return by how much this machine's clock is ahead, roughly, None if the answer has no date."""
    try:
        date_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
    return (answer.asked_s + answer.answered_s) / 2 - (date_s + 0.5)  # dates are whole seconds, rounded down


def _is_synchronised() -> bool:
    """Return whether a time service sets this machine's clock, True if the kernel does not say."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    nothing_to_set = ctypes.create_string_buffer(512)  # struct timex of zeros
    return adjtimex is None or adjtimex(nothing_to_set) != _NOT_SYNCHRONISED


def check_api(facts: Facts) -> Iterator[Finding]:
    """Check name, connection, TLS and HTTP of the API, without a key."""
    infodeck = facts.settings.infodeck
    url, answer = urlsplit(infodeck.api), facts.api_host
    if isinstance(answer, Failure):
        found = f"{url.hostname} {answer.reason}"
        is_needed = infodeck.api_key is not None or infodeck.bearer_token is not None
        if (
            not is_needed and facts.settings.source is not None
        ):  # only its servers are to be reached from there
            yield ok(f"{found}; nothing here asks it")
            return
        level = problem if is_needed else warning  # without them, nothing but this examination asks it
        remedy = _API_REMEDIES.get(answer.stage, _WAY_OUT)
        yield level(found, remedy.format(host=url.hostname, port=url.port or _HTTPS_PORT))
    elif answer is not None:
        yield ok(f"{url.hostname} answers in {(answer.answered_s - answer.asked_s) * 1000:.0f} ms")


def check_organization(facts: Facts) -> Iterator[Finding]:
    """Check that the organization's assets can be listed with the key."""
    organization, listed = facts.settings.infodeck.organization, facts.assets
    if listed is None or isinstance(facts.api_host, Failure):
        return  # reported by the checks of key and API
    if listed.error is not None:
        yield _refusal(listed.error)
    elif not listed.items:
        yield warning(
            f"{organization} has no assets",
            "check infodeck.organization, and that the API key belongs to it",
        )
    else:
        yield ok(f"{organization} is known, with {count_text(len(listed.items), 'asset')}")


def check_inventory(facts: Facts) -> Iterator[Finding]:
    """Compare the assets of the tables with those that Infodeck lists."""
    known = _known_assets(facts)
    if facts.point_map is None or not known:
        return  # reported by the checks of tables, organization and journal
    mapped = facts.point_map.by_asset.keys()
    gone = sorted(mapped - {asset.id for asset in known})
    unmapped = sorted(asset.id for asset in known if asset.online and asset.id not in mapped)
    if gone:
        level = problem if len(gone) == len(mapped) else warning  # a wrong organization, or one device less
        yield level(
            f"Infodeck does not know {count_text(len(gone), 'asset')} of the tables: {short_list(gone)}",
            "correct their ids, or take them out; their points will show nothing",
        )
    if unmapped:
        yield warning(
            f"{count_text(len(unmapped), 'online asset')} in no table: {short_list(unmapped)}",
            "add them where the building needs them; `gateway discover` drafts that",
        )
    if not gone and not unmapped:
        yield ok(f"Infodeck knows all assets of the tables ({len(mapped)}), and no other one is online")


def _known_assets(facts: Facts) -> list[KnownAsset]:
    """Return the assets as listed now if the list is complete, otherwise as the gateway last stored them."""
    listed = [] if facts.assets is None else facts.assets.items
    if 0 < len(listed) < MOST_ASSETS:
        return [asset for item in listed if (asset := known_asset(item)) is not None]
    try:
        snapshot = read_assets(facts.settings.journal.path)
    except GatewayError:
        return []
    return [] if snapshot is None else [*snapshot.assets.values()]


def check_webhook(facts: Facts) -> Iterator[Finding]:
    """Check the webhook that leads here, among those of the organization."""
    settings, listed = facts.settings.infodeck.webhook, facts.webhooks
    if listed is None or isinstance(facts.api_host, Failure):
        return  # reported by the checks of token and API
    if settings is None:
        yield warning(
            "infodeck.webhook is not set, so it is unknown which of Infodeck's webhooks leads here",
            "write the public address that Infodeck posts to: webhook: {url: https://…}",
        )
        return
    if listed.error is not None:
        why = _refusal(listed.error)
        same = None if facts.assets is None else facts.assets.error
        if same is None or _refusal(same).remedy != why.remedy:
            yield why  # otherwise reported by the check of the organization
        return
    every = [webhook_of(one) for one in listed.items]
    if (ours := facts.our_webhook) is None:
        there = short_list([one.url or one.id or "?" for one in every]) or "none at all"
        yield problem(
            f"Infodeck has no webhook {settings.id or settings.url}; there are: {there}",
            id_to_correct(every, url=settings.url)
            or "`gateway webhooks register`, or correct infodeck.webhook",
        )
        return
    faults = list(_webhook_faults(ours, twins_of(ours, every), facts.settings))
    yield from faults
    if not faults:
        word = f", {ours.status.lower()}" if ours.status else ""
        yield ok(f"{ours.id} leads to {ours.url}{word}")


def _webhook_faults(webhook: Webhook, twins: Sequence[Webhook], settings: Settings) -> Iterator[Finding]:
    if twins:
        yield warning(
            f"{1 + len(twins)} webhooks have the URL {webhook.url}: {webhook.id} and"
            f" {', '.join(one.id or '?' for one in twins)}",
            "`gateway webhooks remove`, or Infodeck's web page: each event comes as often, and each has"
            " a signing secret of its own",
        )
    missing = [name for name in DOCUMENTED_EVENTS if not webhook.is_subscribed_to(name)]
    if missing:
        level = problem if TELEMETRY in missing else warning
        yield level(
            f"{webhook.id} does not send {', '.join(missing)}",
            f"add them to the webhook in Infodeck: without {TELEMETRY} no reading arrives, without the others"
            " devices that go offline, come or go are noticed later",
        )
    published = published_types(settings.event_patterns)
    if unsent := [name for name in published if not webhook.is_subscribed_to(name)]:
        yield warning(
            f"{webhook.id} does not send {', '.join(unsent)}, which the `events` of a sink name",
            "add them to the webhook in Infodeck, or take them out of `events`",
        )
    if not webhook.is_healthy:
        level = problem if webhook.is_failing else warning
        yield level(
            f"Infodeck says that {webhook.id} is {webhook.status}",
            "fix what the failed deliveries name, then `gateway webhooks enable`, or Infodeck's web page",
        )
    path = None if settings.intake is None else settings.intake.path
    if webhook.url is not None and path not in (None, url_path := urlsplit(webhook.url).path or "/"):
        yield warning(
            f"{webhook.id} posts to {url_path}, but intake.path is {path}",
            "change one of them, unless the proxy in front of the gateway turns one into the other",
        )


def check_deliveries(facts: Facts) -> Iterator[Finding]:
    """Check the last deliveries in Infodeck's log."""
    listed = facts.deliveries
    if listed is None:
        return  # reported by the check of the webhook
    attempts = attempts_of(listed.items)[:MOST_ATTEMPTS]
    failures = failures_of(attempts)
    if listed.error is not None:
        yield warning(
            f"the delivery log cannot be read: {listed.error}", "see the log in Infodeck's web page"
        )
    elif not attempts:
        yield warning(
            "Infodeck has not delivered anything yet", "`gateway webhooks test` has it send a test event"
        )
    elif failures:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in failures.most_common())
        is_last = attempts[0].succeeded is False
        worst = failures.most_common(1)[0][0]
        level = problem if is_last else warning
        yield level(
            f"of the last {len(attempts)} deliveries {failures.total()} failed: {kinds}; the last one"
            f" {'did, too' if is_last else 'arrived'}",
            f"{worst}: {advice_for(worst) or 'see `gateway webhooks deliveries`'}",
        )
    else:
        yield ok(f"the last {len(attempts)} arrived")


def _refusal(error: GatewayError) -> Finding:
    """Return what kept the API from answering, and what to do about it."""
    if isinstance(error, ApiRefusalError):
        return problem(error.answered, error.advice)
    if isinstance(error, TransientError):
        return problem(
            str(error),
            "wait and try again, the last known assets stay in use; if the API answers 429 often: one API key"
            " per integration, and a smaller infodeck.request_share",
        )
    return problem(str(error), "check infodeck.api, and what stands between this machine and Infodeck")


async def check_public_address(facts: Facts) -> list[Finding]:
    """Check that the gateway answers at the public address, to a GET with 405, and the certificate there."""
    webhook, intake = facts.settings.infodeck.webhook, facts.settings.intake
    if webhook is None or intake is None:
        return []
    url = webhook.url
    tls = client_context("infodeck.webhook.url", authority=None, certificate=None, key=None)
    answer = await get(url, within_s=_ADDRESS_WITHIN_S, tls=tls)
    if isinstance(answer, Failure):
        return [_unreachable(url, answer)]
    answered = _who_answers(answer, url, intake_path=intake.path)
    shown = await asyncio.to_thread(_shown_certificate, url)
    if shown is None:
        return [answered]
    certificate = check_validity("its certificate", shown, now_s=facts.now_ms / 1000)
    if certificate.level is answered.level is Level.OK:
        return [ok(f"{answered.found}; {certificate.found}")]
    return [finding for finding in (certificate, answered) if finding.level is not Level.OK]


def _unreachable(url: str, failure: Failure) -> Finding:
    host = urlsplit(url).hostname
    found = f"{host} {failure.reason}"
    if failure.stage.is_certificate:
        return problem(f"{found}: Infodeck will not deliver to it", _PUBLIC_CERTIFICATE.format(host=host))
    if (remedy := _ADDRESS_REMEDIES.get(failure.stage)) is not None:
        return problem(found, remedy)
    return warning(f"{found}, from here", _FROM_HERE.format(url=url))


def _who_answers(answer: HttpAnswer, url: str, *, intake_path: str) -> Finding:
    is_ours = answer.status in _OURS and _OURS[answer.status] in answer.body
    if is_ours and answer.status == 405:  # noqa: PLR2004 - the intake's answer to a GET
        return ok(f"the gateway answers at {url}")
    if is_ours:
        return problem(
            f"the gateway answers at {url}, but not under this path: 404",
            f"the proxy must hand it on as intake.path, {intake_path}; or change one of them",
        )
    kind = "3xx" if answer.status // 100 == 3 else str(answer.status)  # noqa: PLR2004 - redirects
    where = f" and redirects to {answer.headers['Location']}" if "Location" in answer.headers else ""
    return problem(
        f"something else than the gateway answers at {url}: {answer.status}{where}",
        f"have the proxy hand {urlsplit(url).path or '/'} on to the gateway without a login;"
        f" {advice_for(kind) or 'see its log'}",
    )


def _shown_certificate(url: str) -> Validity | None:
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        return None  # a simulated Infodeck
    address = parts.hostname, parts.port or _HTTPS_PORT
    try:
        pem = ssl.get_server_certificate(address, timeout=_ADDRESS_WITHIN_S)
    except (OSError, ValueError):
        return None  # the address has just answered; the next examination shows the cause
    return Validity.from_pem(pem.encode())
