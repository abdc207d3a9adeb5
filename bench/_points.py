"""Points without a gateway around them, and their newest values as sinks look them up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.model import OnStale, Point, Register, RegisterTable, StalePolicy, Update

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import BacnetObject, Scalar


class NewestValues:
    """A point table, and the newest update of those points that have one."""

    def __init__(self, points: Iterable[Point]) -> None:
        self.points = tuple(points)
        self.newest: dict[Point, Update] = {}

    def latest(self, point: Point) -> Update | None:
        """Return the newest update of a point."""
        return self.newest.get(point)

    def all_latest(self) -> Iterable[Update]:
        """Return all of them."""
        return self.newest.values()

    def last_good(self, point: Point) -> Scalar:
        """Return the value of the newest update."""
        update = self.newest.get(point)
        return None if update is None else update.value

    def is_newest(self, update: Update) -> bool:
        """Return whether there is no newer one."""
        return self.newest.get(update.point, update) is update

    def age_ms(self, update: Update) -> int:
        """Return the age of an update."""
        return time.time_ns() // 1_000_000 - update.time_ms


def make_point(
    tag: str,
    point: str,
    *,
    unit_of_measure: str | None = None,
    stale_after_ms: int | None = None,
    register: Register | None = None,
    objects: tuple[BacnetObject, ...] = (),
) -> Point:
    """Return a point with at most one register, or with BACnet objects."""
    return Point(
        site="bench",
        tag=tag,
        point=point,
        asset="ast-1",
        source="value",
        unit_of_measure=unit_of_measure,
        stale_after_ms=stale_after_ms,
        on_stale=OnStale(StalePolicy.SENTINEL),
        registers=() if register is None else (register,),
        objects=objects,
    )


def holding_register(sink: str, address: int, kind: str = "uint16", words: int = 1) -> Register:
    """Return a holding register of unit 1."""
    return Register(sink, 1, RegisterTable.HOLDING, address, kind, words)
