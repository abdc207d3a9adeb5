"""Maps events into the state by the point tables in force, and once more for a sink that is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.errors import GatewayError
from gateway.events import STATUS_CHANGED, TELEMETRY, parse_event, read_online, read_telemetry
from gateway.logs import internal_error_text
from gateway.model import Quality
from gateway.records import DeadLetter, UnmappedAsset
from gateway.state.readings import map_telemetry, unshown_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.mapping.plan import AssetPlan
    from gateway.model import Event, Record, Telemetry, Update
    from gateway.records import StoredDeadLetter
    from gateway.state.building_state import BuildingState
    from gateway.status import MappingStatus


log = structlog.get_logger()

_MOST_UNMAPPED = 10_000  # assets remembered until they are saved
_MOST_KEYS = 100
_MOST_UNSHOWN = 1_000  # points; with more, something larger is wrong
_UNREADABLE = "no asset id or no readings found in data.object; name an explicit path in the point table"


class Mapper:
    """Maps events by the table of `state`, which a reload replaces. Each new event is mapped once.

    `unmapped` and `dead_letters` wait until they are saved.
    """

    def __init__(self, state: BuildingState, *, status: MappingStatus, clock_ms: Callable[[], int]) -> None:
        self.state = state
        self.unmapped: dict[str, UnmappedAsset] = {}
        self.dead_letters: list[DeadLetter] = []
        self.unshown = UnshownPoints(status.unshown)
        self._status = status
        self._clock_ms = clock_ms

    def swap(self, state: BuildingState) -> None:
        """Go on with the state of another point table."""
        self.state = state
        self.unshown.check_again(state)

    def apply_event(self, record: Record, now_ms: int) -> tuple[Sequence[Update], Sequence[Update]]:
        """Apply a new event to the state; return the updates of the event, and changes beside it.

        An event that cannot be mapped, for a fault of ours, becomes a dead letter; the others go on.
        """
        event = record.event
        try:
            if event.type == STATUS_CHANGED:
                return (), self._apply_connection(event, now_ms)
            if event.type != TELEMETRY:
                self._status.published += 1
                return (), ()
            telemetry = read_telemetry(event)
            plan = self._plan_for(telemetry)
            if telemetry is None or plan is None:
                self._remember_unmapped(record, telemetry)
                return (), ()
            return self._apply_telemetry(plan, telemetry, record, now_ms)
        except Exception as error:  # noqa: BLE001 - a fault of ours: the event must not be lost
            reason = f"internal error while mapping: {type(error).__name__}: {error}"
            log.error("mapping.failed", event_id=event.event_id, reason=reason)  # noqa: TRY400 - no traceback
            self._dead_letter(record, reason)
            return (), ()

    def map_again(self, record: Record) -> tuple[AssetPlan, list[Update]] | None:
        """Map an earlier event once more, by the table in force now; the state stays as it is."""
        if record.event.type != TELEMETRY:
            return None
        try:
            telemetry = read_telemetry(record.event)
            plan = self._plan_for(telemetry)
            if telemetry is None or plan is None:
                return None
            return plan, map_telemetry(plan, telemetry, event=record.event, seq=record.seq)
        except Exception:  # noqa: BLE001 - a fault of ours; the event is a dead letter since it came
            return None

    def map_letter(self, stored: StoredDeadLetter) -> tuple[AssetPlan, list[Update]]:
        """Map the event of a dead letter, for its point or, if it has none, for all points of the asset.

        Raise `GatewayError` with the reason if that gives no update.
        """
        letter = stored.letter
        point = self.state.points.by_name.get(letter.point)
        if letter.point and point is None:
            raise GatewayError(f"{letter.point} is not in the point tables any more")
        event = letter_event(stored)
        telemetry = read_telemetry(event)
        plan = self._plan_for(telemetry)
        if telemetry is None or plan is None:
            raise GatewayError(f"no point table names its asset {telemetry.asset if telemetry else None}")
        try:
            mapped = map_telemetry(plan, telemetry, event=event, seq=letter.seq)
        except Exception as error:
            raise GatewayError(f"internal error while mapping: {internal_error_text(error)}") from error
        updates = [update for update in mapped if point is None or update.point is point]
        if not updates:
            raise GatewayError(f"its event has no reading for {letter.point or 'any point of its asset'}")
        for update in updates:
            self._limit_time(update)
        return plan, updates

    def _plan_for(self, telemetry: Telemetry | None) -> AssetPlan | None:
        return None if telemetry is None else self.state.points.by_asset.get(telemetry.asset)

    def _apply_telemetry(
        self, plan: AssetPlan, telemetry: Telemetry, record: Record, now_ms: int
    ) -> tuple[Sequence[Update], Sequence[Update]]:
        state, status = self.state, self._status
        status.clock_ahead += telemetry.clock_ahead
        updates = map_telemetry(plan, telemetry, event=record.event, seq=record.seq)
        if not updates:
            if not telemetry.readings:
                self._dead_letter(record, _UNREADABLE)
            return (), ()
        status.mapped += 1
        status.from_webhooks += not record.event.is_backfilled
        was_offline = telemetry.asset in state.known.offline
        out = state.apply_updates(plan, updates, now_ms=now_ms)
        self.unshown.check(out, state)
        if was_offline and telemetry.asset not in state.known.offline:
            # The asset's other points show values of earlier events again. A sink that is behind, and reads
            # this event from the log, would not get them with it.
            return updates, out[len(updates) :]
        return out, ()

    def _apply_connection(self, event: Event, now_ms: int) -> Sequence[Update]:
        connection = read_online(event)
        if connection is None:
            self._status.connections_unclear += 1
            return ()
        self._status.connections += 1
        return self.state.set_online(
            connection.asset, connection.online, at_ms=connection.at_ms, now_ms=now_ms
        )

    def _remember_unmapped(self, record: Record, telemetry: Telemetry | None) -> None:
        """Count an event of an asset that no table names, and remember its keys for `gateway discover`."""
        if telemetry is None or not telemetry.readings:
            self._dead_letter(record, _UNREADABLE)
            return
        self._status.unmapped += 1
        received_ms, seen = record.event.received_ms, self.unmapped.get(telemetry.asset)
        if seen is not None:
            seen.events += 1
            seen.last_ms = received_ms
        elif len(self.unmapped) < _MOST_UNMAPPED:
            keys = tuple(dict.fromkeys(reading.key for reading in telemetry.readings))[:_MOST_KEYS]
            self.unmapped[telemetry.asset] = UnmappedAsset(telemetry.asset, 1, received_ms, received_ms, keys)

    def _dead_letter(self, record: Record, reason: str) -> None:
        """Make an event that could not be mapped a dead letter: it may hold a value."""
        self._status.unreadable += 1
        self.dead_letters.append(
            DeadLetter("", record.seq, record.event.event_id, "", reason, self._clock_ms())
        )

    def _limit_time(self, update: Update) -> None:
        """Keep a dead letter's reading without a time of its own from becoming newer than it was.

        It has the time of receipt; if its event is gone, only the time of the dead letter is known.
        """
        newest = self.state.measured(update.point)
        if newest is not None and newest.seq >= update.seq:
            update.time_ms = min(update.time_ms, newest.time_ms)


def letter_event(stored: StoredDeadLetter) -> Event:
    """Return the event of a dead letter; raise `GatewayError` if it is not kept any more."""
    if stored.body is None:
        raise GatewayError("its event is not kept any more")
    received_ms = stored.received_ms or stored.letter.at_ms
    event = parse_event(stored.body, received_ms=received_ms, origin=stored.origin)
    event.event_id = stored.letter.event_id  # not always the one in its body
    return event


class UnshownPoints:
    """Keeps the reason of each point whose newest reading cannot be shown."""

    def __init__(self, reasons: dict[str, str]) -> None:
        """`reasons` is the one in the status, by point name."""
        self._reasons = reasons

    def check(self, updates: Iterable[Update], state: BuildingState) -> None:
        """Check those of these readings that are the newest of their points."""
        for update in updates:
            is_concerned = update.quality is Quality.BAD or (
                self._reasons and update.point.name in self._reasons
            )
            if is_concerned and state.measured(update.point) is update:
                self._set(update)

    def check_again(self, state: BuildingState) -> None:
        """Check the known points by the tables of another state."""
        for name in list(self._reasons):
            point = state.points.by_name.get(name)
            reading = state.measured(point) if point is not None else None
            if reading is None:
                del self._reasons[name]
            else:
                self._set(reading)

    def _set(self, update: Update) -> None:
        name, reason = update.point.name, unshown_reason(update)
        if reason is None:
            if self._reasons.pop(name, None) is not None:
                log.info("point.shown", point=name)
        elif name in self._reasons or len(self._reasons) < _MOST_UNSHOWN:
            if name not in self._reasons:
                log.warning("point.unshown", point=name, reason=reason, event_id=update.event_id)
            self._reasons[name] = reason
