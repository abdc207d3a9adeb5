"""Checks of Infodeck's webhook that leads here: is it there and whole, and what became of deliveries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.doctor.cloud_answers import MOST_ATTEMPTS, is_about_secret, is_odd, list_deliveries, refused
from gateway.doctor.findings import Finding, Level, ok, problem, warning
from gateway.doctor.probe import Failure
from gateway.errors import ApiRefusalError
from gateway.events import TELEMETRY
from gateway.infodeck.webhooks.failures import advice_for, failures_of
from gateway.infodeck.webhooks.subscriptions import (
    DOCUMENTED_EVENTS,
    attempts_of,
    id_to_correct,
    twins_of,
    webhook_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.doctor.setup import Setup
    from gateway.errors import GatewayError
    from gateway.infodeck.webhooks.subscriptions import Attempt, Webhook
    from gateway.settings.infodeck import Webhook as NamedWebhook

_MOST_NAMED = 5
_IN_THE_WEB_PAGE = "see the log in Infodeck's web page"
_OF_THE_SECRET = frozenset({401, 403})  # what the token may not, says nothing of the key


async def check_webhook(setup: Setup) -> Finding | list[Finding]:
    """Find the webhook that leads here among those of the organization."""
    infodeck = setup.settings.infodeck
    if setup.access.bearer_token is None:
        return []  # told by the check of the token
    if infodeck.webhook is None:
        return warning(
            "infodeck.webhook is not set, so which of Infodeck's webhooks leads here is not known",
            "write the public address that Infodeck posts to: webhook: {url: https://…}",
        )
    if isinstance(await setup.api_host(), Failure):
        return []  # told by the check of the API
    listed = await setup.webhooks()
    if listed.error is not None:
        return await _refused(setup, listed.error)
    every = [webhook_of(one) for one in listed.items]
    ours = await setup.our_webhook()
    if ours is None:
        return _missing(infodeck.webhook, every)
    return _looked_at(ours, twins_of(ours, every), path=setup.settings.intake.path)


async def _refused(setup: Setup, error: GatewayError) -> Finding | list[Finding]:
    """Say why the webhooks cannot be listed, unless that follows from what another check tells."""
    if setup.bearer_token_flaw is not None and is_about_secret(error):
        return []  # told by the check of the token
    why = refused(error)
    is_of_the_secret = isinstance(error, ApiRefusalError) and error.status in _OF_THE_SECRET
    if setup.access.api_key is not None and not is_of_the_secret:
        same = (await setup.assets()).error
        if same is not None and (refused(same).found == why.found or (is_odd(same) and is_odd(error))):
            return []  # told by the check of the organization
    return why


def _missing(wanted: NamedWebhook, others: Sequence[Webhook]) -> Finding:
    there = ", ".join(one.url or one.id or "?" for one in others[:_MOST_NAMED]) or "none at all"
    if (more := len(others) - _MOST_NAMED) > 0:
        there += f" and {more} more"
    return problem(
        f"Infodeck has no webhook {wanted.id or wanted.url}; there are: {there}",
        id_to_correct(others, url=wanted.url) or "`gateway webhooks register`, or correct infodeck.webhook",
    )


def _looked_at(webhook: Webhook, twins: Sequence[Webhook], *, path: str) -> list[Finding]:
    findings = []
    if twins:
        ids = ", ".join(one.id or "?" for one in twins)
        findings.append(
            warning(
                f"{1 + len(twins)} webhooks have the URL {webhook.url}: {webhook.id} and {ids}",
                "`gateway webhooks remove`, or Infodeck's web page: each event comes as often, and each has"
                " a signing secret of its own",
            )
        )
    if not webhook.is_told_of(TELEMETRY):
        findings.append(
            problem(
                f"{webhook.id} does not send {TELEMETRY}, only {', '.join(webhook.events)}",
                "add that event to the webhook in Infodeck: without it no reading arrives",
            )
        )
    elif missing := [name for name in DOCUMENTED_EVENTS if not webhook.is_told_of(name)]:
        findings.append(
            warning(
                f"{webhook.id} does not send {', '.join(missing)}",
                "add them in Infodeck: devices that go offline, come or go are noticed later without them",
            )
        )
    if webhook.is_ill:
        findings.append(
            problem(
                f"Infodeck says that {webhook.id} is {webhook.status}",
                "mend what the deliveries say, then `gateway webhooks enable`, or Infodeck's web page",
            )
        )
    elif not webhook.is_well:
        findings.append(
            warning(f"Infodeck says that {webhook.id} is {webhook.status}", "look at it in Infodeck")
        )
    if webhook.url is not None and (finding := _address(webhook, webhook.url, path=path)) is not None:
        findings.append(finding)
    word = f", {webhook.status.lower()}" if webhook.status else ""
    return findings or [ok(f"{webhook.id} leads to {webhook.url}{word}")]


def _address(webhook: Webhook, url: str, *, path: str) -> Finding | None:
    """Compare the path that Infodeck posts to with the one that the intake has."""
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
    """Read what Infodeck's log says of the last deliveries."""
    webhook = await setup.our_webhook()
    if webhook is None or webhook.id is None:
        return []  # told by the check of the webhook
    listed = await list_deliveries(setup.access, webhook.id, share=setup.settings.infodeck.request_share)
    if listed.error is not None:
        why = refused(listed.error)
        remedy = _IN_THE_WEB_PAGE if is_odd(listed.error) else why.remedy
        found = f"the delivery log cannot be read: {why.found}"
        return replace(why, level=Level.WARNING, found=found, remedy=remedy)
    attempts = attempts_of(listed.items)[:MOST_ATTEMPTS]
    if not attempts:
        return warning(
            "Infodeck has not delivered anything yet", "`gateway webhooks test` has it send a test event"
        )
    return _judged(attempts)


def _judged(attempts: Sequence[Attempt]) -> Finding:
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
