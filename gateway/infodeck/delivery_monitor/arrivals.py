"""Pure: when webhooks last came, and how often those of each asset do. Times are Unix milliseconds.

What is expected of an asset is the longer of two: its `keepAlive`, and its longest recent pause. A device
that reports changes is busy by day and quiet by night, so anything shorter would be missed every evening;
and one that does not keep its `keepAlive` has shown its own pace.

An event that comes more than an hour after it was made is no sign that webhooks arrive: Infodeck repeats
deliveries for a day, so what comes may all be of yesterday.
"""

from __future__ import annotations

import heapq
from array import array
from typing import TYPE_CHECKING

from gateway.events import TELEMETRY, asset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from gateway.model import Event, Record

_MOST_ASSETS = 100_000
_LEAST_PAUSES = 3
_FORGOTTEN_AFTER_MS = 7 * 24 * 3_600_000
_LATEST_LEAD_MS = 300_000  # an event further ahead of us than this has a wrong clock
_LATE_MS = 3_600_000


class Arrivals:
    """Takes in the telemetry that webhooks bring.

    Bounded: beyond 100,000 assets, only those that point tables name are told apart.
    """

    def __init__(self, mapped: Callable[[], Container[str]]) -> None:
        """Know of nothing yet. `mapped` gives the assets that point tables name."""
        self.received_ms: int | None = None
        """When the last event came that was not late."""
        self.mapped_ms: int | None = None
        """Likewise, of an asset that point tables name."""
        self.late_ms = 0
        """How late the last event was, where that is more than an hour; otherwise 0."""
        self._mapped = mapped
        self._places: dict[str, int] = {}
        # By place, of one asset each: small numbers side by side, not 50,000 objects.
        self._received_ms = array("q")
        self._first_ms = array("q")
        self._event_ms = array("q")
        self._pause_ms = array("q")
        self._pauses = array("b")

    def accept(self, records: Iterable[Record]) -> None:
        """Take in new events; a listener of the journal."""
        for record in records:
            self.take(record.event)

    def take(self, event: Event) -> None:
        """Take in one event; one of another type, or that the API brought, is passed over."""
        if event.type != TELEMETRY or event.is_backfilled:
            return
        received_ms, asset = event.received_ms, asset_of(event)
        event_ms = _made_ms(event)
        self.late_ms = late_ms = received_ms - event_ms if received_ms - event_ms > _LATE_MS else 0
        if not late_ms:
            self.received_ms = received_ms
        if asset is None:
            return
        if not late_ms and asset in self._mapped():
            self.mapped_ms = received_ms
        place = self._places.get(asset)
        if place is None:
            self._add(asset, event_ms, 0 if late_ms else received_ms)
            return
        if not late_ms:
            self._received_ms[place] = received_ms
        pause_ms = event_ms - self._event_ms[place]
        if pause_ms > 0:
            self._event_ms[place] = event_ms
            self._learn(place, pause_ms)

    def event_ms(self, asset: str) -> int:
        """Return the time of an asset's newest event, 0 where none has come."""
        place = self._places.get(asset)
        return 0 if place is None else self._event_ms[place]

    def has_come(self, asset: str, *, since_ms: int) -> bool:
        """Say whether any event of an asset that was not late was received after `since_ms`."""
        place = self._places.get(asset)
        return place is not None and self._received_ms[place] > since_ms

    def expectation_ms(self, asset: str, *, keep_alive_ms: int | None = None) -> int | None:
        """Return within how long an asset's next event is expected; None: it is not known enough for that."""
        place = self._places.get(asset)
        if place is None or self._pauses[place] < _LEAST_PAUSES:
            return keep_alive_ms
        return max(self._pause_ms[place], keep_alive_ms or 0)

    def shortest_expectation_ms(
        self,
        *,
        of: int,
        seen_for_ms: int,
        keep_alive_ms: Callable[[str], int | None],
        only_mapped: bool = False,
    ) -> int | None:
        """Return the time within which `of` assets should have reported, None where too few are known.

        Without a `keepAlive`, an asset counts once it was seen for `seen_for_ms`: one has to know its nights.
        """
        mapped = self._mapped() if only_mapped else self._places
        known = (
            self._settled(asset, place, seen_for_ms, keep_alive_ms)
            for asset, place in self._places.items()
            if asset in mapped
        )
        shortest = heapq.nsmallest(of, (each for each in known if each is not None))
        return shortest[-1] if len(shortest) == of else None

    def _settled(
        self, asset: str, place: int, seen_for_ms: int, keep_alive: Callable[[str], int | None]
    ) -> int | None:
        keep_alive_ms = keep_alive(asset)
        if keep_alive_ms is None and self._event_ms[place] - self._first_ms[place] < seen_for_ms:
            return None
        return self.expectation_ms(asset, keep_alive_ms=keep_alive_ms)

    def _add(self, asset: str, event_ms: int, received_ms: int) -> None:
        place = len(self._places)
        if place >= _MOST_ASSETS and asset not in self._mapped():
            return
        self._places[asset] = place
        self._received_ms.append(received_ms)
        self._first_ms.append(event_ms)
        self._event_ms.append(event_ms)
        self._pause_ms.append(0)
        self._pauses.append(0)

    def _learn(self, place: int, pause_ms: int) -> None:
        """Remember the longest pause, which fades: by as large a part as of a week has passed."""
        longest_ms = self._pause_ms[place]
        if pause_ms < longest_ms:
            pause_ms = max(pause_ms, longest_ms - longest_ms * pause_ms // _FORGOTTEN_AFTER_MS)
        self._pause_ms[place] = pause_ms
        if self._pauses[place] < _LEAST_PAUSES:
            self._pauses[place] += 1


def _made_ms(event: Event) -> int:
    """Return when Infodeck made an event; when it came, where it does not say so plausibly."""
    created, received_ms = event.document.get("created"), event.received_ms
    made_ms = created * 1000 if type(created) is int else received_ms
    return made_ms if 0 < made_ms <= received_ms + _LATEST_LEAD_MS else received_ms
