"""Pure: whether webhooks are missing. Times are Unix milliseconds, periods milliseconds.

Three rules: the API has newer values than webhooks brought (`MissedDeliveries`), no telemetry comes for the
point tables (`Silence`), and deliveries fail to verify (`RefusedDeliveries`).
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING

from gateway.events import CLOCK_LEAD_MS, TELEMETRY, read_telemetry
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from gateway.model import Event, Record
    from gateway.status import IntakeStatus, MappingStatus

_MINUTE_MS = 60_000
_DAY_MS = 24 * 3_600_000
_LATE_MS = 3_600_000
_GIVEN_UP_MS = _DAY_MS  # Infodeck repeats a delivery for a day
_SEVERAL = 3
_SAMPLE = 3
IS_IT_THERE = "is the webhook there, active, and its URL this gateway's?"
DOES_SOURCE_BRING = "do the gateways with an intake get events, and are source.subjects this building's?"
REFUSED = "deliveries come, but are refused for their signatures: see the alarm signature-failing."


class WebhookArrivals:
    """When telemetry last came by webhook: in all, and for each asset of the point tables.

    Telemetry that comes more than an hour after it was made is no sign that webhooks arrive: Infodeck repeats
    deliveries for a day, so it may all be of yesterday.
    """

    def __init__(self, mapped: Callable[[], Container[str]]) -> None:
        """Know of no arrival yet. `mapped` returns the assets of the tables in force."""
        self.received_ms: int | None = None  # when the last event of any asset came that was not late
        self.mapped_ms: int | None = None  # likewise, of an asset of the tables
        self._mapped = mapped
        self._made_ms: dict[str, int] = {}  # by asset: the time of its newest event that was not late

    def accept_records(self, records: Iterable[Record]) -> None:
        """Take in new events; a listener of the event log."""
        for record in records:
            self.accept(record.event)

    def accept(self, event: Event) -> None:
        """Take in one event. Other types, and the gateway's own events, are ignored."""
        if event.type != TELEMETRY or event.is_backfilled:
            return
        made_ms = _made_ms(event)
        if event.received_ms - made_ms > _LATE_MS:
            return
        self.received_ms = event.received_ms
        telemetry = read_telemetry(event)
        if telemetry is not None and telemetry.asset in self._mapped():
            self._made_ms[telemetry.asset] = max(made_ms, self.made_ms(telemetry.asset))
            self.mapped_ms = event.received_ms

    def made_ms(self, asset: str) -> int:
        """Return the time of an asset's newest event, 0 if none has come."""
        return self._made_ms.get(asset, 0)


def _made_ms(event: Event) -> int:
    """Return when Infodeck made an event, or when it came if there is no plausible time in it."""
    created, dated_ms = event.document.get("created"), event.dated_ms
    made_ms = created * 1000 if type(created) is int else dated_ms
    return made_ms if 0 < made_ms <= dated_ms + CLOCK_LEAD_MS else dated_ms


class MissedDeliveries:
    """Compares the API's list with what webhooks brought since `begin`.

    Newer data make an asset a suspect, since its webhook may be on its way. It is missed once it has reported
    again, and no webhook has brought either. A single lost event is for the backfill, not for a person.
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
        self._arrivals = arrivals
        self._delivery_ms = delivery_ms
        self._skew_ms = skew_ms
        self._newest_by_webhook = newest_by_webhook
        self._begin_ms = 0
        self._listed: dict[str, bool] = {}  # in the list that is arriving: whether its data are newer
        self._suspects: dict[str, int] = {}  # the time of the first data that no webhook has brought

    def begin(self, at_ms: int) -> None:
        """Count only data from now on: older data may have been refused, and come again."""
        self._begin_ms = at_ms

    def compare(self, asset: str, time_ms: int, *, now_ms: int) -> None:
        """Take in the time of an asset's newest data in the list that is arriving."""
        brought_ms = max(self._arrivals.made_ms(asset), self._newest_by_webhook(asset))
        known_ms = max(brought_ms, self._begin_ms + self._skew_ms, now_ms - _GIVEN_UP_MS)
        self._listed[asset] = time_ms > known_ms + self._delivery_ms
        if not self._listed[asset]:
            self._drop(asset)
            return
        since_ms = self._suspects.get(asset, 0)
        if since_ms <= brought_ms:
            since_ms = self._suspects[asset] = time_ms
        if time_ms > since_ms + self._delivery_ms:
            self.missed.setdefault(asset, since_ms)

    def finish_list(self, *, mapped: int) -> bool | None:
        """End the list; return whether it has nothing newer.

        None if it says too little: it must have the times of at least half of the `mapped` assets.
        """
        listed, self._listed = self._listed, {}
        for asset in self._suspects.keys() - listed.keys():
            self._drop(asset)
        return not any(listed.values()) if listed and 2 * len(listed) >= mapped else None

    def drop_recovered(self, now_ms: int) -> None:
        """Drop the assets whose webhooks come again; the others may be slow, and count from now on."""
        came = [asset for asset, since_ms in self.missed.items() if self._arrivals.made_ms(asset) > since_ms]
        if came:
            self.begin(now_ms)
        for asset in came:
            self._drop(asset)

    def _drop(self, asset: str) -> None:
        self._suspects.pop(asset, None)
        self.missed.pop(asset, None)

    def reason(self, *, question: str) -> str | None:
        """Return what is missed, None if nothing is; `question` is what to look at if it is everything."""
        if not self.missed:
            return None
        number, sample = len(self.missed), ", ".join(islice(self.missed, _SAMPLE))
        since_ms = min(self.missed.values())
        found = (
            f"Infodeck's API has newer data of {number} asset{'' if number == 1 else 's'} than any webhook"
            f" brought ({sample}{', …' if number > _SAMPLE else ''}), since {second_text(since_ms)}"
        )
        if (self._arrivals.received_ms or 0) > since_ms:
            return f"{found}, while those of others come: do its event filters leave these out?"
        return f"{found}: {question}"


_SHORTEST_MS = 5 * _MINUTE_MS  # webhooks need some time to come again after a start
_PATIENCE_MS = 2 * _MINUTE_MS  # for the API to explain silence
_LONGEST_QUIET_MS = 3 * _DAY_MS  # a weekend, and some of Friday and Monday
_SET_HIGHER = "If the devices themselves are silent for so long, set infodeck.silence higher."


class Silence:
    """Counts how long no current telemetry with a reading for a point has come, while the gateway is awake.

    A building sleeps, so an API that has nothing newer either excuses silence, but not for more than three
    days, nor where events come in which nothing can be read.
    """

    def __init__(
        self, arrivals: WebhookArrivals, *, mapping: MappingStatus, silence_ms: int, started_ms: int
    ) -> None:
        """Begin now. `mapping` counts what becomes of events."""
        self._arrivals = arrivals
        self._mapping = mapping
        self._silence_ms = silence_ms
        self._started_ms = started_ms
        self._used_ms: int | None = None  # when the last event came with a reading for a point
        self._before_ms: int | None = None  # likewise, before the start
        self._used, self._unreadable = mapping.from_webhooks, mapping.unreadable
        self._is_excused = False  # the API had nothing newer when it was asked last
        self.begin()

    def begin(self) -> None:
        """Start anew: events could not come until now."""
        self._running_ms = 0
        self._restart()

    def _restart(self) -> None:
        self._silent_ms = 0  # without an event for the tables, or an excuse
        self._unused_ms = 0  # without an event for the tables
        self._unreadable_ms = 0  # as `_unused_ms` was when the last unreadable event came
        self._asked_for_ms: int | None = None  # how long the API has had to explain the silence

    def restore(self, last_ms: int, *, now_ms: int) -> None:
        """Go on with the silence since the last event before the start."""
        self._before_ms = last_ms
        self._silent_ms = self._unused_ms = max(0, now_ms - last_ms)

    def accept_answer(self, *, is_quiet: bool) -> None:
        """Take in whether the API has nothing newer: then the silence until now is expected."""
        self._is_excused = is_quiet
        if is_quiet:
            self._silent_ms, self._asked_for_ms = 0, None

    def judge(self, *, elapsed_ms: int, ask_api: Callable[[], None] | None) -> bool:
        """Whether it is silent for too long; `elapsed_ms` is the time awake since the last judgement."""
        self._count(elapsed_ms)
        if self._running_ms < min(_SHORTEST_MS, self._silence_ms):
            return False
        longest_ms = max(_LONGEST_QUIET_MS, self._silence_ms)
        if self._unused_ms >= longest_ms or self._unreadable_ms >= self._silence_ms:
            return True
        if self._silent_ms < self._silence_ms or ask_api is None:
            return self._silent_ms >= self._silence_ms
        if self._asked_for_ms is None:
            self._asked_for_ms = 0
            ask_api()
        else:
            self._asked_for_ms += elapsed_ms
        return self._asked_for_ms >= min(_PATIENCE_MS, self._silence_ms)

    def _count(self, elapsed_ms: int) -> None:
        """Add to the times, or start them anew where telemetry for the tables has come."""
        self._running_ms += elapsed_ms
        self._silent_ms += elapsed_ms
        self._unused_ms += elapsed_ms
        arrivals, mapping = self._arrivals, self._mapping
        if mapping.from_webhooks > self._used and arrivals.mapped_ms != self._used_ms:
            self._used_ms, self._is_excused = arrivals.mapped_ms, False
            self._restart()
        elif mapping.unreadable > self._unreadable:
            self._unreadable_ms = self._unused_ms
        self._used, self._unreadable = mapping.from_webhooks, mapping.unreadable

    def text(self, *, now_ms: int, question: str) -> str:
        """Return in words what has not come; `question` is what to look at."""
        last_ms = self._used_ms or self._before_ms
        since = f"as far as is known; the gateway runs since {second_text(self._started_ms)}"
        if last_ms:
            since = f"since {second_text(last_ms)}"
        if (self._arrivals.received_ms or 0) > max(last_ms or 0, now_ms - self._silence_ms):
            return (
                f"telemetry comes by webhook, but none with a reading for a point {since}: do ids, keys and"
                " shape of events fit the point tables, or do the webhook's event filters leave assets out?"
                f" See `gateway explain` with an event's id, and `gateway deadletters list`. {_SET_HIGHER}"
            )
        nothing = f"no current telemetry has come by webhook {since}"
        if self._is_excused:
            return (
                f"{nothing}, and Infodeck's API has nothing newer either: are the devices, their network and"
                f" its connection to Infodeck alive? {_SET_HIGHER}"
            )
        return f"{nothing}: {question} {_SET_HIGHER}"


_WITHIN_MS = 10 * _MINUTE_MS
_AFTER_ACCEPTED_MS = 5 * _MINUTE_MS  # until then, somebody else's nonsense may be among good deliveries
_CLOCK = "outside tolerance"
_JUDGED = ("mismatch", _CLOCK)
_MISMATCH = (
    "deliveries come, but their signatures do not fit: none of intake.signing_secrets is this webhook's, or"
    " something on the way changes bodies; was the secret rotated, or the webhook made anew?"
    " (`gateway webhooks rotate` gets a new one)"
)


class RefusedDeliveries:
    """Judges the intake's counters again and again. A single accepted delivery ends the fault."""

    def __init__(self, intake: IntakeStatus) -> None:
        self.is_failing = False
        """What was judged last."""
        self._intake = intake
        self._accepted = 0
        self._accepted_ms: int | None = None
        self._refused = dict.fromkeys(_JUDGED, 0)
        self._last = _JUDGED[0]  # why the last one was refused
        self._times_ms: deque[int] = deque(maxlen=_SEVERAL)  # of refusals since the last accepted delivery

    def judge(self, now_ms: int) -> str | None:
        """Return what is wrong with the deliveries' signatures, None if nothing is."""
        self._count(now_ms)
        times_ms = self._times_ms
        if not times_ms or now_ms - times_ms[-1] > _GIVEN_UP_MS:
            self.is_failing = False
        elif len(times_ms) == _SEVERAL and times_ms[-1] - times_ms[0] <= _WITHIN_MS:
            accepted_ms = self._accepted_ms
            is_recent = accepted_ms is not None and 0 <= now_ms - accepted_ms < _AFTER_ACCEPTED_MS
            self.is_failing = self.is_failing or not is_recent
        if not self.is_failing:
            return None
        return _clock_reason(self._intake.signature_age_s or 0.0) if self._last == _CLOCK else _MISMATCH

    def _count(self, now_ms: int) -> None:
        accepted = self._intake.answers[HTTPStatus.OK]
        refused = {reason: self._intake.refused[reason] for reason in _JUDGED}
        if accepted > self._accepted:
            self._times_ms.clear()
            self._accepted_ms = now_ms
        else:
            for reason, count in refused.items():
                if new := count - self._refused[reason]:
                    self._last = reason
                    self._times_ms.extend([now_ms] * min(new, _SEVERAL))
        self._accepted, self._refused = accepted, refused


def _clock_reason(age_s: float) -> str:
    about_s = abs(round(age_s, -1))  # to ten seconds: the reason must not change all the time
    if age_s < 0:
        return (
            f"deliveries come, signed about {about_s:.0f} s ahead of this machine's clock, which is slow by"
            " that much: set it (`timedatectl` says whether it is synchronised)"
        )
    return (
        f"deliveries come about {about_s:.0f} s after they were signed: this machine's clock is fast by that"
        " much (`timedatectl` says whether it is synchronised), or they are held up on the way; where the"
        " clock is right, see intake.tolerance"
    )
