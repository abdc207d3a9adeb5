"""Infodeck's events as it sends them, for whoever stands in for it. Pure.

Source: Infodeck's developer documentation, "Webhook deliveries", and its example of `asset.created`, whose
asset other events are given here, too. The shape of `data.object` in
`asset.telemetry.updated` is not documented; the readings as a map are a plausible one.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Scalar

TEST = "webhook.test"
TELEMETRY = "asset.telemetry.updated"
_METADATA = {"manufacturer": "nameOfManufacturer", "model": "modelName", "serialNumber": "serialNumber"}
_TIMES = {"created": "createdAt", "updated": "updatedAt"}  # Unix seconds


def envelope(
    kind: str,
    thing: Mapping[str, Any],
    *,
    event_id: str,
    organization: str,
    created_s: int,
    previous: Mapping[str, Any] | None = None,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return an event of type `kind` about `thing`; `previous` are the changed attributes as they were."""
    data: dict[str, Any] = {"object": dict(thing)}
    if previous is not None:
        data["previousAttributes"] = dict(previous)
    event: dict[str, Any] = {
        "id": event_id,
        "type": kind,
        "organizationId": organization,
        "created": created_s,
        "data": data,
        "livemode": not is_test,
    }
    return event | {"isTest": True} if is_test else event


def asset_in_event(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what events have of an asset, as far as it is known; the API names things otherwise."""
    named = ("id", "name", "assetTypeId", "locationId", "status")
    thing = {name: item[name] for name in named if name in item}
    metadata = {name: item[listed] for name, listed in _METADATA.items() if listed in item}
    times = {name: item[listed] for name, listed in _TIMES.items() if listed in item}
    return thing | ({"metadata": metadata} if metadata else {}) | times


def telemetry_event(
    *,
    asset: Mapping[str, Any],
    telemetry: Mapping[str, Scalar],
    timestamp: int,
    event_id: str,
    organization: str,
    created_s: int,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return readings of one asset, which `asset` names; `timestamp` says when, in Unix s or ms."""
    thing = {**asset, "telemetry": dict(telemetry), "timestamp": timestamp}
    return envelope(
        TELEMETRY,
        thing,
        event_id=event_id,
        organization=organization,
        created_s=created_s,
        is_test=is_test,
    )


def new_event_id() -> str:
    """Return an id that no other event has."""
    return f"evt_{secrets.token_hex(12)}"
