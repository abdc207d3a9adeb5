"""`gateway webhooks list` and `deliveries`: what Infodeck has, and what it says of its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli.webhooks_access import find_webhook, leads_here, manage, webhooks_of
from gateway.events import TELEMETRY
from gateway.infodeck.delivery_log import advice_for, attempts_of, failures_of, kind_of, newest_deliveries
from gateway.infodeck.webhooks import id_to_correct, twins_of
from gateway.settings import load_settings
from gateway.text import align_columns, second_text, time_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.infodeck.api_client import InfodeckApi
    from gateway.infodeck.delivery_log import Attempt
    from gateway.infodeck.webhooks import Webhook
    from gateway.settings import Settings

_MOST_READ = 1000  # attempts; a busy webhook's log has no end
_OUTCOMES = {True: "ok", False: "failed", None: "?"}


def print_list(arguments: argparse.Namespace) -> int:
    """Print every webhook; return 0, also where there are none."""
    settings = load_settings(arguments.config).require()
    found = manage(settings, webhooks_of)
    if arguments.format == "json":
        _print_json({"webhooks": [_document(webhook, settings) for webhook in found]})
        return 0
    if found:
        print(_table(found, settings), end="")
    else:
        print("There are no webhooks.")
    for line in _remarks(found, settings, config=str(arguments.config)):
        print(line)
    return 0


def print_deliveries(arguments: argparse.Namespace) -> int:
    """Print the newest attempts of one webhook, with advice for each kind of failure; return 0."""
    settings = load_settings(arguments.config).require()

    async def read(api: InfodeckApi) -> tuple[str, list[Attempt]]:
        _, webhook_id = await find_webhook(api, settings, webhook_id=arguments.id)
        return webhook_id, await newest_attempts(api, webhook_id)

    webhook_id, attempts = manage(settings, read)
    wanted = [one for one in attempts if not arguments.failed or one.succeeded is False]
    shown = wanted[: arguments.limit]
    if arguments.format == "json":
        _print_json({"webhook": webhook_id, "deliveries": [_attempt_document(one) for one in shown]})
        return 0
    if shown:
        print(_attempts_table(shown), end="")
    print(_count(webhook_id, attempts, wanted=len(wanted), shown=len(shown)))
    for line in advice_on(shown):
        print(line)
    return 0


async def newest_attempts(api: InfodeckApi, webhook_id: str) -> list[Attempt]:
    """Return the newest attempts of the log, newest first."""
    return attempts_of(await newest_deliveries(api, webhook_id, enough=_MOST_READ))[:_MOST_READ]


def advice_on(attempts: Sequence[Attempt]) -> list[str]:
    """Return a line for each kind of failure, the most frequent first."""
    return [
        f"{count} x {kind}: {advice_for(kind) or 'see the reason above, in the words of Infodeck'}"
        for kind, count in failures_of(attempts).most_common()
    ]


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
    """Return what there is to say of the webhook that leads here, or of there being none."""
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
        f"{webhook.id}: it is not told of {TELEMETRY}, so no reading arrives by it"
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


def _count(webhook_id: str, attempts: Sequence[Attempt], *, wanted: int, shown: int) -> str:
    if not attempts:
        return f"{webhook_id}: the log is empty. Have Infodeck send something: gateway webhooks test"
    failed = sum(one.succeeded is False for one in attempts)
    of = f"the newest {len(attempts)}" if len(attempts) >= _MOST_READ else f"{len(attempts)}"
    counted = f"{webhook_id}: {of} attempts, {failed} of them failed"
    return counted + (f"; these are the newest {shown}, --limit shows more." if shown < wanted else ".")


def _print_json(document: dict[str, Any]) -> None:
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
