"""Pure: what assets, asset types and locations in the API's lists mean. Unusable fields count as missing.

Names become single lines without control characters: people type them into Infodeck, and read them in logs,
terminals and on MQTT. An id or key with such a character is ignored, since no point table could name it.
"""

from __future__ import annotations

import math
import re
from typing import Any, TypeGuard

from gateway.records import AssetLocation, AssetProperty, AssetType, KnownAsset
from gateway.text import sanitise_line

_LONGEST_TEXT = 200
_MOST_PROPERTIES = 1_000
# Control characters, line and paragraph separators, and marks that change the direction of writing.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def known_asset(item: Any) -> KnownAsset | None:
    """Return the asset in one item of the list, None where it has no usable id.

    Its location is as in the item; `LocationTree` adds the path.
    """
    asset_id = _id(item)
    if asset_id is None:
        return None
    metadata, location = _object(item.get("metadata")), _object(item.get("location"))
    location_id = _text(item.get("locationId")) or _text(location.get("id"))
    return KnownAsset(
        id=asset_id,
        name=_text(item.get("name")),
        asset_type=_text(item.get("assetTypeId")),
        model=_text(item.get("modelName")) or _text(metadata.get("model")),
        manufacturer=_text(item.get("nameOfManufacturer")) or _text(metadata.get("manufacturer")),
        location=_text(location.get("name")) or location_id,
        location_id=location_id,
        keep_alive=_positive(item.get("keepAlive")),
        online=_online(item),
    )


def asset_type(item: Any, *, asked: str) -> AssetType:
    """Return the type of the id that was requested, as far as the answer describes it."""
    item = _object(item)
    properties: dict[str, AssetProperty] = {}
    listed = item.get("properties")
    for one in listed[:_MOST_PROPERTIES] if isinstance(listed, list) else ():
        found = _property(_object(one))
        if found is not None:
            properties.setdefault(found.key, found)
    return AssetType(id=asked, name=_text(item.get("name")), properties=tuple(properties.values()))


def location(item: Any) -> AssetLocation | None:
    """Return the location in one item of the list, None where it has no usable id."""
    location_id = _id(item)
    if location_id is None:
        return None
    return AssetLocation(id=location_id, name=_text(item.get("name")), parent=_text(item.get("parentId")))


def _property(item: dict[str, Any]) -> AssetProperty | None:
    key = item.get("key")
    if not _is_name(key):
        return None
    return AssetProperty(
        key=key,
        name=_text(item.get("name")),
        type=_text(item.get("type")),
        unit_of_measure=_text(item.get("unit")),
    )


def _id(item: Any) -> str | None:
    found = item.get("id") if isinstance(item, dict) else None
    return found if _is_name(found) else None


def _is_name(value: Any) -> TypeGuard[str]:
    """Whether this can be used as an id or key."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and not _STEERING.search(value)


def _positive(value: Any) -> float | None:
    """Return a positive number, also from a text."""
    try:
        number = float(value) if isinstance(value, int | float | str) and value is not True else 0.0
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _online(item: dict[str, Any]) -> bool | None:
    """Return whether the device is connected, None where that is not clear."""
    connected, status = item.get("connectionStatus"), item.get("status")
    if isinstance(connected, bool):
        return connected
    if isinstance(status, str):
        return {"online": True, "offline": False}.get(status.strip().lower())
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Return a text or integer as one line, None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return (sanitise_line(value, longest=_LONGEST_TEXT) or None) if isinstance(value, str) else None
