"""Warnings where tables disagree with Infodeck's assets and asset types.

Infodeck's API can only cause warnings: a new or renamed device must not break tables that work.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.compile.automatic import Matcher
from gateway.mapping.units import UnitProblem, is_same_unit, unit_conversion
from gateway.text import closest_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.file_places import Place
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.records import AssetProperty, AssetSnapshot, AssetType

_MOST_WARNINGS = 20  # of one kind; more have one larger cause, and comparing ids takes time


def warn_of_unknown_assets(
    assets: Mapping[str, Place], singles: Mapping[str, Place], snapshot: AssetSnapshot
) -> None:
    """Warn of ids in the tables that Infodeck does not have. Both mappings: the first place of each id."""
    asked = datetime.fromtimestamp(snapshot.at_ms / 1000, UTC)
    places = [(asset, place, "id") for asset, place in assets.items()]
    places += [(asset, place, "asset") for asset, place in singles.items() if asset not in assets]
    unknown = [one for one in places if one[0] not in snapshot.assets]
    more = len(unknown) - _MOST_WARNINGS
    for number, (asset, place, key) in enumerate(unknown[:_MOST_WARNINGS], start=1):
        close = closest_name(asset, snapshot.assets)
        hint = f"; did you mean `{close}`?" if close else ""
        if more > 0 and number == _MOST_WARNINGS:
            hint += f"; nor are {more} more of these tables there: is it the right organization?"
        place.warn(f"no asset of this id in Infodeck as of {asked:%Y-%m-%d %H:%M} UTC{hint}", key)


def warn_of_mismatches(
    templates: Mapping[str, CompiledTemplate],
    snapshot: AssetSnapshot,
    *,
    ids: Mapping[str, Place],
    uses: Mapping[str, str],
) -> None:
    """Warn of listed assets that their template's `match` contradicts.

    `ids`: the place of each listed asset; `uses`: its template.
    """
    matchers = {name: Matcher(used.template.match) for name, used in templates.items() if used.template.match}
    for asset, name in uses.items() if matchers else ():
        known = snapshot.assets.get(asset)
        if known is not None and name in matchers and (problem := matchers[name].mismatch(known)):
            ids[asset].warn(f"{problem}, as the template {name} expects", "use")


def warn_of_types(read: Iterable[tuple[str, Mapping[str, PointDraft]]], snapshot: AssetSnapshot) -> None:
    """Warn of keys and units that asset types do not have. `read`: each asset with its drafts."""
    found = list(_disagreements(read, snapshot))
    for number, one in enumerate(found[:_MOST_WARNINGS], start=1):
        more = len(found) - _MOST_WARNINGS if number == _MOST_WARNINGS else 0
        one.warn(hint=f"; {more} more points of these tables disagree with their types" if more > 0 else "")


class _Disagreement(NamedTuple):
    """A point whose key is not in the asset type (`listed` None), or is there in another unit."""

    draft: PointDraft
    asset_type: AssetType
    listed: AssetProperty | None

    def warn(self, *, hint: str) -> None:
        asset_type, places = self.asset_type, self.draft.places
        name = f"{asset_type.name} ({asset_type.id})" if asset_type.name else asset_type.id
        if self.listed is None:
            close = _similar_key(self.draft.source, [one.key for one in asset_type.properties])
            meant = f", did you mean `{close}`?" if close else ""
            places.warn(f"assets of the type {name} have no such key in Infodeck{meant}{hint}", "from")
            return
        unit, written = self.listed.unit_of_measure or "", self.draft.prototype.unit_of_measure or ""
        if self.draft.prototype.conversion.source_unit is not None:
            key, advice = "source_unit", ""
        elif isinstance(unit_conversion(unit, written), UnitProblem):
            key, advice = "unit", ", which cannot become that"
        else:
            key, advice = "unit", "; write that as `source_unit` beside it to have readings converted"
        places.warn(f"assets of the type {name} have this reading in {unit} in Infodeck{advice}{hint}", key)


def _disagreements(
    read: Iterable[tuple[str, Mapping[str, PointDraft]]], snapshot: AssetSnapshot
) -> Iterable[_Disagreement]:
    """Yield the disagreements, one per draft and type: thousands of assets share the drafts of a template."""
    properties = {
        name: {one.key: one for one in asset_type.properties}
        for name, asset_type in snapshot.types.items()
        if asset_type.properties
    }
    seen: set[tuple[int, str]] = set()  # of drafts, and of whole templates' drafts
    for asset, drafts in read:
        known = snapshot.assets.get(asset)
        asset_type = known.asset_type if known is not None else None
        if asset_type is None or asset_type not in properties or (id(drafts), asset_type) in seen:
            continue
        seen.add((id(drafts), asset_type))
        for draft in drafts.values():
            if (id(draft), asset_type) in seen or not _is_telemetry_key(draft.source):
                continue
            seen.add((id(draft), asset_type))
            listed = properties[asset_type].get(draft.source)
            if listed is None or _has_other_unit(draft, listed):
                yield _Disagreement(draft, snapshot.types[asset_type], listed)


def _is_telemetry_key(source: str) -> bool:
    """Return whether a source is a top-level telemetry key: no path, no nested key, no pseudo-reading."""
    return bool(source) and not source.startswith("$") and "." not in source


def _has_other_unit(draft: PointDraft, listed: AssetProperty) -> bool:
    """Return whether the units certainly differ. A gain or a map converts by itself."""
    conversion = draft.prototype.conversion
    written = conversion.source_unit or draft.prototype.unit_of_measure
    if written is None or listed.unit_of_measure is None or conversion.map is not None:
        return False
    if conversion.source_unit is None and conversion.gain != 1:
        return False
    return is_same_unit(listed.unit_of_measure, written) is False


def _similar_key(key: str, keys: list[str]) -> str | None:
    """Return the similar key, preferably one that differs only in capitals."""
    same = [one for one in keys if one.casefold() == key.casefold()]
    return same[0] if same else closest_name(key, keys)
