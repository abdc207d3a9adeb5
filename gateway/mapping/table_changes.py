"""How one point table differs from the next, and one snapshot of assets, as far as a reload must know."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.model import Point

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.records import AssetSnapshot, KnownAsset

_described = attrgetter("id", "name", "asset_type", "model", "manufacturer", "location", "location_path")
_KEYS = tuple(field.name for field in fields(Point) if field.init)
_written = attrgetter(*_KEYS)
_showing = attrgetter(*(key for key in _KEYS if key != "known"))


@dataclass(frozen=True, slots=True)
class Difference:
    """Counts of points by name, true where there is any difference.

    `shown_anew` names the points of the new table that may show something else than before: new and changed
    ones, and what is made of others, such as the `$quality` of an asset. Not those of which Infodeck's API
    only says something else: that is told beside their values.
    """

    added: int
    removed: int
    changed: int
    unchanged: int
    shown_anew: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(old: PointMap, new: PointMap) -> Difference:
    """Compare point by point, whatever order they are in."""
    before = old.by_name
    added = [point for name, point in new.by_name.items() if name not in before]
    removed = [point for name, point in before.items() if name not in new.by_name]
    changed = [
        point
        for name, point in new.by_name.items()
        if name in before and _written(before[name]) != _written(point)
    ]
    showing = [point for point in changed if _showing(before[point.name]) != _showing(point)]
    beat = _period_ms(old), _period_ms(new)
    if new.heartbeat is not None and None not in beat and beat[0] != beat[1]:
        changed.append(new.heartbeat[1])
        showing.append(new.heartbeat[1])
    moved_from = (before[point.name] for point in showing if point.name in before)
    assets = {point.asset for point in (*added, *removed, *showing, *moved_from)}
    made = [point.name for asset in assets & new.by_asset.keys() for point in new.by_asset[asset].pseudo]
    names = dict.fromkeys((*(point.name for point in (*added, *showing)), *made))
    unchanged = len(new.by_name) - len(added) - len(changed)
    return Difference(len(added), len(removed), len(changed), unchanged, tuple(names))


def describe_the_same(
    one: AssetSnapshot | None, other: AssetSnapshot, *, of: Collection[str] | None = None
) -> bool:
    """Say whether tables mean the same with both; whether devices are connected is nothing to them.

    `of` are the ids of the assets that matter, None: all do. Types count, for warnings say what these do not
    measure.
    """
    if one is None:
        return False
    if of is None:
        of, same_types = one.assets.keys() | other.assets.keys(), one.types == other.types
    else:
        used = {other.assets[asset].asset_type or "" for asset in of if asset in other.assets}
        same_types = all(one.types.get(name) == other.types.get(name) for name in used)
    return same_types and all(_is_the_same(one.assets.get(asset), other.assets.get(asset)) for asset in of)


def _is_the_same(one: KnownAsset | None, other: KnownAsset | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or _described(one) == _described(other)


def _period_ms(points: PointMap) -> int | None:
    return points.heartbeat[0] if points.heartbeat is not None else None
