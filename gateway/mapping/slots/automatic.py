"""Assets that no table names and a template takes by itself, and what else Infodeck's API says of assets.

What comes from the API can only warn: a new device must not break a table that runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import translate
from typing import TYPE_CHECKING

from gateway.mapping.tags import Wish, choose_tags, wished_tag
from gateway.records import AutoTag
from gateway.text import closest_name, short_list

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from gateway.mapping.compiling.places import Place
    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.mapping.slots.lock_file import Slots
    from gateway.mapping.table import Match
    from gateway.records import AssetSnapshot, KnownAsset

_DEFAULT_TAG = "{name}"
_MOST_STRANGERS = 20  # whoever has more of them has another problem, and comparing ids takes time


@dataclass(frozen=True, slots=True)
class Automatic:
    """An asset with the template that takes it and the tag it is given."""

    known: KnownAsset
    used: CompiledTemplate
    made: AutoTag


@dataclass(frozen=True, slots=True)
class _Criterion:
    """One key of `match`."""

    words: str
    written: str
    of: Callable[[KnownAsset], str | None]
    fits: Callable[[str], object]


class Fit:
    """A template's `match`, ready to be asked for many assets."""

    def __init__(self, match: Match) -> None:
        """Take the criteria that are written."""
        exactly = "" if match.asset_type is None else match.asset_type
        pattern = re.compile(translate((match.name or "").casefold()))
        model, maker = (match.model or "").casefold(), (match.manufacturer or "").casefold()
        criteria = (
            ("asset type", match.asset_type, lambda known: known.asset_type, lambda text: text == exactly),
            ("model", match.model, lambda known: known.model, lambda text: text.casefold() == model),
            (
                "manufacturer",
                match.manufacturer,
                lambda known: known.manufacturer,
                lambda text: text.casefold() == maker,
            ),
            ("name", match.name, lambda known: known.name, lambda text: pattern.match(text.casefold())),
        )
        self._criteria = [
            _Criterion(words, written, of, fits)
            for words, written, of, fits in criteria
            if written is not None
        ]

    def takes(self, known: KnownAsset) -> bool:
        """Say whether every criterion holds; what Infodeck does not tell does not."""
        for criterion in self._criteria:
            value = criterion.of(known)
            if value is None or not criterion.fits(value):
                return False
        return True

    def mismatch(self, known: KnownAsset) -> str | None:
        """Say which criterion fails, in words; what Infodeck does not tell may be right."""
        for criterion in self._criteria:
            value = criterion.of(known)
            if value is not None and not criterion.fits(value):
                return f"its {criterion.words} is {value} in Infodeck, not {criterion.written}"
        return None


def find_automatic(
    templates: Iterable[CompiledTemplate],
    snapshot: AssetSnapshot,
    *,
    named: Container[str],
    slots: Slots,
    tags: Iterable[str],
) -> list[Automatic]:
    """Return the assets that templates with `auto` take, by id. `named`, `tags`: what tables name already.

    An asset that two templates would take is left out with a warning.
    """
    found = _matching(templates, snapshot, named=named)
    wishes = _wishes(found, slots, snapshot.tags)
    chosen = choose_tags(wishes, taken=tags)
    for wish in wishes:
        kept = slots.of(wish.asset)
        if kept is not None and kept.slot.tag not in {None, chosen.get(wish.asset)}:
            message = f"another asset has this tag, so {wish.asset} is called {chosen.get(wish.asset)} now"
            kept.place.warn(message, "tag")
    return [
        Automatic(known, used, AutoTag(_pattern(used), chosen[known.id]))
        for known, used in found
        if known.id in chosen
    ]


def _pattern(used: CompiledTemplate) -> str:
    return used.template.tag or _DEFAULT_TAG


def _wishes(
    found: Iterable[tuple[KnownAsset, CompiledTemplate]], slots: Slots, published: Mapping[str, AutoTag]
) -> list[Wish]:
    """Return what tag each asset would have by itself, those with a slot first, in their order.

    One that was `published` stays until the template makes others: its pattern is for the user to change.
    """
    order = {slot.asset: number for number, (slot, _) in enumerate(slots)}
    wishes = []
    for known, used in sorted(found, key=lambda pair: order.get(pair[0].id, len(order))):
        kept, made = slots.of(known.id), published.get(known.id)
        tag = None if kept is None else kept.slot.tag
        if tag is None and made is not None and made.pattern == _pattern(used):
            tag = made.tag
        wishes.append(Wish(known.id, wished_tag(_pattern(used), known), tag))
    return wishes


def _matching(
    templates: Iterable[CompiledTemplate], snapshot: AssetSnapshot, *, named: Container[str]
) -> list[tuple[KnownAsset, CompiledTemplate]]:
    fits = [
        (used, Fit(used.template.match)) for used in templates if used.template.auto and used.template.match
    ]
    found: list[tuple[KnownAsset, CompiledTemplate]] = []
    contested: dict[tuple[str, str], list[str]] = {}
    for known in sorted(snapshot.assets.values(), key=lambda known: known.id) if fits else ():
        if known.id in named:
            continue
        takers = [used for used, fit in fits if fit.takes(known)]
        if len(takers) == 1:
            found.append((known, takers[0]))
        elif takers:
            contested.setdefault((takers[0].name, takers[1].name), []).append(known.id)
    by_name = {used.name: used for used, _ in fits}
    for (one, other), contested_ids in contested.items():
        by_name[other].place.warn(
            f"fits {short_list(contested_ids)} just as {one} at {by_name[one].place} does, so neither"
            " template is used for them: narrow one `match`, or list these assets in a table",
            "match",
        )
    return found


def warn_of_misfits(
    templates: Mapping[str, CompiledTemplate],
    snapshot: AssetSnapshot,
    *,
    ids: Mapping[str, Place],
    uses: Mapping[str, str],
) -> None:
    """Warn of listed assets that are something else than their template is made for.

    `ids`: where each listed asset stands; `uses`: its template.
    """
    fits = {name: Fit(used.template.match) for name, used in templates.items() if used.template.match}
    for asset, name in uses.items() if fits else ():
        known = snapshot.assets.get(asset)
        if known is not None and name in fits and (problem := fits[name].mismatch(known)):
            ids[asset].warn(f"{problem}, as the template {name} expects", "use")


def warn_of_strangers(
    assets: Mapping[str, Place], singles: Mapping[str, Place], snapshot: AssetSnapshot
) -> None:
    """Warn of ids in the tables that Infodeck does not know. Both: the first place of each id."""
    asked = datetime.fromtimestamp(snapshot.at_ms / 1000, UTC)
    places = [(asset, place, "id") for asset, place in assets.items()]
    places += [(asset, place, "asset") for asset, place in singles.items() if asset not in assets]
    strangers = [one for one in places if one[0] not in snapshot.assets]
    more = len(strangers) - _MOST_STRANGERS
    for number, (asset, place, key) in enumerate(strangers[:_MOST_STRANGERS], start=1):
        close = closest_name(asset, snapshot.assets)
        hint = f"; did you mean `{close}`?" if close else ""
        if more > 0 and number == _MOST_STRANGERS:
            hint += f"; nor are {more} more of these tables there: is it the right organization?"
        place.warn(f"no asset of this id in Infodeck as of {asked:%Y-%m-%d %H:%M} UTC{hint}", key)
