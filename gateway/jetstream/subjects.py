"""An event on NATS: its subject, `infodeck.<organization>.<site>.<asset>`, each part a token; its headers."""

from __future__ import annotations

from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = "infodeck"
UNKNOWN = "_"
"""The token of a site or an asset that is not known."""

VERIFIED_BY = "Gateway-Verified-By"
"""The header with the name of the gateway whose intake verified the signature."""
RECEIVED = "Gateway-Received"
"""The header with the time at which that gateway received the event, in Unix ms."""

_LONGEST_BYTES = 800  # three of them fit into the 4,096 bytes of a server's longest control line


@lru_cache(maxsize=16_384)
def subject_token(text: str) -> str:
    """Return a text as one token of a subject: percent-encoded as in URLs, the dot too.

    Letters, digits, `_`, `-` and `~` stay as they are. No other text has the same token, except that an empty
    text, and one whose token would be longer than 800 bytes, are `_`. The text `_` itself is `%5F`.
    """
    if text == UNKNOWN:
        return "%5F"
    token = quote(text, safe="", errors="replace").replace(".", "%2E")
    return token if 0 < len(token) <= _LONGEST_BYTES else UNKNOWN


def event_subject(organization: str, site: str | None, asset: str | None) -> str:
    """Return the subject of an event; None is an unknown site or asset."""
    return f"{ROOT}.{subject_token(organization)}.{subject_token(site or '')}.{subject_token(asset or '')}"


def organization_subjects(organization: str) -> str:
    """Return the subjects of all events of an organization, `infodeck.<organization>.>`."""
    return f"{ROOT}.{subject_token(organization)}.>"


def covers(wide: str, narrow: str) -> bool:
    """Return whether every subject that `narrow` matches is matched by `wide`."""
    for wide_word, narrow_word in zip_longest(wide.split("."), narrow.split(".")):
        if wide_word == ">":
            return narrow_word is not None
        if narrow_word in (None, ">") or wide_word not in ("*", narrow_word):
            return False
    return True


def filter_subjects(consumer: Mapping[str, Any]) -> list[str]:
    """Return the subjects in a consumer's configuration, which has one or a list; none stands for all."""
    single = consumer.get("filter_subject")
    return list(consumer.get("filter_subjects") or ([single] if single else ()))
