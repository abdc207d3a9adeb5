"""What `gateway discover` drafts from: Infodeck's API, and the events and assets stored in the journal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.clock import now_ms
from gateway.errors import GatewayError
from gateway.events import named_shadows, read_telemetry, shadow_items
from gateway.infodeck.api_client import ApiAccess, connect
from gateway.infodeck.inventory import InventoryReader
from gateway.journal.lookup import newest_events, read_assets, read_unmapped_assets
from gateway.records import AssetSnapshot, KnownAsset
from gateway.text import second_text
from gateway.tools.draft_points import Evidence, Samples, add_value

if TYPE_CHECKING:
    from gateway.infodeck.inventory import FetchedInventory
    from gateway.model import Event
    from gateway.settings import InfodeckSettings, Settings

_NEWEST_EVENTS = 20_000  # half an hour of a large building, read in a second


@dataclass(slots=True)
class DiscoverSources:
    """Stored and received assets and readings; `notes`: what was unavailable; `is_live`: the API answered.

    `unmapped_ms`: when each asset that no table names reported last.
    """

    snapshot: AssetSnapshot | None = None
    samples: dict[str, Samples] = field(default_factory=dict)
    unmapped_ms: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_live: bool = False

    def read_journal(self, settings: Settings) -> None:
        """Read the journal; an unreadable one becomes a note."""
        path = settings.journal.path
        try:
            self.snapshot = read_assets(path)
            for unmapped in read_unmapped_assets(path):
                self.unmapped_ms[unmapped.asset] = unmapped.last_ms
                for key in unmapped.keys:
                    add_value(self.samples, unmapped.asset, key)
            for event in newest_events(path, limit=_NEWEST_EVENTS):
                self._add_event(event)
        except GatewayError as error:
            self.notes.append(str(error))

    def _add_event(self, event: Event) -> None:
        if (telemetry := read_telemetry(event)) is not None:
            for reading in telemetry.readings:
                if not (event.is_backfilled and reading.key.startswith("$")):  # the path of a point
                    add_value(self.samples, telemetry.asset, reading.key, reading.value)

    def ask_infodeck(self, settings: InfodeckSettings) -> None:
        """Replace the stored snapshot by that of the API; if it does not answer, add a note."""
        if settings.api_key is None:
            self.notes.append("drafted from the journal alone: infodeck.api_key is not set")
            return
        try:
            access = ApiAccess(
                api=settings.api,
                organization=settings.organization,
                proxy=settings.proxy,
                api_key=settings.api_key.resolve(),
            )
            fetched = asyncio.run(self._fetch(access, settings))
        except GatewayError as error:
            self.notes.append(f"drafted from the journal alone: Infodeck could not be asked: {error}")
            return
        self.snapshot, self.is_live = fetched.snapshot, True
        self.notes += [f"{part} are as before: {why}" for part, why in fetched.missing.items()]

    async def _fetch(self, access: ApiAccess, settings: InfodeckSettings) -> FetchedInventory:
        reader = InventoryReader(
            organization=settings.organization,
            clock_ms=now_ms,
            on_items=self._add_shadows,
            shadows=settings.refill.shadows,
        )
        async with connect(access, share=settings.request_share) as api:
            return await reader.fetch(api, self.snapshot, thorough=True)

    async def _add_shadows(self, items: list[dict[str, Any]]) -> None:
        """Add the readings in a page of the API's list of assets."""
        for item in items:
            asset, shadows = item.get("id"), item.get("shadows")
            if isinstance(asset, str) and isinstance(shadows, dict):
                for _, shadow in named_shadows(shadows):
                    for key, value, _, _ in shadow_items(shadow):
                        add_value(self.samples, asset, key, value)

    def evidence(self) -> Evidence:
        """Return what to draft from; if the API did not answer, unlisted assets may exist all the same."""
        snapshot = self.snapshot or AssetSnapshot(now_ms(), {})
        assets = dict(snapshot.assets)
        unlisted = {asset: last_ms for asset, last_ms in self.unmapped_ms.items() if asset not in assets}
        if not self.is_live:
            assets |= {asset: KnownAsset(id=asset) for asset in unlisted}
            unlisted = {}
        origin = "Infodeck's API" if self.is_live else "the journal"
        return Evidence(
            source=f"{origin} and received telemetry as of {second_text(snapshot.at_ms)}",
            assets=assets,
            types=snapshot.types,
            samples=self.samples,
            unlisted={
                asset: f"Infodeck does not list it; last received {second_text(last_ms)}"
                for asset, last_ms in unlisted.items()
            },
        )
