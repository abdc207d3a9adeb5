"""Reloads at any moment: a receiver's last update of a point is what the point shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.point_tables import load_good_tables
from support.room_state import NOON, Room

from gateway.mapping.plan import compare_tables
from gateway.state.building_state import BuildingState
from gateway.state.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.plan import PointMap
    from gateway.model import Quality, Scalar, Update

ONE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 5s}
points:
  - {tag: R, point: X, asset: a, from: x, range: [0, 50], on_stale: hold}
  - {tag: R, point: MOVED, asset: a, from: y}
  - {tag: R, point: Q, asset: a, from: $quality}
  - {tag: R, point: ON, asset: a, from: $online}
  - {tag: S, point: X, asset: b, from: x, on_stale: {value: 7}}
  - {tag: S, point: Q, asset: b, from: $quality}
"""
OTHER = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 5s}
points:
  - {tag: R, point: X, asset: a, from: x, range: [0, 50], on_stale: hold}
  - {tag: R, point: MOVED, asset: b, from: y}
  - {tag: R, point: Q, asset: a, from: $quality}
  - {tag: R, point: ON, asset: a, from: $online}
  - {tag: S, point: X, asset: b, from: x, gain: 2}
  - {tag: S, point: Q, asset: b, from: $quality}
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[PointMap, PointMap]:
    """Return both compiled tables; nothing changes them."""
    one, other = (load_good_tables(tmp_path_factory.mktemp("tables"), text) for text in (ONE, OTHER))
    return one, other


@dataclass
class Story:
    """A state, the time, and what a receiver shows, which accepts newest updates only."""

    tables: tuple[PointMap, PointMap]
    now_ms: int = NOON
    number: int = 0
    received: dict[str, tuple[Scalar, Quality]] = field(default_factory=dict)
    waiting: list[Iterable[Update]] = field(default_factory=list)
    handover: Handover | None = None

    def __post_init__(self) -> None:
        """Begin with the first table."""
        self.room = Room(self.tables[0], BuildingState(self.tables[0]))
        self.room.state.tick(self.now_ms)

    def read(self, asset: str, key: str, value: Scalar, age_ms: int) -> None:
        """Have a device report; its updates wait to be sent."""
        if asset in self.room.points.by_asset:
            at_ms = self.now_ms - age_ms
            self.waiting.append(self.room.read(asset, at_ms=at_ms, now_ms=self.now_ms, **{key: value}))

    def connect(self, asset: str, age_ms: int, *, online: bool) -> None:
        """Have Infodeck report a device's connection."""
        at_ms = self.now_ms - age_ms
        self.waiting.append(self.room.state.set_online(asset, online, at_ms=at_ms, now_ms=self.now_ms))

    def force(self, value: int, for_ms: int) -> None:
        """Force a point, or release it."""
        state, point = self.room.state, self.room.points.by_name["R/X"]
        if value:
            changes = state.force(point, value, until_ms=self.now_ms + for_ms, now_ms=self.now_ms)
        else:
            changes = state.release(point, now_ms=self.now_ms)
        self.waiting.append(changes)

    def tick(self) -> None:
        """Let the passed time take effect."""
        self.waiting.append(self.room.state.tick(self.now_ms))

    def send(self, *, newest_first: bool) -> None:
        """Send what waits; newest values may come before older ones."""
        for updates in reversed(self.waiting) if newest_first else self.waiting:
            for update in updates:
                if self.room.state.is_newest(update):
                    self.received[update.point.name] = update.value, update.quality
        self.waiting.clear()

    def begin(self) -> None:
        """Build the other table's state."""
        if self.handover is None:
            other = self.tables[self.room.points is self.tables[0]]
            self.handover = Handover(self.room.state)
            self.handover.build(other, now_ms=self.room.state.aged_ms)

    def swap(self) -> None:
        """Put it in force; send again what waited and what may show something else."""
        if self.handover is None:
            return
        other = self.tables[self.room.points is self.tables[0]]
        names = {update.point.name for updates in self.waiting for update in updates}
        names |= {*compare_tables(self.room.points, other).affected}
        successor = self.handover.finish(now_ms=self.room.state.aged_ms)
        self.room, self.handover = Room(other, successor, self.room.seq), None
        self.waiting = [[shown] for name in names if (shown := self._shown(name)) is not None]
        self.received = {name: last for name, last in self.received.items() if self._shown(name) is not None}

    def _shown(self, name: str) -> Update | None:
        point = self.room.points.by_name.get(name)
        return None if point is None else self.room.state.latest(point)

    def check(self) -> None:
        """Assert that the receiver shows what the points show."""
        self.tick()
        self.send(newest_first=False)
        shown = {name: self._shown(name) for name in self.room.points.by_name}
        assert self.received == {
            name: (one.value, one.quality) for name, one in shown.items() if one is not None
        }


AGES_MS = st.sampled_from([0, 0, 0, 1, 4999, 5001])
ASSETS = st.sampled_from("ab")
STEPS = st.one_of(
    st.tuples(st.just("read"), ASSETS, st.sampled_from("xy"), st.sampled_from([1, 2, 99, None]), AGES_MS),
    st.tuples(st.just("connect"), ASSETS, AGES_MS, st.booleans()),
    st.tuples(st.just("force"), st.sampled_from([0, 5]), st.sampled_from([1, 3000])),
    st.tuples(st.just("time"), st.sampled_from([1, 900, 2000, 5001])),
    st.tuples(st.sampled_from(["tick", "begin", "swap", "swap", "check"])),
    st.tuples(st.just("send"), st.booleans()),
)


GONE_OFFLINE = [("read", "a", "x", 1, 0), ("time", 1), ("connect", "a", 0, False)]
BACK_BY_ANOTHER_POINT = [("time", 1), ("read", "a", "y", 2, 0), ("send", False)]


@example(steps=[*GONE_OFFLINE, ("read", "a", "x", 2, 0), ("connect", "a", 0, True), ("send", True)])
@example(steps=[*GONE_OFFLINE, *BACK_BY_ANOTHER_POINT, ("begin",)])
@example(steps=[("read", "a", "x", 1, 0), ("read", "a", "y", None, 0), ("send", False), ("begin",)])
@example(steps=[*GONE_OFFLINE, ("begin",), *BACK_BY_ANOTHER_POINT])
@given(steps=st.lists(STEPS, min_size=4, max_size=30))
@settings(max_examples=300, deadline=None)
def test_receivers_show_what_points_show(
    tables: tuple[PointMap, PointMap], steps: list[tuple[object, ...]]
) -> None:
    """Ageing, devices that go and come, and moved points change nothing without an update."""
    story = Story(tables)
    for name, *given_ in steps:
        match name, given_:
            case "read", [str(asset), str(key), value, int(age_ms)]:
                story.read(asset, key, value, age_ms)  # type: ignore[arg-type]  # a sampled scalar
            case "connect", [str(asset), int(age_ms), bool(online)]:
                story.connect(asset, age_ms, online=online)
            case "force", [int(value), int(for_ms)]:
                story.force(value, for_ms)
            case "time", [int(ms)]:
                story.now_ms += ms
            case "send", [bool(newest_first)]:
                story.send(newest_first=newest_first)
            case "tick" | "begin" | "swap" | "check" as what, []:
                getattr(story, what)()
    story.swap()
    story.check()
