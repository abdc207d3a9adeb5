"""What the items of Infodeck's webhook list and delivery logs mean, and what to do about failed deliveries.

Infodeck's documents hardly name their fields. So several names are looked for, in any spelling (`statusCode`,
`status_code`); what is missing is None. The advice is about this gateway's own answers and proxies before it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gateway.config.secrets import is_usable
from gateway.errors import GatewayError
from gateway.events import TELEMETRY, EventPatterns, parse_time
from gateway.text import sanitise_line, second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.infodeck.api_client import InfodeckApi, Item

T = TypeVar("T")

DOCUMENTED_EVENTS = (
    "asset.telemetry.updated",
    "asset.status.changed",
    "asset.created",
    "asset.deleted",
)
"""The documented event types that concern points and assets."""

ALL_DOCUMENTED_EVENTS = frozenset(DOCUMENTED_EVENTS) | {
    f"{thing}.{what}"
    for thing, happenings in {
        "workorder": ("created", "updated", "status.changed", "completed"),
        "booking": ("created", "updated", "cancelled", "checked_in", "no_show"),
        "visitor": ("registered", "checked_in", "checked_out"),
    }.items()
    for what in happenings
}
"""All documented event types that can be subscribed to."""

_LONGEST_TEXT = 500
_HTTPS_PORT = 443
_SWITCHES = ("enabled", "active", "isactive")  # booleans that stand for a status
_HEALTHY = frozenset({"active", "enabled", "ok", "healthy"})
_FAILING = frozenset({"failing", "failed", "disabled", "inactive", "paused", "suspended"})


def published_types(events: EventPatterns) -> tuple[str, ...]:
    """Return the event types beside `DOCUMENTED_EVENTS` that the webhook must send for the sinks' `events`.

    A pattern stands for the documented types that it matches, `*` for whatever the webhook sends.
    """
    patterns = EventPatterns(events.patterns - {"*"})
    named = {each for each in patterns.patterns if not each.endswith("*")}
    matched = {each for each in ALL_DOCUMENTED_EVENTS if each in patterns}
    return tuple(sorted((named | matched).difference(DOCUMENTED_EVENTS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook as Infodeck lists it. None and empty: not stated."""

    id: str | None
    url: str | None
    events: tuple[str, ...]
    description: str | None
    status: str | None

    def is_subscribed_to(self, event_type: str) -> bool:
        """Whether it delivers events of a type; True where it does not state its events."""
        return not self.events or event_type in self.events or "*" in self.events

    @property
    def is_healthy(self) -> bool:
        """Whether its status needs nobody's attention."""
        return self.status is None or self.status.lower() in _HEALTHY

    @property
    def is_failing(self) -> bool:
        """Whether its status is known to mean that it delivers nothing, or soon will not."""
        return self.status is not None and self.status.lower() in _FAILING


def webhook_of(item: Item) -> Webhook:
    """Return the webhook in one item of the list."""
    fields = _fields_of(item)
    events = fields.get("events") or fields.get("eventtypes")
    switches = [fields[name] for name in _SWITCHES if isinstance(fields.get(name), bool)]
    switched = ("active" if switches[0] else "inactive") if switches else None
    return Webhook(
        id=_first(_line, fields, "id", "webhookid"),
        url=_line(fields.get("url")),
        events=tuple(name for one in events if (name := _line(one))) if isinstance(events, list) else (),
        description=_line(fields.get("description")),
        status=_first(_line, fields, "status", "state") or switched,
    )


def leads_to(webhook: Webhook, *, url: str | None, webhook_id: str | None) -> bool:
    """Whether this is the webhook of the settings: by its id where they have one, else by its URL."""
    if webhook_id is not None:
        return webhook.id == webhook_id
    return url is not None and webhook.url is not None and _address(webhook.url) == _address(url)


def _address(url: str) -> object:
    """Return what spellings of one address have in common; paths must be equal by character."""
    try:
        parts = urlsplit(url)
        port = parts.port or _HTTPS_PORT
    except ValueError:
        return url
    return parts.scheme, parts.hostname, port, parts.path or "/", parts.query


def leading_here(webhooks: Sequence[Webhook], *, url: str, webhook_id: str | None) -> Webhook | None:
    """Return the webhook of the settings, None if there is none.

    A healthy one is preferred: a former webhook with the same address may still be listed.
    """
    ours = [one for one in webhooks if leads_to(one, url=url, webhook_id=webhook_id)]
    return next((one for one in ours if one.is_healthy), ours[0] if ours else None)


def id_to_correct(webhooks: Iterable[Webhook], *, url: str) -> str | None:
    """Return the advice for settings that have the id of a former webhook, None where none has the URL."""
    same = next((one for one in webhooks if leads_to(one, url=url, webhook_id=None)), None)
    return None if same is None else f"correct infodeck.webhook.id, {same.id or '?'} has this URL"


def twins_of(webhook: Webhook, webhooks: Iterable[Webhook]) -> list[Webhook]:
    """Return the other webhooks with the same address: each of them delivers every event once more."""
    return [
        one for one in webhooks if one.id != webhook.id and leads_to(one, url=webhook.url, webhook_id=None)
    ]


def signing_secret_of(item: Item) -> str | None:
    """Return the signing secret in an answer, None if it has none that can be used."""
    secret = item.get("signingSecret")
    return secret if isinstance(secret, str) and is_usable(secret) else None


_SUMMARISED = 5  # attempts in a summary
_MOST_READ = 5000  # a page has a hundred; a log with millions is not read to its end
_LONGEST_REASON = 120
_CODES = range(100, 600)

_WHEN = ("createdat", "timestamp", "attemptedat", "deliveredat", "sentat", "time", "date", "created")
_CODE = ("statuscode", "responsestatuscode", "responsestatus", "responsecode", "httpstatus", "code", "status")
_TOOK = ("responsetimems", "durationms", "latencyms", "responsetime", "duration", "latency")
_REASON = ("failurereason", "reason", "errormessage", "error", "failure", "message")
_OUTCOME = ("status", "state", "outcome", "result", "success", "succeeded", "delivered")
_SUCCEEDED = frozenset({"success", "successful", "succeeded", "delivered", "ok", "true"})
_FAILED = frozenset({"failed", "failure", "failing", "error", "timeout", "false"})

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
"""What each kind of failure means and what to do, by code or by the kind of its reason."""

_KINDS = {  # of reasons, by words of the runtimes that senders are written in; the first match counts
    "name": r"enotfound|eai_again|getaddrinfo|\bdns\b|nxdomain|resolv|no such host",
    "refused": r"refused|connect call failed|ehostunreach|enetunreach|unreachable|no route",
    "TLS": r"\b(tls|ssl)|certificate|x509|self[- ]signed|handshake|unable_to_verify",
    "time-out": r"time[-_ ]?d?[-_ ]?out|deadline|no (answer|response)",
    "broken off": r"econnreset|reset|hang up|epipe|broken pipe|closed|aborted|disconnected",
}


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
    fields = _fields_of(item)
    response, event = _fields_of(fields.get("response")), _fields_of(fields.get("event"))
    code = _first(_code, fields, *_CODE) or _first(_code, response, *_CODE)
    reason = _first(_line, fields, *_REASON)
    return Attempt(
        at_ms=_first(parse_time, fields, *_WHEN),
        event_id=_first(_line, fields, "eventid", "event") or _line(event.get("id")),
        event_type=_first(_line, fields, "eventtype", "type", "event") or _line(event.get("type")),
        code=code,
        took=_took(fields) or _took(response),
        reason=reason,
        succeeded=_has_succeeded(fields, code, reason),
    )


def _has_succeeded(fields: dict[str, Any], code: int | None, reason: str | None) -> bool | None:
    if code is not None:
        return code == HTTPStatus.OK  # Infodeck's guide: any other answer counts as failed
    words = {str(fields.get(name)).strip().lower() for name in _OUTCOME}
    if words & _FAILED or reason is not None:
        return False
    return True if words & _SUCCEEDED else None


def attempts_of(items: Iterable[Item]) -> list[Attempt]:
    """Return the attempts of a delivery log, newest first as far as their times are known."""
    attempts = [attempt_of(item) for item in items]
    return sorted(attempts, key=lambda one: -math.inf if one.at_ms is None else one.at_ms, reverse=True)


def kind_of(attempt: Attempt) -> str:
    """Return in one word why an attempt failed: its code, or the kind of its reason."""
    if attempt.code is not None:
        return "3xx" if attempt.code // 100 == 3 else str(attempt.code)  # noqa: PLR2004 - redirects
    reason = (attempt.reason or "").lower()
    return next((kind for kind, words in _KINDS.items() if re.search(words, reason)), "unclear")


def advice_for(kind: str) -> str | None:
    """Return what a kind of failure means and what to do, None if it is not known."""
    if kind.isdigit():
        return _ADVICE.get(kind, "no answer of this gateway: see what stands in front of it")
    return _ADVICE.get(kind)


def failures_of(attempts: Iterable[Attempt]) -> Counter[str]:
    """Count the failed attempts by their kind."""
    return Counter(kind_of(attempt) for attempt in attempts if attempt.succeeded is False)


async def newest_deliveries(api: InfodeckApi, webhook: str, *, enough: int) -> list[Item]:
    """Return the newest items of a delivery log, at least `enough` where there are as many.

    Infodeck's documents name no order: a log that is listed oldest first is read to its end. Raise
    `GatewayError` where it is too long for that.
    """
    items: list[Item] = []
    async for page in api.deliveries(webhook):
        items += page
        if len(items) >= enough:
            times_ms = [attempt_of(one).at_ms or 0 for one in (items[0], items[-1])]
            if times_ms[0] >= times_ms[1]:
                break
        if len(items) >= _MOST_READ:
            raise GatewayError(
                f"Infodeck lists it oldest first, and more than {_MOST_READ} attempts, of which the last ones"
                " are not reached"
            )
    return items


async def summarise_deliveries(api: InfodeckApi, *, url: str, webhook_id: str | None) -> str:
    """Return Infodeck's records of the webhook of the settings in words, for an alarm."""
    webhooks = [webhook_of(item) for item in await api.webhooks()]
    found = leading_here(webhooks, url=url, webhook_id=webhook_id)
    if found is None:
        which = f"the id {webhook_id}" if webhook_id is not None else f"the address {_without_query(url)}"
        advice = id_to_correct(webhooks, url=url) or "see infodeck.webhook, and `gateway webhooks register`"
        return f"none of Infodeck's webhooks ({len(webhooks)}) has {which}: {advice}"
    items = [] if found.id is None else await newest_deliveries(api, found.id, enough=_SUMMARISED)
    facts = []
    if found.url is not None and not leads_to(found, url=url, webhook_id=None):
        urls = _without_query(found.url), _without_query(url)
        facts.append(f"the webhook's URL is {urls[0]}, but infodeck.webhook.url is {urls[1]}")
    if not found.is_healthy:
        facts.append(f"Infodeck says that the webhook is {found.status}")
    if not found.is_subscribed_to(TELEMETRY):
        facts.append(f"the webhook is not subscribed to {TELEMETRY}")
    return "; ".join([*facts, _summary(attempts_of(items)[:_SUMMARISED])])


def _without_query(url: str) -> str:
    """Return an address without its query, which may hold a password."""
    return url.partition("?")[0]


def _summary(attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return "its delivery log is empty: nothing was sent, so look at the webhook's events and filters"
    counts = Counter("delivered" if one.succeeded else kind_of(one) for one in attempts)
    outcomes = ", ".join(f"{count}x {outcome}" for outcome, count in counts.most_common())
    at_ms = attempts[0].at_ms
    when = "" if at_ms is None else f" (the last one at {second_text(at_ms)})"
    text = f"of its last {len(attempts)} deliveries{when}: {outcomes}"
    if not (failures := failures_of(attempts)):
        return f"{text}; if they were not for this gateway, something else answers at that address"
    kind = failures.most_common(1)[0][0]
    reason = next((one.reason for one in attempts if kind_of(one) == kind), None)
    text += f" ({reason[:_LONGEST_REASON]})" if reason is not None else ""
    advice = advice_for(kind)
    return f"{text}; {advice}" if advice is not None else text


def _fields_of(item: Any) -> dict[str, Any]:
    """Return the fields of an object by their names without case, `_` and `-`."""
    fields = item.items() if isinstance(item, dict) else ()
    return {name.lower().replace("_", "").replace("-", ""): value for name, value in fields}


def _first(parse: Callable[[Any], T | None], fields: dict[str, Any], *names: str) -> T | None:
    return next((found for name in names if (found := parse(fields.get(name))) is not None), None)


def _line(value: Any) -> str | None:
    """Return a text or integer as one stripped line, None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return (sanitise_line(value, longest=_LONGEST_TEXT) or None) if isinstance(value, str) else None


def _code(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and value in _CODES else None


def _took(fields: dict[str, Any]) -> str | None:
    for name in _TOOK:
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return f"{value:.6g} ms" if name.endswith("ms") else f"{value:.6g}"
        if isinstance(value, str) and value.strip():
            return _line(value)
    return None
