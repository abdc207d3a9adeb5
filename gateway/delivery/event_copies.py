"""Copies of whole events, on their way to the sinks that publish them as received.

Those are MQTT sinks with `events`, which name types, and sinks of type nats, which publish every event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.delivery.mapper import letter_event
from gateway.errors import GatewayError
from gateway.events import EventPatterns, asset_of
from gateway.jetstream.subjects import event_subject
from gateway.mapping.topics import FORBIDDEN_IN_LEVELS
from gateway.model import EVENTS, EventCopy, OnStale, Point, Quality, StalePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Record, Update
    from gateway.records import AssetSnapshot, StoredDeadLetter

_UPDATE_BYTES = 1_000  # of a body count as one update, so that memory and batches stay bounded


class EventCopies:
    """Adds a copy to the updates of each event that a sink publishes. No latest value replaces it."""

    def __init__(
        self, published: Mapping[str, EventPatterns], *, subject_of: Callable[[Event], str] | None = None
    ) -> None:
        """Copy events of the types that each sink publishes; with `subject_of`, for NATS, all events."""
        self._published = published
        self._types = EventPatterns(each for types in published.values() for each in types.patterns)
        self._subject_of = subject_of

    def with_copy(self, updates: Sequence[Update], record: Record) -> tuple[Sequence[Update], int]:
        """Return the updates of an event with its copy, and for how many they count together."""
        event = record.event
        if self._subject_of is None and (event.type not in self._types or event.is_backfilled):
            return updates, len(updates)
        size = 1 + len(updates) + len(event.body) // _UPDATE_BYTES
        return [*updates, self.copy(event, seq=record.seq)], size

    def map_letter(self, stored: StoredDeadLetter) -> EventCopy:
        """Return the copy that is a dead letter; raise `GatewayError` with the reason if there is none."""
        event, sink = letter_event(stored), stored.letter.sink
        if event.type not in self._published.get(sink, ()):
            raise GatewayError(f"{sink} does not publish {event.type} any more, see its `events`")
        return self.copy(event, seq=stored.letter.seq)

    def copy(self, event: Event, *, seq: int) -> EventCopy:
        """Return the copy of an event with this number."""
        return EventCopy(
            event_point(event.type),
            None,
            None,
            Quality.GOOD,
            event.dated_ms,
            seq,
            event.event_id,
            body=event.body,
            subject="" if self._subject_of is None else self._subject_of(event),
            origin=event.origin,
        )


def subject_of(event: Event, *, organization: str, points: PointMap, inventory: AssetSnapshot | None) -> str:
    """Return the subject of an event on NATS, with the asset that it concerns and that asset's site."""
    asset = asset_of(event) if event.telemetry is None else event.telemetry.asset
    return event_subject(organization, asset and _site_of(asset, points, inventory), asset)


def _site_of(asset: str, points: PointMap, inventory: AssetSnapshot | None) -> str | None:
    """Return the site of the table that names an asset, else its topmost location; None if unknown."""
    plan = points.by_asset.get(asset)
    for named in () if plan is None else (plan.measured, plan.pseudo, plan.computed):
        if named:
            return named[0].site
    known = None if inventory is None else inventory.assets.get(asset)
    return known.location_path[0] if known is not None and known.location_path else None


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
