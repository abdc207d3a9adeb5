"""Pure: of which assets Infodeck's API has newer data than webhooks brought. Times are Unix milliseconds."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gateway.events import TELEMETRY, read_telemetry
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable

    from gateway.model import Event, Record

_LATEST_LEAD_MS = 300_000  # an event further ahead of us than this has a wrong clock
_HOUR_MS = 3_600_000
_LATE_MS = _HOUR_MS
_SEVERAL = 3  # assets that are suspects at once: more than a delivery that is about to be repeated
_REPEATED_WITHIN_MS = 30 * 60_000  # by then, Infodeck has repeated most of what failed for a moment
_GIVEN_UP_MS = 24 * 3_600_000  # Infodeck repeats a delivery for a day
_SAMPLE = 3


class WebhookArrivals:
    """When telemetry last came by webhook: in all, and for each asset of the point tables.

    Telemetry that comes more than an hour after it was made is no sign that webhooks arrive: Infodeck repeats
    deliveries for a day, so it may all be of yesterday.
    """

    def __init__(self, mapped: Callable[[], Container[str]]) -> None:
        """Know of no arrival yet. `mapped` returns the assets of the tables in force."""
        self.received_ms: int | None = None
        """When the last event came, of any asset, that was not late."""
        self.mapped_ms: int | None = None
        """When the last event came, of an asset of the tables, that was not late."""
        self.late_ms = 0
        """How late the last event was, if that is more than an hour; otherwise 0."""
        self._mapped = mapped
        self._made_ms: dict[str, int] = {}  # by asset: the time of its newest event
        self._received_ms: dict[str, int] = {}  # by asset: when its last event came that was not late

    def accept_records(self, records: Iterable[Record]) -> None:
        """Take in new events; a listener of the event log."""
        for record in records:
            self.accept(record.event)

    def accept(self, event: Event) -> None:
        """Take in one event. Other types, and the gateway's own events, are ignored."""
        if event.type != TELEMETRY or event.is_backfilled:
            return
        received_ms, made_ms = event.received_ms, _made_ms(event)
        is_late = received_ms - made_ms > _LATE_MS
        self.late_ms = received_ms - made_ms if is_late else 0
        if not is_late:
            self.received_ms = received_ms
        telemetry = read_telemetry(event)
        if telemetry is None or telemetry.asset not in self._mapped():
            return
        asset = telemetry.asset
        self._made_ms[asset] = max(made_ms, self._made_ms.get(asset, 0))
        if not is_late:
            self.mapped_ms = self._received_ms[asset] = received_ms

    def made_ms(self, asset: str) -> int:
        """Return the time of an asset's newest event, 0 if none has come."""
        return self._made_ms.get(asset, 0)

    def has_come(self, asset: str, *, since_ms: int) -> bool:
        """Whether an event of an asset that was not late has come after `since_ms`."""
        return self._received_ms.get(asset, 0) > since_ms

    def lateness_text(self) -> str:
        """Return in words how late the last event was; empty if it was not."""
        hours = round(self.late_ms / _HOUR_MS)
        return f" (the last that came was {hours} h late: Infodeck repeats what failed)" if hours else ""


def _made_ms(event: Event) -> int:
    """Return when Infodeck made an event, or when it came if there is no plausible time in it."""
    created, received_ms = event.document.get("created"), event.received_ms
    made_ms = created * 1000 if type(created) is int else received_ms
    return made_ms if 0 < made_ms <= received_ms + _LATEST_LEAD_MS else received_ms


class MissedDeliveries:
    """Compares each list of the API with what webhooks brought since `begin`.

    Newer data in a list make an asset a suspect, since its webhook may be on its way; the list is judged a
    delivery's time later. A suspect is missed if the asset has reported again since it was one, or if no
    webhook comes at all. A single lost event is for the backfill, not for a person; and where nothing
    comes, but only one or two assets are suspects, Infodeck may be about to repeat what failed.
    """

    def __init__(
        self,
        arrivals: WebhookArrivals,
        *,
        delivery_ms: int,
        skew_ms: int,
        newest_by_webhook: Callable[[str], int],
    ) -> None:
        """`delivery_ms` is what a delivery may take, `skew_ms` how far Infodeck's clock may be off ours.

        `newest_by_webhook` returns the time of an asset's newest reading that a webhook brought, 0 if none:
        devices' clocks are not Infodeck's.
        """
        self.missed: dict[str, int] = {}
        """The assets of which data are missed, and since when."""
        self.is_total = False
        """Whether no webhook of any asset had come when this was last judged."""
        self._arrivals = arrivals
        self._delivery_ms = delivery_ms
        self._skew_ms = skew_ms
        self._newest_by_webhook = newest_by_webhook
        self._begin_ms = 0
        self._listed: set[str] = set()  # in the list that is arriving
        self._newer: dict[str, int] = {}  # in the list that is arriving: the assets with newer data
        self._unjudged: dict[str, int] | None = None  # those of the last whole list
        self._suspects: dict[str, int] = {}  # of the last judgement, with the time of the first suspicion
        self._list_ms = 0

    def begin(self, at_ms: int) -> None:
        """Count only data from now on: older data may have been refused, and come again."""
        self._begin_ms = at_ms

    def compare(self, asset: str, time_ms: int) -> None:
        """Take in the time of an asset's newest data in the list that is arriving."""
        self._listed.add(asset)
        if self._is_newer(asset, time_ms):
            self._newer[asset] = time_ms
        else:
            self._newer.pop(asset, None)  # from a list that broke off

    def finish_list(self, *, at_ms: int, mapped: int) -> bool | None:
        """End the list that was requested at `at_ms`; return whether it has nothing newer.

        None if it says too little: it must have the times of at least half of the `mapped` assets.
        """
        is_witness = bool(self._listed) and 2 * len(self._listed) >= mapped
        newer, self._newer, self._listed = self._newer, {}, set()
        if self._unjudged is None:  # lists in quick succession must not put off the judgement
            self._unjudged, self._list_ms = newer, at_ms
        return not newer if is_witness else None

    def judge(self, mapped: Collection[str]) -> None:
        """Decide about the last list, a delivery's time after it."""
        listed, self._unjudged = self._unjudged or {}, None
        suspects = {
            asset: time_ms
            for asset, time_ms in listed.items()
            if asset in mapped
            and time_ms >= self._list_ms - _GIVEN_UP_MS
            and self._is_newer(asset, time_ms)
            and not self._has_come(asset)
        }
        newest_ms = max(suspects.values(), default=0)
        self.is_total = (self._arrivals.received_ms or 0) <= min(newest_ms, self._list_ms)
        before, known = self._suspects, self.missed
        self._suspects = {asset: before.get(asset, time_ms) for asset, time_ms in suspects.items()}
        self.missed = {
            asset: known.get(asset, since_ms)
            for asset, since_ms in self._suspects.items()
            if asset in known
            or suspects[asset] > since_ms + self._delivery_ms
            or (self.is_total and self._is_final(suspects, suspects[asset]))
        }

    def drop_recovered(self, now_ms: int) -> None:
        """Drop the assets whose webhooks come again; the others may be slow, and count from now on."""
        came = [asset for asset in self.missed if self._has_come(asset)]
        if came:
            self.begin(now_ms)
        for asset in came:
            del self.missed[asset]
            self._suspects.pop(asset, None)

    def text(self, *, are_refused: bool) -> str:
        """Return what is missed, in words. `are_refused`: the alarm about signatures holds."""
        names, number = self.missed, len(self.missed)
        sample = ", ".join(islice(names, _SAMPLE)) + (", …" if number > _SAMPLE else "")
        found = (
            f"Infodeck's API has newer data of {'1 asset' if number == 1 else f'{number} assets'} than any"
            f" webhook brought ({sample}), since {second_text(min(names.values()))}"
        )
        if not self.is_total:
            return f"{found}, while those of others come: do its event filters leave these out?"
        return f"{found}{self._arrivals.lateness_text()}: {REFUSED if are_refused else IS_IT_THERE}"

    def _is_newer(self, asset: str, time_ms: int) -> bool:
        """Whether the API's data are newer than what webhooks brought, or could have brought."""
        known_ms = max(self._arrivals.made_ms(asset), self._begin_ms + self._skew_ms)
        return time_ms > max(known_ms, self._newest_by_webhook(asset)) + self._delivery_ms

    def _is_final(self, suspects: Collection[str], time_ms: int) -> bool:
        """Whether data will not come by themselves: they are of many assets, or old."""
        return len(suspects) >= _SEVERAL or self._list_ms - time_ms >= _REPEATED_WITHIN_MS

    def _has_come(self, asset: str) -> bool:
        return self._arrivals.has_come(asset, since_ms=self._list_ms)


IS_IT_THERE = "is the webhook there, active, and its URL this gateway's?"
REFUSED = "deliveries come, but are refused for their signatures: see the alarm signature-failing."
