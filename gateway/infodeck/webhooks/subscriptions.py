"""Pure: what the items of Infodeck's webhooks and of their delivery logs mean. Tolerant of every shape.

Of a webhook, Infodeck's documents name `url`, `events` and `description`; of an attempt only that there
are status code, response time and failure reason, not what they are called. So several names are looked
for, in any spelling (`statusCode`, `status_code`), and what is missing says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.config.secrets import is_usable
from gateway.events import parse_time
from gateway.text import sanitise_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.infodeck.api_client import Item

DOCUMENTED_EVENTS = (
    "asset.telemetry.updated",
    "asset.status.changed",
    "asset.created",
    "asset.deleted",
)
"""The documented event types that this gateway has a use for."""

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
_OK = 200  # Infodeck's guide: whatever else is answered counts as failed
_CODES = range(100, 600)
_HTTPS_PORT = 443

_WHEN = ("createdat", "timestamp", "attemptedat", "deliveredat", "sentat", "time", "date", "created")
_CODE = ("statuscode", "responsestatuscode", "responsestatus", "responsecode", "httpstatus", "code", "status")
_TOOK = ("responsetimems", "durationms", "latencyms", "responsetime", "duration", "latency")
_REASON = ("failurereason", "reason", "errormessage", "error", "failure", "message")
_EVENT_ID = ("eventid", "event")
_EVENT_TYPE = ("eventtype", "type", "event")
_OUTCOME = ("status", "state", "outcome", "result", "success", "succeeded", "delivered")
_SUCCEEDED = frozenset({"success", "successful", "succeeded", "delivered", "ok", "true"})
_WELL = frozenset({"active", "enabled", "ok", "healthy"})
_ILL = frozenset({"failing", "failed", "disabled", "inactive", "paused", "suspended"})
_FAILED = frozenset({"failed", "failure", "failing", "error", "timeout", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook as Infodeck lists it; None and empty: it does not say."""

    id: str | None
    url: str | None
    events: tuple[str, ...]
    description: str | None
    status: str | None

    def is_told_of(self, event_type: str) -> bool:
        """Say whether events of a type come by it, as far as it says; `*` would stand for all."""
        return not self.events or event_type in self.events or "*" in self.events

    @property
    def is_well(self) -> bool:
        """Whether its status is none that somebody should look at."""
        return self.status is None or self.status.lower() in _WELL

    @property
    def is_ill(self) -> bool:
        """Whether its status is known to mean that it delivers nothing, or soon will not."""
        return self.status is not None and self.status.lower() in _ILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to deliver an event. `took` as logged, with its unit where the log says which.

    `succeeded` is None where the log is not clear about it.
    """

    at_ms: int | None
    event_id: str | None
    event_type: str | None
    code: int | None
    took: str | None
    reason: str | None
    succeeded: bool | None


def webhook_of(item: Item) -> Webhook:
    """Return the webhook of one item in the list."""
    fields = _by_name(item)
    events = fields.get("events") or fields.get("eventtypes")
    return Webhook(
        id=_text(fields.get("id")) or _text(fields.get("webhookid")),
        url=_text(fields.get("url")),
        events=tuple(name for one in events if (name := _text(one))) if isinstance(events, list) else (),
        description=_text(fields.get("description")),
        status=_status(fields),
    )


def leads_to(webhook: Webhook, *, url: str | None, webhook_id: str | None) -> bool:
    """Say whether this is the webhook of the settings: by its id where they have one, else by its URL."""
    if webhook_id is not None:
        return webhook.id == webhook_id
    return url is not None and webhook.url is not None and _same_address(webhook.url) == _same_address(url)


def leading_here(webhooks: Sequence[Webhook], *, url: str, webhook_id: str | None) -> Webhook | None:
    """Return the webhook of the settings, None where there is none.

    Of several with its address, one that is well: a former one may be there still.
    """
    ours = [one for one in webhooks if leads_to(one, url=url, webhook_id=webhook_id)]
    return next((one for one in ours if one.is_well), ours[0] if ours else None)


def id_to_correct(webhooks: Iterable[Webhook], *, url: str) -> str | None:
    """Return what to do where no webhook leads here since the settings have the id of a former one."""
    same = next((one for one in webhooks if leads_to(one, url=url, webhook_id=None)), None)
    return None if same is None else f"correct infodeck.webhook.id, {same.id or '?'} has this URL"


def twins_of(webhook: Webhook, webhooks: Iterable[Webhook]) -> list[Webhook]:
    """Return the other webhooks with the address of this one, by which each event comes once more."""
    return [
        one for one in webhooks if one.id != webhook.id and leads_to(one, url=webhook.url, webhook_id=None)
    ]


def attempt_of(item: Item) -> Attempt:
    """Return the attempt of one item in a delivery log."""
    fields = _by_name(item)
    inner = _by_name(fields["response"]) if isinstance(fields.get("response"), dict) else {}
    event = _by_name(fields["event"]) if isinstance(fields.get("event"), dict) else {}
    code = next((code for found in (fields, inner) if (code := _code(found)) is not None), None)
    reason = _first_text(fields, _REASON)
    return Attempt(
        at_ms=next((at_ms for name in _WHEN if (at_ms := parse_time(fields.get(name))) is not None), None),
        event_id=_first_text(fields, _EVENT_ID) or _text(event.get("id")),
        event_type=_first_text(fields, _EVENT_TYPE) or _text(event.get("type")),
        code=code,
        took=_took(fields) or _took(inner),
        reason=reason,
        succeeded=_outcome(fields, code, reason),
    )


def attempts_of(items: Iterable[Item]) -> list[Attempt]:
    """Return the attempts of a delivery log, newest first as far as their times are known."""
    attempts = [attempt_of(item) for item in items]
    return sorted(attempts, key=lambda one: -math.inf if one.at_ms is None else one.at_ms, reverse=True)


def signing_secret_of(item: Item) -> str | None:
    """Return the secret that an answer gives away this once, None where it has none that can be used."""
    secret = item.get("signingSecret")
    return secret if isinstance(secret, str) and is_usable(secret) else None


def _same_address(url: str) -> object:
    """Return what two spellings of one address have in common; paths differ by every character."""
    try:
        parts = urlsplit(url)
        port = parts.port or _HTTPS_PORT
    except ValueError:
        return url
    return parts.scheme, parts.hostname, port, parts.path or "/", parts.query


def _status(fields: dict[str, Any]) -> str | None:
    """Return the API's word for how the webhook is; a switch is put into one."""
    word = _text(fields.get("status")) or _text(fields.get("state"))
    if word is not None:
        return word
    for name, words in (
        ("enabled", ("disabled", "enabled")),
        ("active", ("inactive", "active")),
        ("isactive", ("inactive", "active")),
    ):
        if isinstance(switch := fields.get(name), bool):
            return words[switch]
    return None


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
            return _text(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return f"{value:.6g} ms" if name.endswith("ms") else f"{value:.6g}"
    return None


def _outcome(fields: dict[str, Any], code: int | None, reason: str | None) -> bool | None:
    if code is not None:
        return code == _OK
    words = {str(fields[name]).strip().lower() for name in _OUTCOME if name in fields}
    if words & _FAILED or reason is not None:
        return False
    return True if words & _SUCCEEDED else None


def _first_text(fields: dict[str, Any], names: Iterable[str]) -> str | None:
    return next((text for name in names if (text := _text(fields.get(name)))), None)


def _by_name(item: Item) -> dict[str, Any]:
    """Return the fields by their names without case, `_` and `-`."""
    return {name.lower().replace("_", "").replace("-", ""): value for name, value in item.items()}


def _text(value: Any) -> str | None:
    """Return text without blanks around it, in one line; a number as text; anything else says nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    return sanitise_line(value, longest=_LONGEST_TEXT) or None
