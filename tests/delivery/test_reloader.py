"""Reloads of point tables during delivery, on a journal on disk."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from support.delivery_parts import delivering, rows
from support.point_tables import SINKS, TOPICS, load_good_tables
from support.recording_sink import Receiver

from gateway.delivery.reload import Reloader
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.model import Quality
from gateway.status import TablesStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.delivery_parts import Rig

    from gateway.mapping.compiler import CompiledTables

TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R, point: T, asset: a, from: t, range: [0, 1000000]}
  - {tag: R, point: H, asset: a, from: h}
  - {tag: R, point: QUAL, asset: a, from: $quality}
"""
STALE_AFTER_MS = 90 * 60_000 + 1
DOUBLED = TABLE.replace("from: t,", "from: t, gain: 2,")


@dataclass
class Reloading:
    """A reloader of the tables in a folder, and its delivery."""

    rig: Rig
    folder: Path
    status: TablesStatus = field(default_factory=TablesStatus)
    reads: int = 0

    def __post_init__(self) -> None:
        """Make the reloader."""
        self.reloader = Reloader(
            read=self._read,
            pipeline=self.rig.pipeline,
            loops=tuple(self.rig.loops.values()),
            status=self.status,
            clock_ms=self.rig.clock,
        )

    def _read(self) -> CompiledTables:
        self.reads += 1
        return load_point_map(TableInputs(self.folder, SINKS, topics=TOPICS))

    def write(self, text: str) -> None:
        """Write the table."""
        (self.folder / "a.yaml").write_text(text)

    async def reload(self, text: str | None = None) -> None:
        """Write the table and return once it was reloaded."""
        if text is not None:
            self.write(text)
        done = asyncio.Event()
        self.reloader.request(done=done.set)
        async with asyncio.timeout(60):
            await done.wait()


@asynccontextmanager
async def reloading(folder: Path, *receivers: Receiver) -> AsyncIterator[Reloading]:
    """Run delivery to these receivers, at first by TABLE, with a reloader."""
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    points = load_good_tables(tables, TABLE)
    named = dict(zip(("bms", "regs"), receivers, strict=False))
    async with delivering(folder / "journal.db", points, named) as rig:
        made = Reloading(rig, tables)
        task = asyncio.create_task(made.reloader.run(), name="reload")
        try:
            yield made
        finally:
            task.cancel()


def logged(logs: list[Any], event: str) -> dict[str, Any]:
    """Return the one line of this name."""
    (line,) = [dict(line) for line in logs if line["event"] == event]
    return line


async def test_a_changed_gain_shows_without_a_new_event(tmp_path: Path) -> None:
    """The stored reading is converted anew and sent to every sink; other points are not."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        await made.rig.send(1, t=21, h=40)
        await made.rig.delivered()
        with capture_logs() as logs:
            await made.reload(DOUBLED)
        await made.rig.delivered()
        assert receiver.values("R/T") == [21, 42]
        assert receiver.values("R/H") == [40]
        await made.rig.send(2, t=22)
        await made.rig.delivered()
        assert receiver.values("R/T") == [21, 42, 44]
        assert made.rig.pipeline.state.points.by_name["R/T"] is receiver.updates[-1].point
    line = logged(logs, "points.reloaded")
    assert [line[key] for key in ("added", "removed", "changed", "unchanged")] == [0, 0, 1, 2]
    assert (made.status.reloads, made.status.refused, made.status.points, made.status.assets) == (1, 0, 3, 1)
    assert made.status.loaded_ms == made.rig.clock.now_ms


async def test_nothing_is_touched_where_nothing_changed(tmp_path: Path) -> None:
    """Another comment or order is no other table: the state stays, with no line above debug."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        state = made.rig.pipeline.state
        with capture_logs() as logs:
            await made.reload(TABLE + "# a comment\n")
        assert made.rig.pipeline.state is state
        assert receiver.adopted == []
    assert [(line["event"], line["log_level"]) for line in logs] == [("points.unchanged", "debug")]


async def test_a_broken_table_changes_nothing_and_is_shown_until_it_is_mended(tmp_path: Path) -> None:
    """Its problems are logged and shown with their places until a good table is read."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        state = made.rig.pipeline.state
        with capture_logs() as logs:
            await made.reload(TABLE.replace("from: t,", "form: t,"))
        assert made.rig.pipeline.state is state
        await made.rig.send(1, t=21)
        await made.rig.delivered()
        assert receiver.values("R/T") == [21]
        assert made.status.refused == 1
        assert any("a.yaml:4:34: points[0].form: " in problem for problem in made.status.problems)
        problems = list(made.status.problems)
        with capture_logs() as mended:
            await made.reload(TABLE)
        assert made.status.problems == []
        assert (made.status.refused, made.status.reloads) == (1, 0)
    line = logged(logs, "points.refused")
    assert (line["log_level"], line["problems"], line["first"]) == ("error", len(problems), problems)
    assert logged(mended, "points.unchanged")["log_level"] == "info"


async def test_what_is_being_written_comes_again_by_the_new_table(tmp_path: Path) -> None:
    """A write that succeeds after the swap moves no cursor: its events are mapped and written again."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        receiver.open.clear()
        await made.rig.send(1, t=21)
        await receiver.asked.wait()
        await made.reload(DOUBLED)
        receiver.open.set()
        await made.rig.delivered()
        assert set(receiver.values("R/T")[1:]) == {42}
        assert sum(1 in numbers for numbers in receiver.attempts) > 1
        assert receiver.status.cursor == 1


async def test_a_write_that_fails_after_a_swap_is_dropped(tmp_path: Path) -> None:
    """Updates of the new table are delivered; refusals of old ones are no dead letters."""
    receiver = Receiver(refuses={"R/H"})
    async with reloading(tmp_path, receiver) as made:
        receiver.open.clear()
        await made.rig.send(1, t=21, h=40)
        await receiver.asked.wait()
        await made.reload(DOUBLED.replace("point: H,", "point: RH,"))
        receiver.open.set()
        await made.rig.delivered()
        assert receiver.values("R/T")[-1] == 42
        assert receiver.values("R/RH") == [40]
    assert rows(tmp_path / "journal.db", "SELECT * FROM dead_letters") == []


async def test_a_sink_that_is_away_gets_what_waits_by_the_new_table(tmp_path: Path) -> None:
    """Events and changes that waited are written by the new table."""
    receiver = Receiver(away=1_000_000)
    async with reloading(tmp_path, receiver) as made:
        for number in range(1, 4):
            await made.rig.send(number, t=number)
        await made.reload(DOUBLED)
        await made.rig.send(4, t=4)
        receiver.away = 0
        await made.rig.delivered()
        assert set(receiver.values("R/T")) == {2, 4, 6, 8}
        is_newest = made.rig.pipeline.state.is_newest
        assert 8 in {update.value for update in receiver.updates if is_newest(update)}
        assert receiver.status.cursor == 4


async def test_quality_follows_the_points_that_are_left(tmp_path: Path) -> None:
    """After the only bad point of an asset is removed, its `$quality` is good."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        await made.rig.send(1, t=-5, h=40)
        await made.rig.delivered()
        assert receiver.values("R/QUAL") == [Quality.BAD]
        await made.reload(
            TABLE.replace("  - {tag: R, point: T, asset: a, from: t, range: [0, 1000000]}\n", "")
        )
        await made.rig.delivered()
        assert receiver.values("R/QUAL")[-1] == Quality.GOOD


async def test_every_sink_is_given_the_new_table_with_its_values(tmp_path: Path) -> None:
    """It is prepared with the new state, and gets what came meanwhile."""
    receiver, other = Receiver(), Receiver()
    async with reloading(tmp_path, receiver, other) as made:
        await made.rig.send(1, t=21)
        await made.rig.delivered()
        other.may_prepare.clear()
        reload = asyncio.create_task(made.reload(DOUBLED))
        await made.rig.until(other.preparing.is_set)
        await made.rig.send(2, t=22)
        other.may_prepare.set()
        await reload
        for each in (receiver, other):
            ((points, latest, news),) = each.adopted
            assert points is made.rig.pipeline.state.points
            assert latest is made.rig.pipeline.state
            assert {update.point.name: update.value for update in news}["R/T"] == 44
        await made.rig.delivered()
        assert receiver.values("R/T") == [21, 22, 44]


async def test_a_sink_that_is_restarted_meanwhile_is_prepared_again(tmp_path: Path) -> None:
    """The swap waits until each sink is prepared, also one that was restarted."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        receiver.may_prepare.clear()
        reload = asyncio.create_task(made.reload(DOUBLED))
        await made.rig.until(receiver.preparing.is_set)
        receiver.fails_to_write = [KeyError("once")]
        await made.rig.send(1, t=21)
        await made.rig.until(lambda: receiver.events.count("enter") == 2)
        receiver.may_prepare.set()
        await reload
        await made.rig.delivered()
        assert len(receiver.adopted) == 1
        assert receiver.values("R/T")[-1] == 42


async def test_replaced_tables_are_freed(tmp_path: Path) -> None:
    """After any number of reloads only the tables in force are in memory."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        await made.rig.send(1, t=21)
        await made.reload(DOUBLED)
        await made.rig.delivered()
        replaced = weakref.ref(made.rig.pipeline.state)
        receiver.adopted.clear()
        await made.reload(TABLE)
        await made.rig.delivered()
        await made.rig.until(lambda: replaced() is None)  # a thread may just be done with it


async def test_reloads_follow_each_other(tmp_path: Path) -> None:
    """Requests during a reload cause one more after it, never two at a time."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        receiver.may_prepare.clear()
        first = asyncio.create_task(made.reload(DOUBLED))
        await made.rig.until(receiver.preparing.is_set)
        made.write(TABLE.replace("from: t,", "from: t, gain: 3,"))
        for _ in range(3):
            made.reloader.request()
        assert made.reads == 1
        receiver.may_prepare.set()
        await first
        await made.rig.until(lambda: made.status.reloads == 2)
        await made.reload()
        assert made.reads == 3
        await made.rig.send(1, t=7)
        await made.rig.delivered()
        assert receiver.values("R/T") == [21]


async def test_a_fault_of_ours_leaves_the_tables_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error while reading or preparing is a refusal."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        monkeypatch.setattr("support.recording_sink.RecordingSink.prepare", None)
        await made.reload(DOUBLED)
        assert made.status.problems[0].startswith("internal error: TypeError")
        monkeypatch.undo()
        await made.reload()
        assert (made.status.problems, made.status.reloads) == ([], 1)


async def test_a_fault_of_ours_in_the_swap_ends_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no refusal: half of the tables is in force, and only a start makes them whole."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("support.recording_sink.RecordingSink.prepare", lambda *_: fail)
    points = load_good_tables(tmp_path, TABLE)
    async with delivering(tmp_path / "journal.db", points, {"bms": Receiver()}) as rig:
        made = Reloading(rig, tmp_path)
        made.write(DOUBLED)
        made.reloader.request()
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(60):
                await made.reloader.run()
        assert made.status.problems == []


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_ageing_around_a_reload_reaches_every_sink(tmp_path: Path, *, meanwhile: bool) -> None:
    """Before the reload or while it is prepared, also of unchanged points."""
    receiver = Receiver()
    async with reloading(tmp_path, receiver) as made:
        await made.rig.send(1, t=21, h=40)
        await made.rig.delivered()
        receiver.may_prepare.clear()
        made.rig.clock.now_ms += 0 if meanwhile else STALE_AFTER_MS
        reload = asyncio.create_task(made.reload(TABLE.replace("from: h", "from: h, gain: 2")))
        await asyncio.to_thread(receiver.preparing.wait, 60)
        made.rig.clock.now_ms += STALE_AFTER_MS if meanwhile else 0
        receiver.may_prepare.set()
        await reload
        await made.rig.delivered()
        seen = [update.quality for update in receiver.updates if update.point.name == "R/T"]
        assert list(dict.fromkeys(seen)) == [Quality.GOOD, Quality.STALE]


@pytest.mark.parametrize("other_reports", [False, True])
async def test_a_point_that_was_moved_and_moved_back_goes_on_after_a_restart(
    tmp_path: Path, *, other_reports: bool
) -> None:
    """It shows its last reading, also one right before the first reload, never an older one."""
    moved = TABLE.replace("point: T, asset: a", "point: T, asset: b")
    async with reloading(tmp_path, Receiver()) as made:
        await made.rig.send(1, t=1)
        await made.rig.delivered()
        await made.rig.send(2, t=2)
        await made.reload(moved)
        if other_reports:
            await made.rig.send_thing(3, {"assetId": "b", "telemetry": {"t": 3}})
            await made.rig.delivered()
        await made.reload(TABLE)
        await made.rig.journal.flush()
    again = Receiver()
    async with reloading(tmp_path, again) as made:
        point = made.rig.pipeline.state.points.by_name["R/T"]
        latest = made.rig.pipeline.state.latest(point)
        assert latest is not None
        assert latest.value == 2
