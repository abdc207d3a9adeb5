"""The pipeline: mapping and saving of durable events, also after a crash."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.delivery_parts import NOON, Clock, Rig, delivering, rows, with_a_fault
from support.point_tables import load_good_tables
from support.recording_sink import Receiver

from gateway.model import Quality

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar

AGES = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
points:
  - {tag: R, point: T, asset: a, from: t}
  - {tag: R, point: AGE, asset: a, from: $age, modbus: {register: 0, type: uint32}}
system: {heartbeat: {every: 10s, modbus: {register: 2, type: uint16}}}
"""


def shown(rig: Rig, points: PointMap, name: str) -> tuple[Scalar, Quality] | None:
    """Return what a point shows."""
    update = rig.state.latest(points.by_name[name])
    return None if update is None else (update.value, update.quality)


def crash(file: Path) -> Path:
    """Return a copy of the journal's file, as a killed gateway leaves it."""
    copied = file.with_name("crashed.db")
    for suffix in ("", "-wal"):
        shutil.copy(file.with_name(file.name + suffix), copied.with_name(copied.name + suffix))
    return copied


MANY = 2_500
BUILDING = f"""\
schema: gateway.points/1
site: hq
templates:
  room:
    points: {{T: {{from: t}}}}
assets:
{"".join(f"  - {{id: a{number}, tag: R{number}, use: room}}{chr(10)}" for number in range(MANY))}"""


async def test_many_changes_are_saved_in_pieces(file: Path, tmp_path: Path) -> None:
    """Each piece takes little time; after a kill between two, the unsaved events are mapped again."""
    points = load_good_tables(tmp_path, BUILDING)
    async with delivering(file, points, {}) as rig:
        for number in range(MANY):
            rig.offer(number, {"assetId": f"a{number}", "telemetry": {"t": number}})
        await rig.journal.flush()
        await asyncio.sleep(0)  # subscribers come after the answers
        rig.pipeline.tick()
        await rig.journal.flush()
        assert rows(file, "SELECT count(*) FROM last_values") == [(1_000,)]
        crashed = crash(file)
        pieces = 1
        while rig.pipeline.save_some():
            pieces += 1
        assert pieces == 2
        await rig.journal.flush()
        assert rows(file, "SELECT count(*) FROM last_values") == [(MANY,)]
    async with delivering(crashed, points, {}) as rig:
        assert [shown(rig, points, f"R{number}/T") for number in range(MANY)] == [
            (number, Quality.GOOD) for number in range(MANY)
        ]


async def test_unknown_assets_are_counted(file: Path, points: PointMap) -> None:
    """An asset in no table is no dead letter: its events, times and keys are stored for discovery."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await rig.send_thing(1, {"assetId": "x", "telemetry": {"t": 1, "h": 2}})
        await rig.send_thing(2, {"assetId": "x", "telemetry": {"t": 3, "h": 2}})
        rig.pipeline.tick()
        clock.now_ms += 5_000
        await rig.send_thing(3, {"assetId": "x", "telemetry": {"t": 4, "h": 2}})
        await rig.send_thing(4, {"assetId": "y", "telemetry": {"co2": 400}})
        await rig.delivered()
        assert (rig.mapping.unmapped, rig.mapping.unreadable, rig.mapping.mapped) == (4, 0, 0)
    found = rows(file, "SELECT asset, events, first_ms, last_ms, keys FROM unmapped_assets ORDER BY asset")
    assert [(*row[:4], json.loads(row[4])) for row in found] == [
        ("x", 3, NOON, NOON + 5_000, ["t", "h"]),
        ("y", 1, NOON + 5_000, NOON + 5_000, ["co2"]),
    ]
    assert rows(file, "SELECT * FROM dead_letters") == []
    assert receiver.attempts == []
    assert rows(file, "SELECT seq FROM cursors WHERE sink = 'bms'") == [(4,)]


@pytest.mark.parametrize(
    "thing",
    [
        {"telemetry": {"t": 1}},
        {"assetId": 7, "telemetry": {"t": 1}},
        {"assetId": "unknown", "surprise": {"t": 1}},
        {"assetId": "a", "surprise": {"t": 1}},
        {"assetId": "a", "telemetry": {}},
        {"assetId": "c", "deep": {"other": 1}},
    ],
    ids=["no asset", "asset is a number", "unknown", "mapped asset", "empty container", "path not there"],
)
async def test_an_event_in_which_nothing_is_found_is_dead_lettered(
    file: Path, points: PointMap, thing: dict[str, Any]
) -> None:
    """Without an asset or a reading it becomes a dead letter with its body and a reason."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send_thing(1, thing)
        await rig.delivered()
        assert (rig.mapping.unreadable, rig.mapping.unmapped, rig.mapping.mapped) == (1, 0, 0)
    ((sink, seq, event_id, point, reason, body),) = rows(
        file, "SELECT sink, seq, event_id, point, reason, body FROM dead_letters"
    )
    assert (sink, seq, event_id, point) == ("", 1, "evt_1", "")
    assert "name an explicit path in the point table" in reason
    assert json.loads(body)["data"]["object"] == thing
    assert rows(file, "SELECT seq FROM cursors WHERE sink = 'bms'") == [(1,)]


@pytest.mark.parametrize(
    "thing",
    [
        {"assetId": "a", "telemetry": {"unused": 1}},
        {"assetId": "c", "deep": {"value": 1}},
        {"assetId": "c", "deep": {"value": None}},
    ],
    ids=["keys that no point uses", "explicit path", "nothing at the path"],
)
async def test_what_was_found_is_no_dead_letter(file: Path, points: PointMap, thing: dict[str, Any]) -> None:
    """A reading that no point uses, or a value at an explicit path alone, is no dead letter."""
    async with delivering(file, points, {"bms": Receiver()}) as rig:
        await rig.send_thing(1, thing)
        await rig.delivered()
        assert (rig.mapping.unreadable, rig.mapping.unmapped) == (0, 0)
    assert rows(file, "SELECT * FROM dead_letters") == []


async def test_a_crash_before_values_are_saved(file: Path, points: PointMap) -> None:
    """Durable events that the saved values lack are mapped again, each counted once."""
    clock = Clock()
    away = Receiver(away=1_000_000)
    async with delivering(file, points, {"bms": away}, clock=clock) as rig:
        await rig.send(1, t=1, h=40)
        await rig.send_thing("x1", {"assetId": "x", "telemetry": {"t": 1}})
        rig.pipeline.tick()
        await rig.journal.flush()
        clock.now_ms += 1
        await rig.send(2, t=2)
        await rig.send_thing("x2", {"assetId": "x", "telemetry": {"t": 1}})
        await rig.send_thing("bad", {"assetId": "a"})
        crashed = crash(file)
    assert rows(crashed, "SELECT point, raw FROM last_values WHERE point = 'R/T'") == [("R/T", "1")]
    receiver = Receiver()
    async with delivering(crashed, points, {"bms": receiver}, clock=clock) as rig:
        assert shown(rig, points, "R/T") == (2, Quality.GOOD)
        assert shown(rig, points, "R/H") == (40, Quality.GOOD)
        assert shown(rig, points, "R/QUAL") == (0, Quality.GOOD)
        await rig.delivered()
    assert receiver.values("R/T") == [1, 2]
    assert rows(crashed, "SELECT asset, events FROM unmapped_assets") == [("x", 2)]
    assert rows(crashed, "SELECT event_id FROM dead_letters") == [("evt_bad",)]
    assert rows(crashed, "SELECT raw FROM last_values WHERE point = 'R/T'") == [("2",)]


async def test_a_restart_does_not_bring_old_values_back(file: Path, points: PointMap) -> None:
    """An older reading after the restart is late, and a value that aged meanwhile is held."""
    clock = Clock()
    async with delivering(file, points, {"bms": Receiver()}, clock=clock) as rig:
        await rig.send(1, t=21)
        await rig.delivered()
    clock.now_ms += 10_001
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        assert shown(rig, points, "R/T") == (21, Quality.HELD)
        await rig.offer(2, {"assetId": "a", "telemetry": {"t": {"value": 5, "timestamp": NOON - 1}}})
        await rig.delivered()
        assert shown(rig, points, "R/T") == (21, Quality.HELD)
        assert rig.mapping.late == 1
        late = [update for update in receiver.updates if update.value == 5]
        assert [rig.state.is_newest(update) for update in late] == [False]


async def test_a_sink_that_reads_the_event_log_gets_stand_ins(file: Path, points: PointMap) -> None:
    """Behind, it also gets stand-ins, `$quality`, and under `hold` the last good value."""
    clock = Clock()
    away = Receiver(away=1_000_000)
    async with delivering(file, points, {"bms": away}, clock=clock) as rig:
        await rig.send(1, t=21)
        await rig.offer(2, {"assetId": "a", "telemetry": {"h": {"value": 50, "timestamp": NOON - 60_000}}})
        await rig.send(3, t=-5)
        rig.pipeline.tick()
        await rig.journal.flush()
    receiver = Receiver()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await rig.delivered()
        newest = {
            update.point.name: (update.value, update.safe_value, update.quality)
            for update in receiver.updates
            if rig.state.is_newest(update)
        }
    assert receiver.values("R/T") == [21, -5]
    assert newest == {
        "R/T": (-5, 21, Quality.BAD),
        "R/H": (None, None, Quality.STALE),
        "R/QUAL": (Quality.BAD, Quality.BAD, Quality.GOOD),
    }


async def test_a_wrong_clock_is_counted_once(file: Path, points: PointMap) -> None:
    """A reading from the future counts once, however many sinks read its event again."""
    away = Receiver(away=1_000_000)
    async with delivering(file, points, {"bms": away}) as rig:
        await rig.offer(1, {"assetId": "a", "telemetry": {"t": {"value": 1, "timestamp": NOON + 9_000_000}}})
        await rig.journal.flush()
    async with delivering(file, points, {"bms": Receiver(), "new": Receiver()}) as rig:
        await rig.delivered()
        assert rig.mapping.clock_ahead == 1


async def test_time_alone_reaches_the_sinks(file: Path, points: PointMap) -> None:
    """A value that becomes stale is sent once, with the asset's quality, and moves no cursor."""
    receiver, clock = Receiver(), Clock()
    async with delivering(file, points, {"bms": receiver}, clock=clock) as rig:
        await rig.send(1, t=21)
        await rig.delivered()
        clock.now_ms += 10_001
        await rig.delivered()
        await rig.delivered()
    aged = [(update.point.name, update.value, update.quality) for update in receiver.updates[2:]]
    assert aged == [("R/T", 21, Quality.HELD), ("R/QUAL", Quality.HELD, Quality.GOOD)]
    assert rows(file, "SELECT seq FROM cursors WHERE sink = 'bms'") == [(1,)]


async def test_ages_and_heartbeat_go_every_second_only_where_they_have_a_register(
    file: Path, tmp_path: Path
) -> None:
    """A Modbus sink gets them with every tick; MQTT would be flooded."""
    (tmp_path / "tables").mkdir()
    points = load_good_tables(tmp_path / "tables", AGES)
    regs, bms, clock = Receiver(), Receiver(), Clock()
    async with delivering(file, points, {"regs": regs, "bms": bms}, clock=clock) as rig:
        await rig.send(1, t=21)
        for _ in range(3):
            await rig.delivered()
            clock.now_ms += 10_000
    assert regs.values("R/AGE") == [0, 0, 10, 20]
    assert bms.values("R/AGE") == [0]
    first = NOON // 10_000 % 32_768
    assert regs.values("$gateway/heartbeat") == [first, first + 1, first + 2]
    assert bms.values("$gateway/heartbeat") == []


async def test_a_stale_value_sends_no_age_where_ages_have_no_register(file: Path, tmp_path: Path) -> None:
    """On MQTT an age changes only when its asset reports."""
    (tmp_path / "tables").mkdir()
    table = AGES.replace("from: t}", "from: t, stale_after: 10s}")
    points = load_good_tables(tmp_path / "tables", table)
    regs, bms, clock = Receiver(), Receiver(), Clock()
    async with delivering(file, points, {"regs": regs, "bms": bms}, clock=clock) as rig:
        await rig.send(1, t=21)
        await rig.delivered()
        clock.now_ms += 11_000
        await rig.delivered()
    assert bms.values("R/T") == [21, None]
    assert bms.values("R/AGE") == [0]
    assert regs.values("R/AGE")[-1] == 11


async def test_a_mapping_fault_affects_one_event(file: Path, points: PointMap) -> None:
    """The event becomes a dead letter; those committed with it are delivered."""
    receiver = Receiver()
    broken = with_a_fault(points)
    async with delivering(file, broken, {"bms": receiver}) as rig:
        commits = [rig.offer(1, {"assetId": "faulty", "telemetry": {"t": 1}})]
        commits.append(rig.offer(2, {"assetId": "a", "telemetry": {"t": 21}}))
        await asyncio.gather(*commits)
        await rig.delivered()
        assert shown(rig, broken, "R/T") == (21, Quality.GOOD)
        letters = rig.rows("SELECT event_id, reason FROM dead_letters")
    assert letters == [("evt_1", "internal error while mapping: ZeroDivisionError: a fault")]
