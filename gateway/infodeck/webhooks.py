"""Pure: what the items of Infodeck's webhook list mean.

Of a webhook, Infodeck's documents name only `url`, `events` and `description`. So several names are looked
for, in any spelling (`statusCode`, `status_code`); what is missing is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.config.secrets import is_usable
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
_HTTPS_PORT = 443
_HEALTHY = frozenset({"active", "enabled", "ok", "healthy"})
_FAILING = frozenset({"failing", "failed", "disabled", "inactive", "paused", "suspended"})
_SWITCHES = (  # booleans that stand for a status, with their words for False and True
    ("enabled", ("disabled", "enabled")),
    ("active", ("inactive", "active")),
    ("isactive", ("inactive", "active")),
)


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
    fields = fields_by_name(item)
    events = fields.get("events") or fields.get("eventtypes")
    return Webhook(
        id=line_of(fields.get("id")) or line_of(fields.get("webhookid")),
        url=line_of(fields.get("url")),
        events=tuple(name for one in events if (name := line_of(one))) if isinstance(events, list) else (),
        description=line_of(fields.get("description")),
        status=_status(fields),
    )


def _status(fields: dict[str, Any]) -> str | None:
    """Return the API's word for the webhook's state, or one that stands for a switch."""
    word = line_of(fields.get("status")) or line_of(fields.get("state"))
    if word is not None:
        return word
    for name, words in _SWITCHES:
        if isinstance(switch := fields.get(name), bool):
            return words[switch]
    return None


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


def fields_by_name(item: Item) -> dict[str, Any]:
    """Return the fields of an item by their names without case, `_` and `-`."""
    return {name.lower().replace("_", "").replace("-", ""): value for name, value in item.items()}


def line_of(value: Any) -> str | None:
    """Return a text or integer as one stripped line, None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    return sanitise_line(value, longest=_LONGEST_TEXT) or None
