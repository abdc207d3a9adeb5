"""Computed points in the building state: what they show follows from what their members show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_state import NOON, Room, named

from gateway.model import Quality
from gateway.state.building_state import BuildingState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar, Update
    from gateway.records import LastValue

ASSETS = 70  # more than one block of an aggregate
TABLE = f"""\
schema: gateway.points/1
site: hq
defaults: {{stale_after: 10s}}
templates:
  room:
    points:
      T: {{from: t, unit: degC, range: [0, 50]}}
      QUAL: {{from: $quality}}
      T2: {{expr: "T * 2", unit: degC}}
assets:
{"".join(f"  - {{id: a{number}, tag: R{number}, use: room}}{chr(10)}" for number in range(ASSETS))}
points:
  - {{tag: ALL, point: MEAN, mean: {{of: "R*/T"}}}}
  - {{tag: ALL, point: HELD, mean: {{of: "R*/T", at_least: 2}}, on_stale: hold}}
  - {{tag: ALL, point: MIN, min: {{of: ["R1/T", "R2/T", "R60/T"], at_least: 50%}}}}
  - {{tag: ALL, point: MAX, max: {{of: "R*/T"}}, unit: degF}}
  - {{tag: ALL, point: SUM, sum: {{of: "R*/T"}}}}
  - {{tag: ALL, point: COUNT, count: {{of: "R*/T"}}}}
  - {{tag: ALL, point: ANY, any: {{of: "R*/T"}}}}
  - {{tag: ALL, point: EVERY, all: {{of: "R*/T"}}}}
  - {{tag: ALL, point: RATIO, expr: "R1/T / R2/T"}}
  - {{tag: ALL, point: CHAIN, mean: {{of: ["ALL/MIN", "ALL/MAX-C", "R60/T2"]}}}}
  - {{tag: ALL, point: MAX-C, expr: "max(R1/T, R60/T)", unit: degC}}
  - {{tag: ALL, point: YOUNG, mean: {{of: "R*/T"}}, stale_after: 3s}}
"""
CONTRIBUTING = {Quality.GOOD, Quality.FORCED}


class Building:
    """The compiled table, which nothing changes; a failing test does not print all of it."""

    def __init__(self, points: PointMap) -> None:
        self.points = points

    def room(self) -> Room:
        """Return an empty state."""
        return Room(self.points, BuildingState(self.points))


@pytest.fixture(scope="module")
def building(tmp_path_factory: pytest.TempPathFactory) -> Building:
    """Compile the table."""
    return Building(load_good_tables(tmp_path_factory.mktemp("tables"), TABLE))


def folded(kind: str, members: Sequence[Update | None], needed: int) -> tuple[Scalar, int | None] | None:
    """Return value and time of an aggregate by the rules as they are written; None if it has no value."""
    used = [each for each in members if each is not None and each.quality in CONTRIBUTING]
    values = [float(each.value or 0) for each in used]
    if len(used) < needed:
        return None
    times = [each.time_ms for each in used if each.quality is Quality.GOOD]
    results: dict[str, Scalar] = {
        "mean": sum(values) / len(values),
        "min": min(values),
        "max": max(values),
        "sum": sum(values),
        "count": len(values),
        "any": any(values),
        "all": all(values),
    }
    return results[kind], min(times, default=None)


def check(room: Room, name: str, expected: tuple[Scalar, int | None] | None, *, seen: bool) -> None:
    """Compare what an aggregate shows with what it should."""
    point = room.points.by_name[f"ALL/{name}"]
    shown = room.state.latest(point)
    if shown is None:
        assert not seen
        return
    if shown.quality is Quality.FORCED:
        return
    if expected is None:
        assert shown.quality in {Quality.STALE, Quality.HELD}, (name, shown)
        return
    assert shown.quality is Quality.GOOD, (name, shown)
    assert shown.value == pytest.approx(expected[0])
    if expected[1] is not None:
        assert shown.time_ms == expected[1]


def check_all(room: Room) -> None:
    """Compare every computed point with a naive computation from what its members show."""
    state, by_name = room.state, room.points.by_name

    def shown(*names: str) -> list[Update | None]:
        return [state.latest(by_name[name]) for name in names]

    rooms = shown(*(f"R{number}/T" for number in range(ASSETS)))
    seen = any(rooms)
    for name, kind, needed in (
        ("MEAN", "mean", 1),
        ("HELD", "mean", 2),
        ("SUM", "sum", 1),
        ("COUNT", "count", 1),
        ("ANY", "any", 1),
        ("EVERY", "all", 1),
    ):
        check(room, name, folded(kind, rooms, needed), seen=seen)
    hottest = folded("max", rooms, 1)
    check(room, "MAX", hottest and (float(hottest[0] or 0) * 1.8 + 32, hottest[1]), seen=seen)
    three = shown("R1/T", "R2/T", "R60/T")
    check(room, "MIN", folded("min", three, 2), seen=any(three))
    chain = shown("ALL/MIN", "ALL/MAX-C", "R60/T2")
    check(room, "CHAIN", folded("mean", chain, 1), seen=any(chain))
    check_ratio(*shown("R1/T", "R2/T", "ALL/RATIO"))
    for asset in ("R1", "R60"):
        check_quality(*shown(f"{asset}/T", f"{asset}/T2", f"{asset}/QUAL"))


def check_ratio(one: Update | None, other: Update | None, ratio: Update | None) -> None:
    """Compare an expression with its rules."""
    if one is None and other is None:
        assert ratio is None
        return
    assert ratio is not None
    known = [each for each in (one, other) if each is not None]
    if one is None or other is None or Quality.BAD in {one.quality, other.quality}:
        assert (ratio.quality, ratio.value) == (Quality.BAD, None)
    elif not {one.quality, other.quality} <= CONTRIBUTING:
        assert ratio.quality is Quality.STALE
    elif not other.value:
        assert (ratio.quality, ratio.value) == (Quality.BAD, None)
    else:
        assert ratio.quality is Quality.GOOD
        assert ratio.value == pytest.approx(float(one.value or 0) / float(other.value))
        times = [each.time_ms for each in known if each.quality is Quality.GOOD]
        assert not times or ratio.time_ms == min(times)


def check_quality(measured: Update | None, computed: Update | None, quality: Update | None) -> None:
    """Compare an asset's `$quality` with the worst of its measured and computed points."""
    qualities = [each.quality for each in (measured, computed) if each is not None]
    if qualities and (quality is None or quality.value != Quality.OFFLINE):  # the device's, not a point's
        assert quality is not None
        assert quality.value == max(qualities)


rooms = st.sampled_from((1, 2, 3, 40, 60))
steps = st.one_of(
    st.tuples(st.just("read"), rooms, st.sampled_from((0, 10, 20.5, 49, 60, None, "x")), st.integers(-6, 0)),
    st.tuples(st.just("wait"), rooms, st.just(0), st.integers(1, 7)),
    st.tuples(st.just("force"), rooms, st.integers(0, 50), st.just(0)),
    st.tuples(st.just("release"), rooms, st.just(0), st.just(0)),
    st.tuples(st.just("offline"), rooms, st.just(0), st.just(0)),
    st.tuples(st.just("restart"), rooms, st.just(0), st.just(0)),
)


@given(taken=st.lists(steps, max_size=14))
def test_what_is_computed_follows_from_what_members_show(
    building: Building, taken: list[tuple[str, int, Scalar, int]]
) -> None:
    """After any readings, ageing, overrides, lost connections and restarts, a naive computation agrees."""
    room, now_ms = building.room(), NOON
    saved: dict[str, LastValue] = {}
    for step, number, value, seconds in taken:
        point, state = building.points.by_name[f"R{number}/T"], room.state
        if step == "read":
            room.read(f"a{number}", at_ms=now_ms + seconds * 1000, now_ms=now_ms, t=value)
        elif step == "wait":
            now_ms += seconds * 1000
            state.tick(now_ms)
        elif step == "force":
            state.force(point, value, until_ms=now_ms + 20_000, now_ms=now_ms)
        elif step == "release":
            state.release(point, now_ms=now_ms)
        elif step == "offline":
            state.set_online(f"a{number}", bool(value), at_ms=now_ms, now_ms=now_ms)
        else:
            saved |= state.pop_unsaved_values()
            online = list(state.known.connections.values())
            room = room.restarted(
                list(saved.values()), now_ms=now_ms, forced=state.overrides(), online=online
            )
        check_all(room)


def test_an_event_brings_what_is_computed_from_it(building: Building) -> None:
    """One event's updates include the computed points, each once, and the asset's `$quality` after them."""
    room = building.room()
    names = [update.point.name for update in room.read("a1", at_ms=NOON, t=20)]
    assert len(names) == len(set(names))
    assert names.index("R1/T") < names.index("ALL/MEAN") < names.index("R1/QUAL")
    assert names.index("ALL/MAX-C") < names.index("ALL/CHAIN")
    assert "ALL/MEAN" not in [
        update.point.name for update in room.read("a1", at_ms=NOON - 1, now_ms=NOON, t=9)
    ]


def test_the_mean_ages_with_its_members(building: Building) -> None:
    """A member that becomes stale leaves the mean at once; the last one makes it stale until the next."""
    room = building.room()
    room.read("a1", at_ms=NOON, t=10)
    room.read("a2", at_ms=NOON + 5_000, t=20)
    assert room.shown("ALL/MEAN") == (15, 15, Quality.GOOD)
    changed = [update.point.name for update in room.state.tick(NOON + 10_001)]
    assert {"R1/T", "ALL/MEAN", "ALL/HELD"} <= set(changed)
    assert room.shown("ALL/MEAN") == (20, 20, Quality.GOOD)
    assert room.shown("ALL/HELD") == (15, 15, Quality.HELD)
    room.state.tick(NOON + 15_001)
    assert room.shown("ALL/MEAN") == (None, None, Quality.STALE)
    room.read("a3", at_ms=NOON + 16_000, t=30)
    assert room.shown("ALL/MEAN") == (30, 30, Quality.GOOD)


def test_a_stale_after_of_its_own(building: Building) -> None:
    """A computed point with `stale_after` is stale once its oldest member is older than that."""
    room = building.room()
    room.read("a1", at_ms=NOON, t=10)
    room.state.tick(NOON + 2_000)
    assert room.shown("ALL/YOUNG")[2] is Quality.GOOD
    room.state.tick(NOON + 3_001)
    assert room.shown("ALL/YOUNG")[2] is Quality.STALE
    assert room.shown("ALL/MEAN")[2] is Quality.GOOD
    room.read("a1", at_ms=NOON + 4_000, t=10)
    assert room.shown("ALL/YOUNG")[2] is Quality.GOOD


def test_a_computed_point_can_be_forced(building: Building) -> None:
    """The override is shown and computed with; when it ends, the present result is shown."""
    room = building.room()
    room.read("a1", at_ms=NOON, t=10)
    low = building.points.by_name["ALL/MIN"]
    room.state.force(low, 1, until_ms=NOON + 5_000, now_ms=NOON)
    assert room.shown("ALL/CHAIN")[0] == 1
    room.read("a2", at_ms=NOON + 1, t=5)
    assert room.shown("ALL/MIN") == (1, 1, Quality.FORCED)
    room.state.tick(NOON + 5_000)
    assert room.shown("ALL/MIN") == (5, 5, Quality.GOOD)


def test_a_held_mean_survives_a_restart(building: Building) -> None:
    """With `on_stale: hold`, the last mean is shown after a restart in which all members are stale."""
    room = building.room()
    room.read("a1", at_ms=NOON, t=10)
    room.read("a2", at_ms=NOON, t=20)
    saved = list(room.state.pop_unsaved_values().values())
    again = room.restarted(saved, now_ms=NOON + 60_000)
    assert again.shown("ALL/HELD") == (15, 15, Quality.HELD)
    assert again.shown("ALL/MEAN") == (None, None, Quality.STALE)
    assert named(again.state.tick(NOON + 61_000), "MEAN") == []
