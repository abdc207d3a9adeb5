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
    """Send events of asset `a` whose reading is their number; return once all are durable."""
    futures = {rig.offer(number, {"assetId": "a", "telemetry": {"t": number}}) for number in numbers}
    await asyncio.gather(*futures)


def names(logs: Sequence[EventDict]) -> list[str]:
    """Return the names of what was logged about sinks."""
    return [entry["event"] for entry in logs if entry["event"].startswith("sink.")]


def cursor(file: Path, sink: str = "bms") -> Any:
    """Return the sink's cursor as it is on disk."""
    return dict(rows(file, "SELECT sink, seq FROM cursors")).get(sink)


async def test_a_receiver_that_is_away_gets_everything_in_order_when_it_returns(
    file: Path, points: PointMap
) -> None:
    """The same batch comes again until it succeeds; said once when it goes, once when it is back."""
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
    """While the receiver has not acknowledged, the event stays undelivered on disk."""
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


async def test_what_a_sink_is_built_of_is_not_searched_for_garbage(file: Path, points: PointMap) -> None:
    """A building's registers and topics would hold the event loop for a fifth of a second each time."""
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        assert not any(isinstance(found, RecordingSink) for found in gc.get_objects())


async def test_a_restart_resumes_from_the_cursor(file: Path, points: PointMap) -> None:
    """What was being written when the gateway stopped comes again; what was written does not."""
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
    """A first run whose receiver is away from beginning to end loses nothing at the restart."""
    receiver = Receiver(away=1_000_000)
    async with delivering(file, points, {"bms": receiver}) as rig:
        await send_all(rig, [1, 2, 3])
        await receiver.asked.wait()
    receiver.away = 0
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.delivered()
    assert receiver.values("R/T") == [1, 2, 3]


async def test_refused_updates_become_dead_letters_and_hold_up_nothing(file: Path, points: PointMap) -> None:
    """What was refused is on disk with reason and body, the rest delivered, the cursor past it."""
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


async def test_what_no_event_caused_is_dead_lettered_once_a_run(file: Path, points: PointMap) -> None:
    """A refused quality, age or heartbeat would otherwise push all other dead letters out in hours."""
    receiver = Receiver(refuses={"R/QUAL"})
    async with delivering(file, points, {"bms": receiver}) as rig:
        for number in (-1, 1, -1, 1):
            await rig.send(f"{rig.journal.head}", t=number)
            await rig.delivered()
    assert len(receiver.values("R/T")) == 4
    assert rows(file, "SELECT seq, point FROM dead_letters") == [(0, "R/QUAL")]


async def test_an_unexpected_error_restarts_that_sink_alone(file: Path, points: PointMap) -> None:
    """Marked failed, restarted with a pause, the same batch again; the other sinks don't notice."""
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
    """A port that is taken for a while delays that sink only; what it was to get is waiting."""
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
    """A sink whose farewell fails is told about, and stops all the same."""
    receiver = Receiver()
    receiver.fails_to_leave = OSError("the broker hung up")
    async with asyncio.timeout(5):
        async with delivering(file, points, {"bms": receiver}) as rig:
            await rig.send(1, t=1)
            await rig.delivered()
    assert receiver.values("R/T") == [1]
    assert receiver.events == ["enter", "leave"]


async def test_a_sink_that_is_cancelled_from_within_is_restarted(file: Path, points: PointMap) -> None:
    """A cancelled future inside a sink must not end its loop, which nobody would notice."""
    receiver = Receiver()
    receiver.fails_to_write = [asyncio.CancelledError()]
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.delivered()
        assert receiver.values("R/T") == [1]
    assert receiver.events == ["enter", "leave"] * 2


async def test_a_sink_far_behind_catches_up_while_new_events_come(file: Path, points: PointMap) -> None:
    """30,000 events wait in the journal, more arrive meanwhile: each comes in its turn, and new ones soon."""
    away = Receiver()
    away.open.clear()
    async with delivering(file, points, {"bms": away}) as rig:
        await send_all(rig, range(1, 30_001))
    late, prompt = Receiver(), Receiver()
    late.open.clear()  # or it may have caught up before the first new one comes
    async with delivering(file, points, {"bms": late, "regs": prompt}) as rig:
        for start in range(30_001, 32_001, 100):
            await send_all(rig, range(start, start + 100))
            late.open.set()
        await rig.delivered()
        assert rig.loops["bms"].idle
        assert late.status.lag == 0
    values = late.values("R/T")
    assert set(values) == set(range(1, 32_001))
    assert [value for value in values if int(str(value)) < 30_000] == list(range(1, 30_000))
    assert values.index(29_999) > min(map(values.index, range(30_001, 32_001)))
    assert prompt.values("R/T") == list(range(30_001, 32_001))
    assert cursor(file) == 32_000


async def test_a_loop_turns_while_nothing_happens(file: Path, points: PointMap) -> None:
    """A quiet night is no standstill: the watchdog sees each idle loop turn with every tick."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.delivered()
        before_s = rig.loops["bms"].turned_s
        rig.pipeline.tick()
        await rig.until(lambda: rig.loops["bms"].turned_s > before_s)


async def test_notes_survive_a_commit_that_fails(file: Path, points: PointMap) -> None:
    """While the disk takes nothing, cursor, dead letters and counts of strangers wait, and add up."""
    receiver = Receiver(refuses={"R/H"})
    async with delivering(file, points, {"bms": receiver}) as rig:
        await rig.send(1, t=1)
        await rig.send_thing("x1", {"assetId": "stranger", "telemetry": {"t": 1}})
        await rig.delivered()
        receiver.open.clear()
        await rig.send(2, t=2, h=2)
        await rig.send_thing("x2", {"assetId": "stranger", "telemetry": {"t": 1}})
        with failing_commits(file):
            receiver.open.set()
            for _ in range(2):
                rig.pipeline.tick()
                with pytest.raises(JournalError):
                    await rig.journal.flush()
            await rig.until(lambda: receiver.values("R/T") == [1, 2])
        await rig.delivered()
        assert rows(file, "SELECT asset, events FROM unmapped_assets") == [("stranger", 2)]
        assert rows(file, "SELECT seq, point FROM dead_letters") == [(3, "R/H")]
        assert cursor(file) == 4
        assert ("R/T", "2") in rows(file, "SELECT point, raw FROM last_values")
