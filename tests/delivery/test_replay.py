"""The journal read and mapped again for a sink that is behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.delivery_parts import NOON, delivering, with_a_fault
from support.recording_sink import Receiver

from gateway.delivery.stream import RecentEvents, Replay
from gateway.model import Record

if TYPE_CHECKING:
    from pathlib import Path

    from support.delivery_parts import Rig

    from gateway.mapping.plan import PointMap
    from gateway.model import Point, Update
    from gateway.records import LastValue


def replay(rig: Rig, *, seen: int | None = None) -> Replay:
    """Return a replay of the log, of which the state includes all events up to `seen`."""
    recent = rig.pipeline._recent if seen is None else RecentEvents(seen)
    return Replay(
        event_log=rig.journal,
        mapper=rig.pipeline._mapper,
        recent=recent,
        push_changes=lambda _: None,
        now_ms=rig.clock,
    )


async def test_what_comes_while_the_journal_is_read_is_not_skipped(file: Path, points: PointMap) -> None:
    """Where the journal has nothing more, a sink moves up to what was known before it was asked."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        reading = asyncio.create_task(replay(rig).read(1))
        await asyncio.sleep(0)
        rig.pipeline.accept([Record(2, rig.event(2, {"assetId": "a", "telemetry": {"t": 2}}))])
        assert await reading == ([], 1)


async def test_the_journal_is_read_no_further_than_the_head_has_come(file: Path, points: PointMap) -> None:
    """An event that is durable but not yet in the state comes in its turn, and then only once."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send(1, t=1)
        assert await replay(rig, seen=0).read(0) == ([], 0)
        events, through = await replay(rig, seen=1).read(0)
        assert [(event.seq, event.received_ms) for event in events] == [(1, NOON)]
        assert through == 1


async def test_an_event_that_cannot_be_mapped_does_not_stop_a_sink_that_is_behind(
    file: Path, points: PointMap
) -> None:
    """A fault of ours was dead-lettered when the event came; met again in the journal, it is passed over."""
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
    """The first batch after an outage is mapped some events at a time."""
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
