"""What comes once more, by the point tables in force: events from the journal, and dead letters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.delivery.batch import Loaded, Mapped
from gateway.delivery.meaning import map_event, map_letter, plan_of
from gateway.errors import GatewayError
from gateway.events import TELEMETRY, read_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.mapping.plan import AssetPlan
    from gateway.model import Record, Update
    from gateway.ports import EventLog
    from gateway.records import StoredDeadLetter
    from gateway.state.building_state import BuildingState

_READ_EVENTS = 250
_TURN_EVENTS = 50  # mapped before the event loop gets its turn


class Replay:
    """One sink's look back; a `gateway.delivery.batch.Source`."""

    def __init__(
        self,
        *,
        event_log: EventLog,
        image: Callable[[], BuildingState],
        seen: Callable[[], int],
        tell_others: Callable[[Sequence[Update]], None],
        now_ms: Callable[[], int],
    ) -> None:
        """`image` is the one in force, `seen` the last event that it has taken in.

        `tell_others` feeds changes to the other sinks; `now_ms` is the steady clock.
        """
        self._event_log = event_log
        self._image = image
        self._seen = seen
        self._tell_others = tell_others
        self._now_ms = now_ms

    async def read(self, after: int) -> Loaded:
        """Return the next events after `after` from the journal, mapped again.

        Not beyond what the image has taken in when this is called: later events come in their turn.
        """
        seen = self._seen()
        records = [record for record in await self._event_log.read(after, _READ_EVENTS) if record.seq <= seen]
        if not records:
            return Loaded((), seen, None)
        mapped: list[list[Update]] = []
        last_of: dict[str, tuple[int, AssetPlan]] = {}  # of each asset, its last event here
        for number, record in enumerate(records):
            if number % _TURN_EVENTS == _TURN_EVENTS - 1:
                await asyncio.sleep(0)
            plan, updates = self._map_again(record)
            mapped.append(updates)
            if plan is not None and updates:
                last_of[updates[0].point.asset] = number, plan
        for number, plan in last_of.values():
            mapped[number] += self._image().shown_without_event(plan)
        events = [
            Mapped(record.seq, self._image().received_ms(record), updates)
            for record, updates in zip(records, mapped, strict=True)
        ]
        return Loaded(events, records[-1].seq, self._image().received_ms(records[-1]))

    def show(self, name: str) -> Update | None:
        """Return what the point of a name shows; None where there is no such point, or nothing to show."""
        image = self._image()
        point = image.points.by_name.get(name)
        return image.latest(point) if point is not None else None

    def again(self, stored: StoredDeadLetter) -> Sequence[Update]:
        """Return what a dead letter means now; raise `GatewayError` with the reason where that is nothing.

        A letter that no event caused means what its point shows.
        """
        letter = stored.letter
        if not letter.seq:
            update = self.show(letter.point)
            if update is None:
                raise GatewayError(f"{letter.point} shows nothing, or is not in the point tables any more")
            return [update]
        plan, mapped = map_letter(self._image(), stored)
        self._take_missed(plan, mapped)
        shown = [self._as_shown(update) for update in mapped]
        return shown if letter.point else [*shown, *self._image().shown_without_event(plan)]

    def _map_again(self, record: Record) -> tuple[AssetPlan | None, list[Update]]:
        plan = plan_of(self._image(), record.event) if record.event.type == TELEMETRY else None
        if plan is None:
            return None, []
        try:
            mapped = map_event(plan, read_telemetry(record.event), record)
        except Exception:  # noqa: BLE001 - a fault of ours, of which the head has made a dead letter
            return None, []
        self._take_missed(plan, mapped)
        return plan, [self._as_shown(update) for update in mapped]

    def _take_missed(self, plan: AssetPlan, mapped: Sequence[Update]) -> None:
        """Take in readings that the image has not seen, and feed what they change to the other sinks.

        A point may be newer than an event that this sink still has to get. Past the image, the event's
        reading would have neither order nor age.
        """
        image = self._image()
        missed = [update for update in mapped if image.is_unseen(update)]
        if not missed:
            return
        changed = {each.point for each in image.apply_updates(plan, missed, now_ms=self._now_ms())}
        self._tell_others([update for point in changed if (update := image.latest(point)) is not None])

    def _as_shown(self, update: Update) -> Update:
        """Return the image's own update where it is this one: it knows the last good value."""
        latest = self._image().latest(update.point)
        same = latest is not None and (latest.time_ms, latest.seq) == (update.time_ms, update.seq)
        return latest if latest is not None and same and latest.quality is update.quality else update
