"""Pure: whether no telemetry has come by webhook for too long.

Silence alone proves little, since a building sleeps. So after `infodeck.silence` the API is asked first:
where it has nothing newer either, silence is expected. But not for ever, because an API may have nothing
because nothing reaches Infodeck, and webhooks may bring everything except what the tables ask for. Events in
which nothing can be read are never expected.

Silence is counted while the gateway runs awake: neither setting the clock nor sleep adds to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.infodeck.missed_deliveries import IS_IT_THERE, REFUSED
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.infodeck.missed_deliveries import WebhookArrivals
    from gateway.status import IntakeStatus, MappingStatus

_MINUTE_MS = 60_000
_DAY_MS = 24 * 3_600_000
_WEEK_MS = 7 * _DAY_MS
_SHORTEST_MS = 5 * _MINUTE_MS  # webhooks need some time to come again after a start
_PATIENCE_MS = 2 * _MINUTE_MS  # for the API to explain silence
_LONGEST_QUIET_MS = 3 * _DAY_MS  # a weekend, and some of Friday and Monday
_WITNESSES = 3  # assets that must be overdue: one or two may have died
_MULTIPLE = 3  # of a usual pause
_SET_HIGHER = "If the devices themselves are silent for so long, set infodeck.silence higher."


class SilenceWatch:
    """Judges silence again and again. All periods are in milliseconds."""

    def __init__(
        self,
        arrivals: WebhookArrivals,
        *,
        mapping: MappingStatus,
        silence_ms: int,
        keep_alives_ms: Callable[[], Iterable[int]],
        started_ms: int,
    ) -> None:
        """Begin now.

        `mapping` counts what becomes of events; `keep_alives_ms` returns how often devices report at least.
        """
        self._arrivals = arrivals
        self._mapping = mapping
        self._silence_ms = silence_ms
        self._keep_alives_ms = keep_alives_ms
        self._started_ms = started_ms
        self._received_ms: int | None = None  # of the last event, as of the last judgement
        self._used_ms: int | None = None  # when the last event came with a reading for a point
        self._before_ms: int | None = None  # when the last event came before the start
        self._used, self._unreadable = mapping.from_webhooks, mapping.unreadable
        self._running_ms = 0  # since the start, or since events could come again
        self._learnt_ms = 0  # for how long pauses have been observed
        self._silent_ms = 0  # for how long no telemetry has come that the API did not excuse
        self._unused_ms = 0  # for how long none with a reading for a point has come
        self._longest_pause_ms = 0  # of telemetry with such a reading, lately
        self._unreadable_for_ms: int | None = None  # since the first unreadable event; None if none came
        self._asked_for_ms: int | None = None  # how long the API has had to explain the silence
        self._limit_ms: int | None = None
        self.is_excused = False
        """Whether the API had nothing newer when it was asked last."""
        self.is_unreadable = False
        """Whether events have come for too long in which nothing could be read, and no others."""

    def restore(self, last_ms: int, *, now_ms: int) -> None:
        """Go on with the silence since the last event before the start."""
        self._before_ms = last_ms
        self._silent_ms = self._unused_ms = max(0, now_ms - last_ms)

    def begin(self) -> None:
        """Start anew: events could not come until now."""
        self._running_ms = self._silent_ms = self._unused_ms = 0
        self._unreadable_for_ms, self._asked_for_ms, self.is_unreadable = None, None, False

    def accept_answer(self, *, is_quiet: bool) -> None:
        """Take in whether the API has nothing newer: then the silence until now is expected."""
        self.is_excused = is_quiet
        if is_quiet:
            self._silent_ms, self._asked_for_ms = 0, None

    def judge(self, now_ms: int, *, elapsed_ms: int, ask_api: Callable[[], None] | None) -> bool:
        """Whether it is silent for too long; `elapsed_ms` is the time awake since the last judgement.

        `ask_api` has the API asked soon; None if it cannot be asked.
        """
        self._running_ms += elapsed_ms
        self._learnt_ms += elapsed_ms
        self._count(now_ms, elapsed_ms)
        if self._running_ms < min(_SHORTEST_MS, self._silence_ms):
            return False
        if self.is_unreadable or self._unused_ms >= self._longest_quiet_ms():
            return True
        return self._is_silent_too_long(elapsed_ms, ask_api)

    def _count(self, now_ms: int, elapsed_ms: int) -> None:
        """Add to the times, or start them anew where telemetry has come."""
        self._silent_ms += elapsed_ms
        self._unused_ms += elapsed_ms
        arrivals, mapping = self._arrivals, self._mapping
        if arrivals.received_ms is not None and arrivals.received_ms != self._received_ms:
            self._received_ms = arrivals.received_ms
            self._silent_ms = min(max(0, now_ms - arrivals.received_ms), elapsed_ms)
            self._asked_for_ms = self._limit_ms = None
            self.is_excused = False
        if self._unreadable_for_ms is not None:
            self._unreadable_for_ms += elapsed_ms
        if mapping.from_webhooks > self._used and arrivals.mapped_ms is not None:
            self._accept_use(arrivals.mapped_ms, now_ms, elapsed_ms)
        elif mapping.unreadable > self._unreadable:
            self._unreadable_for_ms = self._unreadable_for_ms or 0
            self.is_unreadable = self._unreadable_for_ms >= self._silence_ms
        self._used, self._unreadable = mapping.from_webhooks, mapping.unreadable

    def _accept_use(self, used_ms: int, now_ms: int, elapsed_ms: int) -> None:
        self._unreadable_for_ms, self.is_unreadable = None, False
        if used_ms == self._used_ms:  # only late events
            return
        since_ms = min(max(0, now_ms - used_ms), elapsed_ms)
        pause_ms = self._unused_ms - since_ms
        # The longest pause fades, by as large a part as of a week has passed.
        faded_ms = self._longest_pause_ms - self._longest_pause_ms * pause_ms // _WEEK_MS
        self._longest_pause_ms = max(pause_ms, faded_ms)
        self._used_ms, self._unused_ms = used_ms, since_ms

    def _longest_quiet_ms(self) -> int:
        """Return for how long the API can excuse that nothing comes for the tables.

        That is shorter than three days where a week has shown that pauses are short.
        """
        longest_ms = max(_LONGEST_QUIET_MS, self._silence_ms)
        if self._learnt_ms < _WEEK_MS:
            return longest_ms
        return min(max(_MULTIPLE * self._longest_pause_ms, self._silence_ms), longest_ms)

    def _is_silent_too_long(self, elapsed_ms: int, ask_api: Callable[[], None] | None) -> bool:
        if self._silent_ms < min(_SHORTEST_MS, self._silence_ms) or self._silent_ms < self._limit():
            return False
        if ask_api is None:
            return True
        if self._asked_for_ms is None:
            self._asked_for_ms = 0
            ask_api()
        else:
            self._asked_for_ms += elapsed_ms
        return self._asked_for_ms >= min(_PATIENCE_MS, self._silence_ms)

    def _limit(self) -> int:
        """Return how much silence is too much, worked out once for each: less where devices promise more."""
        if self._limit_ms is None:
            self._limit_ms = self._silence_ms
            overdue_ms = sorted(self._keep_alives_ms())[:_WITNESSES]
            if len(overdue_ms) == _WITNESSES:
                promised_ms = max(_MULTIPLE * overdue_ms[-1], self._longest_pause_ms, _SHORTEST_MS)
                self._limit_ms = min(promised_ms, self._silence_ms)
        return self._limit_ms

    def text(self, intake: IntakeStatus, *, now_ms: int, can_ask: bool, are_refused: bool) -> str:
        """Return in words what has not come. `are_refused`: the alarm about signatures holds."""
        arrivals = self._arrivals
        used_ms = self._used_ms or self._before_ms
        received_ms = arrivals.received_ms or self._before_ms
        since = self._since(used_ms)
        recently_ms = max(used_ms or 0, now_ms - self._silence_ms)
        if self.is_unreadable:
            return (
                f"telemetry comes by webhook, but none in which a reading is found {since}: has its shape"
                " changed? See `gateway deadletters list`, and `gateway explain` with an event's id; a point"
                " table can say where values stand (`from: $.data.object…`)."
            )
        if (arrivals.mapped_ms or 0) > recently_ms:
            return (
                "telemetry of assets in the point tables comes by webhook, but none with a reading that a"
                f" point asks for {since}: have its keys changed? See `gateway explain` with an event's id."
                f" {_SET_HIGHER}"
            )
        if (received_ms or 0) > recently_ms:
            return (
                f"no telemetry of any asset in the point tables has come by webhook {since}, while that of"
                " others comes: do the webhook's event filters leave these out, or do events name them by"
                f" other ids than the tables? {_SET_HIGHER}"
            )
        nothing = f"no telemetry has come by webhook {self._since(received_ms)}"
        if self.is_excused:
            return (
                f"{nothing}, and Infodeck's API has nothing newer either: are the devices, their network and"
                f" its connection to Infodeck alive? {_SET_HIGHER}"
            )
        if are_refused:
            return f"{nothing}: {REFUSED}"
        others, strange = sum(intake.ignored_types.values()), intake.other_organization
        beside = f", but {others} events of other types: see the webhook's list of events" if others else ""
        if strange:
            beside += f"; {strange} events were of another organization than infodeck.organization"
        without_api = "" if can_ask else " Infodeck's API would show more, but cannot be asked."
        return f"{nothing}{arrivals.lateness_text()}{beside}: {IS_IT_THERE} {_SET_HIGHER}{without_api}"

    def _since(self, last_ms: int | None) -> str:
        if last_ms:
            return f"since {second_text(last_ms)}"
        return f"as far as is known; the gateway runs since {second_text(self._started_ms)}"
