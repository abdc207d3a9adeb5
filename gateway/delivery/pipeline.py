"""The head of the stream: every durable event is mapped once, taken into the image, and fed to all sinks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.delivery.batch import Retry
from gateway.delivery.feed import Feed
from gateway.delivery.meaning import map_event, map_letter, plan_of
from gateway.delivery.overrides import log_dropped, log_expired, log_restored, log_undated
from gateway.delivery.replay import Replay
from gateway.delivery.unshown import Unshown
from gateway.errors import GatewayError
from gateway.events import STATUS_CHANGED, asset_of, read_online, read_telemetry
from gateway.records import DeadLetter, StateChanges, UnmappedAsset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.mapping.plan import AssetPlan, PointMap
    from gateway.model import Event, Point, Record, Scalar, Update
    from gateway.ports import EventLog, StateStore
    from gateway.records import Override, StoredDeadLetter
    from gateway.state.building_state import BuildingState
    from gateway.status import MappingStatus

log = structlog.get_logger()

_READ_EVENTS = 250
_MOST_UNMAPPED = 10_000  # assets remembered between two ticks
_MOST_KEYS = 100
_KEPT_AT_ONCE = 1_000  # values; then others on the event loop have their turn
_UNREADABLE = "no asset id or no readings found in data.object; name an explicit path in the point table"


class Pipeline:
    """Belongs to the event loop. `accept` listens to the journal, `tick` is called once a second."""

    def __init__(
        self,
        *,
        event_log: EventLog,
        state_store: StateStore,
        state: BuildingState,
        status: MappingStatus,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
    ) -> None:
        """Have no feeds yet; `start` makes them. `clock_ms` dates, `steady_ms` measures what passes."""
        self._event_log = event_log
        self._state_store = state_store
        self._state = state
        self._status = status
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._feeds: dict[str, Feed] = {}
        self._seen = 0
        self._kept_through = 0
        self._unmapped: dict[str, UnmappedAsset] = {}
        self._dead_letters: list[DeadLetter] = []
        self._retries: dict[int, Retry] = {}
        self._age_sinks = _age_sinks(state.points)
        self._unshown = Unshown(status.unshown)

    @property
    def state(self) -> BuildingState:
        """The image in force; it knows its point table."""
        return self._state

    def swap(self, state: BuildingState) -> None:
        """Go on with the image of another point table, which has taken over from the present one."""
        before, self._state = self._state, state
        self._drop_forced(before.overrides())
        self._unshown.look_again(state)
        self._age_sinks = _age_sinks(state.points)

    async def start(self, sinks: Sequence[str]) -> dict[str, Feed]:
        """Bring the image from the last run's end up to the journal's head; return a feed per sink."""
        stored = self._state_store.at_start
        self._state.clock_steps.earlier_run_through = self._seen = self._event_log.head
        now_ms = self._now_ms()
        self._state.restore(
            stored.last_values, now_ms=now_ms, overrides=stored.overrides, connections=stored.online
        )
        self._seen = self._kept_through = stored.values_through
        while self._seen < self._event_log.head:
            records = await self._event_log.read(self._seen, _READ_EVENTS)
            if not records:
                break
            for record in records:
                self._image_of(record, now_ms)
            self._seen = records[-1].seq
        since_ms = [await self._received_ms(self._event_log.cursor(sink)) for sink in sinks]
        self._seen = self._event_log.head
        self._feeds = {
            sink: self._make_feed(sink, at_ms) for sink, at_ms in zip(sinks, since_ms, strict=True)
        }
        self._unshown.note(self._state.all_measured(), image=self._state)
        self._event_log.subscribe(self.accept)
        self._drop_forced(stored.overrides)
        log_restored(self._state.overrides())
        wall_ms = now_ms + self._state.clock_steps.ahead_ms
        log_undated(
            each for each in stored.overrides if self._state.has_expired(each) and each.until_ms > wall_ms
        )
        self.keep()
        return self._feeds

    def accept(self, records: Sequence[Record]) -> None:
        """Map new events and feed every sink; called right after they became durable."""
        now_ms = self._now_ms()
        for record in records:
            updates = self._image_of(record, now_ms)
            for feed in self._feeds.values():
                feed.push(record.seq, updates, received_ms=self._state.received_ms(record))
        self._seen = records[-1].seq

    def tick(self) -> None:
        """Let time pass: age values, move `$age` and the heartbeat, and keep the image's changes on disk.

        Of many changes, only some are kept: call `keep_some` until there are no more.
        """
        now_ms = self._now_ms()
        forced = self._state.overrides()
        changes = self._state.tick(now_ms)
        log_expired(filter(self._state.has_expired, forced))
        ages = self._state.refresh_ages(now_ms)
        self._push(changes)
        for name, feed in self._feeds.items():
            if name in self._age_sinks:
                feed.push_changes(ages)
            feed.nudge()
        self._status.late = self._state.late
        self.keep_some()

    def force(self, point: Point, value: Scalar, *, until_ms: int) -> None:
        """Show `value` on every sink until `until_ms`, whatever is measured, also after a restart.

        Noted at once; durable once the journal is flushed. Raise `GatewayError` where the point or the
        value cannot be forced, or the time has passed.
        """
        self._push(self._state.force(point, value, until_ms=until_ms, now_ms=self._now_ms()))
        self.keep()

    def release(self, point: Point) -> bool:
        """End forcing a point: show what is measured again. Return whether it was forced."""
        changes = self._state.release(point, now_ms=self._now_ms())
        self._push(changes)
        self.keep()
        return bool(changes)

    def set_online(self, asset: str, online: bool, *, at_ms: int) -> None:  # noqa: FBT001 - the state itself
        """Take in what is said of a device's connection as of `at_ms`, and feed the sinks the changes."""
        self._push(self._state.set_online(asset, online, at_ms=at_ms, now_ms=self._now_ms()))

    def retry(self, letters: Sequence[StoredDeadLetter]) -> dict[int, str]:
        """Try to deliver dead letters once more, by the tables in force; each is settled when it is written.

        A letter of a point goes to its sink alone, that of an event which could not be mapped to all.
        Return by number why nothing was done for those that are missing here: in words for the user.
        """
        self._retries = {number: retry for number, retry in self._retries.items() if retry.waiting}
        untouched = {}
        for stored in sorted(letters, key=lambda each: each.number):
            try:
                self._retry(stored)
            except GatewayError as error:
                untouched[stored.number] = str(error)
        return untouched

    def keep(self) -> None:
        """Note what the image and the head remember for the journal to keep: values, overrides and more."""
        while self.keep_some():
            pass

    def keep_some(self) -> bool:
        """Note a part of it that is done soon; return whether there is more.

        Values are kept through an event only once those of all points are: after a crash, it is read again.
        """
        self._status.forced = {forced.point: forced for forced in self._state.overrides()}
        forced, online = self._state.pop_unsaved_overrides(), self._state.pop_unsaved_connections()
        if forced or online:
            self._state_store.save(StateChanges(overrides=forced, online=online))
        kept = self._state.pop_unsaved_values(_KEPT_AT_ONCE)
        if self._state.has_unsaved_values:
            self._state_store.save(StateChanges(last_values=kept))
            return True
        if self._seen > self._kept_through or kept or self._dead_letters:
            self._kept_through = self._seen
            self._state_store.save(
                StateChanges(
                    last_values=kept,
                    values_through=self._seen,
                    unmapped_assets=self._unmapped,
                    dead_letters=self._dead_letters,
                )
            )
            self._unmapped, self._dead_letters = {}, []
        return False

    def _now_ms(self) -> int:
        """Return the time by the steady clock, and note how far the wall clock is ahead of it."""
        now_ms = self._steady_ms()
        self._state.clock_steps.follow(self._clock_ms() - now_ms, after=self._seen)
        return now_ms

    async def _received_ms(self, after: int) -> int | None:
        """Return when the first event after `after` was received, None where there is none."""
        records = await self._event_log.read(after, 1)
        return self._state.received_ms(records[0]) if records else None

    def _make_feed(self, sink: str, since_ms: int | None) -> Feed:
        """Make a sink's feed, which begins where the last run has left off."""
        source = Replay(
            event_log=self._event_log,
            image=lambda: self._state,
            seen=lambda: self._seen,
            tell_others=partial(self._tell_others, but=sink),
            now_ms=self._now_ms,
        )
        return Feed(cursor=self._event_log.cursor(sink), head=self._seen, source=source, since_ms=since_ms)

    def _drop_forced(self, before: Sequence[Override]) -> None:
        """Forget overrides that these tables do not allow: they must not come back with other ones."""
        there = {forced.point for forced in self._state.overrides()}
        dropped = [each for each in before if each.point not in there and not self._state.has_expired(each)]
        ended = self._state.ended_overrides()
        self._state_store.save(
            StateChanges(overrides={each.point: ended.get(each.point) for each in dropped})
        )
        log_dropped(dropped, points=self._state.points)

    def _push(self, changes: Sequence[Update]) -> None:
        """Feed every sink changes that are in no event."""
        for feed in self._feeds.values():
            feed.push_changes(changes)

    def _image_of(self, record: Record, now_ms: int) -> Sequence[Update]:
        """Return the updates that the event brings; one that can't be mapped takes no other with it."""
        try:
            return self._mapped(record, now_ms)
        except Exception as error:  # noqa: BLE001 - a fault of ours: keep the event, and go on
            reason = f"internal error while mapping: {type(error).__name__}: {error}"
            log.error("head.failed", event_id=record.event.event_id, reason=reason)  # noqa: TRY400 - no traceback
            self._bury(record.event, record.seq, reason=reason)
            return ()

    def _mapped(self, record: Record, now_ms: int) -> Sequence[Update]:
        """Map the event into the image, and count what became of it."""
        event = record.event
        if event.type == STATUS_CHANGED:
            self._take_connection(event)
            return ()
        plan = plan_of(self._state, event)
        if plan is None:
            self._remember(event, record.seq)
            return ()
        telemetry = read_telemetry(event)
        if telemetry is not None:
            self._status.clock_ahead += telemetry.clock_ahead
        updates = map_event(plan, telemetry, record)
        if not updates:
            if telemetry is None or not telemetry.readings:
                self._bury(event, record.seq)
            return ()
        if not event.is_backfilled:
            self._status.from_webhooks += 1
        return self._take(plan, updates, now_ms)

    def _take(self, plan: AssetPlan, updates: list[Update], now_ms: int) -> Sequence[Update]:
        """Take an event's updates into the image; return what it brings the sinks."""
        self._status.mapped += 1
        asset = updates[0].point.asset
        was_offline = self._state.is_online(asset) is False
        out = self._state.apply_updates(plan, updates, now_ms=now_ms)
        self._unshown.note(updates, image=self._state)
        if was_offline and self._state.is_online(asset):
            # The asset's other points show earlier events' values again: a sink that is behind, and reads
            # this event from the journal, would not be told of them.
            self._push(out[len(updates) :])
            return updates
        return out

    def _take_connection(self, event: Event) -> None:
        state = read_online(event)
        if state is None:
            self._status.connections_unclear += 1
            return
        self._status.connections += 1
        self.set_online(state.asset, state.online, at_ms=state.at_ms)

    def _retry(self, stored: StoredDeadLetter) -> None:
        """Put a letter on its way again; raise `GatewayError` where that is not possible."""
        sink = stored.letter.sink
        if stored.number in self._retries:
            raise GatewayError("it is on its way already")
        if sink and sink not in self._feeds:
            raise GatewayError(f"there is no sink named {sink} any more")
        feeds = {sink: self._feeds[sink]} if sink else self._feeds
        for feed in feeds.values():
            feed.check_room()
        if not sink:
            plan, updates = map_letter(self._state, stored)
            self._take(plan, updates, self._now_ms())
        for feed in feeds.values():
            feed.check_letter(stored)
        retry = self._retries[stored.number] = Retry(stored, set(feeds))
        for feed in feeds.values():
            feed.push_letter(retry)

    def _tell_others(self, updates: Sequence[Update], *, but: str) -> None:
        """Feed changes to every sink but one."""
        for name, feed in self._feeds.items():
            if name != but:
                feed.push_changes(updates)

    def _remember(self, event: Event, seq: int) -> None:
        """Count an event that no table maps, and remember its asset and keys for `gateway discover`."""
        asset = asset_of(event)
        seen = self._unmapped.get(asset) if asset is not None else None
        if seen is not None:
            self._status.unmapped += 1
            seen.events += 1
            seen.last_ms = event.received_ms
            return
        telemetry = read_telemetry(event)
        if telemetry is None or not telemetry.readings:
            self._bury(event, seq)
            return
        self._status.unmapped += 1
        if len(self._unmapped) < _MOST_UNMAPPED:
            keys = tuple(dict.fromkeys(reading.key for reading in telemetry.readings))[:_MOST_KEYS]
            self._unmapped[telemetry.asset] = UnmappedAsset(
                telemetry.asset, 1, event.received_ms, event.received_ms, keys
            )

    def _bury(self, event: Event, seq: int, *, reason: str = _UNREADABLE) -> None:
        """Turn an event that could not be mapped into a dead letter: it may hold a value."""
        self._status.unreadable += 1
        self._dead_letters.append(
            DeadLetter(
                sink="", seq=seq, event_id=event.event_id, point="", reason=reason, at_ms=self._clock_ms()
            )
        )


def _age_sinks(points: PointMap) -> set[str]:
    """Return the sinks with registers that move every second: ages and the heartbeat."""
    aging = [point for plan in points.by_asset.values() for point in plan.pseudo if point.source == "$age"]
    if points.heartbeat is not None:
        aging.append(points.heartbeat[1])
    return {register.sink for point in aging for register in point.registers}
