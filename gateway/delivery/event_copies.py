"""Copies of whole events, on their way to the sinks that publish them as received (`events`)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.events import parse_event
from gateway.mapping.topics import FORBIDDEN_IN_LEVELS
from gateway.model import EVENTS, OnStale, Point, Quality, StalePolicy, Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.events import EventPatterns
    from gateway.model import Event, Record
    from gateway.records import StoredDeadLetter

_UPDATE_BYTES = 1_000  # of a body count as one update, so that memory and batches stay bounded


class EventCopies:
    """Adds a copy to the updates of each event whose type a sink publishes. No latest value replaces it."""

    def __init__(self, wanted: Mapping[str, EventPatterns]) -> None:
        """`wanted` is by sink."""
        self._wanted = wanted

    def with_copy(self, updates: Sequence[Update], record: Record) -> tuple[Sequence[Update], int]:
        """Return the updates of an event with its copy, and for how many they count together."""
        event = record.event
        if event.is_backfilled or not any(event.type in patterns for patterns in self._wanted.values()):
            return updates, len(updates)
        size = 1 + len(updates) + len(event.body) // _UPDATE_BYTES
        return [*updates, _copy(event, seq=record.seq)], size

    def map_letter(self, stored: StoredDeadLetter) -> Update:
        """Return the copy that is a dead letter; raise `GatewayError` with the reason if there is none."""
        letter = stored.letter
        if stored.body is None:
            raise GatewayError("its event is not kept any more")
        event = parse_event(stored.body, received_ms=stored.dated_ms or letter.at_ms)
        event.event_id = letter.event_id  # not always the one in its body
        if letter.sink not in self._wanted or event.type not in self._wanted[letter.sink]:
            raise GatewayError(f"{letter.sink} does not publish {event.type} any more, see its `events`")
        return _copy(event, seq=letter.seq)


def _copy(event: Event, *, seq: int) -> Update:
    # Decoding loses nothing: what was parsed as JSON is UTF-8.
    body = event.body.decode()
    return Update(event_point(event.type), body, body, Quality.GOOD, event.dated_ms, seq, event.event_id)


@lru_cache(maxsize=256)  # one point for all events of a type, and no memory for types without end
def event_point(event_type: str) -> Point:
    """Return the point of an event type. Its name ends in the type as it can be one level of a topic."""
    level = "".join(
        character if character.isprintable() and character not in FORBIDDEN_IN_LEVELS else "_"
        for character in event_type
    )
    return Point(
        site="",
        tag=EVENTS,
        point=level,
        asset="",
        source=EVENTS,
        unit_of_measure=None,
        stale_after_ms=None,
        on_stale=OnStale(StalePolicy.HOLD),
    )
