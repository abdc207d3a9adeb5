"""One sink's loop, on a journal on disk: nothing is lost, whatever the receiver does."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from support.delivery_parts import Rig, delivering, failing_commits, rows
from support.recording_sink import Receiver, RecordingSink

from gateway.errors import GatewayError, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from structlog.typing import EventDict

    from gateway.mapping.plan import PointMap


async def send_all(rig: Rig, numbers: Sequence[int]) -> None:
    """Send events of asset `a`, each with its number as the reading; return once all are durable."""
    futures = {rig.offer(number, {"assetId": "a", "telemetry": {"t": number}}) for number in numbers}
    await asyncio.gather(*futures)


def names(logs: Sequence[EventDict]) -> list[str]:
    """Return the names of log events about sinks."""
    return [entry["event"] for entry in logs if entry["event"].startswith("sink.")]


def cursor(file: Path, sink: str = "bms") -> Any:
    """Return the sink's cursor on disk."""
    return dict(rows(file, "SELECT sink, seq FROM cursors")).get(sink)


async def test_a_receiver_that_is_away_gets_everything_in_order_when_it_returns(
    file: Path, points: PointMap
) -> None:
    """The same batch is retried until it succeeds; logged once down and once up."""
    receiver = Receiver(away=7)
    with capture_logs() as logs:
        async with delivering(file, points, {"bms": receiver}) as rig:
            for number in range(1, 51):
                await rig.send(number, t=number)
            await rig.delivered()
            assert receiver.values("R/T") == list(range(1, 51))
            assert receiver.attempts[:8] == [receiver.attempts[0]] * 8
            assert (receiver.status.retries, receiver.status.state) == (7, "up")
            assert receiver.status.last_success_ms == rig.clock.now_ms
            assert (receiver.status.cursor, receiver.status.lag) == (50, 0)
    assert names(logs) == ["sink.away", "sink.up"]
    assert cursor(file) == 50


async def test_the_cursor_moves_only_once_the_write_has_returned(file: Path, points: PointMap) -> None:
    """Until the receiver acknowledges, the event is undelivered on disk."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        receiver.open.clear()
        receiver.asked.clear()
        await rig.send(2, t=2)
        await receiver.asked.wait()
        rig.pipeline.tick()
        await rig.journal.flush()
        assert cursor(file) == 1
        receiver.open.set()
        await rig.delivered()
        assert cursor(file) == 2


async def test_a_sink_is_frozen(file: Path, points: PointMap) -> None:
    """Its registers and topics are frozen, or each collection would block the loop."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        assert not any(isinstance(found, RecordingSink) for found in gc.get_objects())


async def test_a_restart_resumes_from_the_cursor(file: Path, points: PointMap) -> None:
    """Unacknowledged batches come again, acknowledged ones do not."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        await send_all(rig, [1, 2, 3])
        await rig.delivered()
        receiver.open.clear()
        receiver.asked.clear()
        await send_all(rig, [4, 5])
        await receiver.asked.wait()
    assert rig.tasks["bms"].cancelled()
    assert receiver.events == ["enter", "leave"]
    assert receiver.values("R/T") == [1, 2, 3]
    receiver.open.set()
    async with delivering(file, points, {"bms": receiver}) as rig:
        assert rig.loops["bms"].idle is False
        await rig.delivered()  # what comes before that may overtake it
        await rig.send(6, t=6)
        await rig.delivered()
    assert receiver.values("R/T") == [1, 2, 3, 4, 5, 6]


async def test_a_sink_that_was_never_reached_begins_where_it_was_first_configured(
    file: Path, points: PointMap
) -> None:
    """A first run without the receiver loses nothing."""
    receiver = Receiver(away=1_000_000)
    async with delivering(file, points, {"bms": receiver}) as rig:
        await send_all(rig, [1, 2, 3])
        await receiver.asked.wait()
    receiver.away = 0
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.delivered()
    assert receiver.values("R/T") == [1, 2, 3]


async def test_refused_updates_become_dead_letters_and_hold_up_nothing(file: Path, points: PointMap) -> None:
    """They are on disk with reason and body; the rest is delivered, and the cursor moves."""
    receiver = Receiver(refuses={"R/H"})
    with capture_logs() as logs:
        async with delivering(file, points, {"bms": receiver}) as rig:
            await rig.send(1, t=1, h=50)
            await rig.send(2, t=2, h=51)
            await rig.delivered()
    assert receiver.values("R/T") == [1, 2]
    assert receiver.values("R/H") == []
    assert cursor(file) == 2
    letters = rows(file, "SELECT sink, seq, event_id, point, reason, body FROM dead_letters ORDER BY seq")
    assert [letter[:5] for letter in letters] == [
        ("bms", 1, "evt_1", "R/H", "no such register"),
        ("bms", 2, "evt_2", "R/H", "no such register"),
    ]
    assert b'"h":50' in letters[0][5]
    assert receiver.status.dead_letters == 2
    assert receiver.status.written == 3  # twice T, once the quality
    assert receiver.status.state == "up"
    assert names(logs) == ["sink.refused"]


async def test_a_refused_pseudo_point_is_one_dead_letter(file: Path, points: PointMap) -> None:
    """Otherwise one per second would push all other dead letters out."""
    receiver = Receiver(refuses={"R/QUAL"})
    async with delivering(file, points, {"bms": receiver}) as rig:
        for number in (-1, 1, -1, 1):
            await rig.send(f"{rig.journal.head}", t=number)
            await rig.delivered()
    assert len(receiver.values("R/T")) == 4
    assert rows(file, "SELECT seq, point FROM dead_letters") == [(0, "R/QUAL")]


async def test_an_unexpected_error_restarts_that_sink_alone(file: Path, points: PointMap) -> None:
    """It is marked failed and restarted with a pause; other sinks are not affected."""
    broken, sound = Receiver(), Receiver()
    broken.fails_to_write = [KeyError("topic")] * 3
    with capture_logs() as logs:
        async with delivering(file, points, {"bms": broken, "regs": sound}) as rig:
            await rig.send(1, t=1)
            await rig.until(lambda: sound.values("R/T") == [1])
            await rig.send(2, t=2)
            await rig.delivered()
    assert broken.events == ["enter", "leave"] * 4
    assert sound.events == ["enter", "leave"]
    assert broken.values("R/T") == sound.values("R/T") == [1, 2]
    assert broken.attempts[:4] == [broken.attempts[0]] * 4
    assert cursor(file, "bms") == cursor(file, "regs") == 2
    assert names(logs) == ["sink.failed", "sink.up"]
    assert "exc_info" not in logs[0]
    assert re.fullmatch(
        r"KeyError: 'topic' \(line \d+ of recording_sink.py\)", broken.status.last_error or ""
    )
    assert (broken.status.state, broken.status.dead_letters) == ("up", 0)


async def test_a_sink_that_cannot_start_is_started_again(file: Path, points: PointMap) -> None:
    """A port in use delays that sink only, and its events wait."""
    receiver, sound = Receiver(), Receiver()
    receiver.fails_to_enter = [GatewayError("port 5020 is taken")] * 3
    with capture_logs() as logs:
        async with delivering(file, points, {"regs": receiver, "bms": sound}) as rig:
            await rig.send(1, t=1)
            await rig.until(lambda: sound.values("R/T") == [1])
            await rig.delivered()
    assert receiver.events == ["enter"] * 4 + ["leave"]
    assert receiver.values("R/T") == [1]
    assert names(logs) == ["sink.failed", "sink.up"]
    assert logs[0]["reason"] == "port 5020 is taken"


async def test_failing_while_stopping_does_not_keep_the_gateway_up(file: Path, points: PointMap) -> None:
    """A sink that fails while stopping is logged and stops."""
    receiver = Receiver()
    receiver.fails_to_leave = OSError("the broker hung up")
    async with asyncio.timeout(60):
        async with delivering(file, points, {"bms": receiver}) as rig:
            await rig.send(1, t=1)
            await rig.delivered()
    assert receiver.values("R/T") == [1]
    assert receiver.events == ["enter", "leave"]


async def test_a_sink_that_is_cancelled_from_within_is_restarted(file: Path, points: PointMap) -> None:
    """A cancelled future inside a sink does not end its loop."""
    receiver = Receiver()
    receiver.fails_to_write = [asyncio.CancelledError()]
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        assert receiver.values("R/T") == [1]
    assert receiver.events == ["enter", "leave"] * 2


async def test_a_sink_far_behind_catches_up_while_new_events_come(file: Path, points: PointMap) -> None:
    """12,000 events wait and more arrive: each comes in its turn, new ones soon."""
    away = Receiver()
    away.open.clear()
    async with delivering(file, points, {"bms": away}) as rig:
        await send_all(rig, range(1, 12_001))
    late, prompt = Receiver(), Receiver()
    late.open.clear()  # or it may have caught up before the first new one comes
    async with delivering(file, points, {"bms": late, "regs": prompt}) as rig:
        for start in range(12_001, 14_001, 100):
            await send_all(rig, range(start, start + 100))
            late.open.set()
        await rig.delivered()
        assert rig.loops["bms"].idle
        assert late.status.lag == 0
    values = late.values("R/T")
    assert set(values) == set(range(1, 14_001))
    assert [value for value in values if int(str(value)) < 12_000] == list(range(1, 12_000))
    assert values.index(11_999) > min(map(values.index, range(12_001, 14_001)))
    assert prompt.values("R/T") == list(range(12_001, 14_001))
    assert cursor(file) == 14_000


async def test_a_loop_turns_while_nothing_happens(file: Path, points: PointMap) -> None:
    """The watchdog sees an idle loop turn with every tick."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.delivered()
        before_s = rig.loops["bms"].turned_s
        rig.pipeline.tick()
        await rig.until(lambda: rig.loops["bms"].turned_s > before_s)


async def test_a_failed_commit_loses_no_state(file: Path, points: PointMap) -> None:
    """While the disk is full, cursor, dead letters and counts wait and add up."""
    receiver = Receiver(refuses={"R/H"})
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.send_thing("x1", {"assetId": "unknown", "telemetry": {"t": 1}})
        await rig.delivered()
        receiver.open.clear()
        await rig.send(2, t=2, h=2)
        await rig.send_thing("x2", {"assetId": "unknown", "telemetry": {"t": 1}})
        with failing_commits(file):
            receiver.open.set()
            for _ in range(2):
                rig.pipeline.tick()
                with pytest.raises(JournalError):
                    await rig.journal.flush()
            await rig.until(lambda: receiver.values("R/T") == [1, 2])
        await rig.delivered()
        assert rows(file, "SELECT asset, events FROM unmapped_assets") == [("unknown", 2)]
        assert rows(file, "SELECT seq, point FROM dead_letters") == [(3, "R/H")]
        assert cursor(file) == 4
        assert ("R/T", "2") in rows(file, "SELECT point, raw FROM last_values")
