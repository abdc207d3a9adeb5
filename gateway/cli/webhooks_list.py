"""`gateway webhooks list`, `deliveries`, `remove` and `enable`.

Infodeck's documents do not say how the API removes or enables a webhook, so the settings do. What an answer
to such a request means is not known either: what counts is what the list of webhooks shows afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import orjson

from gateway.cli.webhooks_access import find_webhook, leads_here, list_webhooks, manage
from gateway.errors import ApiRefusalError, CommandError, GatewayError
from gateway.events import TELEMETRY
from gateway.infodeck.webhooks import (
    advice_for,
    attempts_of,
    failures_of,
    id_to_correct,
    kind_of,
    newest_deliveries,
    twins_of,
)
from gateway.settings import load_settings
from gateway.settings.infodeck import parse_api_call
from gateway.text import align_columns, second_text, time_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.webhooks import Attempt, Webhook
    from gateway.settings import Settings

_Call = Literal["remove", "enable"]

_MOST_ATTEMPTS = 1000  # of a log that has no end
_OUTCOMES = {True: "ok", False: "failed", None: "?"}
_WEB_PAGE = "see the call in infodeck.webhook, and Infodeck's web page"
_EXAMPLES: dict[_Call, str] = {"remove": "DELETE /webhooks/{id}", "enable": "POST /webhooks/{id}/enable"}


def print_list(arguments: argparse.Namespace) -> int:
    """Print every webhook; return 0, also if there are none."""
    settings = load_settings(arguments.config).require()
    webhooks = manage(settings, list_webhooks)
    if arguments.format == "json":
        _print_json({"webhooks": [_document(webhook, settings) for webhook in webhooks]})
        return 0
    if webhooks:
        print(_table(webhooks, settings), end="")
    else:
        print("There are no webhooks.")
    for line in _remarks(webhooks, settings, config=str(arguments.config)):
        print(line)
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
    if shown:
        print(_attempts_table(shown), end="")
    print(_count(webhook_id, attempts, matching=len(matching), shown=len(shown)))
    for kind, count in failures_of(shown).most_common():
        print(f"{count} x {kind}: {advice_for(kind) or 'see the reason above, in the words of Infodeck'}")
    return 0


async def newest_attempts(api: InfodeckApi, webhook_id: str) -> list[Attempt]:
    """Return the newest attempts in a webhook's log, the newest first."""
    return attempts_of(await newest_deliveries(api, webhook_id, enough=_MOST_ATTEMPTS))[:_MOST_ATTEMPTS]


def remove(arguments: argparse.Namespace) -> int:
    """Remove a webhook from Infodeck; return 0 once it is not listed any more."""
    settings = load_settings(arguments.config).require()
    _require_call(settings, "remove")
    webhook, left = manage(settings, lambda api: _change(api, settings, "remove", arguments.id))
    if any(one.id == webhook.id for one in left):
        raise CommandError(f"Infodeck has answered, but still lists the webhook {webhook.id}: {_WEB_PAGE}")
    print(f"Infodeck has the webhook {webhook.id} ({webhook.url or '?'}) no more.")
    if leads_here(webhook, settings) and not any(leads_here(one, settings) for one in left):
        print(f"None leads here any more: gateway webhooks register -c {arguments.config}")
    return 0


def enable(arguments: argparse.Namespace) -> int:
    """Enable a webhook at Infodeck; return 0 once it is listed as enabled."""
    settings = load_settings(arguments.config).require()
    _require_call(settings, "enable")
    webhook, listed = manage(settings, lambda api: _change(api, settings, "enable", arguments.id))
    now = next((one for one in listed if one.id == webhook.id), webhook)
    if not now.is_healthy:
        raise CommandError(f"Infodeck has answered, but says that it is {now.status}: {_WEB_PAGE}")
    print(f"Infodeck says that {now.id} ({now.url or '?'}) is {now.status or 'there, without a status'}.")
    return 0


def _require_call(settings: Settings, name: _Call) -> str:
    """Return the API call that the settings name; raise CommandError if they name none."""
    webhook = settings.infodeck.webhook
    call = {"remove": webhook.remove, "enable": webhook.enable}[name] if webhook is not None else None
    if call is None:
        raise CommandError(
            f"infodeck.webhook.{name} is not set: Infodeck's documents, as we know them, do not say how the"
            f" API is asked for it. If yours say it, set it, such as `{_EXAMPLES[name]}`; without it,"
            " Infodeck's web page does it"
        )
    return call


async def _change(
    api: InfodeckApi, settings: Settings, name: _Call, given_id: str | None
) -> tuple[Webhook, list[Webhook]]:
    """Return the webhook as it was, and all that Infodeck lists after the call."""
    webhook, webhook_id = await find_webhook(api, settings, given_id)
    method, path, document = parse_api_call(_require_call(settings, name))
    path = path.replace("{id}", quote(webhook_id, safe=""))
    try:
        await api.change_webhook(method, path, document)
    except ApiRefusalError as error:
        raise CommandError(
            f"Infodeck has not done it: {error}. It was asked: {method} {path} (infodeck.webhook.{name})"
        ) from error
    except GatewayError as error:
        raise CommandError(
            f"whether Infodeck has done it is not known: {error}. Look with `gateway webhooks list`"
        ) from error
    return webhook, await list_webhooks(api)


def _table(webhooks: Sequence[Webhook], settings: Settings) -> str:
    rows = [["", "id", "status", "events", "url", "description"]]
    rows += [
        [
            "*" if leads_here(webhook, settings) else "",
            webhook.id or "?",
            webhook.status or "?",
            ",".join(webhook.events) or "?",
            webhook.url or "?",
            webhook.description or "",
        ]
        for webhook in webhooks
    ]
    return align_columns(rows, indent="")


def _remarks(webhooks: Sequence[Webhook], settings: Settings, *, config: str) -> list[str]:
    """Return remarks about the webhook that leads here, or about there being none."""
    named = settings.infodeck.webhook
    here = [webhook for webhook in webhooks if leads_here(webhook, settings)]
    if named is None:
        return ["Which of them leads here is not known: set infodeck.webhook.url."]
    if not here:
        by = f"the URL {named.url}" if named.id is None else f"the id {named.id}"
        advice = id_to_correct(webhooks, url=named.url) or f"gateway webhooks register -c {config}"
        return [f"None of them leads here ({by}): {advice}"]
    remarks = ["* leads here"]
    remarks += [
        f"{webhook.id}: it does not send {TELEMETRY}, so no reading arrives by it"
        for webhook in here
        if not webhook.is_subscribed_to(TELEMETRY)
    ]
    if twins := twins_of(here[0], webhooks):
        remarks.append(
            f"{1 + len(twins)} of them have the URL of the one that leads here, so each event comes as often:"
            " remove all but one"
        )
    return remarks


def _document(webhook: Webhook, settings: Settings) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "description": webhook.description,
        "status": webhook.status,
        "leads_here": leads_here(webhook, settings),
    }


def _attempts_table(attempts: Sequence[Attempt]) -> str:
    rows = [["when", "event", "type", "outcome", "code", "took", "reason"]]
    rows += [
        [
            "?" if one.at_ms is None else second_text(one.at_ms),
            one.event_id or "?",
            one.event_type or "?",
            _OUTCOMES[one.succeeded],
            "-" if one.code is None else str(one.code),
            one.took or "-",
            one.reason or "",
        ]
        for one in attempts
    ]
    return align_columns(rows, indent="")


def _attempt_document(attempt: Attempt) -> dict[str, Any]:
    kind = kind_of(attempt) if attempt.succeeded is False else None
    return {
        "time": None if attempt.at_ms is None else time_text(attempt.at_ms),
        "event_id": attempt.event_id,
        "event_type": attempt.event_type,
        "succeeded": attempt.succeeded,
        "code": attempt.code,
        "took": attempt.took,
        "reason": attempt.reason,
        "failure": kind,
        "advice": None if kind is None else advice_for(kind),
    }


def _count(webhook_id: str, attempts: Sequence[Attempt], *, matching: int, shown: int) -> str:
    if not attempts:
        return f"{webhook_id}: the log is empty. Have Infodeck send something: gateway webhooks test"
    failed = sum(one.succeeded is False for one in attempts)
    of = f"the newest {len(attempts)}" if len(attempts) >= _MOST_ATTEMPTS else f"{len(attempts)}"
    counted = f"{webhook_id}: {of} attempts, {failed} of them failed"
    return counted + (f"; these are the newest {shown}, --limit shows more." if shown < matching else ".")


def _print_json(document: dict[str, Any]) -> None:
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
