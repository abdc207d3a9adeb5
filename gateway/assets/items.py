"""Pure: what the API's items mean. Tolerant: what is missing or of another type says nothing."""

from __future__ import annotations

from typing import Any

from gateway.model import KnownAsset

_LONGEST_TEXT = 200


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
