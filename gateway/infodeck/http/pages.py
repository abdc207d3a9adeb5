"""Pure: one page of any of the API's lists, in either of its two conventions. Strict about the page alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError

CURSORS = {"lastEvaluatedKey": "limit", "nextToken": "maxResults"}
"""The cursor's name in answer and request, by convention, and that of the page size beside it."""

_LONGEST_CURSOR = 4096  # it becomes part of a URL

Item = dict[str, Any]
"""Whatever is listed, as the API has it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list; `cursor` is the parameter that the next page is asked with, None at the end."""

    items: list[Item]
    cursor: tuple[str, str] | None


def page_of(document: Any, path: str) -> Page:
    """Return what a parsed answer to `path` holds; raise GatewayError where it is no page of a list."""
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise GatewayError(f"the answer is JSON, but no list (`data`, {path}): check infodeck.api")
    return Page([item for item in items if isinstance(item, dict)], _cursor(document))


def _cursor(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return the cursor in either convention, None on the last page."""
    for name in CURSORS:
        value = document.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > _LONGEST_CURSOR:
            raise GatewayError(f"`{name}` is no cursor: a short text is expected")
        return name, value
    return None
