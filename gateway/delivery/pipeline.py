"""The way of every event: mapped once for all sinks, applied to the state, and fed to each sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.delivery.feed import Feed, Retry
from gateway.delivery.mapper import Mapper
from gateway.delivery.override_log import log_dropped, log_expired, log_restored
from gateway.delivery.stream import MappedEvent, RecentEvents, Replay
from gateway.errors import GatewayError
from gateway.model import EventCopy, Update
from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.delivery.event_copies import EventCopies
    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Record, Scalar
    from gateway.ports import EventLog, StateStore
    from gateway.records import Override, StoredDeadLetter
    from gateway.state.building_state import BuildingState
    from gateway.status import MappingStatus

_READ_EVENTS = 250
_VALUES_AT_ONCE = 1_000  # saved before the event loop goes on with other work


class Pipeline:
    """Belongs to the event loop. `accept` listens to the event log, `tick` is called once a second."""

    def __init__(
        self,
        *,
        event_log: EventLog,
        state_store: StateStore,
        state: BuildingState,
        status: MappingStatus,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        copies: EventCopies,
    ) -> None:
        """`start` makes the feeds. `clock_ms` is the wall clock, `steady_ms` a clock that nothing sets."""
        self._event_log = event_log
        self._state_store = state_store
        self._mapper = Mapper(state, status=status, clock_ms=clock_ms)
        self._status = status
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._copies = copies
        self._feeds: dict[str, Feed] = {}
        self._seen = 0  # the last event that the state includes
        self._saved_through = 0
        self._retries: dict[int, Retry] = {}
        self._age_sinks = _age_sinks(state.points)

    @property
    def state(self) -> BuildingState:
        """The state for the point tables in force; a reload replaces it."""
        return self._mapper.state

    async def start(self, sinks: Sequence[str], *, without_points: Collection[str] = ()) -> dict[str, Feed]:
        """Bring the state from the end of the last run to the head of the log; return a feed per sink.

        Sinks `without_points` get whole events alone.
        """
        event_log, stored = self._event_log, self._state_store.at_start
        self.state.clock_steps.earlier_run_through = self._seen = event_log.head
        now_ms = self._now_ms()
        self.state.restore(
            stored.last_values, now_ms=now_ms, overrides=stored.overrides, connections=stored.online
        )
        self._seen = self._saved_through = stored.values_through
        while records := await event_log.read(self._seen, _READ_EVENTS):
            for record in records:
                self._mapper.apply_event(record, now_ms)
            self._seen = records[-1].seq
        since_ms = {sink: await self._first_received_ms(sink) for sink in sinks}
        self._seen = event_log.head
        self._recent = RecentEvents(self._seen)
        self._replay = Replay(
            event_log=event_log,
            mapper=self._mapper,
            recent=self._recent,
            push_changes=self._push,
            now_ms=self._now_ms,
            copies=self._copies,
        )
        self._feeds = {
            sink: Feed(
                cursor=event_log.cursor(sink),
                recent=self._recent,
                replay=self._replay,
                since_ms=since_ms[sink],
                kind=EventCopy if sink in without_points else Update,
            )
            for sink in sinks
        }
        self._mapper.unshown.check(self.state.known.readings.values(), self.state)
        event_log.subscribe(self.accept)
        wall_ms = now_ms + self.state.clock_steps.ahead_ms
        self._drop_overrides([override for override in stored.overrides if override.until_ms > wall_ms])
        log_restored(self.state.overrides())
        self.save()
        return self._feeds

    def accept(self, records: Sequence[Record]) -> None:
        """Map new events and feed every sink; called right after the events became durable."""
        now_ms = self._now_ms()
        for record in records:
            updates, changes = self._mapper.apply_event(record, now_ms)
            updates, size = self._copies.with_copy(updates, record)
            event = MappedEvent(record.seq, self.state.clock_steps.received_ms(record), updates, size)
            self._recent.add(event)
            for feed in self._feeds.values():
                feed.push(event)
            if changes:
                self._push(changes)
        self._seen = records[-1].seq

    def tick(self) -> None:
        """Let time pass: stale values, ages, the heartbeat, overrides that end; and save some changes."""
        now_ms = self._now_ms()
        overrides = self.state.overrides()
        changes = self.state.tick(now_ms)
        log_expired(filter(self.state.has_expired, overrides))
        ages = self.state.refresh_ages(now_ms)
        self._push([update for update in changes if update.point.source != "$age"])  # those go out below
        for name, feed in self._feeds.items():
            if name in self._age_sinks:
                feed.push_changes(ages)
            feed.nudge()
        self._recent.drop_through(min((feed.taken for feed in self._feeds.values()), default=self._seen))
        self._status.late = self.state.late
        self.save_some()

    def force(self, point: Point, value: Scalar, *, until_ms: int) -> None:
        """Show `value` on every sink until `until_ms`, whatever is measured, also after a restart.

        It is durable once the state store is flushed. Raise `GatewayError` if the point or the value cannot
        be forced, or the time has passed.
        """
        self._push(self.state.force(point, value, until_ms=until_ms, now_ms=self._now_ms()))
        self.save()

    def release(self, point: Point) -> bool:
        """End the override of a point: show its reading again. Return whether it was forced."""
        changes = self.state.release(point, now_ms=self._now_ms())
        self._push(changes)
        self.save()
        return bool(changes)

    def set_online(self, asset: str, online: bool, *, at_ms: int) -> None:  # noqa: FBT001 - the state itself
        """Apply the state of a device's connection as of `at_ms`."""
        self._push(self.state.set_online(asset, online, at_ms=at_ms, now_ms=self._now_ms()))

    def retry(self, letters: Sequence[StoredDeadLetter]) -> dict[int, str]:
        """Deliver dead letters once more, by the tables in force; each is removed once it is written.

        The dead letter of a point goes to its sink alone, that of an event that could not be mapped to all.
        Return the reasons, by number, for those that cannot be delivered.
        """
        self._retries = {number: retry for number, retry in self._retries.items() if retry.waiting}
        untouched = {}
        for stored in sorted(letters, key=lambda each: each.number):
            try:
                self._retry(stored)
            except GatewayError as error:
                untouched[stored.number] = str(error)
        return untouched

    def swap(self, state: BuildingState) -> None:
        """Go on with the state of another point table; the feeds are restarted by their sinks' loops."""
        before = self.state.overrides()
        self._mapper.swap(state)
        self._recent.clear()
        self._age_sinks = _age_sinks(state.points)
        self._drop_overrides([override for override in before if not state.has_expired(override)])

    def save(self) -> None:
        """Store all changes of the state."""
        while self.save_some():
            pass

    def save_some(self) -> bool:
        """Store a part of the changes, which takes little time; return whether there are more.

        Values count as saved through an event only once those of all points are: after a crash, the events
        from there on are mapped again.
        """
        state, store, mapper = self.state, self._state_store, self._mapper
        self._status.forced = {override.point: override for override in state.overrides()}
        overrides, connections = state.pop_unsaved_overrides(), state.pop_unsaved_connections()
        if overrides or connections:
            store.save(StateChanges(overrides=overrides, online=connections))
        values = state.pop_unsaved_values(_VALUES_AT_ONCE)
        if state.unsaved.readings:
            store.save(StateChanges(last_values=values))
            return True
        if self._seen > self._saved_through or values or mapper.dead_letters:
            self._saved_through = self._seen
            store.save(
                StateChanges(
                    last_values=values,
                    values_through=self._seen,
                    unmapped_assets=mapper.unmapped,
                    dead_letters=mapper.dead_letters,
                )
            )
            mapper.unmapped, mapper.dead_letters = {}, []
        return False

    def _now_ms(self) -> int:
        """Return the time by the steady clock; follow the wall clock's steps."""
        now_ms = self._steady_ms()
        self.state.clock_steps.follow(self._clock_ms() - now_ms, after=self._seen)
        return now_ms

    async def _first_received_ms(self, sink: str) -> int | None:
        """Return when the first event was received that a sink still has to get, None if there is none."""
        records = await self._event_log.read(self._event_log.cursor(sink), 1)
        return self.state.clock_steps.received_ms(records[0]) if records else None

    def _push(self, changes: Sequence[Update]) -> None:
        """Feed every sink changes that no event brings."""
        for feed in self._feeds.values():
            feed.push_changes(changes)

    def _retry(self, stored: StoredDeadLetter) -> None:
        """Deliver a dead letter once more; raise `GatewayError` if that is not possible."""
        sink = stored.letter.sink
        if stored.number in self._retries:
            raise GatewayError("it is on its way already")
        if sink and sink not in self._feeds:
            raise GatewayError(f"there is no sink named {sink} any more")
        feeds = {sink: self._feeds[sink]} if sink else self._feeds
        for feed in feeds.values():
            feed.check_room()
        if not sink:
            plan, updates = self._mapper.map_letter(stored)
            shown = self.state.apply_updates(plan, updates, now_ms=self._now_ms())
            self._mapper.unshown.check(updates, self.state)
            self._status.mapped += 1
            self._push(shown[len(updates) :])
        self._replay.map_letter(stored)  # so that a dead letter without a meaning is not queued
        retry = self._retries[stored.number] = Retry(stored, set(feeds))
        for feed in feeds.values():
            feed.push_letter(retry)

    def _drop_overrides(self, before: Sequence[Override]) -> None:
        """Remove overrides that these tables do not allow: other tables must not bring them back."""
        in_force = {override.point for override in self.state.overrides()}
        dropped = [override for override in before if override.point not in in_force]
        ended = self.state.ended_overrides()
        self._state_store.save(
            StateChanges(overrides={each.point: ended.get(each.point) for each in dropped})
        )
        log_dropped(dropped, self.state)


def _age_sinks(points: PointMap) -> set[str]:
    """Return the sinks with registers or objects that change every second: ages and the heartbeat."""
    aging = [point for plan in points.by_asset.values() for point in plan.pseudo if point.source == "$age"]
    if points.heartbeat is not None:
        aging.append(points.heartbeat[1])
    registers = {register.sink for point in aging for register in point.registers}
    return registers | {shown.sink for point in aging for shown in point.objects}
