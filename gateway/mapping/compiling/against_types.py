"""What tables read, against what Infodeck says that the types of assets measure: keys and units.

Like all that comes from the API, it can only warn. Each point of a template is looked at once per type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.units import UnitProblem, is_same_unit, unit_conversion
from gateway.text import closest_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.mapping.compiling.draft import Draft
    from gateway.records import AssetProperty, AssetSnapshot, AssetType

_MOST_TOLD = 20  # whoever has more of them has mixed up something larger


class Disagreement(NamedTuple):
    """A point that reads what its type does not measure (`told` None), or that takes it for another unit."""

    draft: Draft
    asset_type: AssetType
    told: AssetProperty | None

    def warn(self, *, hint: str) -> None:
        """Say so where the point is written."""
        name = (
            f"{self.asset_type.name} ({self.asset_type.id})" if self.asset_type.name else self.asset_type.id
        )
        if self.told is None:
            keys = [one.key for one in self.asset_type.properties]
            close = _meant(self.draft.source, keys)
            found = f", did you mean `{close}`?" if close else ""
            self.draft.layers.warn(
                f"assets of the type {name} have no such key in Infodeck{found}{hint}", "from"
            )
            return
        told, written = self.told.unit_of_measure or "", self.draft.unit_of_measure or ""
        if self.draft.conversion.source_unit is not None:
            key, advice = "source_unit", ""
        elif isinstance(unit_conversion(told, written), UnitProblem):
            key, advice = "unit", ", which cannot become that"
        else:
            key, advice = "unit", "; write that as `source_unit` beside it to have readings converted"
        self.draft.layers.warn(
            f"assets of the type {name} have this reading in {told} in Infodeck{advice}{hint}", key
        )


def warn_of_types(read: Iterable[tuple[str, Mapping[str, Draft]]], snapshot: AssetSnapshot) -> None:
    """Warn of keys and units in which tables and types disagree. `read`: each asset with its drafts."""
    found = list(_disagreements(read, snapshot))
    for number, one in enumerate(found[:_MOST_TOLD], start=1):
        more = len(found) - _MOST_TOLD if number == _MOST_TOLD else 0
        one.warn(hint=f"; {more} more points of these tables disagree with their types" if more > 0 else "")


def _disagreements(
    read: Iterable[tuple[str, Mapping[str, Draft]]], snapshot: AssetSnapshot
) -> Iterable[Disagreement]:
    """Yield them; of templates, thousands of assets share the drafts."""
    properties = {
        name: {one.key: one for one in asset_type.properties}
        for name, asset_type in snapshot.types.items()
        if asset_type.properties
    }
    seen_whole: set[tuple[int, str]] = set()
    seen: set[tuple[int, str]] = set()
    for asset, drafts in read:
        known = snapshot.assets.get(asset)
        of_type = known.asset_type if known is not None else None
        if of_type is None or of_type not in properties or (id(drafts), of_type) in seen_whole:
            continue
        seen_whole.add((id(drafts), of_type))
        for draft in drafts.values():
            if (id(draft), of_type) in seen or not _is_plain_key(draft.source):
                continue
            seen.add((id(draft), of_type))
            told = properties[of_type].get(draft.source)
            if told is None or _has_other_unit(draft, told):
                yield Disagreement(draft, snapshot.types[of_type], told)


def _is_plain_key(source: str) -> bool:
    """Say whether it is the key of a reading: no path, nothing that is in another one, and none of ours."""
    return bool(source) and not source.startswith("$") and "." not in source


def _has_other_unit(draft: Draft, told: AssetProperty) -> bool:
    """Say whether the units differ for sure; with a gain or a map, the table itself converts."""
    conversion = draft.conversion
    written = conversion.source_unit or draft.unit_of_measure
    if written is None or told.unit_of_measure is None or conversion.map is not None:
        return False
    if conversion.source_unit is None and conversion.gain != 1:
        return False
    return is_same_unit(told.unit_of_measure, written) is False


def _meant(key: str, keys: list[str]) -> str | None:
    """Return the key that may be meant: first of all one that is only written in other cases."""
    alike = [one for one in keys if one.casefold() == key.casefold()]
    return alike[0] if alike else closest_name(key, keys)
