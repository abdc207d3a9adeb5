"""What `gateway discover` drafts from: Infodeck's API, and the events and assets stored in the journal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.clock import now_ms
from gateway.errors import GatewayError
from gateway.events import MAPPED_TYPES, named_shadows, read_telemetry, shadow_items
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.inventory import InventoryReader
from gateway.journal.lookup import newest_events, read_assets, read_unmapped_assets
from gateway.records import AssetSnapshot, KnownAsset
from gateway.text import second_text, short_list
from gateway.tools.draft_points import Evidence, Samples, add_value

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.infodeck.inventory import FetchedInventory
    from gateway.settings import InfodeckSettings, Settings

_NEWEST_EVENTS = 20_000  # half an hour of a large building, read in a second


def gather_evidence(settings: Settings, *, is_offline: bool) -> tuple[Evidence, list[str]]:
    """Return what to draft from, and notes of what is unavailable."""
    samples: dict[str, Samples] = {}
    notes: list[str] = []
    snapshot: AssetSnapshot | None = None
    fetched: FetchedInventory | None = None
    try:
        snapshot = read_assets(settings.journal.path)
        _add_stored(settings.journal.path, samples)
    except GatewayError as error:
        notes.append(str(error))
    if not is_offline:
        try:
            fetched = asyncio.run(_fetch(settings.infodeck, snapshot, samples))
        except GatewayError as error:
            notes.append(f"drafted from the journal alone: {error}")
    if fetched is not None:
        snapshot = fetched.snapshot
        notes += [f"{part} are as before: {why}" for part, why in fetched.missing.items()]
    snapshot = snapshot or AssetSnapshot(now_ms(), {})
    if unlisted := sorted(samples.keys() - snapshot.assets):
        if fetched is not None:
            notes.append(
                f"they report, but Infodeck does not list them, so none is drafted: {short_list(unlisted)}"
            )
        else:  # they may exist all the same
            known = {asset: KnownAsset(id=asset) for asset in unlisted}
            snapshot = replace(snapshot, assets={**snapshot.assets, **known})
    origin = "the journal" if fetched is None else "Infodeck's API"
    source = f"{origin} and received telemetry as of {second_text(snapshot.at_ms)}"
    return Evidence(source, snapshot, samples), notes


def _add_stored(journal: Path, samples: dict[str, Samples]) -> None:
    """Add the keys of assets that no table names, and the readings of the newest events."""
    for unmapped in read_unmapped_assets(journal):
        for key in unmapped.keys:
            add_value(samples, unmapped.asset, key)
    for event in newest_events(journal, limit=_NEWEST_EVENTS):
        if event.type in MAPPED_TYPES and (telemetry := read_telemetry(event)) is not None:
            for reading in telemetry.readings:
                if not (event.is_backfilled and reading.key.startswith("$")):  # the path of a point
                    add_value(samples, telemetry.asset, reading.key, reading.value)


async def _fetch(
    settings: InfodeckSettings, before: AssetSnapshot | None, samples: dict[str, Samples]
) -> FetchedInventory:
    """Fetch assets and types, and add the readings in their device shadows."""
    if settings.api_key is None:
        raise GatewayError("infodeck.api_key is not set")
    access = ApiAccess(
        api=settings.api,
        organization=settings.organization,
        proxy=settings.proxy,
        api_key=settings.api_key.resolve(),
    )

    async def add_shadows(items: list[dict[str, Any]]) -> None:
        for item in items:
            asset, shadows = item.get("id"), item.get("shadows")
            if isinstance(asset, str) and isinstance(shadows, dict):
                for _, shadow in named_shadows(shadows):
                    for key, value, _, _ in shadow_items(shadow):
                        add_value(samples, asset, key, value)

    reader = InventoryReader(
        organization=settings.organization,
        clock_ms=now_ms,
        on_items=add_shadows,
        shadows=settings.refill.shadows,
    )
    async with connect(access, share=settings.request_share) as api:
        return await reader.fetch(api, before, thorough=True)
