"""Webhook events with chosen times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.events import TELEMETRY
from gateway.infodeck.delivery_monitor import AssetReports
from gateway.infodeck.missing_webhooks import WebhookArrivals
from gateway.model import BACKFILL_ID_PREFIX, Event

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NOW_MS = 1_795_507_200_000  # 2026-11-24T08:00:00Z
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Everything:
    """Contains every asset, as tables that map them all."""

    def __contains__(self, asset: object) -> bool:
        return True


def telemetry_event(
    asset: str, *, at_ms: int, late_ms: int = 0, event_id: str = "evt_1", created: object = None
) -> Event:
    """Make an event of `at_ms`, received `late_ms` later."""
    document = {
        "id": event_id,
        "type": TELEMETRY,
        "created": at_ms // 1000 if created is None else created,
        "data": {"object": {"assetId": asset, "telemetry": {"temperature": 21.5}}},
    }
    return Event(event_id, TELEMETRY, b"", document, at_ms + late_ms)


def backfilled_event(asset: str, *, at_ms: int) -> Event:
    """Make one of the gateway's own events."""
    return telemetry_event(asset, at_ms=at_ms, event_id=f"{BACKFILL_ID_PREFIX}1")


def arrivals_of(*times_ms: tuple[str, int]) -> WebhookArrivals:
    """Return the arrivals of events at these times."""
    arrivals = WebhookArrivals(Everything)
    for asset, at_ms in times_ms:
        arrivals.accept(telemetry_event(asset, at_ms=at_ms))
    return arrivals


class MadeUpReports(AssetReports):
    """Reports of assets without tables."""

    def __init__(self, assets: Collection[str], read_ms: Mapping[str, int] | None = None) -> None:
        """`read_ms` has the newest readings that webhooks brought; both may be changed meanwhile."""
        self._assets = assets
        self._read_ms = {} if read_ms is None else read_ms

    def mapped(self) -> Collection[str]:
        """Return the assets."""
        return self._assets

    def newest_by_webhook(self, asset: str) -> int:
        """Return what was given."""
        return self._read_ms.get(asset, 0)

    async def newest_at_start(self) -> int:
        """Return 0: nothing came before the start."""
        return 0
