"""What an answer of Infodeck's API other than 200 means, and what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.text import sanitise_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.infodeck.http.access import ApiAccess

_BUSY_S = 60.0  # the limit counts by the minute
_LONGEST_RETRY_AFTER_S = 3600.0
_LONGEST_SAID = 200

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_OTHER_ADVICE = "check infodeck.api ({api})"
# Infodeck's guide, "Troubleshooting", and its table of the two secrets.
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: (
        "check infodeck.api_key: it begins with `idt_live_`, has 32 characters behind it, and must not be"
        " revoked; a webhook's signing secret is no API key"
    ),
    HTTPStatus.FORBIDDEN: (
        "API access requires Infodeck's Professional plan, and a key that may read the organization"
        " {organization}: ask whoever manages it"
    ),
    HTTPStatus.NOT_FOUND: "check infodeck.organization ({organization}) and infodeck.api ({api})",
    HTTPStatus.UNPROCESSABLE_ENTITY: "check infodeck.organization ({organization}) and infodeck.api ({api})",
}
_BEARER_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: (
        "check infodeck.bearer_token: a JWT of a user who may manage webhooks, and not an expired one; an"
        " API key is refused here"
    ),
    HTTPStatus.FORBIDDEN: (
        "the user of infodeck.bearer_token may not manage webhooks of {organization}: that takes a role that"
        " may, and the organization Infodeck's Professional plan; ask whoever manages it"
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        "something in the request is wrong, see Infodeck's words for what: the URL, an event type, or"
        " infodeck.organization ({organization})"
    ),
}


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, access: ApiAccess, bearer: bool
) -> GatewayError:
    """Return the error that an answer other than 2xx stands for; `bearer`: the JWT was shown, not the key."""
    answered = f"the API answered {status}{_said(body, access)}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        default_s = _BUSY_S if status == HTTPStatus.TOO_MANY_REQUESTS else None
        return TransientError(answered, retry_after_s=_retry_after_s(headers, default_s))
    facts = {"organization": access.organization, "api": access.api}
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        target = _quotable(headers.get("Location", "nowhere"), access)
        return ApiRefusalError(
            f"{answered}, a redirect to {target}",
            advice=f"infodeck.api must be the address itself ({access.api})",
            status=status,
        )
    advice = (_BEARER_ADVICE.get(status) if bearer else None) or _ADVICE.get(status, _OTHER_ADVICE)
    return ApiRefusalError(answered, advice=advice.format_map(facts), status=status)


def _retry_after_s(headers: Mapping[str, str], default_s: float | None) -> float | None:
    """Return the pause that was asked for, in seconds; a date counts from the answer's own."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
        since = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return min(max(0.0, (until - since).total_seconds()), _LONGEST_RETRY_AFTER_S)
    except (ValueError, TypeError, OverflowError):  # no date, or one that cannot be compared
        return default_s


def _said(body: bytes, access: ApiAccess) -> str:
    """Return the API's own words in brackets, where it has some; never a secret."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    said = _quotable(next(iter(_words(document)), ""), access)
    return f" ({said})" if said else ""


def _quotable(text: str, access: ApiAccess) -> str:
    """Return what the other side has written as a short line, without secrets that it gives back."""
    for secret in access.secret_texts():
        text = text.replace(secret, "***")
    return sanitise_line(text, longest=_LONGEST_SAID)


def _words(document: object) -> list[str]:
    """Return what a refusal says of itself, where APIs say it: `message`, `error`, or a message in there."""
    if not isinstance(document, dict):
        return []
    error = document.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    return [word for word in (document.get("message"), inner) if isinstance(word, str) and word.strip()]
