"""Pure: of which assets the API has newer data than webhooks brought. Times are Unix milliseconds.

The API is asked from time to time. What it has more is suspicious at first, for a webhook may be on its
way: judgement comes a while later. Then it is missed where nothing came at all meanwhile, or where this asset
alone lacks more than one of its reports. A single event that got lost is for the refill, not for a person;
and where only a few are missing, Infodeck may be about to repeat them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.infodeck.delivery_monitor.arrivals import Arrivals

_SEVERAL = 3  # assets of which all are missing at once: no delivery that is repeated in a while
_REPEATED_WITHIN_MS = 30 * 60_000  # most of those that failed because the line was down for a moment
_EXPECTATIONS = 1.5  # what lies further back than this is more than one report
_FORGOTTEN_AFTER_MS = 24 * 3_600_000  # Infodeck, too, gives up after a day


@dataclass(frozen=True, slots=True)
class ApiSays:
    """What one answer of the API said, as of `at_ms`. `is_quiet`: nothing that webhooks did not bring."""

    at_ms: int
    is_quiet: bool


class Undelivered:
    """Compares what the API has with what webhooks brought since `begin`."""

    def __init__(
        self,
        arrivals: Arrivals,
        *,
        tolerance_ms: int,
        skew_ms: int,
        read_ms: Callable[[str], int],
        keep_alive_ms: Callable[[str], int | None],
    ) -> None:
        """`tolerance_ms` is what a delivery may take, `skew_ms` how far our clock may be off Infodeck's.

        `read_ms` gives the time of an asset's newest reading that a webhook brought, 0 where there is none:
        devices' clocks are not Infodeck's.
        """
        self.missed: dict[str, int] = {}
        """The assets of which data are missed, and of when the first of these were seen."""
        self.is_total = False
        """Whether no asset's webhooks came when this was last judged."""
        self._arrivals = arrivals
        self._tolerance_ms = tolerance_ms
        self._skew_ms = skew_ms
        self._read_ms = read_ms
        self._keep_alive_ms = keep_alive_ms
        self._begin_ms = 0
        self._seen: set[str] = set()  # in the present list
        self._newer: dict[str, int] = {}  # likewise, and the API has more of them
        self._suspects: dict[str, int] | None = None  # None: there is no list to be judged
        self._earlier: dict[str, int] = {}  # suspects of earlier judgements
        self._asked_ms = 0

    def begin(self, at_ms: int) -> None:
        """Count only data from now on: what is older may have been refused, and be on its way again."""
        self._begin_ms = at_ms

    def see(self, asset: str, time_ms: int) -> None:
        """Take in the time of an asset's newest data in the API."""
        self._seen.add(asset)
        if self._is_newer(asset, time_ms):
            self._newer[asset] = time_ms
        else:
            self._newer.pop(asset, None)  # of a list that broke off

    def listed(self, *, at_ms: int, mapped: int) -> ApiSays | None:
        """End a list that was asked for at `at_ms`; return what it says, None where it says too little.

        It speaks for the `mapped` assets where it has the time of at least half of them.
        """
        speaks = bool(self._seen) and 2 * len(self._seen) >= mapped
        newer, self._newer, self._seen = self._newer, {}, set()
        if self._suspects is None:  # otherwise an earlier list would never be judged, if lists came quickly
            self._suspects, self._asked_ms = newer, at_ms
        return ApiSays(at_ms, not newer) if speaks else None

    def judge(self, mapped: Collection[str]) -> None:
        """Decide about the suspects of the last list, some time after it; what is a day old is let go."""
        listed, self._suspects = self._suspects or {}, None
        earliest_ms = self._asked_ms - _FORGOTTEN_AFTER_MS
        suspects = {
            asset: time_ms
            for asset, time_ms in listed.items()
            if asset in mapped
            and time_ms >= earliest_ms
            and self._is_newer(asset, time_ms)
            and not self._has_come(asset)
        }
        received_ms = self._arrivals.received_ms or 0
        newest_ms = max(suspects.values(), default=0)
        self.is_total = received_ms <= min(newest_ms, self._asked_ms)
        self.missed = {
            asset: self.missed.get(asset) or self._earlier.get(asset, time_ms)
            for asset, time_ms in suspects.items()
            if asset in self.missed
            or self._lacks_several(asset, time_ms)
            or (self.is_total and self._is_final(suspects, time_ms))
        }
        self._earlier = {asset: self._earlier.get(asset, time_ms) for asset, time_ms in suspects.items()}

    def recover(self, now_ms: int) -> None:
        """Take out the assets whose webhooks come again.

        The others are missed only by what is newer than this from then on: they may be slow.
        """
        came = [asset for asset in self.missed if self._has_come(asset)]
        if came:
            self.begin(now_ms)
        for asset in came:
            del self.missed[asset]
            self._earlier.pop(asset, None)

    def _is_newer(self, asset: str, time_ms: int) -> bool:
        """Say whether the API's data are newer than what webhooks brought, or could have brought."""
        known_ms = max(self._arrivals.event_ms(asset), self._begin_ms + self._skew_ms) + self._tolerance_ms
        return time_ms > known_ms and time_ms > self._read_ms(asset) + self._tolerance_ms

    def _is_final(self, suspects: Collection[str], time_ms: int) -> bool:
        """Say whether data will not come by themselves, where nothing comes: there are many, or are old."""
        return len(suspects) >= _SEVERAL or self._asked_ms - time_ms >= _REPEATED_WITHIN_MS

    def _has_come(self, asset: str) -> bool:
        return self._arrivals.has_come(asset, since_ms=self._asked_ms)

    def _lacks_several(self, asset: str, time_ms: int) -> bool:
        """Say whether several reports of an asset are missing: its last one is very old, or it went on."""
        if time_ms > self._earlier.get(asset, time_ms) + self._tolerance_ms:
            return True
        brought_ms = max(self._arrivals.event_ms(asset), self._begin_ms)
        expectation_ms = self._arrivals.expectation_ms(asset, keep_alive_ms=self._keep_alive_ms(asset))
        return expectation_ms is not None and time_ms - brought_ms > _EXPECTATIONS * expectation_ms
