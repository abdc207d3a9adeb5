"""What `gateway discover` drafts from: Infodeck's API as it answers now, and what the journal remembers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.clock import now_ms
from gateway.errors import GatewayError
from gateway.events import named_shadows, read_telemetry, shadow_items
from gateway.infodeck.api_client import connect
from gateway.infodeck.inventory import InventoryReader
from gateway.infodeck.transport import ApiAccess
from gateway.journal.lookup import newest_events, read_snapshot, read_unmapped
from gateway.records import AssetSnapshot, KnownAsset
from gateway.text import second_text
from gateway.tools.discover.evidence import Evidence, Sightings

if TYPE_CHECKING:
    from gateway.infodeck.inventory import FetchedInventory
    from gateway.model import Event
    from gateway.settings import Infodeck, Settings

_NEWEST_EVENTS = 20_000  # a second's work, and half an hour of a large building
_UNLISTED = "it reports, but Infodeck does not list it: deleted there? Last seen {last}"


@dataclass(slots=True)
class Gathered:
    """The evidence and its snapshot; `notes` say what could not be had. `is_live`: the API answered."""

    evidence: Evidence
    snapshot: AssetSnapshot | None
    notes: list[str]
    is_live: bool


def gather(settings: Settings, *, is_offline: bool) -> Gathered:
    """Ask the API unless `is_offline`, and look into the journal. What cannot be had becomes a note."""
    memory = _Memory()
    memory.read(settings)
    survey = None if is_offline else _ask(settings.infodeck, memory)
    if survey is not None:
        memory.notes += [
            f"{part} could not be had, so they are as before: {why}" for part, why in survey.missing.items()
        ]
        return _together(survey.snapshot, memory, is_live=True)
    return _together(memory.snapshot, memory, is_live=False)


@dataclass(slots=True)
class _Memory:
    """What the journal remembers, and what was seen. `last_ms`: of assets that no table named."""

    snapshot: AssetSnapshot | None = None
    sightings: Sightings = field(default_factory=Sightings)
    last_ms: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self, settings: Settings) -> None:
        """Look into the journal; one that can't be read leaves everything to the API."""
        path = settings.journal.path
        try:
            self.snapshot = read_snapshot(path)
            for stranger in read_unmapped(path):
                self.last_ms[stranger.asset] = stranger.last_ms
                for key in stranger.keys:
                    self.sightings.add(stranger.asset, key)
            for event in newest_events(path, limit=_NEWEST_EVENTS):
                self._see(event)
        except GatewayError as error:
            self.notes.append(str(error))

    def _see(self, event: Event) -> None:
        telemetry = read_telemetry(event)
        if telemetry is not None:
            for reading in telemetry.readings:
                if not (event.is_backfilled and reading.key.startswith("$")):  # a path, which a point reads
                    self.sightings.add(telemetry.asset, reading.key, reading.value)

    def see_shadows(self, items: list[dict[str, Any]]) -> None:
        """Take the readings in a page of the API's list."""
        for item in items:
            asset, shadows = item.get("id"), item.get("shadows")
            if isinstance(asset, str) and isinstance(shadows, dict):
                for _, shadow in named_shadows(shadows):
                    for key, value, _, _ in shadow_items(shadow):
                        self.sightings.add(asset, key, value)


def _ask(settings: Infodeck, memory: _Memory) -> FetchedInventory | None:
    """Return what the API tells; None where it tells nothing, with a note of the reason."""
    if settings.api_key is None:
        memory.notes.append(
            "Infodeck was not asked: infodeck.api_key is not set. Drafted from the journal alone"
        )
        return None
    try:
        access = ApiAccess(
            api=settings.api,
            organization=settings.organization,
            proxy=settings.proxy,
            api_key=settings.api_key.resolve(),
        )
        return asyncio.run(_survey(access, settings, memory))
    except GatewayError as error:
        memory.notes.append(f"Infodeck could not be asked: {error}. Drafted from the journal alone")
        return None


async def _survey(access: ApiAccess, settings: Infodeck, memory: _Memory) -> FetchedInventory:
    reader = InventoryReader(
        organization=settings.organization,
        clock_ms=now_ms,
        on_items=memory.see_shadows,
        shadows=settings.refill.shadows,
    )
    async with connect(access, share=settings.request_share) as api:
        return await reader.fetch(api, memory.snapshot, thorough=True)


def _together(snapshot: AssetSnapshot | None, memory: _Memory, *, is_live: bool) -> Gathered:
    """Put assets and sightings together: what Infodeck was not asked about may be there all the same."""
    assets = {} if snapshot is None else dict(snapshot.assets)
    strangers = [asset for asset in memory.last_ms if asset not in assets]
    unlisted = {}
    if is_live:
        unlisted = {asset: _UNLISTED.format(last=second_text(memory.last_ms[asset])) for asset in strangers}
    else:
        assets |= {asset: KnownAsset(id=asset) for asset in strangers}
    evidence = Evidence(
        source=_source(snapshot, is_live=is_live),
        assets=assets,
        types={} if snapshot is None else snapshot.types,
        sightings=memory.sightings,
        unlisted=unlisted,
    )
    return Gathered(evidence, snapshot, memory.notes, is_live)


def _source(snapshot: AssetSnapshot | None, *, is_live: bool) -> str:
    if snapshot is None:
        return "the telemetry that the gateway has received"
    asked = second_text(snapshot.at_ms)
    return (
        f"Infodeck's API as of {asked}"
        + ("" if is_live else ", kept in the journal")
        + ", and telemetry seen"
    )
