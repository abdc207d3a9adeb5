"""One room's points in a BuildingState, and helpers for readings and shown values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.model import Event, Quality, Reading, Telemetry
from gateway.state.building_state import BuildingState
from gateway.state.readings import map_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mapping.plan import PointMap
    from gateway.model import Scalar, Update
    from gateway.records import LastValue, OnlineState, Override

FRESH_MS = 10_000
NOON = 1_790_000_000_000
TABLE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 10s, modbus: {to: regs, table: input}}
points:
  - {tag: R, point: HOLD, asset: a, from: hold, range: [0, 50], on_stale: hold}
  - {tag: R, point: SENTINEL, asset: a, from: sentinel, range: [0, 50], on_stale: sentinel}
  - {tag: R, point: VALUE, asset: a, from: value, range: [0, 50], on_stale: {value: 7}}
  - {tag: R, point: PATH, asset: a, from: $.data.object.deep.value, on_stale: sentinel}
  - {tag: R, point: QUAL, asset: a, from: $quality}
  - {tag: R, point: AGE, asset: a, from: $age}
system: {heartbeat: {every: 10s, modbus: {to: regs, register: 0, type: uint16}}}
"""


@dataclass
class Room:
    """A state of the table, and helpers for readings and shown values."""

    points: PointMap
    state: BuildingState
    seq: int = 0

    def read(
        self, asset: str = "a", /, *, at_ms: int, now_ms: int | None = None, **readings: Scalar
    ) -> list[Update]:
        """Apply one event whose readings were all made `at_ms`."""
        self.seq += 1
        found = tuple(Reading(key, value, at_ms) for key, value in readings.items())
        plan = self.points.by_asset[asset]
        telemetry = Telemetry(asset, at_ms, found)
        updates = map_telemetry(plan, telemetry, event=make_event(self.seq, {}), seq=self.seq)
        return self.state.apply_updates(plan, updates, now_ms=at_ms if now_ms is None else now_ms)

    def shown(self, name: str) -> tuple[Scalar, Scalar, Quality]:
        """Return value, safe value and quality that a point shows."""
        update = self.state.latest(self.points.by_name[name])
        assert update is not None
        return update.value, update.safe_value, update.quality

    def restarted(
        self,
        saved: list[LastValue],
        *,
        now_ms: int,
        forced: Iterable[Override] = (),
        online: Iterable[OnlineState] = (),
    ) -> Room:
        """Return the same room in the next run of the gateway."""
        room = Room(self.points, BuildingState(self.points), self.seq)
        room.state.restore(saved, now_ms=now_ms, overrides=forced, connections=online)
        return room


def make_event(seq: int, thing: dict[str, Any]) -> Event:
    """Return an event whose resource is `thing`."""
    return Event(f"evt_{seq}", "asset.telemetry.updated", b"", {"data": {"object": thing}}, NOON)


def named(updates: list[Update], point: str) -> list[Update]:
    """Return the updates of one point of tag R."""
    return [update for update in updates if update.point.name == f"R/{point}"]
