"""The event log, read and mapped again for a sink that is behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.delivery_parts import NOON, delivering, with_a_fault
from support.point_tables import load_good_tables, table_of_points
from support.recording_sink import Receiver

from gateway.delivery.event_copies import EventCopies
from gateway.delivery.stream import RecentEvents, Replay
from gateway.model import Record

if TYPE_CHECKING:
    from pathlib import Path

    from support.delivery_parts import Rig

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Update
    from gateway.records import LastValue


def replay(rig: Rig, *, seen: int | None = None) -> Replay:
    """Return a replay of the log; the state includes all events up to `seen`."""
    recent = rig.pipeline._recent if seen is None else RecentEvents(seen)
    return Replay(
        event_log=rig.journal,
        mapper=rig.pipeline._mapper,
        recent=recent,
        push_changes=lambda _: None,
        now_ms=rig.clock,
        copies=EventCopies({}),
    )


async def test_events_during_a_read_are_not_skipped(file: Path, points: PointMap) -> None:
    """At the end of the log, a sink moves up to the head as it was before the read."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        reading = asyncio.create_task(replay(rig).read(1))
        await asyncio.sleep(0)
        rig.pipeline.accept([Record(2, rig.event(2, {"assetId": "a", "telemetry": {"t": 2}}))])
        assert await reading == ([], 1)


async def test_the_log_is_read_up_to_the_head(file: Path, points: PointMap) -> None:
    """A durable event that the state does not include yet comes in its turn, once."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=1)
        assert await replay(rig, seen=0).read(0) == ([], 0)
        events, through = await replay(rig, seen=1).read(0)
        assert [(event.seq, event.received_ms) for event in events] == [(1, NOON)]
        assert through == 1


async def test_an_unmappable_event_is_skipped(file: Path, points: PointMap) -> None:
    """It became a dead letter when it came, and is skipped in the event log."""
    away = Receiver(away=1_000_000)
    broken = with_a_fault(points)
    async with delivering(file, broken, {"bms": away}) as rig:
        await rig.offer(1, {"assetId": "faulty", "telemetry": {"t": 1}})
        await rig.send(2, t=21)
        await rig.journal.flush()
    receiver = Receiver()
    async with delivering(file, broken, {"bms": receiver}) as rig:
        await rig.delivered()
    assert receiver.values("R/T") == [21]
    assert receiver.events == ["enter", "leave"]


async def test_other_work_has_its_turn_while_a_backlog_is_mapped(file: Path, points: PointMap) -> None:
    """A backlog is mapped some events at a time."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await asyncio.gather(
            *{rig.offer(number, {"assetId": "a", "telemetry": {"t": number}}) for number in range(250)}
        )
        await rig.delivered()
        reading = asyncio.create_task(replay(rig, seen=250).read(0))
        mapped: list[int] = []
        known = rig.state.known
        was_unseen = known.is_unseen

        def is_unseen(reading: Update | LastValue, point: Point) -> bool:
            mapped[-1] += 1
            return was_unseen(reading, point)

        known.is_unseen = is_unseen  # type: ignore[method-assign]  # looked at on its way
        while not reading.done():
            mapped.append(0)
            await asyncio.sleep(0)
        assert max(mapped) <= 50
        assert sum(mapped) == 250


async def test_old_events_bring_the_present_values_of_computed_points(file: Path, tmp_path: Path) -> None:
    """What was computed at the time of an old event does not come again; what is shown now comes once."""
    computed = "  - {tag: R, point: MAX, max: {of: T}}\n  - {tag: R, point: TWICE, expr: 'MAX * 2'}\n"
    points = load_good_tables(tmp_path, table_of_points("tag: R, point: T") + computed)
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        for number in (1, 2, 3):
            await rig.send(number, t=number)
        await rig.delivered()
        events, _ = await replay(rig).read(0)
        updates = [(event.seq, update) for event in events for update in event.updates]
        found = [
            (seq, update.point.point, update.value) for seq, update in updates if update.point.is_computed
        ]
        assert found == [(3, "MAX", 3), (3, "TWICE", 6)]
        assert all(rig.state.is_newest(update) for _, update in updates if update.point.is_computed)


async def test_a_computed_value_that_no_register_shows_is_reported(file: Path, tmp_path: Path) -> None:
    """The reason is in the status while it lasts, as of a reading."""
    register = "modbus: {register: 1, type: uint16}"
    computed = f"  - {{tag: R, point: X, expr: 'T * 1000', {register}}}\n"
    points = load_good_tables(tmp_path, table_of_points("tag: R, point: T") + computed)
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=100)
        await rig.until(lambda: list(rig.mapping.unshown) == ["R/X"])
        await rig.send(2, t=1)
        await rig.until(lambda: not rig.mapping.unshown)
