"""Infodeck's log of its deliveries: what became of each attempt, why it failed, and what to do.

Infodeck's documents say that an attempt has a status code, a response time and a failure reason, but not
their names: several are looked for. The advice is about this gateway's own answers and proxies before it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError
from gateway.events import TELEMETRY, parse_time
from gateway.infodeck.webhooks import (
    fields_by_name,
    id_to_correct,
    leading_here,
    leads_to,
    line_of,
    webhook_of,
)
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.webhooks import Webhook

_SUMMARISED = 5  # attempts in a summary
_MOST_READ = 5000  # a page has a hundred; a log with millions is not read to its end
_LONGEST_REASON = 120
_OK = 200  # Infodeck's guide: any other answer counts as failed
_CODES = range(100, 600)

_WHEN = ("createdat", "timestamp", "attemptedat", "deliveredat", "sentat", "time", "date", "created")
_CODE = ("statuscode", "responsestatuscode", "responsestatus", "responsecode", "httpstatus", "code", "status")
_TOOK = ("responsetimems", "durationms", "latencyms", "responsetime", "duration", "latency")
_REASON = ("failurereason", "reason", "errormessage", "error", "failure", "message")
_EVENT_ID = ("eventid", "event")
_EVENT_TYPE = ("eventtype", "type", "event")
_OUTCOME = ("status", "state", "outcome", "result", "success", "succeeded", "delivered")
_SUCCEEDED = frozenset({"success", "successful", "succeeded", "delivered", "ok", "true"})
_FAILED = frozenset({"failed", "failure", "failing", "error", "timeout", "false"})

# Kinds of reasons, by lower-case words of the runtimes that senders are written in; the first match counts.
_KINDS = (
    ("name", re.compile(r"enotfound|eai_again|getaddrinfo|\bdns\b|nxdomain|resolv|no such host")),
    ("refused", re.compile(r"refused|connect call failed|ehostunreach|enetunreach|unreachable|no route")),
    ("TLS", re.compile(r"\b(tls|ssl)|certificate|x509|self[- ]signed|handshake|unable_to_verify")),
    ("time-out", re.compile(r"time[-_ ]?d?[-_ ]?out|deadline|no (answer|response)")),
    ("broken off", re.compile(r"econnreset|reset|hang up|epipe|broken pipe|closed|aborted|disconnected")),
)
_ADVICE = {
    "3xx": "something in front of the gateway redirects: the webhook's URL must be the final address",
    "400": "the gateway took it for no event, or it came incompletely: a proxy may change or cut bodies, but"
    " the signature is over the raw bytes",
    "401": "the signature does not fit: the gateway's signing secret is not this webhook's (`gateway webhooks"
    " rotate` renews it), or its clock is off by more than intake.tolerance (`gateway doctor`)",
    "403": "the proxy in front of the gateway is none of intake.trusted_proxies, or refuses by itself",
    "404": "the path of the webhook's URL is not intake.path, or the proxy does not hand it on",
    "405": "a POST arrived as something else: a redirect or a rule of the proxy in front of the gateway",
    "413": "larger than intake.max_body, or than the proxy allows (nginx: client_max_body_size)",
    "429": "the proxy in front of the gateway limits requests: give Infodeck more",
    "500": "an error of the gateway or its proxy: the gateway's log says more (intake.failed)",
    "502": "the proxy does not reach the gateway: is it running, and on intake.listen?",
    "503": "the gateway's journal was full or could not be written, or it was stopping: /api/status says"
    " (`journal.state`), see free space and journal.max_size; Infodeck tries again for 24 h",
    "504": "the proxy waited in vain for the gateway: is the machine overloaded, or its disk very slow?",
    "TLS": "Infodeck does not trust the certificate: it must be valid, name the URL's host, and come with its"
    " whole chain (`gateway doctor`)",
    "name": "the host of the webhook's URL is not in the DNS",
    "refused": "nobody answers at the webhook's address: firewall, port forwarding, proxy, or the gateway is"
    " down",
    "time-out": "no answer in 30 s: a firewall that drops packets, or a machine or disk that is overloaded",
    "broken off": "the connection ended early: the proxy or the gateway was restarted; harmless when rare",
}


async def summarise_deliveries(api: InfodeckApi, *, url: str, webhook_id: str | None) -> str:
    """Return Infodeck's records of the webhook of the settings in words, for an alarm.

    Raise `GatewayError` where they cannot be read.
    """
    webhooks = [webhook_of(item) for item in await api.webhooks()]
    found = leading_here(webhooks, url=url, webhook_id=webhook_id)
    if found is None:
        which = f"the id {webhook_id}" if webhook_id is not None else f"the address {_without_query(url)}"
        advice = id_to_correct(webhooks, url=url) or "see infodeck.webhook, and `gateway webhooks register`"
        return f"none of Infodeck's webhooks ({len(webhooks)}) has {which}: {advice}"
    items = [] if found.id is None else await newest_deliveries(api, found.id, enough=_SUMMARISED)
    return "; ".join([*_faults_of(found, url=url), _summary(attempts_of(items))])


async def newest_deliveries(api: InfodeckApi, webhook: str, *, enough: int) -> list[Item]:
    """Return the newest items of a delivery log, at least `enough` where there are as many.

    Infodeck's documents name no order: a log that is listed oldest first is read to its end. Raise
    `GatewayError` where it is too long for that.
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


def _faults_of(webhook: Webhook, *, url: str) -> list[str]:
    faults = []
    if webhook.url is not None and not leads_to(webhook, url=url, webhook_id=None):
        faults.append(
            f"the webhook's URL is {_without_query(webhook.url)}, but infodeck.webhook.url is"
            f" {_without_query(url)}"
        )
    if not webhook.is_healthy:
        faults.append(f"Infodeck says that the webhook is {webhook.status}")
    if not webhook.is_subscribed_to(TELEMETRY):
        faults.append(f"the webhook is not subscribed to {TELEMETRY}")
    return faults


def _without_query(url: str) -> str:
    """Return an address without its query, which may hold a password."""
    return url.partition("?")[0]


def _summary(attempts: Sequence[Attempt]) -> str:
    """Return the outcome of the newest attempts in words, with the API's reason and advice."""
    last = attempts[:_SUMMARISED]
    if not last:
        return "its delivery log is empty: nothing was sent, so look at the webhook's events and filters"
    counts = Counter(_outcome_word(one) for one in last)
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


def _outcome_word(attempt: Attempt) -> str:
    if attempt.succeeded is None:
        return "unclear"
    return "delivered" if attempt.succeeded else kind_of(attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to deliver an event. `took` is as logged, with its unit where the log states one.

    `succeeded` is None where the log is not clear about it.
    """

    at_ms: int | None
    event_id: str | None
    event_type: str | None
    code: int | None
    took: str | None
    reason: str | None
    succeeded: bool | None


def attempt_of(item: Item) -> Attempt:
    """Return the attempt in one item of a delivery log."""
    fields = fields_by_name(item)
    inner = fields_by_name(fields["response"]) if isinstance(fields.get("response"), dict) else {}
    event = fields_by_name(fields["event"]) if isinstance(fields.get("event"), dict) else {}
    code = next((code for found in (fields, inner) if (code := _code(found)) is not None), None)
    reason = _first_line(fields, _REASON)
    return Attempt(
        at_ms=next((at_ms for name in _WHEN if (at_ms := parse_time(fields.get(name))) is not None), None),
        event_id=_first_line(fields, _EVENT_ID) or line_of(event.get("id")),
        event_type=_first_line(fields, _EVENT_TYPE) or line_of(event.get("type")),
        code=code,
        took=_took(fields) or _took(inner),
        reason=reason,
        succeeded=_has_succeeded(fields, code, reason),
    )


def attempts_of(items: Iterable[Item]) -> list[Attempt]:
    """Return the attempts of a delivery log, newest first as far as their times are known."""
    attempts = [attempt_of(item) for item in items]
    return sorted(attempts, key=lambda one: -math.inf if one.at_ms is None else one.at_ms, reverse=True)


def _code(fields: dict[str, Any]) -> int | None:
    for name in _CODE:
        value = fields.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and value in _CODES:
            return value
    return None


def _took(fields: dict[str, Any]) -> str | None:
    for name in _TOOK:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return line_of(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return f"{value:.6g} ms" if name.endswith("ms") else f"{value:.6g}"
    return None


def _has_succeeded(fields: dict[str, Any], code: int | None, reason: str | None) -> bool | None:
    if code is not None:
        return code == _OK
    words = {str(fields[name]).strip().lower() for name in _OUTCOME if name in fields}
    if words & _FAILED or reason is not None:
        return False
    return True if words & _SUCCEEDED else None


def _first_line(fields: dict[str, Any], names: Iterable[str]) -> str | None:
    return next((text for name in names if (text := line_of(fields.get(name)))), None)


def kind_of(attempt: Attempt) -> str:
    """Return in one word why an attempt failed: its code, or the kind of its reason."""
    if attempt.code is not None:
        return "3xx" if attempt.code // 100 == 3 else str(attempt.code)  # noqa: PLR2004 - redirects
    reason = (attempt.reason or "").lower()
    return next((kind for kind, words in _KINDS if words.search(reason)), "unclear")


def advice_for(kind: str) -> str | None:
    """Return what a kind of failure means and what to do, None if it is not known."""
    advice = _ADVICE.get(kind)
    if advice is None and kind.isdigit():
        advice = f"no answer of this gateway ({_phrase(int(kind))}): see what stands in front of it"
    return advice


def failures_of(attempts: Iterable[Attempt]) -> Counter[str]:
    """Count the failed attempts by their kind."""
    return Counter(kind_of(attempt) for attempt in attempts if attempt.succeeded is False)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "no code of HTTP"
