"""The `infodeck` section of `gateway.yaml`: Infodeck's API and webhook, and how the gateway uses them."""

from __future__ import annotations

import re
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.secrets import SecretReference
from gateway.config.value_types import ApiUrl, Organization, Period, ProxyUrl, is_loopback, parse_url
from gateway.mapping.paths import compile_path

_METHODS = frozenset({"DELETE", "POST", "PUT", "PATCH"})

Text = Annotated[str, Field(min_length=1)]


def _check_item_path(path: str) -> str:
    try:
        compile_path(path)
    except ValueError as error:
        raise ValueError("a path into an asset of the API's list is written like $.updatedAt") from error
    return path


def check_webhook_url(text: str) -> str:
    """Return the address of a webhook; raise ValueError if Infodeck would not post to it."""
    message = "the public https address is expected, such as https://gateway.example.com/webhooks/infodeck"
    url = parse_url(text.partition("?")[0], message)
    is_safe = url.scheme == "https" or is_loopback(url.hostname or "")  # where only a simulation posts
    if not is_safe or set(text) & set("@ #") or not text.isprintable():
        raise ValueError(message)
    return text


def _check_rotate_path(path: str) -> str:
    if not re.fullmatch(r"/[\w./{}~-]+", path, re.ASCII) or "{" in path.replace("{id}", ""):
        raise ValueError("a path below the organization is expected, such as /webhooks/{id}/rotate")
    return path


def parse_api_call(text: str) -> tuple[str, str, dict[str, Any] | None]:
    """Return method, path and the document to send of `PATCH /webhooks/{id} {"status": "Active"}`.

    Raise ValueError for anything else; `{id}` is in the path.
    """
    method, _, rest = text.partition(" ")
    path, _, written = rest.partition(" ")
    try:
        document = orjson.loads(written) if written else None
        _check_rotate_path(path)
    except ValueError:
        path = ""
    if method not in _METHODS or "{id}" not in path or not isinstance(document, dict | None):
        raise ValueError(
            "method and path below the organization are expected, such as DELETE /webhooks/{id} or PATCH"
            ' /webhooks/{id} {"status": "Active"}'
        )
    return method, path, document


def _check_api_call(text: str) -> str:
    parse_api_call(text)
    return text


ItemPath = Annotated[str, AfterValidator(_check_item_path)]
WebhookUrl = Annotated[str, AfterValidator(check_webhook_url)]
RotatePath = Annotated[str, AfterValidator(_check_rotate_path)]
ApiCall = Annotated[str, AfterValidator(_check_api_call)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ReconcileSettings:
    """How often the API is asked for what webhooks may have missed. Times in seconds."""

    every: Period = 15 * 60.0
    """How often the API is asked."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RefillSettings:
    """The backfill of what webhooks missed, from the API. Times in seconds."""

    enabled: bool = True
    """false: what webhooks missed stays missing until the next report."""
    tolerance: Period = 60.0
    """How much newer than the last reading the API's must be to count as missed: what a delivery may take."""
    shadows: tuple[Text, ...] = ()
    """Names of the device shadows to ask for; if not written, the API's usual one (DeviceUplink)."""
    time: ItemPath | None = None
    """Where listed assets have their shadow's time, if not in it: $.updatedAt, say, if no edit moves that."""
    history_after: Period = 24 * 3600.0
    """Longer gaps are filled for points with `refill: history`; Infodeck repeats deliveries for 24h."""
    metric_time: Text = "timestamp"
    """The name of the time in the items of the API's history of a metric."""
    metric_value: Text = "value"
    """The name of the value in them."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class WebhookSettings:
    """Infodeck's webhook that leads here, for the commands that manage it and for its delivery log."""

    url: WebhookUrl
    """The public address that Infodeck posts to."""
    id: Text | None = None
    """Its id in Infodeck; if not written, it is found by `url`."""
    rotate: RotatePath | None = None
    """Where a new signing secret is asked for, such as /webhooks/{id}/rotate; Infodeck's documents say."""
    remove: ApiCall | None = None
    """How the API removes a webhook, such as DELETE /webhooks/{id}; Infodeck's documents say."""
    enable: ApiCall | None = None
    """How it switches one on again, such as POST /webhooks/{id}/enable; Infodeck's documents say."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class InfodeckSettings:
    """Infodeck's API and webhook. Without `api_key` there is no reconciliation."""

    organization: Organization
    """The organization's id; events of others go nowhere."""
    api: ApiUrl = "https://app.infodeck.io/api/v2"
    """Where Infodeck's API is."""
    api_key: SecretReference | None = None
    """Where the API key is; without it there is no reconciliation."""
    proxy: ProxyUrl | None = None
    """The HTTP proxy through which the API is asked; if not written, what HTTPS_PROXY and NO_PROXY say."""
    bearer_token: SecretReference | None = None
    """Where the JWT is that manages webhooks; without it the delivery log cannot be read."""
    request_share: Annotated[float, Field(ge=0.01, le=1)] = 0.5
    """The share of the 1,000 requests a minute of a key that this gateway uses: 0.5 is half."""
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    """Asking the API for what webhooks may have missed."""
    refill: RefillSettings = Field(default_factory=RefillSettings)
    """The backfill of what webhooks missed, from the API."""
    webhook: WebhookSettings | None = None
    """Infodeck's webhook that leads here."""
    silence: Period = 3600.0
    """An alarm is raised if no telemetry for a point arrives for so long."""
