"""Tables and Infodeck's assets: those that a template with `auto` accepts, their tags, and disagreements.

Infodeck's API can only cause warnings: a new or renamed device must not break tables that work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from glob import escape
from itertools import islice
from typing import TYPE_CHECKING

from gateway.mapping.topics import FORBIDDEN_IN_LEVELS
from gateway.mapping.units import UnitProblem, is_known_unit, stated_unit_conversion
from gateway.model import source_keys
from gateway.records import AutoTag
from gateway.text import short_list, unknown_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.sources import Place, SlotEntry
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.mapping.table import Match
    from gateway.records import AssetSnapshot, AssetType, KnownAsset

_CRITERIA = ("asset_type", "model", "manufacturer", "name")
_DEFAULT_TAG = "{name}"
_LONGEST_TAG = 100
_ENDS_OF_IDS = (4, 8, _LONGEST_TAG)
_MOST_WARNINGS = 20  # of one kind; more have one larger cause


def find_automatic(
    templates: Iterable[CompiledTemplate],
    snapshot: AssetSnapshot,
    *,
    named: Container[str],
    slots: Mapping[str, SlotEntry],
    tags: Iterable[str],
) -> list[tuple[str, CompiledTemplate, AutoTag]]:
    """Return the assets that templates with `auto` match, by id. `named`, `tags`: those in tables already.

    An asset that two templates match is left out with a warning.
    """
    matches = _matches(templates, snapshot, named=named)
    requests = _tag_requests(matches, slots, snapshot.tags)
    assigned = assign_tags(requests, taken=tags)
    for request in requests:
        entry, tag = slots.get(request.asset), assigned.get(request.asset)
        if entry is not None and entry.slot.tag not in {None, tag}:
            entry.place.warn(f"another asset has this tag, so {request.asset} has the tag {tag} now", "tag")
    return [
        (known.id, used, AutoTag(_tag_pattern(used), assigned[known.id]))
        for known, used in matches
        if known.id in assigned
    ]


def disagreements(match: Match | None, known: KnownAsset) -> dict[str, str | None]:
    """Return the criteria of a `match` that an asset does not meet, with what Infodeck has instead.

    Types are compared as they are; models, manufacturers and names, which are patterns, in any capitals.
    """
    found: dict[str, str | None] = {}
    for key in _CRITERIA:
        written, value = getattr(match, key), getattr(known, key)
        if written is None:
            continue
        pattern = written.casefold() if key == "name" else escape(written.casefold())
        agrees = value == written if key == "asset_type" else fnmatchcase((value or "").casefold(), pattern)
        if value is None or not agrees:
            found[key] = value
    return found


def _matches(
    templates: Iterable[CompiledTemplate], snapshot: AssetSnapshot, *, named: Container[str]
) -> list[tuple[KnownAsset, CompiledTemplate]]:
    """Return the assets that one template matches; warn of those that several match."""
    automatic = [used for used in templates if used.template.auto and used.template.match]
    found: list[tuple[KnownAsset, CompiledTemplate]] = []
    ambiguous: dict[tuple[str, str], list[str]] = {}
    for known in sorted(snapshot.assets.values(), key=lambda known: known.id) if automatic else ():
        if known.id in named:
            continue
        matching = [used for used in automatic if not disagreements(used.template.match, known)]
        if len(matching) == 1:
            found.append((known, matching[0]))
        elif matching:
            ambiguous.setdefault((matching[0].name, matching[1].name), []).append(known.id)
    places = {used.name: used.place for used in automatic}
    for (one, other), assets in ambiguous.items():
        places[other].warn(
            f"matches {short_list(assets)}, and so does {one} at {places[one]}, so neither template is used"
            " for them: narrow one `match`, or list these assets in a table",
            "match",
        )
    return found


@dataclass(frozen=True, slots=True)
class TagRequest:
    """The tag that an asset would have if no other asset had it. `kept`: the tag it had before."""

    asset: str
    tag: str
    kept: str | None = None


def assign_tags(requests: Iterable[TagRequest], *, taken: Iterable[str]) -> dict[str, str]:
    """Return each asset's tag by its id, without assets that can have none. `taken`: tags of tables.

    The order of requests does not matter, except for two equal kept tags: the first asset keeps its own.
    Assets with the same tag all have the end of their ids added, as much of it as makes them unique.
    """
    used, tags = set(taken), dict[str, str]()
    rest = []
    for request in requests:
        if request.kept is not None and request.kept not in used:
            tags[request.asset] = request.kept
            used.add(request.kept)
        else:
            rest.append(request)
    for length in (0, *_ENDS_OF_IDS):
        candidates = {
            request.asset: f"{request.tag}-{as_level(request.asset[-length:])}" if length else request.tag
            for request in rest
            if request.asset not in tags
        }
        counts = Counter(candidates.values())
        settled = {asset: tag for asset, tag in candidates.items() if counts[tag] == 1 and tag not in used}
        tags |= settled
        used.update(settled.values())
    return tags


def tag_from_pattern(pattern: str, asset: KnownAsset) -> str:
    """Return the tag that a pattern makes of an asset."""
    values = {
        "name": (asset.name or "").strip() or asset.id,
        "id": asset.id,
        "location": (asset.location or "").strip(),
        "model": (asset.model or "").strip(),
    }
    text = as_level(pattern.format_map(values))
    if any(not value and f"{{{field}}}" in pattern for field, value in values.items()):
        # A separator beside an empty value would look odd.
        text = as_level(text.strip(" -_."))
    return text or as_level(asset.id) or "-"


def as_level(text: str) -> str:
    """Return text that can be one level of a topic."""
    clean = "".join("-" if mark in FORBIDDEN_IN_LEVELS or not mark.isprintable() else mark for mark in text)
    clean = clean[:_LONGEST_TAG].strip()
    return f"-{clean[1:]}" if clean.startswith("$") else clean


def _tag_pattern(used: CompiledTemplate) -> str:
    return used.template.tag or _DEFAULT_TAG


def _tag_requests(
    matches: Iterable[tuple[KnownAsset, CompiledTemplate]],
    slots: Mapping[str, SlotEntry],
    published: Mapping[str, AutoTag],
) -> list[TagRequest]:
    """Return the tag of each asset by itself: those with a slot first, in the order of slots.

    A published tag is kept as long as the template's pattern is the same: changing that is up to the user.
    """
    order = {asset: number for number, asset in enumerate(slots)}
    requests = []
    for known, used in sorted(matches, key=lambda pair: order.get(pair[0].id, len(order))):
        entry, made = slots.get(known.id), published.get(known.id)
        kept = None if entry is None else entry.slot.tag
        if kept is None and made is not None and made.pattern == _tag_pattern(used):
            kept = made.tag
        requests.append(TagRequest(known.id, tag_from_pattern(_tag_pattern(used), known), kept))
    return requests


def warn_of_unknown_assets(
    assets: Mapping[str, Place], singles: Mapping[str, Place], snapshot: AssetSnapshot
) -> None:
    """Warn of ids in the tables that Infodeck does not have. Both mappings: the first place of each id."""
    asked = datetime.fromtimestamp(snapshot.at_ms / 1000, UTC)
    ids = [(asset, place.at("asset")) for asset, place in singles.items() if asset not in assets]
    ids = [*((asset, place.at("id")) for asset, place in assets.items()), *ids]
    unknown = (place for asset, place in ids if asset not in snapshot.assets)
    for place in islice(unknown, _MOST_WARNINGS):
        place.warn(f"no asset of this id in Infodeck as of {asked:%Y-%m-%d %H:%M} UTC")


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
    for asset, name in uses.items():
        match, known = templates[name].template.match, snapshot.assets.get(asset)
        for key, value in disagreements(match, known).items() if match and known else ():
            if value is not None:
                problem = f"its {key} is {value} in Infodeck, not {getattr(match, key)}"
                ids[asset].warn(f"{problem}, as the template {name} expects", "use")


def warn_of_types(read: Iterable[tuple[str, Mapping[str, PointDraft]]], snapshot: AssetSnapshot) -> None:
    """Warn of keys and units that asset types do not have. `read`: each asset with its drafts."""
    types = {asset: known.asset_type or "" for asset, known in snapshot.assets.items()}
    # Thousands of assets share the drafts of a template.
    pairs = {(id(draft), types.get(asset, "")): draft for asset, drafts in read for draft in drafts.values()}
    found = (
        (draft, *disagreement)
        for (_, name), draft in pairs.items()
        if (known := snapshot.types.get(name)) and (disagreement := _type_disagreement(draft, known))
    )
    for draft, message, key in islice(found, _MOST_WARNINGS):
        draft.place.warn(message, key)


def _type_disagreement(draft: PointDraft, asset_type: AssetType) -> tuple[str, str] | None:
    """Return what is wrong about a draft for assets of a type, and the key that is; None if nothing is."""
    listed = {one.key: one for one in asset_type.properties}
    source, name = draft.source, f"the asset type {asset_type.name or asset_type.id}"
    if not listed or not source or source[0] == "$" or "." in source:
        return None
    source = next((key for key in source_keys(source) if key in listed), source)
    if source not in listed:
        return f"{unknown_name('reading', source, listed)} ({name} in Infodeck)", "from"
    unit = listed[source].unit_of_measure
    if unit is None or not _is_other_unit(draft, unit):
        return None
    key = "unit" if draft.conversion.source_unit is None else "source_unit"
    return f"{name} has this reading in {unit} in Infodeck; if that is right, write it as `source_unit`", key


def _is_other_unit(draft: PointDraft, reported: str) -> bool:
    """Return whether the units certainly differ. A gain or a map converts by itself."""
    conversion = draft.conversion
    written = conversion.source_unit or draft.unit_of_measure
    converts = conversion.source_unit is None and conversion.gain != 1
    if written is None or conversion.map is not None or converts:
        return False
    found = stated_unit_conversion(reported, written)
    return is_known_unit(reported) if isinstance(found, UnitProblem) else found != (1, 0)
