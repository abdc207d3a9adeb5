"""Webhooks as they arrive, made up with their times."""

from __future__ import annotations

from gateway.events import TELEMETRY
from gateway.infodeck.delivery_monitor.arrivals import Arrivals
from gateway.model import BACKFILL_ID_PREFIX, Event

NOW_MS = 1_795_507_200_000  # 2026-11-24T08:00:00Z
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Everything:
    """Contains whatever is asked for: point tables that name all assets."""

    def __contains__(self, asset: object) -> bool:
        return True


def telemetry_event(
    asset: str, *, at_ms: int, late_ms: int = 0, event_id: str = "evt_1", created: object = None
) -> Event:
    """Make an event of `at_ms` that is received `late_ms` later."""
    document = {
        "id": event_id,
        "type": TELEMETRY,
        "created": at_ms // 1000 if created is None else created,
        "data": {"object": {"assetId": asset, "telemetry": {"temperature": 21.5}}},
    }
    return Event(event_id, TELEMETRY, b"", document, at_ms + late_ms)


def refilled_event(asset: str, *, at_ms: int) -> Event:
    """Make an event that the gateway made itself."""
    return telemetry_event(asset, at_ms=at_ms, event_id=f"{BACKFILL_ID_PREFIX}1")


def arrivals_of(*times_ms: tuple[str, int]) -> Arrivals:
    """Return what is known once each asset's events have come at these times."""
    arrivals = Arrivals(Everything)
    for asset, at_ms in times_ms:
        arrivals.take(telemetry_event(asset, at_ms=at_ms))
    return arrivals
