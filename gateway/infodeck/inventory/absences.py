"""Pure: assets that Infodeck listed before and does not list now.

A list comes page by page while assets are added and deleted, so that one may slip from a page that is yet
to come to one that was there already. And what is not listed loses its topics and registers where a template
took it by itself. So an asset counts as gone where two lists in a row are without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.records import AssetSnapshot


class Absences:
    """Remembers which assets the last list was without."""

    def __init__(self) -> None:
        """Miss nothing yet."""
        self._missing: frozenset[str] = frozenset()

    def bridge(self, found: AssetSnapshot, before: AssetSnapshot | None) -> tuple[AssetSnapshot, int]:
        """Return what there is with those that are missing for the first time, and how many these are.

        They are as they were, but for their connection: of that, nobody has said anything now.
        """
        if before is None:
            return found, 0
        missing = before.assets.keys() - found.assets.keys()
        unsure = missing - self._missing
        self._missing = frozenset(missing)
        if not unsure:
            return found, 0
        kept = {asset: replace(before.assets[asset], online=None) for asset in sorted(unsure)}
        used = {known.asset_type for known in kept.values()}
        types = {name: one for name, one in before.types.items() if name in used}
        return replace(found, assets={**found.assets, **kept}, types={**types, **found.types}), len(kept)
