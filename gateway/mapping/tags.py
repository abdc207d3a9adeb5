"""Tags of automatic assets: made from what Infodeck knows of them, so that each is one level of a topic.

A tag names an asset's topics and points, so it must not move. One that is kept in registers.lock, or that was
published, stays as it is. Of new assets that would have the same tag *every one* gets the end of its id
appended: which of them is which then depends on no order, and no topic passes from one device to another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.mapping.topics import FORBIDDEN_IN_LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.records import KnownAsset

_LONGEST = 100
_ENDS_OF_IDS = (4, 8)


@dataclass(frozen=True, slots=True)
class Wish:
    """The tag that an asset would have if it were alone. `kept`: the one it had before."""

    asset: str
    tag: str
    kept: str | None = None


def wished_tag(pattern: str, asset: KnownAsset) -> str:
    """Return the tag that a pattern makes of an asset, alone as it were."""
    values = {
        "name": (asset.name or "").strip() or asset.id,
        "id": asset.id,
        "location": (asset.location or "").strip(),
        "model": (asset.model or "").strip(),
    }
    text = _as_level(pattern.format_map(values))
    if any(not value and f"{{{field}}}" in pattern for field, value in values.items()):
        # a separator beside nothing would look odd
        text = _as_level(text.strip(" -_."))
    return text or _as_level(asset.id) or "-"


def choose_tags(wishes: Iterable[Wish], *, taken: Iterable[str]) -> dict[str, str]:
    """Return each asset's tag by its id; whoever can have none is left out. `taken` are those of tables.

    Depends on no order but that of two kept tags which are the same: there the first one has it.
    """
    used, tags = set(taken), dict[str, str]()
    rest = []
    for wish in wishes:
        if wish.kept is not None and wish.kept not in used:
            tags[wish.asset] = wish.kept
            used.add(wish.kept)
        else:
            rest.append(wish)
    for candidates in _rounds(rest, tags):
        counts = Counter(candidates.values())
        settled = {asset: tag for asset, tag in candidates.items() if counts[tag] == 1 and tag not in used}
        tags |= settled
        used.update(settled.values())
    return tags


def _rounds(wishes: list[Wish], tags: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield ever longer tags of those that have none yet; `tags` grows between the rounds."""
    yield {wish.asset: wish.tag for wish in wishes}
    for length in (*_ENDS_OF_IDS, _LONGEST):
        yield {
            wish.asset: f"{wish.tag}-{_as_level(wish.asset[-length:])}"
            for wish in wishes
            if wish.asset not in tags
        }


def _as_level(text: str) -> str:
    clean = "".join("-" if mark in FORBIDDEN_IN_LEVELS or not mark.isprintable() else mark for mark in text)
    clean = clean[:_LONGEST].strip()
    return f"-{clean[1:]}" if clean.startswith("$") else clean
