"""A sink's status: its lag in events and in time, and its last error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.delivery_parts import NOON, Clock, Rig, delivering
from support.recording_sink import Receiver

from gateway.errors import GatewayError
from gateway.status import Status

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap


def lag(rig: Rig, receiver: Receiver) -> tuple[int, float]:
    """Return the lag of the sink `bms` in events and seconds."""
    rig.loops["bms"].refresh()
    return receiver.status.lag, receiver.status.lag_s


async def test_lag_is_true_at_any_moment_of_an_outage(file: Path, points: PointMap) -> None:
    """Its age is that of the oldest event, in flight, failing, and after the return."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        assert lag(rig, receiver) == (0, 0)
        receiver.open.clear()
        await rig.send(1, t=1)
        await receiver.asked.wait()
        clock.now_ms += 2_500
        assert lag(rig, receiver) == (1, 2.5)
        receiver.away = 1_000_000
        receiver.open.set()
        await rig.until(lambda: receiver.status.retries > 2)
        for number in range(2, 5):
            clock.now_ms += 1_000
            await rig.send(number, t=number)
        await rig.until(lambda: lag(rig, receiver) == (4, 5.5))
        clock.now_ms += 60_000
        retries = receiver.status.retries
        await rig.until(lambda: receiver.status.retries > retries + 1)
        assert lag(rig, receiver) == (4, 65.5)
        status = receiver.status
        assert (status.state, status.connected) == ("away", False)
        assert (status.last_error, status.last_error_ms) == ("the receiver is away", clock.now_ms)
        receiver.away = 0
        await rig.delivered()
        assert lag(rig, receiver) == (0, 0)
        assert (status.state, status.connected) == ("up", True)
        assert (status.last_success_ms, status.last_error) == (clock.now_ms, "the receiver is away")


async def test_a_receiver_that_is_back_is_not_kept_waiting(file: Path, points: PointMap) -> None:
    """When the sink is connected again, it gets the next batch at once, however long the pause is."""
    receiver = Receiver(away=1)
    async with delivering(file, points, {"bms": receiver}, pause_s=600) as rig:
        await rig.send(1, t=1)
        await rig.until(lambda: receiver.status.state == "away")
        receiver.status.state = "up"
        await rig.until(lambda: receiver.values("R/T") == [1])


async def test_lag_after_a_restart_with_a_backlog(file: Path, points: PointMap) -> None:
    """It is known before the sink starts, from its first event."""
    away, clock = Receiver(away=1_000_000), Clock()
    async with delivering(file, points, {"bms": away}, clock=clock) as rig:
        for number in range(1, 4):
            await rig.send(number, t=number)
            clock.now_ms += 10_000
    broken = Receiver(fails_to_enter=[GatewayError("port 5020 is taken")] * 1_000_000)
    async with delivering(file, points, {"bms": broken}, clock=clock) as rig:
        await rig.until(lambda: len(broken.events) > 2)
        assert lag(rig, broken) == (3, 30.0)
        assert (broken.status.state, broken.status.connected) == ("failed", False)
        assert (broken.status.last_error, broken.status.last_error_ms) == (
            "port 5020 is taken",
            clock.now_ms,
        )


async def test_lag_while_catching_up(file: Path, points: PointMap) -> None:
    """Each step is visible in events and time, also beyond what memory holds."""
    receiver, clock = Receiver(away=1_000_000), Clock(now_ms=NOON)
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        for start in range(0, 12_000, 1_000):
            numbers = range(start, start + 1_000)
            await asyncio.gather(
                *{rig.offer(number, {"assetId": "a", "telemetry": {"t": number}}) for number in numbers}
            )
            clock.now_ms += 1_000
        receiver.away = 0
        seen = [lag(rig, receiver)]
        while seen[-1] != (0, 0):
            receiver.asked.clear()
            if not rig.loops["bms"].idle:
                await receiver.asked.wait()
            await asyncio.sleep(0)
            seen.append(lag(rig, receiver))
    assert seen[0] == (12_000, 12.0)
    assert len(set(seen)) > 12
    assert seen == sorted(seen, reverse=True)
    for events, seconds in seen:
        assert abs(seconds - events / 1_000) <= 1, (events, seconds)


async def test_a_sink_with_nothing_to_do_does_not_lag(file: Path, points: PointMap) -> None:
    """Unmapped events are no lag."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        for number in range(2, 9):
            await rig.send_thing(number, {"assetId": "unknown", "telemetry": {"t": 1}})
        clock.now_ms += 5_000
        assert receiver.status.cursor == 1
        assert lag(rig, receiver) == (0, 0)


async def test_changes_that_no_event_caused_are_no_lag(file: Path, points: PointMap) -> None:
    """Values that age while a sink is away are no lag."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        receiver.away = 1_000_000
        clock.now_ms += 11_000
        rig.pipeline.tick()
        await rig.until(lambda: receiver.status.state == "away")
        assert lag(rig, receiver) == (0, 0)


async def test_a_sink_that_is_away_for_hours_is_seen_to_turn(file: Path, points: PointMap) -> None:
    """The watchdog does not restart the gateway because a broker is away."""
    async with delivering(file, points, {"bms": Receiver(away=1_000_000)}) as rig:
        await rig.send(1, t=1)
        for _ in range(5):
            before_s = rig.loops["bms"].turned_s
            await rig.until(lambda: rig.loops["bms"].turned_s > before_s)  # noqa: B023 - called before the next turn


def test_the_snapshot_says_whether_a_sink_is_connected() -> None:
    """It has `connected` beside the state."""
    status = Status(name="edge-1", started_ms=NOON)
    receiver = Receiver()
    status.sinks["bms"] = receiver.status
    receiver.status.state = "up"
    assert status.snapshot()["sinks"]["bms"]["connected"] is True
