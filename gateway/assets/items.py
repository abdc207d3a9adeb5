"""Pure: one page of the API's list of assets. Tolerant of what an asset looks like, strict about the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.model import KnownAsset

CURSORS = {"lastEvaluatedKey": "limit", "nextToken": "maxResults"}
"""The cursor's name in answer and request, by convention, and that of the page size beside it."""

_LONGEST_TEXT = 200
_LONGEST_CURSOR = 4096  # it becomes part of a URL


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the assets; `cursor` is the parameter that the next page is asked with, None at the end."""

    assets: tuple[KnownAsset, ...]
    cursor: tuple[str, str] | None


def parse_page(body: bytes) -> Page:
    """Return what the answer holds; raise GatewayError where it is no page of a list."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(
            f"the answer is not JSON ({error.msg}): check infodeck.api, and that no proxy answers instead"
        ) from error
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise GatewayError("the answer is JSON, but no list of assets (`data`): check infodeck.api")
    found = (known_asset(item) for item in items)
    return Page(tuple(asset for asset in found if asset is not None), _cursor(document))


def _cursor(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return the cursor in either convention."""
    for name in CURSORS:
        value = document.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > _LONGEST_CURSOR:
            raise GatewayError(f"`{name}` is no cursor: a short text is expected")
        return name, value
    return None


def known_asset(item: Any) -> KnownAsset | None:
    """Return the asset of one item in the list, None where it has no usable id."""
    if not isinstance(item, dict):
        return None
    asset_id = item.get("id")
    if not isinstance(asset_id, str) or not 0 < len(asset_id) <= _LONGEST_TEXT:
        return None
    metadata = _object(item.get("metadata"))
    return KnownAsset(
        id=asset_id,
        name=_text(item.get("name")),
        asset_type=_text(item.get("assetTypeId")),
        model=_text(item.get("modelName")) or _text(metadata.get("model")),
        manufacturer=_text(item.get("nameOfManufacturer")) or _text(metadata.get("manufacturer")),
        location=_text(_object(item.get("location")).get("name")) or _text(item.get("locationId")),
        online=_online(item),
    )


def _online(item: dict[str, Any]) -> bool | None:
    """Return what Infodeck says of the device's connection, None where it says nothing clear."""
    connected, status = item.get("connectionStatus"), item.get("status")
    if isinstance(connected, bool):
        return connected
    if isinstance(status, str):
        return {"online": True, "offline": False}.get(status.strip().lower())
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Return text or a whole number as text without blanks around it; anything else says nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return (value.strip()[:_LONGEST_TEXT] or None) if isinstance(value, str) else None
