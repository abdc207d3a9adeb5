"""Automatic assets: those that no table names and a template with `auto` matches, and their tags.

A tag is part of topics, so it must not change. A tag that is in registers.lock, or was published, is kept. Of
new assets with the same tag *every one* gets the end of its id appended: which one has which tag does not
depend on their order, and no topic passes from one device to another.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING

from gateway.mapping.topics import FORBIDDEN_IN_LEVELS
from gateway.records import AutoTag
from gateway.text import short_list

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from gateway.mapping.compile.lock_file import Slots
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.mapping.table import Match
    from gateway.records import AssetSnapshot, KnownAsset

_CRITERIA = ("asset_type", "model", "manufacturer", "name")
_DEFAULT_TAG = "{name}"
_LONGEST_TAG = 100
_ENDS_OF_IDS = (4, 8)


@dataclass(frozen=True, slots=True)
class AutomaticAsset:
    """An asset with the template that matches it, and its tag."""

    known: KnownAsset
    used: CompiledTemplate
    auto_tag: AutoTag


def find_automatic(
    templates: Iterable[CompiledTemplate],
    snapshot: AssetSnapshot,
    *,
    named: Container[str],
    slots: Slots,
    tags: Iterable[str],
) -> list[AutomaticAsset]:
    """Return the assets that templates with `auto` match, by id. `named`, `tags`: those in tables already.

    An asset that two templates match is left out with a warning.
    """
    matches = _matches(templates, snapshot, named=named)
    requests = _tag_requests(matches, slots, snapshot.tags)
    assigned = assign_tags(requests, taken=tags)
    for request in requests:
        entry, tag = slots.find(request.asset), assigned.get(request.asset)
        if entry is not None and entry.slot.tag not in {None, tag}:
            entry.place.warn(f"another asset has this tag, so {request.asset} has the tag {tag} now", "tag")
    return [
        AutomaticAsset(known, used, AutoTag(_tag_pattern(used), assigned[known.id]))
        for known, used in matches
        if known.id in assigned
    ]


class Matcher:
    """The `match` of a template: compares assets with all criteria that are written."""

    def __init__(self, match: Match) -> None:
        """Types are compared as they are; models, manufacturers and names whatever their capitals."""
        written = {key: getattr(match, key) for key in _CRITERIA}
        self._written: dict[str, str] = {key: value for key, value in written.items() if value is not None}
        self._name = re.compile(translate((match.name or "").casefold()))

    def matches(self, known: KnownAsset) -> bool:
        """Return whether every criterion matches. One that Infodeck says nothing about does not."""
        values = ((key, getattr(known, key)) for key in self._written)
        return all(value is not None and self._agrees(key, value) for key, value in values)

    def mismatch(self, known: KnownAsset) -> str | None:
        """Return the first criterion that contradicts Infodeck, in words."""
        for key, written in self._written.items():
            value = getattr(known, key)
            if value is not None and not self._agrees(key, value):
                return f"its {key.replace('_', ' ')} is {value} in Infodeck, not {written}"
        return None

    def _agrees(self, key: str, value: str) -> bool:
        if key == "asset_type":
            return value == self._written[key]
        if key == "name":
            return self._name.match(value.casefold()) is not None
        return value.casefold() == self._written[key].casefold()


@dataclass(frozen=True, slots=True)
class TagRequest:
    """The tag that an asset would have if no other asset had it. `kept`: the tag it had before."""

    asset: str
    tag: str
    kept: str | None = None


def assign_tags(requests: Iterable[TagRequest], *, taken: Iterable[str]) -> dict[str, str]:
    """Return each asset's tag by its id, without assets that can have none. `taken`: tags of tables.

    The order of requests does not matter, except for two equal kept tags: the first asset keeps its own.
    """
    used, tags = set(taken), dict[str, str]()
    rest = []
    for request in requests:
        if request.kept is not None and request.kept not in used:
            tags[request.asset] = request.kept
            used.add(request.kept)
        else:
            rest.append(request)
    for candidates in _candidate_rounds(rest, tags):
        counts = Counter(candidates.values())
        settled = {asset: tag for asset, tag in candidates.items() if counts[tag] == 1 and tag not in used}
        tags |= settled
        used.update(settled.values())
    return tags


def _candidate_rounds(requests: list[TagRequest], tags: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield longer and longer tags for the assets that are not in `tags`, which grows between the rounds."""
    yield {request.asset: request.tag for request in requests}
    for length in (*_ENDS_OF_IDS, _LONGEST_TAG):
        yield {
            request.asset: f"{request.tag}-{_as_level(request.asset[-length:])}"
            for request in requests
            if request.asset not in tags
        }


def tag_from_pattern(pattern: str, asset: KnownAsset) -> str:
    """Return the tag that a pattern makes of an asset."""
    values = {
        "name": (asset.name or "").strip() or asset.id,
        "id": asset.id,
        "location": (asset.location or "").strip(),
        "model": (asset.model or "").strip(),
    }
    text = _as_level(pattern.format_map(values))
    if any(not value and f"{{{field}}}" in pattern for field, value in values.items()):
        # A separator beside an empty value would look odd.
        text = _as_level(text.strip(" -_."))
    return text or _as_level(asset.id) or "-"


def _as_level(text: str) -> str:
    """Return text that can be one level of a topic."""
    clean = "".join("-" if mark in FORBIDDEN_IN_LEVELS or not mark.isprintable() else mark for mark in text)
    clean = clean[:_LONGEST_TAG].strip()
    return f"-{clean[1:]}" if clean.startswith("$") else clean


def _tag_pattern(used: CompiledTemplate) -> str:
    return used.template.tag or _DEFAULT_TAG


def _tag_requests(
    matches: Iterable[tuple[KnownAsset, CompiledTemplate]], slots: Slots, published: Mapping[str, AutoTag]
) -> list[TagRequest]:
    """Return the tag of each asset by itself: those with a slot first, in the order of slots.

    A published tag is kept as long as the template's pattern is the same: changing that is up to the user.
    """
    order = {slot.asset: number for number, (slot, _) in enumerate(slots)}
    requests = []
    for known, used in sorted(matches, key=lambda pair: order.get(pair[0].id, len(order))):
        entry, made = slots.find(known.id), published.get(known.id)
        kept = None if entry is None else entry.slot.tag
        if kept is None and made is not None and made.pattern == _tag_pattern(used):
            kept = made.tag
        requests.append(TagRequest(known.id, tag_from_pattern(_tag_pattern(used), known), kept))
    return requests


def _matches(
    templates: Iterable[CompiledTemplate], snapshot: AssetSnapshot, *, named: Container[str]
) -> list[tuple[KnownAsset, CompiledTemplate]]:
    """Return the assets that one template matches; warn of those that several match."""
    matchers = [
        (used, Matcher(used.template.match))
        for used in templates
        if used.template.auto and used.template.match
    ]
    found: list[tuple[KnownAsset, CompiledTemplate]] = []
    ambiguous: dict[tuple[str, str], list[str]] = {}
    for known in sorted(snapshot.assets.values(), key=lambda known: known.id) if matchers else ():
        if known.id in named:
            continue
        matching = [used for used, matcher in matchers if matcher.matches(known)]
        if len(matching) == 1:
            found.append((known, matching[0]))
        elif matching:
            ambiguous.setdefault((matching[0].name, matching[1].name), []).append(known.id)
    places = {used.name: used.place for used, _ in matchers}
    for (one, other), assets in ambiguous.items():
        places[other].warn(
            f"matches {short_list(assets)}, and so does {one} at {places[one]}, so neither template is used"
            " for them: narrow one `match`, or list these assets in a table",
            "match",
        )
    return found
