"""The last events on the dashboard: received, mapped, written by each sink."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from gateway.events import TELEMETRY, asset_of, read_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Event, Record
    from gateway.status import SinkStatus

_MOST = 100
_LARGEST_BYTES = 64 << 10  # larger events are left out


class LastEvents:
    """The last events of the journal. One costs an entry in a short list; it is described when requested."""

    def __init__(self, *, points: Callable[[], PointMap], sinks: Mapping[str, SinkStatus]) -> None:
        """Begin empty; `points` returns the tables in force, `sinks` have the cursors."""
        self._points = points
        self._sinks = sinks
        self._last: deque[tuple[int, Event]] = deque(maxlen=_MOST)

    def add(self, records: Sequence[Record]) -> None:
        """Add new events."""
        self._last.extend(
            (record.seq, record.event)
            for record in records[-_MOST:]
            if len(record.event.body) <= _LARGEST_BYTES
        )

    def newest_first(self) -> list[dict[str, Any]]:
        """Return the last events, each with what became of it."""
        return [self._described(seq, event) for seq, event in reversed(self._last)]

    def _described(self, seq: int, event: Event) -> dict[str, Any]:
        asset = asset_of(event)
        plan = self._points().by_asset.get(asset) if asset is not None else None
        return {
            "seq": seq,
            "id": event.event_id,
            "type": event.type,
            "source": "reconcile" if event.is_backfilled else "webhook",
            "received_ms": event.received_ms,
            "asset": asset,
            "tags": [] if plan is None else list(dict.fromkeys(point.tag for point in plan.measured)),
            "readable": event.type != TELEMETRY or _is_readable(event, plan),
            "mapped": plan is not None or event.type != TELEMETRY,
            "sinks": {name: sink.cursor >= seq for name, sink in self._sinks.items()},
        }


def _is_readable(event: Event, plan: AssetPlan | None) -> bool:
    """Return whether the event has readings, or its table has paths of its own into it."""
    telemetry = read_telemetry(event)
    return bool(telemetry and telemetry.readings) or (plan is not None and bool(plan.by_path))
