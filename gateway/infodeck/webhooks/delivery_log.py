"""Why webhooks do not arrive, as far as Infodeck's own records of them tell: in words for an alarm."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.events import TELEMETRY
from gateway.infodeck.webhooks.failures import advice_for, failures_of, kind_of
from gateway.infodeck.webhooks.subscriptions import (
    attempt_of,
    attempts_of,
    id_to_correct,
    leading_here,
    leads_to,
    webhook_of,
)
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.webhooks.subscriptions import Attempt, Webhook

_LAST = 5  # attempts that are spoken of
_MOST_READ = 5000  # a page has a hundred; the event loop must not wait for one that has a million
_LONGEST_REASON = 120


async def look_up(api: InfodeckApi, *, url: str, webhook_id: str | None) -> str:
    """Return what Infodeck says of the webhook that leads here; raise `GatewayError` where it does not."""
    webhooks = [webhook_of(item) for item in await api.webhooks()]
    found = leading_here(webhooks, url=url, webhook_id=webhook_id)
    if found is None:
        which = f"the id {webhook_id}" if webhook_id is not None else f"the address {_without_query(url)}"
        advice = id_to_correct(webhooks, url=url) or "see infodeck.webhook, and `gateway webhooks register`"
        return f"none of Infodeck's webhooks ({len(webhooks)}) has {which}: {advice}"
    items = [] if found.id is None else await newest_deliveries(api, found.id, enough=_LAST)
    return "; ".join(filter(None, (_of_webhook(found, url=url), of_attempts(attempts_of(items)))))


async def newest_deliveries(api: InfodeckApi, webhook: str, *, enough: int) -> list[Item]:
    """Return the newest items of a delivery log, `enough` of them where there are as many.

    Infodeck's documents name no order: a log that is listed oldest first is read to its end. Raise
    `GatewayError` where that is too far.
    """
    items: list[Item] = []
    async for page in api.deliveries(webhook):
        items += page
        if len(items) >= enough and not _is_oldest_first(items):
            break
        if len(items) >= _MOST_READ:
            raise GatewayError(
                f"Infodeck lists it oldest first, and more than {_MOST_READ} attempts, of which the last ones"
                " are not reached"
            )
    return items


def _is_oldest_first(items: Sequence[Item]) -> bool:
    times_ms = [at_ms for one in (items[0], items[-1]) if (at_ms := attempt_of(one).at_ms) is not None]
    return times_ms[:1] < times_ms[1:]


def _of_webhook(webhook: Webhook, *, url: str) -> str:
    parts = []
    if webhook.url is not None and not leads_to(webhook, url=url, webhook_id=None):
        parts.append(
            f"the webhook's URL is {_without_query(webhook.url)}, but infodeck.webhook.url is"
            f" {_without_query(url)}"
        )
    if not webhook.is_well:
        parts.append(f"Infodeck says that the webhook is {webhook.status}")
    if not webhook.is_told_of(TELEMETRY):
        parts.append(f"the webhook is not subscribed to {TELEMETRY}")
    return "; ".join(parts)


def _without_query(url: str) -> str:
    """Return an address as it may be shown to everybody: some write a password behind the question mark."""
    return url.partition("?")[0]


def of_attempts(attempts: Sequence[Attempt]) -> str:
    """Return what became of the last attempts to deliver, newest first; with the API's words and advice."""
    last = attempts[:_LAST]
    if not last:
        return "its delivery log is empty: nothing was sent, so look at the webhook's events and filters"
    counts = Counter("unclear" if one.succeeded is None else _outcome(one) for one in last)
    said = ", ".join(f"{count}x {outcome}" for outcome, count in counts.most_common())
    at_ms = last[0].at_ms
    when = "" if at_ms is None else f" (the last one at {second_text(at_ms)})"
    text = f"of its last {len(last)} deliveries{when}: {said}"
    failures = failures_of(last)
    if failures:
        kind = failures.most_common(1)[0][0]
        reason = next((one.reason for one in last if one.succeeded is False and kind_of(one) == kind), None)
        if reason is not None:
            text += f" ({reason[:_LONGEST_REASON]})"
        if (advice := advice_for(kind)) is not None:
            text += f"; {advice}"
    elif last[0].succeeded:
        text += "; if they were not for this gateway, something else answers at that address"
    return text


def _outcome(attempt: Attempt) -> str:
    if attempt.succeeded:
        return "delivered"
    return kind_of(attempt)
