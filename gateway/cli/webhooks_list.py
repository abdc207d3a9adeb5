"""Infodeck's webhooks through its API: `gateway webhooks list`, `deliveries`, `test`, `remove` and `enable`.

Infodeck's documents do not say how the API removes or enables a webhook, so the settings do. What counts is
what the list of webhooks shows afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote

import orjson

from gateway.cli.loading import require_intake
from gateway.config.value_types import parse_duration
from gateway.doctor.daemon_status import ask_daemon
from gateway.errors import ApiRefusalError, CommandError, ConfigError, GatewayError
from gateway.events import TELEMETRY
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.webhooks import (
    advice_for,
    attempts_of,
    failures_of,
    id_to_correct,
    kind_of,
    leads_to,
    newest_deliveries,
    twins_of,
    webhook_of,
)
from gateway.settings import load_settings
from gateway.settings.infodeck import parse_api_call
from gateway.text import align_columns, second_text, time_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.config.secrets import Secret
    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.webhooks import Attempt, Webhook
    from gateway.settings import Settings

Result = TypeVar("Result")
_Call = Literal["remove", "enable"]

_MOST_ATTEMPTS = 1000  # of a log that has no end
_LOOK_EVERY_S = 0.2
_CLOCKS_DIFFER_MS = 60_000  # Infodeck's clock against ours, at most, for a log's entry to be taken for ours
_PREVIOUS_USED = (
    "the way is right. But something was signed with the previous secret meanwhile, which is accepted for"
    " 48 h: try again. If that stays so, Infodeck has another secret than the gateway: renew it (`gateway"
    " webhooks rotate`)"
)
_REFUSED = {
    "mismatch": advice_for("401"),
    "missing": "something without a signature was posted: a proxy that drops headers, or somebody else",
    "malformed": "a signature could not be read: a proxy that changes headers, or somebody else",
    "foreign": "the signature does not fit, nor does the body name the organization: somebody else, or"
    " a proxy that changes or compresses bodies",
    "outside tolerance": "this machine's clock is wrong: `timedatectl` shows whether it is synchronised",
}
_OUTCOMES = {True: "ok", False: "failed", None: "?"}
_WEB_PAGE = "see the call in infodeck.webhook, and Infodeck's web page"
_EXAMPLES: dict[_Call, str] = {"remove": "DELETE /webhooks/{id}", "enable": "POST /webhooks/{id}/enable"}


def print_list(arguments: argparse.Namespace) -> int:
    """Print every webhook; return 0, also if there are none."""
    settings = load_settings(arguments.config).require()
    webhooks = manage(settings, list_webhooks)
    if arguments.format == "json":
        documents = [asdict(one) | {"leads_here": leads_here(one, settings)} for one in webhooks]
        _print_json({"webhooks": documents})
        return 0
    _print_table(
        ["", "id", "status", "events", "url", "description"],
        [
            [
                "*" if leads_here(one, settings) else "",
                *(one.id, one.status, ",".join(one.events) or None, one.url),
                one.description or "",
            ]
            for one in webhooks
        ],
    )
    print(_remark(webhooks, settings, arguments))
    return 0


def print_deliveries(arguments: argparse.Namespace) -> int:
    """Print the newest attempts of one webhook, with advice for each kind of failure; return 0."""
    settings = load_settings(arguments.config).require()

    async def read(api: InfodeckApi) -> tuple[str, list[Attempt]]:
        _, webhook_id = await find_webhook(api, settings, arguments.id)
        return webhook_id, await newest_attempts(api, webhook_id)

    webhook_id, attempts = manage(settings, read)
    matching = [one for one in attempts if not arguments.failed or one.succeeded is False]
    shown = matching[: arguments.limit]
    if arguments.format == "json":
        _print_json({"webhook": webhook_id, "deliveries": [_attempt_document(one) for one in shown]})
        return 0
    _print_table(
        ["when", "event", "type", "outcome", "code", "took", "reason"],
        [
            [
                None if one.at_ms is None else second_text(one.at_ms),
                *(one.event_id, one.event_type, _OUTCOMES[one.succeeded]),
                "-" if one.code is None else str(one.code),
                one.took or "-",
                one.reason or "",
            ]
            for one in shown
        ],
    )
    failed = sum(one.succeeded is False for one in attempts)
    newest = "the newest " if len(attempts) >= _MOST_ATTEMPTS else ""
    print(f"{webhook_id}: {newest}{len(attempts)} attempts, {failed} of them failed; {len(shown)} are shown.")
    for kind, count in failures_of(shown).most_common():
        print(f"{count} x {kind}: {advice_for(kind) or 'see the reason above, in the words of Infodeck'}")
    return 0


def test_webhook(arguments: argparse.Namespace) -> int:
    """Request a test event and print its outcome; return 0 once the running gateway has received it."""
    settings = load_settings(arguments.config).require()
    require_intake(settings)
    try:
        wait_s = parse_duration(arguments.wait)
    except ValueError as error:
        raise CommandError(f"--wait {arguments.wait}: {error}") from error
    return manage(settings, lambda api: _test(api, settings, arguments.id, wait_s=wait_s))


async def _test(api: InfodeckApi, settings: Settings, given_id: str | None, *, wait_s: float) -> int:
    before = now = await _counts(settings)
    webhook, webhook_id = await find_webhook(api, settings, given_id)
    began_ms = time.time() * 1000
    await api.test_webhook(webhook_id)
    print(f"Infodeck was asked to send a webhook.test to {webhook.url or webhook_id}.")
    began_s = time.monotonic()
    while time.monotonic() < began_s + wait_s:
        now = await _counts(settings)
        if now["test_events"] > before["test_events"]:
            is_current = now["previous_secrets"] == before["previous_secrets"]
            right = "the way and the signing secret are right." if is_current else _PREVIOUS_USED
            print(f"It arrived after {time.monotonic() - began_s:.1f} s: {right}")
            return 0 if is_current else 1
        await asyncio.sleep(_LOOK_EVERY_S)
    print(f"The gateway has not seen it within {wait_s:g} s.")
    for reason, count in (Counter(now["refused"]) - Counter(before["refused"])).items():
        print(f"The gateway refused {count} with 401 meanwhile ({reason}): {_REFUSED.get(reason)}")
    print(await _logged(api, webhook_id, since_ms=began_ms))
    return 1


async def _counts(settings: Settings) -> dict[str, Any]:
    """Return what the running gateway has counted at its intake; raise CommandError if none answers."""
    daemon = await ask_daemon(settings.admin)
    if daemon.status is None:
        raise CommandError(f"no running gateway says what it has received: {daemon.reason}")
    intake = daemon.status["intake"]
    if not isinstance(intake, dict) or not {"test_events", "refused", "previous_secrets"} <= intake.keys():
        raise CommandError(f"what answers on {settings.admin.listen} is no gateway")
    return intake


async def _logged(api: InfodeckApi, webhook_id: str, *, since_ms: float) -> str:
    """Return what Infodeck's log has about the newest attempt since then, test events first."""
    try:
        attempts = await newest_attempts(api, webhook_id)
    except GatewayError as error:
        return f"Infodeck's delivery log could not be read: {error}"
    earliest_ms = since_ms - _CLOCKS_DIFFER_MS
    ours = [one for one in attempts if one.at_ms is not None and one.at_ms >= earliest_ms]
    ours.sort(key=lambda one: one.event_type != "webhook.test")
    if not ours:
        return (
            "Infodeck's delivery log has no attempt since: look again in a while (`gateway webhooks"
            " deliveries`); is the webhook switched off, or `Failing` (`gateway webhooks list`)?"
        )
    if ours[0].succeeded:
        return (
            "But Infodeck's log says that it was delivered: another gateway, or a proxy, answers at this URL"
        )
    kind = kind_of(ours[0])
    advice = "" if kind == "401" else advice_for(kind)  # the gateway's own counts explain a 401
    return f"Infodeck's log says: {kind} {ours[0].reason or ''}. {advice or ''}"


def remove(arguments: argparse.Namespace) -> int:
    """Remove a webhook from Infodeck; return 0 once it is not listed any more."""
    settings = load_settings(arguments.config).require()
    webhook, left = _change(settings, "remove", arguments.id)
    if any(one.id == webhook.id for one in left):
        raise CommandError(f"Infodeck has answered, but still lists the webhook {webhook.id}: {_WEB_PAGE}")
    print(f"Infodeck has the webhook {webhook.id} ({webhook.url or '?'}) no more.")
    if leads_here(webhook, settings) and not any(leads_here(one, settings) for one in left):
        print(f"None leads here any more: gateway webhooks register -c {arguments.config}")
    return 0


def enable(arguments: argparse.Namespace) -> int:
    """Enable a webhook at Infodeck; return 0 once it is listed as enabled."""
    settings = load_settings(arguments.config).require()
    webhook, listed = _change(settings, "enable", arguments.id)
    now = next((one for one in listed if one.id == webhook.id), webhook)
    if not now.is_healthy:
        raise CommandError(f"Infodeck has answered, but says that it is {now.status}: {_WEB_PAGE}")
    print(f"Infodeck says that {now.id} ({now.url or '?'}) is {now.status or 'there, without a status'}.")
    return 0


def manage(settings: Settings, act: Callable[[InfodeckApi], Awaitable[Result]]) -> Result:
    """Return what `act` does with the API; raise CommandError if there is no Bearer token."""
    access = ApiAccess(
        api=settings.infodeck.api,
        organization=settings.infodeck.organization,
        proxy=settings.infodeck.proxy,
        bearer_token=_bearer_token(settings),
    )

    async def connected() -> Result:
        async with connect(access, share=settings.infodeck.request_share) as api:
            return await act(api)

    return asyncio.run(connected())


def leads_here(webhook: Webhook, settings: Settings) -> bool:
    """Return whether this is the webhook that the settings name."""
    named = settings.infodeck.webhook
    return named is not None and leads_to(webhook, url=named.url, webhook_id=named.id)


async def list_webhooks(api: InfodeckApi) -> list[Webhook]:
    """Return every webhook of the organization."""
    return [webhook_of(item) for item in await api.webhooks()]


async def find_webhook(api: InfodeckApi, settings: Settings, given_id: str | None) -> tuple[Webhook, str]:
    """Return the webhook with this id, or else the one that leads here, and its id.

    Raises CommandError if there is none, or more than one.
    """
    every = await list_webhooks(api)
    found = [one for one in every if (leads_here(one, settings) if given_id is None else one.id == given_id)]
    if len(found) == 1 and found[0].id is not None:
        return found[0], found[0].id
    if found:
        ids = ", ".join(webhook.id or "?" for webhook in found)
        raise CommandError(
            f"{len(found)} webhooks lead here ({ids}): say --id ID, or set infodeck.webhook.id"
        )
    wanted = "infodeck.webhook" if given_id is None else f"--id {given_id}"
    raise CommandError(
        f"none of {len(every)} webhooks is the one of {wanted}: `gateway webhooks list` shows them"
    )


async def newest_attempts(api: InfodeckApi, webhook_id: str) -> list[Attempt]:
    """Return the newest attempts in a webhook's log, the newest first."""
    return attempts_of(await newest_deliveries(api, webhook_id, enough=_MOST_ATTEMPTS))[:_MOST_ATTEMPTS]


def _bearer_token(settings: Settings) -> Secret:
    source = settings.infodeck.bearer_token
    if source is None:
        raise CommandError(
            "infodeck.bearer_token is not set: webhooks are managed with a user's JWT, not with an API key"
        )
    try:
        return source.resolve()
    except ConfigError as error:
        raise CommandError(f"infodeck.bearer_token: {error}") from error


def _change(settings: Settings, name: _Call, given_id: str | None) -> tuple[Webhook, list[Webhook]]:
    """Make the API call of the settings; return the webhook as it was, and all that are listed after it."""
    named = settings.infodeck.webhook
    call: str | None = getattr(named, name, None)
    if call is None:
        raise CommandError(
            f"infodeck.webhook.{name} is not set, such as `{_EXAMPLES[name]}` if Infodeck's documents say so;"
            " without it, Infodeck's web page does it"
        )
    method, path, document = parse_api_call(call)

    async def change(api: InfodeckApi) -> tuple[Webhook, list[Webhook]]:
        webhook, webhook_id = await find_webhook(api, settings, given_id)
        target = path.replace("{id}", quote(webhook_id, safe=""))
        try:
            await api.change_webhook(method, target, document)
        except ApiRefusalError as error:
            raise CommandError(
                f"Infodeck has not done it: {error}. It was asked: {method} {target}"
                f" (infodeck.webhook.{name})"
            ) from error
        except GatewayError as error:
            raise CommandError(
                f"whether Infodeck has done it is not known: {error}. Look with `gateway webhooks list`"
            ) from error
        return webhook, await list_webhooks(api)

    return manage(settings, change)


def _remark(webhooks: Sequence[Webhook], settings: Settings, arguments: argparse.Namespace) -> str:
    """Return what is notable about the webhook that leads here, or about there being none."""
    named = settings.infodeck.webhook
    here = [webhook for webhook in webhooks if leads_here(webhook, settings)]
    if named is None:
        return "Which of them leads here is not known: set infodeck.webhook.url."
    if not here:
        advice = id_to_correct(webhooks, url=named.url) or f"gateway webhooks register -c {arguments.config}"
        return f"None of them leads here ({named.id or named.url}): {advice}"
    if not all(webhook.is_subscribed_to(TELEMETRY) for webhook in here):
        return f"* leads here; it does not send {TELEMETRY}, so no reading arrives by it"
    if twins := twins_of(here[0], webhooks):
        return f"* leads here; {len(twins)} more have its URL, so each event comes as often: remove them"
    return "* leads here"


def _attempt_document(attempt: Attempt) -> dict[str, Any]:
    document = asdict(attempt)
    at_ms = document.pop("at_ms")
    kind = kind_of(attempt) if attempt.succeeded is False else None
    advice = None if kind is None else advice_for(kind)
    return {"time": at_ms and time_text(at_ms)} | document | {"failure": kind, "advice": advice}


def _print_table(headings: list[str], rows: Iterable[Iterable[str | None]]) -> None:
    """Print a table if it has rows; what Infodeck does not state is a question mark."""
    cells = [["?" if cell is None else cell for cell in row] for row in rows]
    if cells:
        print(align_columns([headings, *cells], indent=""), end="")


def _print_json(document: dict[str, Any]) -> None:
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
