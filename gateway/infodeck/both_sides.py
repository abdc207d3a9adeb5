"""What webhooks brought and what the API has, asset by asset, for whoever compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.infodeck.backfill.shadows import read_shadows
from gateway.model import BACKFILL_ID_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from gateway.infodeck.api_client import Item
    from gateway.records import AssetSnapshot
    from gateway.state.building_state import BuildingState

_UNITS_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000}


class BothSides:
    """Looks at the tables, image and snapshot in force, whichever these are. Times are Unix milliseconds."""

    def __init__(
        self,
        *,
        image: Callable[[], BuildingState],
        snapshot: Callable[[], AssetSnapshot | None],
        clock_ms: Callable[[], int],
        item_time: Callable[[Any], Any] | None,
        keep_alive_unit: str | None,
    ) -> None:
        """`item_time` gets the time of an item's shadows, see `read_shadows`.

        `keep_alive_unit` is s, min, h, or None: what `keepAlive` means is not known.
        """
        self._image = image
        self._snapshot = snapshot
        self._clock_ms = clock_ms
        self._item_time = item_time
        self._keep_alive_ms = _UNITS_MS[keep_alive_unit] if keep_alive_unit is not None else None

    def mapped(self) -> Collection[str]:
        """Return the assets that point tables name."""
        return self._image().points.by_asset.keys()

    def newest_in_api(self, items: Iterable[Item]) -> Iterator[tuple[str, int]]:
        """Yield the time of the newest reading that the API has for points, of each asset that has points."""
        by_asset, now_ms = self._image().points.by_asset, self._clock_ms()
        for item in items:
            asset = item.get("id")
            plan = by_asset.get(asset) if isinstance(asset, str) else None
            if asset is None or plan is None:
                continue
            found = read_shadows(item, plan, now_ms=now_ms, item_time=self._item_time)
            newest_ms = max((reading.time_ms for reading in found.readings.values()), default=None)
            if newest_ms is not None:
                yield asset, newest_ms

    def newest_by_webhook(self, asset: str) -> int:
        """Return the time of the newest reading that a webhook brought and that still is a point's newest."""
        image = self._image()
        plan = image.points.by_asset.get(asset)
        measured = map(image.measured, plan.measured) if plan is not None else ()
        return max(
            (update.time_ms for update in measured if update and not _is_refilled(update.event_id)), default=0
        )

    def keep_alive_ms(self, asset: str) -> int | None:
        """Return how often a device reports at least, where Infodeck says so in a unit that is known."""
        snapshot = self._snapshot()
        known = snapshot.assets.get(asset) if snapshot is not None else None
        if known is None or known.keep_alive is None or self._keep_alive_ms is None:
            return None
        return round(known.keep_alive * self._keep_alive_ms)


def _is_refilled(event_id: str | None) -> bool:
    return event_id is not None and event_id.startswith(BACKFILL_ID_PREFIX)
