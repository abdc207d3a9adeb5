"""Checks of Infodeck: API and clock, organization and assets, the webhook and its deliveries."""

from __future__ import annotations

import asyncio
import ctypes
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.value_types import duration_text
from gateway.doctor.daemon_status import HttpAnswer
from gateway.doctor.diagnosis import Finding, Findings, Level, ok, problem, warning
from gateway.doctor.setup import MOST_ATTEMPTS
from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.events import TELEMETRY
from gateway.infodeck.asset_items import known_asset
from gateway.infodeck.delivery_log import advice_for, attempts_of, failures_of
from gateway.infodeck.request_errors import API_ADVICE, Failure, Stage
from gateway.infodeck.webhooks import DOCUMENTED_EVENTS, id_to_correct, twins_of, webhook_of
from gateway.journal.lookup import read_assets
from gateway.text import count_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.doctor.setup import Setup
    from gateway.infodeck.delivery_log import Attempt
    from gateway.infodeck.webhooks import Webhook
    from gateway.records import KnownAsset
    from gateway.settings.infodeck import WebhookSettings

_SLOW_S = 5.0
_CLOCK_WARNING_S = 30.0
_CLOCK_ROUNDING_S = 1.5  # HTTP dates are whole seconds, and an answer takes its time
_NOT_SYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_BETWEEN = "check infodeck.api, and what stands between this machine and {host}"
_WRONG_PORT = "check the port in infodeck.api, and what stands between this machine and {host}"
_API_REMEDIES = API_ADVICE | {
    Stage.NAME: "check the name in infodeck.api, and this machine's name servers: getent hosts {host}",
    Stage.CONNECTION: "let this machine out to {host}, port {port}: firewall, route, proxy",
    Stage.TIME: "let this machine out to {host}, port {port}: a firewall may drop packets",
    Stage.PLAIN: _WRONG_PORT,
    Stage.TLS: _WRONG_PORT,
    Stage.BROKEN_OFF: _BETWEEN,
    Stage.HTTP: _BETWEEN,
}
_MOST_ASSETS = 3
_MOST_WEBHOOKS = 5
_IN_THE_WEB_PAGE = "see the log in Infodeck's web page"
_UNAUTHORIZED = 401
_OF_THE_SECRET = frozenset({401, 403})  # what the token may not, says nothing of the key


async def check_clock(setup: Setup) -> Finding:
    """Compare this machine's clock with the API's: if they differ too much, signatures are refused."""
    tolerance_s = setup.settings.intake.tolerance
    answer = None if setup.is_offline else await setup.api_host()
    offset_s = _offset_s(answer) if isinstance(answer, HttpAnswer) else None
    if offset_s is None:
        return _without_comparison()
    drifts = "" if _is_synchronised() is not False else "; no time service keeps it, so it will drift"
    if abs(offset_s) <= _CLOCK_ROUNDING_S:
        return ok(f"right to the second, compared with Infodeck's{drifts}")
    found = f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} Infodeck's{drifts}"
    remedy = "have it set by a time service: timedatectl set-ntp true"
    if abs(offset_s) > tolerance_s:
        return problem(
            f"{found}: beyond intake.tolerance ({duration_text(tolerance_s)}), every delivery is refused"
            " with 401",
            remedy,
        )
    return warning(found, remedy) if abs(offset_s) > _CLOCK_WARNING_S else ok(found)


def _without_comparison() -> Finding:
    """Report what the kernel says of the clock."""
    synchronised = _is_synchronised()
    if synchronised is False:
        return warning(
            "not compared with Infodeck's, and no time service keeps it",
            "have it set by a time service: timedatectl set-ntp true",
        )
    return ok("not compared with Infodeck's" + ("; a time service keeps it" if synchronised else ""))


def _offset_s(answer: HttpAnswer) -> float | None:
    """Return by how much this machine's clock is ahead, None if the answer has no date.

    The date was true at some moment between question and answer, and up to a second later.
    """
    try:
        date_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
    earliest_s, latest_s = answer.asked_s - (date_s + 1), answer.answered_s - date_s
    if earliest_s <= 0 <= latest_s:
        return 0.0
    return earliest_s if earliest_s > 0 else latest_s


def _is_synchronised() -> bool | None:
    """Return whether a time service sets this machine's clock, None if the kernel does not say."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    question = ctypes.create_string_buffer(512)  # struct timex of zeros: it changes nothing
    state = adjtimex(question)
    return None if state < 0 else bool(state != _NOT_SYNCHRONISED)


async def check_api(setup: Setup) -> Finding:
    """Check name, connection, TLS and HTTP of the API, without a key."""
    api = setup.settings.infodeck.api
    host = urlsplit(api).hostname or ""
    answer = await setup.api_host()
    if isinstance(answer, Failure):
        port = urlsplit(api).port or 443
        is_needed = setup.access.api_key is not None or setup.access.bearer_token is not None
        level = problem if is_needed else warning  # without them, nothing but this examination asks it
        return level(f"{host} {answer.reason}", _API_REMEDIES[answer.stage].format(host=host, port=port))
    proxy = setup.access.proxy_url()
    through = "" if proxy is None else f" through the proxy {proxy.host}:{proxy.port}"
    took = f"{answer.took_s * 1000:.0f} ms{through}"
    if answer.took_s > _SLOW_S:
        return warning(f"{host} takes {took} to answer", "see how this machine gets to the internet")
    return ok(f"{host} answers in {took}")


async def check_organization(setup: Setup) -> Finding | list[Finding]:
    """List the organization's assets with the key."""
    infodeck = setup.settings.infodeck
    if setup.access.api_key is None or isinstance(await setup.api_host(), Failure):
        return []
    listed = await setup.assets()
    if listed.error is not None and not listed.items:
        if setup.api_key_flaw is not None and _is_about_secret(listed.error):
            return []  # reported by the check of the key
        return _refusal(listed.error)
    if not listed.items:
        return warning(
            f"{infodeck.organization} has no assets",
            "check infodeck.organization, and that the API key belongs to it",
        )
    count = len(listed.items)
    assets = count_text(count, "asset") if listed.is_whole else f"{count} or more assets"
    return ok(f"{infodeck.organization} is known, with {assets}")


async def check_inventory(setup: Setup) -> list[Finding]:
    """Compare the assets of the tables with those that Infodeck lists."""
    if setup.point_map is None:
        return []  # reported by the check of the tables
    known = await _known(setup)
    if not known:
        return []  # reported by the checks of the API
    mapped = setup.point_map.by_asset.keys()
    gone = sorted(mapped - known.keys())
    silent = sorted(asset.id for asset in known.values() if asset.online and asset.id not in mapped)
    findings = Findings()
    if gone:
        level = problem if len(gone) == len(mapped) else warning  # a wrong organization, or one device less
        findings.append(
            level(
                f"Infodeck does not know {count_text(len(gone), 'asset')} of the tables: {_few(gone)}",
                "correct their ids, or take them out; their points will show nothing",
            )
        )
    if silent:
        verb = "is" if len(silent) == 1 else "are"
        findings.warning(
            f"no table names {count_text(len(silent), 'asset')} that {verb} online: {_few(silent)}",
            "add them where the building needs them; `gateway discover` drafts that",
        )
    return findings or [
        ok(f"Infodeck knows all assets of the tables ({len(mapped)}), and no other one is online")
    ]


async def _known(setup: Setup) -> Mapping[str, KnownAsset]:
    """Return the assets as listed now if the list is complete, otherwise as the gateway last stored them."""
    if setup.access.api_key is not None and not setup.is_offline:
        listed = await setup.assets()
        if listed.is_whole:
            return {asset.id: asset for item in listed.items if (asset := known_asset(item)) is not None}
    try:
        snapshot = await asyncio.to_thread(read_assets, setup.settings.journal.path)
    except GatewayError:
        return {}  # reported by the check of the journal
    return {} if snapshot is None else snapshot.assets


def _few(names: Collection[str]) -> str:
    return ", ".join(list(names)[:_MOST_ASSETS]) + (", …" if len(names) > _MOST_ASSETS else "")


async def check_webhook(setup: Setup) -> Finding | list[Finding]:
    """Check the webhook that leads here, among those of the organization."""
    infodeck = setup.settings.infodeck
    if setup.access.bearer_token is None:
        return []  # reported by the check of the token
    if infodeck.webhook is None:
        return warning(
            "infodeck.webhook is not set, so it is unknown which of Infodeck's webhooks leads here",
            "write the public address that Infodeck posts to: webhook: {url: https://…}",
        )
    if isinstance(await setup.api_host(), Failure):
        return []  # reported by the check of the API
    listed = await setup.webhooks()
    if listed.error is not None:
        return await _unlistable_webhooks(setup, listed.error)
    every = [webhook_of(one) for one in listed.items]
    ours = await setup.our_webhook()
    if ours is None:
        return _missing(infodeck.webhook, every)
    return _webhook_findings(ours, twins_of(ours, every), path=setup.settings.intake.path)


async def _unlistable_webhooks(setup: Setup, error: GatewayError) -> Finding | list[Finding]:
    """Return why the webhooks cannot be listed, unless another check reports the cause."""
    if setup.bearer_token_flaw is not None and _is_about_secret(error):
        return []  # reported by the check of the token
    why = _refusal(error)
    is_of_the_secret = isinstance(error, ApiRefusalError) and error.status in _OF_THE_SECRET
    if setup.access.api_key is not None and not is_of_the_secret:
        same = (await setup.assets()).error
        if same is not None and (
            _refusal(same).found == why.found or (_is_no_api(same) and _is_no_api(error))
        ):
            return []  # reported by the check of the organization
    return why


def _missing(named: WebhookSettings, others: Sequence[Webhook]) -> Finding:
    there = ", ".join(one.url or one.id or "?" for one in others[:_MOST_WEBHOOKS]) or "none at all"
    if (more := len(others) - _MOST_WEBHOOKS) > 0:
        there += f" and {more} more"
    return problem(
        f"Infodeck has no webhook {named.id or named.url}; there are: {there}",
        id_to_correct(others, url=named.url) or "`gateway webhooks register`, or correct infodeck.webhook",
    )


def _webhook_findings(webhook: Webhook, twins: Sequence[Webhook], *, path: str) -> list[Finding]:
    findings = Findings()
    if twins:
        ids = ", ".join(one.id or "?" for one in twins)
        findings.warning(
            f"{1 + len(twins)} webhooks have the URL {webhook.url}: {webhook.id} and {ids}",
            "`gateway webhooks remove`, or Infodeck's web page: each event comes as often, and each has"
            " a signing secret of its own",
        )
    if not webhook.is_subscribed_to(TELEMETRY):
        findings.problem(
            f"{webhook.id} does not send {TELEMETRY}, only {', '.join(webhook.events)}",
            "add that event to the webhook in Infodeck: without it no reading arrives",
        )
    elif missing := [name for name in DOCUMENTED_EVENTS if not webhook.is_subscribed_to(name)]:
        findings.warning(
            f"{webhook.id} does not send {', '.join(missing)}",
            "add them in Infodeck: devices that go offline, come or go are noticed later without them",
        )
    if webhook.is_failing:
        findings.problem(
            f"Infodeck says that {webhook.id} is {webhook.status}",
            "fix what the failed deliveries name, then `gateway webhooks enable`, or Infodeck's web page",
        )
    elif not webhook.is_healthy:
        findings.warning(f"Infodeck says that {webhook.id} is {webhook.status}", "look at it in Infodeck")
    if webhook.url is not None and (finding := _address(webhook, webhook.url, path=path)) is not None:
        findings.append(finding)
    word = f", {webhook.status.lower()}" if webhook.status else ""
    return findings or [ok(f"{webhook.id} leads to {webhook.url}{word}")]


def _address(webhook: Webhook, url: str, *, path: str) -> Finding | None:
    """Compare the path that Infodeck posts to with the path of the intake."""
    try:
        url_path = urlsplit(url).path or "/"
    except ValueError:
        return problem(f"{webhook.id} has no usable URL: {url}", "correct it in Infodeck")
    if url_path == path:
        return None
    return warning(
        f"{webhook.id} posts to {url_path}, but intake.path is {path}",
        "change one of them, unless the proxy in front of the gateway turns one into the other",
    )


async def check_deliveries(setup: Setup) -> Finding | list[Finding]:
    """Check the last deliveries in Infodeck's log."""
    webhook = await setup.our_webhook()
    if webhook is None or webhook.id is None:
        return []  # reported by the check of the webhook
    listed = await setup.list_deliveries(webhook.id)
    if listed.error is not None:
        why = _refusal(listed.error)
        remedy = _IN_THE_WEB_PAGE if _is_no_api(listed.error) else why.remedy
        found = f"the delivery log cannot be read: {why.found}"
        return replace(why, level=Level.WARNING, found=found, remedy=remedy)
    attempts = attempts_of(listed.items)[:MOST_ATTEMPTS]
    if not attempts:
        return warning(
            "Infodeck has not delivered anything yet", "`gateway webhooks test` has it send a test event"
        )
    return _delivery_finding(attempts)


def _delivery_finding(attempts: Sequence[Attempt]) -> Finding:
    failures = failures_of(attempts)
    if not failures:
        return ok(f"the last {len(attempts)} arrived")
    kinds = ", ".join(f"{count} x {kind}" for kind, count in failures.most_common())
    found = f"of the last {len(attempts)} deliveries {failures.total()} failed: {kinds}"
    worst = failures.most_common(1)[0][0]
    remedy = f"{worst}: {advice_for(worst) or 'see `gateway webhooks deliveries`'}"
    if attempts[0].succeeded is False:
        return problem(f"{found}; the last one did, too", remedy)
    return warning(f"{found}; the last one arrived", remedy)


def _refusal(error: GatewayError) -> Finding:
    """Return what kept the API from answering, and what to do about it."""
    if isinstance(error, ApiRefusalError):
        return problem(error.answered, error.advice)
    if not isinstance(error, TransientError):
        return problem(str(error), "check infodeck.api, and what stands between this machine and Infodeck")
    if error.retry_after_s is None:
        remedy = "wait and try again; if it lasts, ask Infodeck. The last known assets stay in use"
    else:
        remedy = (
            f"wait {duration_text(round(error.retry_after_s))}; if that happens often: one API key per"
            " integration, and a smaller infodeck.request_share"
        )
    return problem(str(error), remedy)


def _is_about_secret(error: GatewayError) -> bool:
    """Return whether a request failed because of its secret: it was refused, or could not even be sent."""
    return error.status == _UNAUTHORIZED if isinstance(error, ApiRefusalError) else _is_no_api(error)


def _is_no_api(error: GatewayError) -> bool:
    """Return whether the answer is not one of an API, or the request could not be sent."""
    return not isinstance(error, ApiRefusalError | TransientError)
