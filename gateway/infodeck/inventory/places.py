"""Pure: where assets are, by the tree of locations. A tree that is none is followed as far as it goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.records import KnownAsset, Location

_DEEPEST = 32


class Places:
    """All locations; the path to each is found once and shared by all assets there."""

    def __init__(self, locations: Mapping[str, Location]) -> None:
        """Take every location by its id."""
        self._locations = locations
        self._paths: dict[str, tuple[str, ...]] = {}

    def locate(self, asset: KnownAsset) -> KnownAsset:
        """Return the asset with the name of its location, and the path to it, as far as they are known."""
        location = self._locations.get(asset.location_id or "")
        if location is None:
            return asset
        path = self._paths.get(location.id) or self._paths.setdefault(location.id, self._path(location))
        return replace(asset, location=location.name or asset.location, location_path=path)

    def _path(self, location: Location) -> tuple[str, ...]:
        """Return names, or ids, from the outermost location to this one; a circle ends where it closes."""
        names: list[str] = []
        seen: set[str] = set()
        at: Location | None = location
        while at is not None and at.id not in seen and len(names) < _DEEPEST:
            seen.add(at.id)
            names.append(at.name or at.id)
            at = self._locations.get(at.parent or "")
        return tuple(reversed(names))
