"""Rates and runtimes: computed from reading to reading, over restarts and edits of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_state import NOON, Room

from gateway.model import Quality
from gateway.state.building_state import BuildingState
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.mapping.plan import PointMap
    from gateway.records import LastValue

HOUR_MS = 3_600_000
METER = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 2h}
points:
  - {tag: M, point: KWH, asset: a, from: kwh, unit: kWh}
  - {tag: M, point: KW, rate: {of: KWH, per: 1h}, unit: kW}
  - {tag: M, point: W, rate: {of: KWH, per: 1s}, unit: W}
  - {tag: M, point: ROLLS, rate: {of: KWH, per: 1h, rollover: 100}}
  - {tag: M, point: FAN, asset: a, from: fan}
  - {tag: M, point: HOURS, runtime: {of: FAN}}
  - {tag: M, point: MINUTES, runtime: {of: FAN}, unit: min, decimals: 0}
"""


class Meter:
    """The compiled table, which nothing changes."""

    def __init__(self, points: PointMap) -> None:
        self.points = points

    def room(self) -> Room:
        """Return an empty state."""
        return Room(self.points, BuildingState(self.points))


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> Meter:
    """Compile the table."""
    return Meter(load_good_tables(tmp_path_factory.mktemp("tables"), METER))


def value(room: Room, point: str) -> float | str | None:
    """Return what a point shows: its value, or the quality in place of one; None before the first."""
    update = room.state.latest(room.points.by_name[f"M/{point}"])
    if update is None or update.quality is Quality.GOOD:
        return None if update is None else update.value
    return update.quality.name


def test_a_rate_is_a_difference_over_event_time(meter: Meter) -> None:
    """It has a value from the second reading on, in the unit of the point, whatever `per` is."""
    room = meter.room()
    room.read(at_ms=NOON, kwh=10)
    assert value(room, "KW") is None
    room.read(at_ms=NOON + HOUR_MS // 2, kwh=15)
    assert (value(room, "KW"), value(room, "W"), value(room, "ROLLS")) == (10, 10_000, 10)
    room.state.tick(NOON + 3 * HOUR_MS)
    assert value(room, "KW") == "STALE"


def test_a_decrease_is_a_reset_or_a_rollover(meter: Meter) -> None:
    """A reset has no rate until the next reading; a rollover goes on counting."""
    room = meter.room()
    for hour, kwh in enumerate((90, 95, 5, 8)):
        room.read(at_ms=NOON + hour * HOUR_MS, kwh=kwh)
        if hour > 1:
            assert (value(room, "KW"), value(room, "ROLLS")) == (("STALE", 10), (3, 3))[hour - 2]


def test_a_bad_reading_is_left_out(meter: Meter) -> None:
    """It makes the rate stale, and the next good one counts from the last good one."""
    room = meter.room()
    room.read(at_ms=NOON, kwh=10)
    room.read(at_ms=NOON + HOUR_MS, kwh=20)
    room.read(at_ms=NOON + HOUR_MS + 1, kwh="n/a")
    assert value(room, "KW") == "STALE"
    room.read(at_ms=NOON + 2 * HOUR_MS, kwh=50)
    assert value(room, "KW") == 30


readings = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 99), st.booleans()), max_size=10)


@given(taken=readings, restarts=st.sets(st.integers(0, 9)))
def test_late_readings_and_restarts_change_nothing(
    meter: Meter, taken: list[tuple[int, int, bool]], restarts: set[int]
) -> None:
    """Rate and runtime are those of the readings that were the newest when they came, restarts or not."""
    room = meter.room()
    saved: dict[str, LastValue] = {}
    newest: tuple[int, int, bool] | None = None
    rate: float | None = None
    seconds = 0
    for number, (minute, kwh, fan) in enumerate(taken):
        room.read(at_ms=NOON + minute * 60_000, now_ms=NOON + 20 * 60_000, kwh=kwh, fan=fan)
        if newest is None or minute >= newest[0]:
            if newest is not None:
                seconds += (minute - newest[0]) * 60 if newest[2] else 0
                if minute > newest[0]:
                    rate = (kwh - newest[1]) % 100 / (minute - newest[0]) * 60
            newest = (minute, kwh, fan)
        if number in restarts:
            saved |= room.state.pop_unsaved_values()
            room = room.restarted(list(saved.values()), now_ms=NOON + 20 * 60_000)
        shown = value(room, "ROLLS")
        assert shown == (None if rate is None else pytest.approx(rate))
        assert value(room, "HOURS") == pytest.approx(seconds / 3600)
        assert value(room, "MINUTES") == round(seconds / 60)


def test_only_fresh_time_counts(meter: Meter) -> None:
    """A runtime counts a reading for at most its `stale_after`."""
    room = meter.room()
    room.read(at_ms=NOON, fan=True)
    assert value(room, "HOURS") == 0
    room.read(at_ms=NOON + 5 * HOUR_MS, fan=0)
    assert value(room, "HOURS") == 2
    room.read(at_ms=NOON + 6 * HOUR_MS, fan=0)
    assert value(room, "HOURS") == 2


def test_text_is_neither_counted_nor_on(tmp_path: Path) -> None:
    """A text has no rate, nor does it run, whatever it is: they are stale until there is a number again."""
    raw = "  - {tag: M, point: RAW, asset: a, from: raw}\n"
    rate = "  - {tag: M, point: PER-H, rate: {of: RAW, per: 1h}}\n"
    room = Meter(load_good_tables(tmp_path, METER + raw + rate)).room()
    room.read(at_ms=NOON, fan="off", raw=10)
    room.read(at_ms=NOON + HOUR_MS, fan="0", raw=20)
    assert (value(room, "HOURS"), value(room, "PER-H")) == ("STALE", 10)
    room.read(at_ms=NOON + 2 * HOUR_MS, fan=1, raw="n/a")
    assert (value(room, "HOURS"), value(room, "PER-H")) == (0, "STALE")
    room.read(at_ms=NOON + 3 * HOUR_MS, fan=0, raw=50)
    assert (value(room, "HOURS"), value(room, "PER-H")) == (1, 15)


def test_an_edited_counter_begins_anew(meter: Meter, tmp_path: Path) -> None:
    """After an edit of its gain, a rate is computed from readings of one meaning; renamed, it goes on."""
    room = meter.room()
    room.read(at_ms=NOON, kwh=10, fan=1)
    room.read(at_ms=NOON + HOUR_MS, kwh=20, fan=1)
    edited = METER.replace("unit: kWh}", "unit: kWh, gain: 1000}").replace("point: HOURS", "point: RUN")
    points = load_good_tables(tmp_path, edited)
    handover = Handover(room.state)
    handover.build(points, now_ms=NOON + HOUR_MS)
    after = Room(points, handover.finish(now_ms=NOON + HOUR_MS), room.seq)
    assert (value(after, "KW"), value(after, "RUN")) == (None, 1)
    after.read(at_ms=NOON + 2 * HOUR_MS, kwh=21, fan=1)
    assert (value(after, "KW"), value(after, "RUN")) == (1000, 2)


def test_a_circuit_of_one_meter_does_not_go_on_from_another_one(tmp_path: Path) -> None:
    """Tags of one asset may name their counters alike; a new one begins at its own first reading."""
    before, added = (
        f"  - {{tag: {tag}, point: KWH, asset: a, from: e{tag}, unit: kWh}}\n"
        f"  - {{tag: {tag}, point: KW, asset: a, rate: {{of: KWH, per: 1h}}, unit: kW}}\n"
        for tag in "AB"
    )
    head = METER.partition("  - ")[0]
    room = Meter(load_good_tables(tmp_path, head + before)).room()
    room.read(at_ms=NOON, eA=10, eB=1000)
    room.read(at_ms=NOON + HOUR_MS, eA=20, eB=1001)
    points = load_good_tables(tmp_path, head + before + added)
    handover = Handover(room.state)
    handover.build(points, now_ms=NOON + HOUR_MS)
    after = Room(points, handover.finish(now_ms=NOON + HOUR_MS), room.seq)
    after.read(at_ms=NOON + 2 * HOUR_MS, eA=30, eB=1002)
    shown = {name: after.state.latest(points.by_name[name]) for name in ("A/KW", "B/KW")}
    assert shown["A/KW"] is not None
    assert shown["A/KW"].value == 10
    assert shown["B/KW"] is None
