"""What changes from one point map to the next, and from one asset snapshot to the next, for a reload."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.model import Point

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.mapping.plan import PointMap
    from gateway.records import AssetSnapshot, KnownAsset

_asset_description = attrgetter(
    "id", "name", "asset_type", "model", "manufacturer", "location", "location_path"
)
_KEYS = tuple(field.name for field in fields(Point) if field.init)
_all_keys = attrgetter(*_KEYS)
_keys_of_value = attrgetter(*(key for key in _KEYS if key != "known"))


@dataclass(frozen=True, slots=True)
class TableChanges:
    """How many points were added, removed and changed, by name. True if there is any change.

    `affected` are the points of the new map that may show another value: new and changed ones, and the pseudo
    points of their assets. Points whose asset only has another description in Infodeck are not among them.
    """

    added: int
    removed: int
    changed: int
    unchanged: int
    affected: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare_tables(old: PointMap, new: PointMap) -> TableChanges:
    """Compare two point maps point by point. The order of points does not matter."""
    before = old.by_name
    added = [point for name, point in new.by_name.items() if name not in before]
    removed = [point for name, point in before.items() if name not in new.by_name]
    changed = [
        point
        for name, point in new.by_name.items()
        if name in before and _all_keys(before[name]) != _all_keys(point)
    ]
    affected = [point for point in changed if _keys_of_value(before[point.name]) != _keys_of_value(point)]
    periods = _heartbeat_ms(old), _heartbeat_ms(new)
    if new.heartbeat is not None and None not in periods and periods[0] != periods[1]:
        changed.append(new.heartbeat[1])
        affected.append(new.heartbeat[1])
    moved_from = (before[point.name] for point in affected if point.name in before)
    assets = {point.asset for point in (*added, *removed, *affected, *moved_from)}
    pseudo = [point.name for asset in assets & new.by_asset.keys() for point in new.by_asset[asset].pseudo]
    names = dict.fromkeys((*(point.name for point in (*added, *affected)), *pseudo))
    unchanged = len(new.by_name) - len(added) - len(changed)
    return TableChanges(len(added), len(removed), len(changed), unchanged, tuple(names))


def compile_the_same(
    one: AssetSnapshot | None, other: AssetSnapshot, *, of: Collection[str] | None = None
) -> bool:
    """Return whether tables compile to the same with both snapshots. Connections of devices do not matter.

    `of`: the ids of the assets that matter, None for all. Their types do, because of warnings.
    """
    if one is None:
        return False
    if of is None:
        of, same_types = one.assets.keys() | other.assets.keys(), one.types == other.types
    else:
        used = {other.assets[asset].asset_type or "" for asset in of if asset in other.assets}
        same_types = all(one.types.get(name) == other.types.get(name) for name in used)
    return same_types and all(_is_same(one.assets.get(asset), other.assets.get(asset)) for asset in of)


def _is_same(one: KnownAsset | None, other: KnownAsset | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or _asset_description(one) == _asset_description(other)


def _heartbeat_ms(points: PointMap) -> int | None:
    return points.heartbeat[0] if points.heartbeat is not None else None
