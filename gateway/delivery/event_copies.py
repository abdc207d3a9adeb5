"""Copies of whole events, on their way to the sinks that publish them as received.

Those are MQTT sinks with `events`, which name types, and sinks of type nats, which publish every event.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.events import asset_of, parse_event
from gateway.jetstream.subjects import event_subject
from gateway.mapping.topics import FORBIDDEN_IN_LEVELS
from gateway.model import EVENTS, EventCopy, OnStale, Point, Quality, StalePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.events import EventPatterns
    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Record, Update
    from gateway.records import AssetSnapshot, StoredDeadLetter

_UPDATE_BYTES = 1_000  # of a body count as one update, so that memory and batches stay bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSubjects:
    """The subjects of events on NATS, by the point tables and the inventory that are in force."""

    organization: str
    points: Callable[[], PointMap]
    inventory: Callable[[], AssetSnapshot | None]

    def subject_of(self, event: Event) -> str:
        """Return the subject of an event, with the site and the asset that it concerns."""
        telemetry = event.telemetry
        asset = asset_of(event) if telemetry is None else telemetry.asset
        return event_subject(self.organization, asset and self._site_of(asset), asset)

    def _site_of(self, asset: str) -> str | None:
        """Return the site of the table that names an asset, else its topmost location; None if unknown."""
        plan = self.points().by_asset.get(asset)
        for points in () if plan is None else (plan.measured, plan.pseudo, plan.computed):
            if points:
                return points[0].site
        inventory = self.inventory()
        known = None if inventory is None else inventory.assets.get(asset)
        return known.location_path[0] if known is not None and known.location_path else None


class EventCopies:
    """Adds a copy to the updates of each event that a sink publishes. No latest value replaces it."""

    def __init__(
        self,
        wanted: Mapping[str, EventPatterns],
        *,
        publish_all: Collection[str] = (),
        subjects: EventSubjects | None = None,
    ) -> None:
        """`wanted` is by sink; the sinks in `publish_all` want every event, and its subject."""
        self._wanted = wanted
        self._publish_all = publish_all
        self._subjects = subjects

    def with_copy(self, updates: Sequence[Update], record: Record) -> tuple[Sequence[Update], int]:
        """Return the updates of an event with its copy, and for how many they count together."""
        event = record.event
        if not self._publish_all and (
            event.is_backfilled or not any(event.type in patterns for patterns in self._wanted.values())
        ):
            return updates, len(updates)
        size = 1 + len(updates) + len(event.body) // _UPDATE_BYTES
        return [*updates, self._copy(event, seq=record.seq)], size

    def map_letter(self, stored: StoredDeadLetter) -> Update:
        """Return the copy that is a dead letter; raise `GatewayError` with the reason if there is none."""
        letter = stored.letter
        if stored.body is None:
            raise GatewayError("its event is not kept any more")
        event = parse_event(stored.body, received_ms=stored.dated_ms or letter.at_ms)
        event.event_id = letter.event_id  # not always the one in its body
        if letter.sink not in self._publish_all and event.type not in self._wanted.get(letter.sink, ()):
            raise GatewayError(f"{letter.sink} does not publish {event.type} any more, see its `events`")
        return self._copy(event, seq=letter.seq)

    def _copy(self, event: Event, *, seq: int) -> EventCopy:
        return EventCopy(
            event_point(event.type),
            None,
            None,
            Quality.GOOD,
            event.dated_ms,
            seq,
            event.event_id,
            body=event.body,
            subject=self._subjects.subject_of(event) if self._subjects is not None else "",
            origin=event.origin,
        )


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
